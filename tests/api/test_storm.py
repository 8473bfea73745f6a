#!/usr/bin/env python3
"""kill -9 at random moments, of verbs and of the service, during pull, gc, rm, cp, catalogue sync and ledger and audit writes:
nothing is lost and nothing is half visible (M02, M03, M10, M12, U19). The store is read by this program's own eyes, not by ingle's.

    test_storm.py KILLS     KILLS in all; the moments come from a fixed seed (INGLE_SEED)

Prints TAP."""
import hashlib
import http.client
import http.server
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, DATA, INGLE, SANITIZED, Tap, until  # noqa: E402

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 40
if SANITIZED:
    KILLS = min(KILLS, 12)
SEED = int(os.environ.get('INGLE_SEED', '20261121'))
rng = random.Random(SEED)
WORK = tempfile.mkdtemp(prefix='test_storm.', dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None) if __name__ == '__main__' else ''
STORE = os.path.join(WORK, 'store')
tap = Tap()
ok = tap.ok


def read(path):
    with open(path, 'rb') as f:
        return f.read()


CONTENT = {'a': read(os.path.join(DATA, 'stories260K.gguf')), 'b': read(os.path.join(DATA, 'stories260K.q8_0.gguf')),
           'c': read(os.path.join(DATA, 'stories260K.q4_0.gguf'))}
SHA = {hashlib.sha256(v).hexdigest(): k for k, v in CONTENT.items()}
problems = []


def problem(text):
    problems.append(text)
    print(f'# {text}', flush=True)


# ---------------------------------------------------------------------------------------------------- a slow hub

class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_GET(self):
        data = CONTENT[self.path[1]]
        start, wanted = 0, self.headers.get('Range')
        if wanted:
            start = int(wanted.removeprefix('bytes=').split('-')[0])
        if start >= len(data):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(data)}')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        self.send_header('ETag', f'"{self.path[1]}"')
        if wanted:
            self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
        self.send_header('Content-Length', str(len(data) - start))
        self.end_headers()
        try:
            for at in range(start, len(data), 1 << 17):
                self.wfile.write(data[at:min(len(data), at + (1 << 17))])
                time.sleep(0.002)
        except OSError:
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


# ---------------------------------------------------------------------------------------------------- one command

ENV = dict(os.environ, INGLE_STORE=STORE, no_proxy='*', XDG_CONFIG_HOME=os.path.join(WORK, 'config'))
for gone in ('INGLE_HOST', 'OLLAMA_HOST'):
    ENV.pop(gone, None)
took = {}  # verb -> seconds of a run that was left alone


