"""A second reader of TUF 1.0 metadata, written from the specification alone: canonical JSON, Ed25519 (RFC 8032 in plain
arithmetic, nothing of OpenSSL), and the client's workflow over a folder as published. It refuses whatever is not exactly as the
specification has it. Where python3-securesystemslib is there its canonical form and its signatures are compared, too."""
import datetime
import hashlib
import json
import os
import sys

P = 2 ** 255 - 19
L = 2 ** 252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def recover(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - x2) % P or (x == 0 and sign):
        raise ValueError('no point')
    return P - x if x & 1 != sign else x


def point(data):
    n = int.from_bytes(data, 'little')
    y = n & (1 << 255) - 1
    if y >= P:
        raise ValueError('no point')
    x = recover(y, n >> 255)
    return x, y, 1, x * y % P


def add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    return (f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P


def times(n, p):
    out = (0, 1, 1, 0)
    while n:
        if n & 1:
            out = add(out, p)
        p = add(p, p)
        n >>= 1
    return out


BASE = point(((4 * pow(5, P - 2, P)) % P).to_bytes(32, 'little'))


def verify(public, message, signature):
    a, r, s = point(public), point(signature[:32]), int.from_bytes(signature[32:], 'little')
    if len(signature) != 64 or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), 'little') % L
    left, right = times(s, BASE), add(r, times(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def canonical(value):
    if value is True or value is False or value is None:
        return {True: 'true', False: 'false', None: 'null'}[value]
    if isinstance(value, str):
        return '"' + value.replace('\\', '\\\\').replace('"', '\\"') + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return '[' + ','.join(map(canonical, value)) + ']'
    if isinstance(value, dict):
        return '{' + ','.join(canonical(k) + ':' + canonical(value[k]) for k in sorted(value)) + '}'
    raise ValueError(f'{type(value)} has no canonical form')


def once(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError('a key twice')
    return dict(pairs)


class Reader:
    def __init__(self, folder, root, now=None):
        self.folder, self.now = folder, now or datetime.datetime.utcnow()
        self.n_signatures = self.n_compared = 0
        sys.path.append('/usr/lib/python3/dist-packages')  # Debian's, also where another python3 comes first
        try:
            from securesystemslib import formats, keys
            self.other = formats, keys
        except ImportError:
            self.other = None
        self.root = self.load('root', open(root, 'rb').read())
        self.check(self.root, self.root['signed'], 'root')

    def load(self, kind, data):
        d = json.loads(data.decode('utf-8'), object_pairs_hook=once)
        assert set(d) == {'signed', 'signatures'}, d.keys()
        s = d['signed']
        assert s['_type'] == kind and s['spec_version'].startswith('1.0') and type(s['version']) is int and s['version'] > 0
        s_expires = datetime.datetime.strptime(s['expires'], '%Y-%m-%dT%H:%M:%SZ')
        assert kind == 'root' or s_expires > self.now, f'{kind} expired'
        ids = [x['keyid'] for x in d['signatures']]
        assert len(ids) == len(set(ids)), 'a signature twice'
        return d

    def check(self, document, by, role, where=None):
        """Signed by the threshold of keys that `by` names; every signature that is there must hold."""
        text = canonical(document['signed']).encode()
        r = where or by['roles'][role]
        good = set()
        for s in document['signatures']:
            key = by['keys'].get(s['keyid'])
            if key is None or s['keyid'] not in r['keyids']:
                continue
            assert key['keytype'] == key['scheme'] == 'ed25519' and set(key['keyval']) == {'public'}
            assert hashlib.sha256(canonical(key).encode()).hexdigest() == s['keyid'], 'keyid is not the hash of its key'
            assert verify(bytes.fromhex(key['keyval']['public']), text, bytes.fromhex(s['sig'])), 'wrong signature'
            self.n_signatures += 1
            self.compare(key, s, document['signed'], text)
            good.add(key['keyval']['public'])
        assert len(set(r['keyids'])) == len(r['keyids'])
        assert len(good) >= r['threshold'] >= 1, f'{role}: {len(good)} of {r["threshold"]}'

    def compare(self, key, signature, signed, text):
        if not self.other:
            return
        formats, keys = self.other
        assert formats.encode_canonical(signed).encode() == text, 'another canonical form'
        assert keys.verify_signature(dict(key, keyid=signature['keyid']), signature, text), 'securesystemslib refuses it'
        self.n_compared += 1

    def file(self, name, meta):
        with open(os.path.join(self.folder, 'metadata', name), 'rb') as f:
            data = f.read()
        assert len(data) == meta['length'] and hashlib.sha256(data).hexdigest() == meta['hashes']['sha256'], name
        return data

    def update(self):
        while True:
            n = self.root['signed']['version'] + 1
            path = os.path.join(self.folder, 'metadata', f'{n}.root.json')
            if not os.path.exists(path):
                break
            with open(path, 'rb') as f:
                new = self.load('root', f.read())
            self.check(new, self.root['signed'], 'root')
            self.check(new, new['signed'], 'root')
            assert new['signed']['version'] == n
            self.root = new
        root = self.root['signed']
        assert root['consistent_snapshot'] is True
        assert datetime.datetime.strptime(root['expires'], '%Y-%m-%dT%H:%M:%SZ') > self.now
        with open(os.path.join(self.folder, 'metadata', 'timestamp.json'), 'rb') as f:
            timestamp = self.load('timestamp', f.read())
        self.check(timestamp, root, 'timestamp')
        assert list(timestamp['signed']['meta']) == ['snapshot.json']
        meta = timestamp['signed']['meta']['snapshot.json']
        snapshot = self.load('snapshot', self.file(f'{meta["version"]}.snapshot.json', meta))
        self.check(snapshot, root, 'snapshot')
        assert snapshot['signed']['version'] == meta['version']
        self.snapshot = snapshot['signed']
        targets = self.targets('targets', root, None)
        found = dict(targets['targets'])
        delegations = targets.get('delegations', {'roles': []})
        for role in delegations['roles']:
            for path, entry in self.targets(role['name'], delegations, role)['targets'].items():
                if any(self.fits(p, path) for p in role['paths']):
                    found.setdefault(path, entry)
        for path, entry in found.items():
            self.target(path, entry)
        return found

    @staticmethod
    def fits(pattern, path):
        import fnmatch
        a, b = pattern.split('/'), path.split('/')
        return len(a) == len(b) and all(fnmatch.fnmatchcase(y, x) for x, y in zip(a, b))

    def targets(self, role, by, where):
        meta = self.snapshot['meta'][f'{role}.json']
        d = self.load('targets', self.file(f'{meta["version"]}.{role}.json', meta))
        self.check(d, by, role, where)
        assert d['signed']['version'] == meta['version']
        return d['signed']

    def target(self, path, entry):
        """The file of a target, where TUF clients look for it."""
        folder, _, base = path.rpartition('/')
        name = os.path.join(self.folder, 'targets', folder, f'{entry["hashes"]["sha256"]}.{base}')
        with open(name, 'rb') as f:
            data = f.read()
        assert len(data) == entry['length'] and hashlib.sha256(data).hexdigest() == entry['hashes']['sha256'], name
        model = json.loads(data)
        assert entry['custom']['digest'] == 'sha256:' + entry['hashes']['sha256'] and model['files'] == entry['custom']['files']
