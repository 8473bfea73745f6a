#!/usr/bin/env python3
"""A service that follows catalogues, from outside and without other servers: what it fetches and for whom, the rules of disk
and network, reload, withdrawal while a request runs, a damaged state, rights. test_workplace.py has the whole way with real
servers. Prints TAP."""
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, DATA, INGLE, STORY, Service, Tap, until  # noqa: E402

OTHER = os.path.join(DATA, 'stories260K.q8_0.gguf')
work = tempfile.mkdtemp(prefix='ingle-follow-')
tap = Tap()
ok = tap.ok
HELLO = [{'role': 'user', 'content': 'Hello'}]


def path(*parts):
    return os.path.join(work, *parts)


def ingle(*args, env=None):
    r = subprocess.run([INGLE, *args], env=dict(os.environ, **(env or {})), cwd=work, capture_output=True, text=True, timeout=120,
                       stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout + r.stderr


class Admin:
    """A catalogue in its own folder, published to another."""

    def __init__(self, name, default='denied'):
        self.name, self.env = name, {'INGLE_STORE': path('admin')}
        self.cat('init', name, '--default', default)

    def cat(self, *args):
        code, out = ingle('catalogue', *args, env=self.env)
        if code:
            raise RuntimeError(f'{args}: {out}')
        return out

    def add(self, model, file, *more):
        ingle('pull', file, model, '-q', '--no-check', env=self.env)
        self.cat('add', self.name, model, '--license', 'MIT', *([] if '--origin' in more else ['--origin', file]), *more)

    def publish(self):
        self.cat('sign', self.name)
        self.cat('publish', self.name, self.out)

    @property
    def out(self):
        return path(self.name + '.out')

    @property
    def root(self):
        return os.path.join(self.out, 'metadata', '1.root.json')


class Machine:
    def __init__(self, env=None):
        self.env = {'INGLE_CONFIG': path('etc'), 'INGLE_KEYS': path('keys.json'), 'INGLE_METERED': 'no', **(env or {})}
        os.makedirs(path('etc', 'conf.d'), exist_ok=True)

    def follow(self, name, source, root, *more):
        with open(path('etc', 'conf.d', name + '.conf'), 'w') as f:
            battery = '' if any(x.startswith('battery') for x in more) else 'battery = yes\n'
            f.write(f'[catalogue {name}]\nsource = {source}\nroot = {root}\n{battery}' + '\n'.join(more) + '\n')

    def key(self, name, *args):
        out = subprocess.run([INGLE, 'key', 'add', name, *args], env=dict(os.environ, **self.env), capture_output=True, text=True,
                             check=True, timeout=60).stdout
        return {'Authorization': 'Bearer ' + out.strip()}

    def start(self, memory=None):
        self.log = []
        self.process = subprocess.Popen([INGLE, 'serve', '--store', path('store'), '--listen', 'tcp:127.0.0.1:0', '--ctx', '2048',
                                         *(['--memory', memory] if memory else [])],
                                        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=work,
                                        env=dict(os.environ, **self.env))
        for line in self.process.stderr:
            self.log.append(line)
            m = re.search(r'http://127\.0\.0\.1:(\d+)', line)
            if m:
                self.port = int(m.group(1))
                break
        else:
            raise RuntimeError(''.join(self.log))
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(60)

    tls = False
    get, post, ask, open = Service.get, Service.post, Service.ask, Service.open

    def sync(self):
        return ingle('catalogue', 'sync', '--wait', '--json', '--host', f'127.0.0.1:{self.port}')

    def report(self):
        return json.loads(ingle('status', '--compliance', '--json', '--host', f'127.0.0.1:{self.port}')[1])

    def states(self):
        return {m['name']: m['state'] for m in self.report()['models']}

    def row(self, name):
        return next((m for m in self.report()['models'] if m['name'] == name), {})

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def chat(self, key, model, **more):
        return self.post('/v1/completions', {'model': model, 'prompt': 'Once', 'max_tokens': 2, **more}, headers=key)[:2]

    def listed(self):
        return sorted(m['name'] for m in self.get('/api/tags')[1]['models'])


def test_reload(m, a):
    code, out = m.sync()
    ok(code == 1 and 'conf.d' in out, 'a service that follows nothing says what to write', (code, out))
    report = m.report()
    ok(report['compliant'] and report['models'] == [], 'and is as it should be', report)
    m.follow('work', a.out, a.root)
    m.reload()
    until(lambda: m.report()['compliant'] and len(m.states()) == 3, 60)
    states = m.states()
    ok(states == {'all:1': 'present', 'eng:1': 'present', 'ops:1': 'offered'},
       'SIGHUP: what is required of all and of the groups of a key is fetched, other groups\' is not', (states, m.log))
    row = m.row('eng:1')
    ok(row['for'] == ['a key'] and row['rule'] == 'work:r-eng', 'by its rule', row)


def test_rights(m, keys):
    for method, where in (('GET', '/ingle/compliance'), ('POST', '/ingle/catalogue/sync')):
        status, body, _ = m.ask(method, where, headers=keys['eng'])
        ok(status == 403, f'{where} is for managers', (status, body))
    ok(m.chat(keys['eng'], 'eng:1')[0] == 200, 'eng may use eng:1')
    status, body = m.chat(keys['ops'], 'eng:1')
    ok(status == 403 and 'builtin:assigned' in str(body), 'ops may not', (status, body))


def test_new_person(m, keys):
    keys['late'] = m.key('late', '--group', 'ops')
    code, out = m.sync()
    ok(code == 0 and m.states()['ops:1'] == 'present', 'a new key\'s groups bring their models', out)


def test_disk(m, a):
    m.follow('work', a.out, a.root, 'disk = 2M')
    a.add('big:1', STORY)
    a.cat('assign', 'work', 'big:1', '--required', '--id', 'r-big')
    a.publish()
    m.reload()
    until(lambda: m.row('big:1').get('state') == 'waiting', 30)
    row = m.row('big:1')
    ok(row.get('state') == 'waiting' and '2097152' in row.get('why', ''), 'a model beyond the quota waits, with the reason', row)
    code, out = ingle('status', '--compliance', '--host', f'127.0.0.1:{m.port}')
    ok(code == 3 and 'waiting' in out, 'status --compliance: exit code 3', (code, out))
    a.cat('drop', 'work', 'big:1')
    a.publish()
    m.follow('work', a.out, a.root)
    code, out = m.sync()
    m.reload()
    until(lambda: m.report()['compliant'], 30)
    ok(m.report()['compliant'], 'without it everything is as it should be', out)


def test_running(m, a, keys):
    """The model is withdrawn while an answer of it runs."""
    c, r = m.open('POST', '/v1/completions', {'model': 'eng:1', 'prompt': 'Once', 'max_tokens': 1500, 'stream': True,
                                              'ignore_eos': True}, keys['eng'])
    first = r.read(20)
    a.cat('drop', 'work', 'eng:1')
    a.publish()
    code, out = m.sync()
    rest = r.read().decode()
    c.close()
    ok(r.status == 200 and first and rest.rstrip().endswith('data: [DONE]') and '"error"' not in rest,
       'the answer under way ends well', rest[-300:])
    ok(code == 0 and 'eng:1' not in m.listed() and m.chat(keys['eng'], 'eng:1')[0] == 404, 'the model is gone', (code, m.listed()))
    ok(until(lambda: not any(w['model'] == 'eng:1' for w in m.get('/ingle/status')[1]['models']), 30), 'and its worker')


def test_damage(m, a, keys):
    m.stop()
    state = path('store', 'catalogues', 'work', 'active.json')
    with open(state, 'r+b') as f:
        f.write(b'{"ingle":')
    os.rename(a.out, a.out + '.away')
    m.start()
    status, body = m.chat(keys['ops'], 'ops:1')
    ok(status == 403 and 'work:unknown' in str(body), 'with a damaged state and no source its models are for nobody', (status, body))
    m.sync()
    report = m.report()
    ok(report['catalogues'][0]['state'] == 'damaged' and not report['compliant'] and
       'ops:1' in ingle('list', env={'INGLE_STORE': path('store')})[1],
       'it is told, and nothing is taken away', report)
    os.rename(a.out + '.away', a.out)
    code, out = m.sync()
    ok(code == 0 and m.chat(keys['ops'], 'ops:1')[0] == 200, 'the next sync mends it', out)


def audit():
    out = ingle('audit', 'export', env={'INGLE_STORE': path('store')})[1]
    return [json.loads(line) for line in out.splitlines() if line.startswith('{')]


def broken(name, file, old, new):
    """A copy of a model in which a text is another: its hashes are right when it is signed, and it cannot be used."""
    with open(file, 'rb') as f:
        data = f.read()
    assert old in data and len(old) == len(new)
    with open(path(name), 'wb') as f:
        f.write(data.replace(old, new))
    return path(name)


def test_update(m, a, keys):
    """Updates that are signed and whole, and fail their checks: the old model goes on."""
    before = m.row('all:1')['digest']
    for name, (of, old, new) in {'tokenizer': (STORY, b'tokenizer.ggml.tokens', b'tokenizer.ggml.tokenz'),
                             'architecture': (STORY, b'general.architecture', b'general.architectura'),
                             'template': (CHAT, b'%- for', b'%- fxr'), 'shape': (STORY, b'llama.block_count', b'llama.block_kount')}.items():
        file = broken(name + '.gguf', of, old, new)
        a.add('all:1', file)
        a.publish()
        code, out = m.sync()
        row = m.row('all:1')
        ok(code == 3 and row.get('state') == 'failed' and row.get('have') == before and row['digest'] != before and row.get('why'),
           f'{name}: the update is not taken, and compliance says why: {row.get("why", "")[-80:]}', (code, row))
        status, body = m.chat(keys['ops'], 'all:1')
        ok(status == 200 and 'all:1' in m.listed(), f'{name}: the old model goes on serving', (status, body))
        listed = json.loads(ingle('list', '--json', env={'INGLE_STORE': path('store')})[1])['models']
        ok([x['digest'].removeprefix('sha256:') for x in listed if x['name'] == 'all:1'] == [before], f'{name}: it is the one that the name stands for', listed)
        told = ('fetch', 'failed', row['digest'].removeprefix('sha256:'))
        ok(until(lambda: told in [(r.get('op'), r.get('result'), r.get('digest', '').removeprefix('sha256:')) for r in audit()], 30),
           f'{name}: the audit log has it', audit()[-3:])
    os.unlink(file)
    why, then = m.row('all:1')['why'], m.report()['checked']
    m.reload()
    until(lambda: m.report()['checked'] > then, 60)
    ok(m.row('all:1')['why'] == why, 'what was refused is not fetched again and again', m.row('all:1'))
    m.stop(signal.SIGKILL)
    m.start()
    ok(m.chat(keys['ops'], 'all:1')[0] == 200, 'also after a kill the old one serves')
    a.add('all:1', STORY, '--parameters', '{"temperature":0.2}')
    a.publish()
    code, out = m.sync()
    ok(code == 0 and m.row('all:1')['state'] == 'present' and m.row('all:1')['digest'] != before and
       m.chat(keys['ops'], 'all:1')[0] == 200, 'a sound one replaces it', (code, out, m.row('all:1')))


class Mute:
    """A server that accepts and sends nothing."""

    def __init__(self):
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.port, self.taken = self.socket.getsockname()[1], []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            while True:
                self.taken.append(self.socket.accept()[0])
        except OSError:
            pass

    def close(self):
        self.socket.close()
        for c in self.taken:
            c.close()


def test_mute(m, a):
    """Neither a reload nor the end of the service waits for a server that says nothing (a document may take 30 s)."""
    mute = Mute()
    m.stop()
    m.env.update(INGLE_S3_ENDPOINT=f'http://127.0.0.1:{mute.port}', AWS_ACCESS_KEY_ID='a', AWS_SECRET_ACCESS_KEY='b', no_proxy='*')
    m.start()
    for source in (f'http://127.0.0.1:{mute.port}/c', f'oci://127.0.0.1:{mute.port}/c:x', 's3://bucket/c'):
        kind, n = source.split(':', 1)[0], len(mute.taken)
        m.follow('mute', source, a.root)
        m.reload()
        ok(until(lambda: len(mute.taken) > n, 60), f'{kind}: a catalogue is asked of a server that says nothing')
        start = time.monotonic()
        os.unlink(path('etc', 'conf.d', 'mute.conf'))
        m.reload()
        gone = until(lambda: [c['name'] for c in m.report()['catalogues']] == ['work'] and m.report()['compliant'], 60)
        took = time.monotonic() - start
        ok(gone and took < 20, f'{kind}: a reload does not wait for it: {took:.1f} s', m.report()['catalogues'])
    n = len(mute.taken)
    m.follow('mute', f'http://127.0.0.1:{mute.port}/c', a.root)
    m.reload()
    until(lambda: len(mute.taken) > n, 60)
    start = time.monotonic()
    code = m.stop()
    took = time.monotonic() - start
    ok(code == 0 and took < 20, f'nor does the end: {took:.1f} s', code)
    os.unlink(path('etc', 'conf.d', 'mute.conf'))
    mute.close()
    m.start()


def test_root(m, a):
    loose = shutil.copy(a.root, path('loose.json'))
    os.chmod(loose, 0o666)
    m.follow('loose', a.out, loose)
    m.reload()
    until(lambda: any(c['name'] == 'loose' for c in m.report()['catalogues']), 30)
    code, out = m.sync()
    report = {c['name']: c for c in m.report()['catalogues']}
    ok(report['loose']['state'] == 'never' and 'chmod' in report['loose'].get('why', ''), 'a root that others may write is refused',
       report)
    os.unlink(path('etc', 'conf.d', 'loose.conf'))


def test_two(m, a, keys):
    """Two catalogues with one name: the first has it; one that is no longer followed takes its models along."""
    b = Admin('second', 'available')
    b.add('all:1', OTHER)
    b.add('free:1', OTHER, '--parameters', '{"temperature":0.5}')
    b.cat('assign', 'second', 'free:1', '--required', '--group', 'ops', '--id', 'r-free')
    b.publish()
    m.follow('zz', b.out, b.root)
    m.reload()
    until(lambda: m.states().get('free:1') == 'present', 60)
    rows = {(r['catalogue'], r['name']): r['state'] for r in m.report()['models']}
    ok(rows.get(('zz', 'all:1')) == 'blocked' and rows.get(('work', 'all:1')) == 'present' and rows.get(('zz', 'free:1')) == 'present',
       'the catalogue that comes first has the name', rows)
    ok(m.chat(keys['ops'], 'free:1')[0] == 200 and m.chat(keys['eng'], 'free:1')[0] == 403, 'assigned, in an open catalogue')
    os.unlink(path('etc', 'conf.d', 'zz.conf'))
    m.reload()
    ok(until(lambda: 'free:1' not in m.listed(), 30), 'what a catalogue brought goes with it', m.listed())


def test_interval(m, a):
    """Without anybody asking: what is published comes within the interval, and what is withdrawn goes."""
    m.follow('work', a.out, a.root, 'interval = 1s')
    m.reload()
    a.add('new:1', OTHER, '--parameters', '{"temperature":0.125}')
    a.cat('assign', 'work', 'new:1', '--required', '--id', 'r-new')
    a.publish()
    ok(until(lambda: m.states().get('new:1') == 'present', 60), 'interval: what is published comes by itself', m.states())
    a.cat('drop', 'work', 'new:1')
    a.publish()
    ok(until(lambda: 'new:1' not in m.listed() and 'new:1' not in m.states(), 60), 'and what is dropped goes', m.states())
    m.follow('work', a.out, a.root)
    m.reload()


def test_adapter(m, a, keys):
    """A model that is offered with an adapter is not served without it; what was there before goes on."""
    before = m.row('all:1')['digest']
    a.add('plain:1', CHAT, '--parameters', '{"temperature":0.25}')
    a.cat('assign', 'work', 'plain:1', '--required', '--id', 'r-plain')
    a.publish()
    code, out = m.sync()
    ok(code == 0 and m.states().get('plain:1') == 'present' and m.chat(keys['ops'], 'plain:1')[0] == 200, 'a model without one', out)
    told = a.cat('add', 'work', 'plain:1', '--license', 'MIT', '--origin', CHAT, '--parameters', '{"temperature":0.25}', '--adapter', 'lora:1')
    ok('cannot apply adapters' in told, 'whoever offers an adapter is warned', told)
    a.add('all:1', OTHER, '--parameters', '{"temperature":0.75}', '--adapter', 'lora:1')
    a.publish()
    code, out = m.sync()
    rows = {name: m.row(name) for name in ('plain:1', 'all:1')}
    ok(code == 3 and all(r['state'] == 'failed' and 'adapter' in r.get('why', '') for r in rows.values()),
       'with one it is not as it should be, and compliance says why', (code, rows))
    status, body = m.chat(keys['ops'], 'plain:1')
    ok(status == 403 and 'work:adapters' in str(body), 'the base model is not served in its place', (status, body))
    ok(m.row('all:1').get('have') == before and m.chat(keys['ops'], 'all:1')[0] == 200, 'an older version goes on', m.row('all:1'))
    a.cat('drop', 'work', 'plain:1')
    a.add('all:1', STORY, '--parameters', '{"temperature":0.2}')
    a.publish()
    code, out = m.sync()
    ok(code == 0, 'without it everything is as it should be', (code, out))


def test_preload(m, a, keys):
    """preload = yes: what is required is in memory before anyone asks, and stays longer than what somebody has loaded."""
    m.stop()
    m.follow('work', a.out, a.root, 'preload = yes')
    m.start()
    def loaded():
        return {w['model']: w for w in m.get('/ingle/status', headers=keys['ops'])[1]['models'] if w['state'] == 'ready'}
    until(lambda: m.report()['checked'] > 0, 60)
    want = {r['name'] for r in m.report()['models'] if r['wanted'] == 'required'}
    ok(want and until(lambda: set(loaded()) == want, 60), 'preload: what is required is loaded before anyone asks', (want, loaded(), m.log[-8:]))
    ok(all(not w.get('expires_ns') for w in loaded().values()), 'and stays', loaded())
    ok(m.chat(keys['ops'], 'all:1')[0] == 200, 'and answers')
    m.stop()
    m.follow('work', a.out, a.root)
    m.start()
    until(lambda: m.report()['checked'] > 0, 60)
    ok(not loaded(), 'without it nothing is loaded', loaded())
    m.stop()
    m.follow('work', a.out, a.root, 'preload = yes')
    m.start(memory='0.01')
    until(lambda: m.report()['checked'] > 0, 60)
    m.sync()
    ok(not loaded() and m.get('/v1/models')[0] == 200, 'nor where there is no memory for it', loaded())
    m.stop()
    m.follow('work', a.out, a.root)
    m.start()


def test_metered(m, a):
    m.stop()
    a.add('late:1', STORY, '--parameters', '{"temperature":0.1}')
    a.cat('assign', 'work', 'late:1', '--required', '--id', 'r-late')
    a.publish()
    m.env['INGLE_METERED'] = 'yes'
    m.start()
    code, out = m.sync()
    row = m.row('late:1')
    ok(code == 3 and row['state'] == 'waiting' and 'metered' in row['why'], 'on a metered network it waits', row)
    m.stop(signal.SIGKILL)
    m.env['INGLE_METERED'] = 'no'
    m.start()
    code, out = m.sync()
    ok(code == 0 and m.row('late:1')['state'] == 'present', 'and comes on another, also after a kill', (code, out))


def test_power(m, a):
    """On battery a download waits; on mains it comes, no faster than its rate."""
    m.stop()
    supply = path('sys', 'class', 'power_supply', 'BAT0')
    os.makedirs(supply)

    def put(status):
        for name, text in (('type', 'Battery'), ('status', status)):
            with open(os.path.join(supply, name), 'w') as f:
                f.write(text + '\n')

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=path('files'))

        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.makedirs(path('files'))
    with open(STORY, 'rb') as f, open(path('files', 'slow.gguf'), 'wb') as g:
        g.write(f.read() + bytes(32))  # a file that nobody here has
    a.add('slow:1', path('files', 'slow.gguf'), '--origin', f'http://127.0.0.1:{server.server_port}/slow.gguf')
    a.cat('assign', 'work', 'slow:1', '--required', '--id', 'r-slow')
    a.publish()
    put('Discharging')
    m.follow('work', a.out, a.root, 'battery = no', 'rate = 512K')
    m.env.update(INGLE_METERS=path('sys'), no_proxy='*')
    m.start()
    code, out = m.sync()
    row = m.row('slow:1')
    ok(code == 3 and row['state'] == 'waiting' and 'battery' in row['why'], 'on battery it waits', row)
    put('Charging')
    start = time.monotonic()
    code, out = m.sync()
    took = time.monotonic() - start
    ok(code == 0 and m.row('slow:1')['state'] == 'present', 'on mains it comes', (code, out))
    ok(took > 1.5, f'a MiB at half of one a second takes its time: {took:.1f} s', took)
    server.shutdown()