def start(args, env=None):
    return subprocess.Popen([INGLE, *args], env=env or ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def run(*args, env=None):
    p = start(args, env)
    out = p.communicate(timeout=120)[0]
    return p.returncode, out


def run_or_kill(what, args, kill):
    """True when it ended by itself; it must then have succeeded, or have said that a name is not there."""
    began = time.monotonic()
    p = start(args)
    if kill:
        try:
            p.wait(rng.uniform(0, 1.1) * took.get(what, 0.1))
        except subprocess.TimeoutExpired:
            p.kill()
    p.wait(120)
    ran = time.monotonic() - began
    out = p.communicate(timeout=120)[0]
    if p.returncode == -signal.SIGKILL:
        return False
    took[what] = (took.get(what, ran) + ran) / 2  # the machine's load changes
    if p.returncode and 'is not in the store' not in out:
        problem(f'{what} failed: exit {p.returncode}: {out[-300:]}')
    return p.returncode == 0


# ---------------------------------------------------------------------------------------------------- what is there

def seen():
    """Names and the letters of their contents, as they lie on the disk; whatever is not whole is a problem."""
    out = {}
    folder = os.path.join(STORE, 'names')
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if not file.endswith('.json'):
            continue
        try:
            m = json.loads(read(os.path.join(folder, file)))
        except ValueError:
            problem(f'{file} is half a manifest')
            continue
        for f in m['model']['files']:
            digest = f['digest'].removeprefix('sha256:')
            path = os.path.join(STORE, 'blobs', digest[:2], digest)
            if not os.path.exists(path):
                problem(f'{file} names a blob that is not there')
            else:
                out[m['name']] = SHA.get(digest, '?')
    return out


def check_blobs():
    """A blob is absent or whole: its name is the digest of its content."""
    for folder, _, files in os.walk(os.path.join(STORE, 'blobs')):
        for file in files:
            if hashlib.sha256(read(os.path.join(folder, file))).hexdigest() != file:
                problem(f'blob {file} is not whole')


def expect(before, after, changes, whole, what):
    """changes: name -> set of allowed contents (None: absent) when done; what is not in it must be as before."""
    for name in set(before) | set(after) | set(changes):
        allowed = {changes[name]} if name in changes else {before.get(name)}
        if name in changes and not whole:
            allowed |= {before.get(name)}
        if after.get(name) not in allowed:
            problem(f'after {what} ({"done" if whole else "killed"}): {name} is {after.get(name)}, expected one of {allowed}')


# ---------------------------------------------------------------------------------------------------- the store

NAMES = [f'm{i}:latest' for i in range(5)]


def store_step(hub, kill):
    before = seen()
    name, letter = rng.choice(NAMES), rng.choice('abc')
    what = rng.choice(['pull', 'pull', 'pull path', 'rm', 'cp', 'gc'])
    path = os.path.join(WORK, letter + '.gguf')
    present = sorted(before)
    changes = {}
    beside = None
    if what == 'pull':
        args, changes = ['pull', '-q', '--no-check', f'{hub}/{letter}.gguf', name], {name: letter}
        if rng.random() < 0.3:
            beside = start(['gc', '--all'])
    elif what == 'pull path':
        args, changes = ['pull', '-q', '--no-check', path, name], {name: letter}
    elif what == 'rm' and present:
        name = rng.choice(present)
        args, changes = ['rm', name], {name: None}
    elif what == 'cp' and present:
        source = rng.choice(present)
        args, changes = ['cp', source, name], {name: before[source]}
    else:
        what, args = 'gc', ['gc', '--all']
    whole = run_or_kill(what, args, kill)
    if beside:
        out = beside.communicate(timeout=60)[0]
        if beside.returncode:
            problem(f'gc beside a pull: {out}')
    expect(before, seen(), changes, whole, what)
    return not whole


def storm_store(n):
    server = Server(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub = f'http://127.0.0.1:{server.server_port}'
    for letter, data in CONTENT.items():
        with open(os.path.join(WORK, letter + '.gguf'), 'wb') as f:
            f.write(data)
    problems.clear()
    for _ in range(12):
        store_step(hub, False)
    killed = tries = 0
    while killed < n and tries < 8 * n and not problems:
        killed += store_step(hub, True)
        tries += 1
        if tries % 10 == 0:
            check_blobs()
    check_blobs()
    ok(not problems and killed >= n * 3 // 4, f'pull, rm, cp and gc killed {killed} times: every name is the old or the new, '
       'every blob absent or whole', problems[:3])
    problems.clear()
    rc, out = run('verify')
    ok(rc == 0, 'ingle verify agrees', out)
    rc, out = run('gc', '--all')
    left = [f for d, _, fs in os.walk(STORE) for f in fs if f.endswith('.tmp') or d.endswith('/parts')]
    ok(rc == 0 and not left, 'gc --all takes what the killed left', (out, left))
    named = set(seen().values())
    there = {SHA.get(f, '?') for _, _, fs in os.walk(os.path.join(STORE, 'blobs')) for f in fs}
    ok(named == there, 'and leaves what is named', (named, there))
    server.shutdown()
    return killed


# ---------------------------------------------------------------------------------------------------- catalogue

def version_in_force():
    path = os.path.join(STORE, 'catalogues', 'default', 'active.json')
    if not os.path.exists(path):
        return 0
    try:
        return json.loads(json.loads(read(path))['targets']['targets'])['signed']['version']
    except (ValueError, KeyError) as e:
        problem(f'active.json is not whole: {e}')
        return -1


def storm_catalogue(n):
    models, out = os.path.join(WORK, 'models'), os.path.join(WORK, 'published')
    problems.clear()
    run('pull', '-q', '--no-check', os.path.join(WORK, 'a.gguf'), 'offered')
    for args in (['init', models], ['add', models, 'offered', '--license', 'MIT'], ['sign', models], ['publish', models, out]):
        rc, text = run('catalogue', *args)
        if rc:
            return ok(False, 'a catalogue is made', text)
    root = next((os.path.join(d, f) for d, _, fs in os.walk(out) for f in fs if f == '1.root.json'), '')
    killed = tries = 0
    version = 1
    first = ['catalogue', 'sync', out, '--root', root]
    run_or_kill('sync', first, False)
    while killed < n and tries < 8 * n and not problems:
        before = version_in_force()
        if before == version:
            version += 1
            for args in (['add', models, 'offered', '--license', 'MIT', '--day-tokens', str(1000 + version)], ['sign', models],
                         ['publish', models, out]):
                rc, text = run('catalogue', *args)
                if rc:
                    problem(f'catalogue {args[0]}: {text}')
        whole = run_or_kill('sync', ['catalogue', 'sync'], True)
        after = version_in_force()
        if after not in ({version} if whole else {before, version}):
            problem(f'catalogue version {after}, expected {before} or {version}')
        rc, text = run('catalogue', 'show')
        if rc:
            problem(f'the catalogue in force is refused: {text}')
        killed += not whole
        tries += 1
    ok(not problems and killed >= n * 3 // 4, f'catalogue sync killed {killed} times: the old or the new is in force, version '
       f'{version} at last', problems[:3])
    rc, text = run('catalogue', 'sync')
    ok(rc == 0 and version_in_force() == version, 'and the next sync succeeds', text)
    left = [f for d, _, fs in os.walk(os.path.join(STORE, 'catalogues')) for f in fs if f.endswith('.tmp')]
    ok(not left, 'nothing is left beside it', left)
    return killed


# ---------------------------------------------------------------------------------------------------- the service

class Daemon:
    def __init__(self, *args):
        self.socket = os.path.join(WORK, 's')
        self.log = open(os.path.join(WORK, 'log'), 'w+')
        self.p = subprocess.Popen([INGLE, 'serve', '--listen', 'unix:' + self.socket, '--store', STORE, '--model', f'chat={CHAT}', *args],
                                  env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)

    def ask(self, path, body, timeout=30):
        c = http.client.HTTPConnection('localhost', timeout=timeout)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(timeout)
        c.sock.connect(self.socket)
        c.request('POST' if body is not None else 'GET', path, json.dumps(body) if body is not None else None,
                  {'Content-Type': 'application/json'})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, text, r.headers.get('X-Request-Id')

    def up(self):
        try:
            return self.ask('/api/version', None)[0] == 200
        except OSError:
            return False

    def said(self):
        self.log.flush()
        return read(self.log.name).decode()[-500:]


LEDGER = os.path.join(STORE, 'state', 'ledger.db')


def booked():
    """Ids of the ledger, read by SQLite alone."""
    if not os.path.exists(LEDGER):
        return set()
    db = sqlite3.connect(f'file:{LEDGER}?mode=ro', uri=True, timeout=10)
    try:
        return {row[0] for row in db.execute('SELECT id FROM record')}
    except sqlite3.OperationalError:
        return set()
    finally:
        db.close()


def talk(d, answered, stop):
    """Asks until the service dies. An id goes into `answered` when its answer has come."""
    local = random.Random(rng.random())
    while not stop.is_set():
        try:
            what = local.random()
            if what < 0.7:
                status, _, rid = d.ask('/v1/chat/completions', {'model': 'chat', 'max_tokens': local.randint(1, 12), 'messages': [
                    {'role': 'user', 'content': 'Hello'}]})
                if status == 200:
                    answered.append(rid)
            elif what < 0.85:
                d.ask('/api/copy', {'source': 'offered', 'destination': f'copy{local.randint(0, 3)}'})
            else:
                d.ask('/v1/embeddings', {'model': 'chat', 'input': 'x'})
        except (OSError, ValueError, http.client.HTTPException):
            return


def audit_records():
    folder = os.path.join(STORE, 'state', 'audit')
    records = []
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if file.endswith('.jsonl'):
            for line in read(os.path.join(folder, file)).split(b'\n')[:-1]:  # what has no end yet is no record
                records.append(json.loads(line))
    return records


def storm_service(n):
    problems.clear()
    promised, last_seq, killed, n_answered = set(), 0, 0, 0
    for round_ in range(n):
        required = round_ % 2 == 1  # what must be audited is in the log before it is begun
        d = Daemon('--audit-required') if required else Daemon()
        if not until(d.up, 30):
            problem(f'the service does not start after a kill: {d.said()}')
            d.p.kill()
            break
        now = booked()
        if promised - now:
            problem(f'{len(promised - now)} requests that were booked are gone')
        seqs = [r['seq'] for r in audit_records()]
        if seqs != list(range(1, len(seqs) + 1)) or (seqs[-1] if seqs else 0) < last_seq:
            problem(f'the audit log has {len(seqs)} records up to {seqs[-1:]}, it had {last_seq}')
        answered, stop = [], threading.Event()
        threads = [threading.Thread(target=talk, args=(d, answered, stop)) for _ in range(3)]
        for t in threads:
            t.start()
        if round_ % 3 == 0:  # what is booked is seen, then comes the kill
            if not until(lambda: answered and set(answered[:1]) <= booked(), 20):
                problem('an answer is not booked')
        else:
            time.sleep(rng.uniform(0, 0.4))
        promised = booked()
        last_seq = ([r['seq'] for r in audit_records()] or [0])[-1]
        d.p.kill()
        d.p.wait()
        stop.set()
        for t in threads:
            t.join(40)
        n_answered += len(answered)
        if required and set(answered) - {r.get('request') for r in audit_records()}:
            problem('an answer is not in the audit log, which is required')
        killed += 1
        seen()
        if problems:
            break
    ok(not problems and killed == n, f'the service killed {killed} times under load ({n_answered} answers): what was booked stays, '
       'the audit log has no gap', problems[:3])
    d = Daemon()
    ok(until(d.up, 30), 'it starts once more', d.said())
    d.p.terminate()
    ok(d.p.wait(30) == 0, 'and stops in order', d.said())
    rc, out = run('audit', 'verify')
    ok(rc == 0, 'ingle audit verify: the chain is whole', out)
    rc, out = run('cost', '--check')
    ok(rc == 0, 'ingle cost --check: the ledger is whole', out)
    left = [f for dd, _, fs in os.walk(os.path.join(STORE, 'state')) for f in fs if f.endswith('.tmp')]
    ok(not left, 'nothing is left beside them', left)
    return killed


def main():
    print(f'# seed {SEED}, {KILLS} kills', flush=True)
    began = time.monotonic()
    n = storm_store(KILLS * 5 // 10)
    n += storm_catalogue(KILLS * 2 // 10)
    n += storm_service(KILLS * 3 // 10)
    print(f'# {n} kills in {time.monotonic() - began:.1f} s', flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