def main():
    m = Machine()
    try:
        a = Admin('work')
        a.add('all:1', STORY)
        a.add('eng:1', OTHER)
        a.add('ops:1', CHAT)
        a.cat('assign', 'work', 'all:1', '--required', '--id', 'r-all')
        a.cat('assign', 'work', 'eng:1', '--required', '--group', 'eng', '--id', 'r-eng')
        a.cat('assign', 'work', 'ops:1', '--required', '--group', 'ops', '--id', 'r-ops')
        a.publish()
        keys = {'eng': m.key('eng', '--group', 'eng'), 'ops': m.key('nobody', '--user', 'nobody-here')}
        m.start()
        test_reload(m, a)
        test_rights(m, keys)
        test_new_person(m, keys)
        keys['ops'] = keys['late']
        test_disk(m, a)
        test_running(m, a, keys)
        test_damage(m, a, keys)
        test_root(m, a)
        test_update(m, a, keys)
        test_mute(m, a)
        test_two(m, a, keys)
        test_interval(m, a)
        test_adapter(m, a, keys)
        test_preload(m, a, keys)
        test_metered(m, a)
        test_power(m, a)
    finally:
        if hasattr(m, 'process') and m.process.poll() is None:
            code = m.stop()
            ok(code == 0, 'the service ends', (code, ''.join(m.log)[-2000:]))
        shutil.rmtree(work, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
