#!/usr/bin/env python3
"""The service's life at a terminal: what it says at the start, a folder for everything, who may reach what, wrong addresses and
wrong folders, each of which has to be answered with what to type. Prints TAP."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, INGLE, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
USER = 12345
HELLO = [{'role': 'user', 'content': 'Hello'}]


def clean(**more):
    names = ('INGLE_HOST', 'OLLAMA_HOST', 'INGLE_STORE', 'INGLE_KEYS', 'XDG_RUNTIME_DIR')
    return dict({k: v for k, v in os.environ.items() if k not in names}, **more)


def ingle(*args, user=None, **env):
    r = subprocess.run([INGLE, *args], capture_output=True, text=True, timeout=120, check=False, env=clean(**env), user=user,
                       stdin=subprocess.DEVNULL, cwd='/')
    return r.returncode, r.stdout + r.stderr


class Serve:
    """`ingle serve` as it is typed."""

    def __init__(self, *args, user=None, **env):
        self.said, self.lock = [], threading.Lock()
        self.process = subprocess.Popen([INGLE, 'serve', *args], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean(**env),
                                        user=user, cwd='/')
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        until(lambda: '--quiet' in args or self.has('ingle status') or self.process.poll() is not None, 60)
        m = re.search(r'http://127\.0\.0\.1:(\d+)', self.text())
        self.port = int(m.group(1)) if m else 0

    def listen(self):
        for line in self.process.stderr:
            with self.lock:
                self.said.append(line)

    def text(self):
        with self.lock:
            return ''.join(self.said)

    def has(self, what):
        return what in self.text()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None
        finally:
            self.thread.join(10)


def typed(text):
    """The things to try, without what stands in brackets behind them."""
    return [re.sub(r'    \(.*\)$', '', line.strip()) for line in text.split('\n') if line.startswith('  ')]


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as f:
        return [int(x) for x in f.read().split()]


# ---------------------------------------------------------------------------------------------- the start

def test_start(folder):
    state, path = folder + '/new/state', folder + '/s'
    code, said = ingle('serve', '--state', state)
    ok(code == 1 and state in said and 'No such file' in said, 'a state folder whose parent is missing', (code, said))
    state = folder + '/state'
    s = Serve('--state', state, '--listen', 'tcp:127.0.0.1:0', '--listen', 'unix:' + path)
    try:
        said = s.text()
        things = typed(said)
        ok(f'http://127.0.0.1:{s.port}' in said and 'unix:' + path in said, 'the start names every address', said)
        ok(len(things) == 3 and 'pull FILE.gguf NAME' in things[0] and things[1].startswith('ingle run NAME') and
           things[2].startswith('ingle status'), 'and three things to try', things)
        ok(stat.S_IMODE(os.stat(state).st_mode) == 0o700, 'the state folder is made, for its user alone')
        first = things[0].replace('FILE.gguf', CHAT).replace('NAME', 'chat').split()
        code, said = ingle(*first[1:])
        ok(code == 0 and 'success' in said, 'the first one works as it stands', (first, said))
        second = [x.replace('NAME', 'chat').replace('"', '') for x in things[1].split()]
        code, said = ingle(*second[1:], '--max-tokens', '3', '--seed', '1')
        ok(code == 0, 'the second one, too', (second, said))
        code, said = ingle(*things[2].split()[1:])
        ok(code == 0 and 'listens at' in said, 'and the third one', said)
        workers = children(s.process.pid)
        with open(f'/proc/{workers[0]}/cmdline', 'rb') as f:
            ok(len(workers) == 1 and b'worker' in f.read().split(b'\0'), 'its only child is a worker, and called so', workers)
        test_texts(s, path)
        test_status(s, path, state)
        test_gone(s, path)
        test_taken(s, folder, path)
    finally:
        ok(s.stop() == 0 and not os.path.exists(path), 'it stops in order, and takes its socket away')
    s = Serve('--state', state, '--listen', 'tcp:127.0.0.1:0', '--origin', 'https://app.example', '--host', 'box.example')
    try:
        things = typed(s.text())
        ok(things[0].startswith('ingle run chat "Hello" --host http://127.0.0.1:') and things[1].startswith('curl http://127.0.0.1:'),
           'started again, it knows the model, and says what to try with it', things)
        if shutil.which('curl'):
            r = subprocess.run(['sh', '-c', things[1]], capture_output=True, text=True, check=False, timeout=120)
            ok(r.returncode == 0 and '"done":true' in r.stdout, 'curl as it stands', (things[1], r.stdout[-300:]))
        else:
            tap.skip('curl as it stands', 'there is no curl')
        _, said = ingle('status', '--host', f'127.0.0.1:{s.port}')
        ok('pages that may ask: https://app.example' in said and 'box.example' in said, 'status: origins and names that were granted', said)
    finally:
        s.stop()
    s = Serve('--state', state, '--listen', 'unix:' + path, '--quiet')
    until(lambda: os.path.exists(path), 60)
    ok(ingle('ps', '--host', 'unix:' + path)[0] == 0 and not s.text(), '--quiet says nothing', s.text())
    s.stop()


# ---------------------------------------------------------------------------------------------- verbs

def test_texts(s, path):
    unix, tcp = 'unix:' + path, f'127.0.0.1:{s.port}'
    for host in (unix, tcp, 'http://' + tcp, f'http://{tcp}/', f'localhost:{s.port}', f':{s.port}'):
        ok(ingle('ps', '--host', host)[0] == 0 and ingle('ps', INGLE_HOST=host)[0] == 0, f'--host and INGLE_HOST {host}', ingle('ps', '--host', host))
    for host in ('ftp://x', 'http://localhost:99999', 'localhost:0', 'a b', 'http://', 'unix:', 'user@localhost:1', '[::1:5'):
        code, said = ingle('ps', '--host', host)
        ok(code in (1, 2) and 'HOST:PORT' in said and 'unix:PATH' in said, f'--host {host} is no address', (code, said))
    code, said = ingle('ps', INGLE_HOST='ftp://x')
    ok(code == 1 and 'INGLE_HOST' in said, 'nor is INGLE_HOST', said)
    for host in ('unix:/nowhere/s', '127.0.0.1:1'):
        code, said = ingle('status', '--host', host)
        ok(code == 1 and 'no service answers at' in said and 'ingle serve' in said and '/ingle/status' not in said, f'nobody at {host}', said)
    code, said = ingle('status', '--host', 'https://' + tcp)
    ok(code == 1 and 'http://' in said and 'TLS' in said, 'https where there is none', said)
    code, said = ingle('ps', '--host', unix)
    ok(code == 0 and re.search(r'^chat:latest +ready ', said, re.M), 'ps', said)
    code, said = ingle('ps', '--json', '--host', unix)
    ok(code == 0 and json.loads(said)['models'][0]['model'] == 'chat:latest', 'ps --json', said)
    ok(ingle('stop', 'chat', '--host', unix)[0] == 0 and
       until(lambda: 'chat' not in ingle('ps', '--host', unix)[1], 30), 'stop', ingle('ps', '--host', unix))
    ok(ingle('stop', 'chat', '--host', unix)[0] == 0, 'stop of what is not loaded')
    for args, want, text in ((('stop', 'nosuch'), 1, "'nosuch' not found"), (('stop',), 2, 'MODEL'), (('ps', 'x'), 2, 'expected none'),
                             (('rm', 'nosuch'), 1, "'nosuch' not found"), (('status', '--nosuch'), 2, '--nosuch'), (('doctor', 'x'), 2, 'none'),
                             (('pull', '/nowhere/x.gguf', 'x'), 1, 'No such file'), (('pull', './x.gguf', 'x'), 1, 'No such file'),
                             (('pull', 'file:///nowhere/x', 'x'), 1, 'No such file'), (('pull', CHAT, '../x'), 1, 'name')):
        code, said = ingle(*args, *(() if args[0] == 'stop' and len(args) == 1 else ('--host', unix)))
        ok(code == want and text in said, 'ingle ' + ' '.join(args) + f': {text}', (code, said))
    code, said = ingle('show', 'chat', '--host', unix)
    ok(code == 0 and re.search(r'^architecture +llama$', said, re.M) and re.search(r'^can +completion, tools', said, re.M) and
       'llama.block_count = 2' in said, 'show: a model of the service', said)
    ok(ingle('show', 'chat', INGLE_HOST=tcp)[1] == said, 'show: INGLE_HOST, too')
    code, said = ingle('show', 'chat', '--json', '--host', unix)
    ok(code == 0 and json.loads(said)['details']['family'] == 'llama', 'show --json', said)
    code, said = ingle('show', 'chat', '--meta', 'tokenizer.ggml.tokens', '--host', unix)
    ok(code == 0 and len(said.splitlines()) >= 280, 'show --meta of a list: an element a line', said[:200])
    code, said = ingle('show', 'chat', '--tensors', '--host', unix)
    ok(code == 0 and 'token_embd.weight F32 [64, 280]' in said, 'show --tensors', said[-300:])
    for args, want, text in ((('nosuch',), 1, "'nosuch' not found"), (('chat', '--meta', 'no.key'), 1, 'no.key'), (('chat', '--scan'), 2, '--scan')):
        code, said = ingle('show', *args, '--host', unix)
        ok(code == want and text in said, f'show {" ".join(args)}: {text}', (code, said))
    ok(ingle('show', CHAT, INGLE_HOST=unix)[0] == 0, 'show: a file is a file, whatever runs')
    code, said = ingle('pull', 'file://' + CHAT, 'again', '--host', unix)
    ok(code == 0 and ingle('rm', 'again', '--host', unix)[0] == 0, 'file:// is sent as well', said)


def test_status(s, path, state):
    unix, tcp = 'unix:' + path, f'127.0.0.1:{s.port}'
    code, said = ingle('status', '--host', unix)
    ok(code == 0 and f'listens at http://{tcp}: every user of this computer' in said and f'listens at {unix}: ' in said and
       'may use models: every caller, all models' in said and 'may change models: root' in said, 'status says who may reach what', said)
    _, said = ingle('status', '--json', '--host', unix)
    access = json.loads(said)['access']
    ok([c['address'] for c in access['callers']] == json.loads(said)['addresses'] and json.loads(said)['store'] == state + '/store',
       'status --json, too, and to those who may manage where the store is', access)
    code, said = ingle('doctor', '--host', unix)
    ok(code == 0 and f'1 model in {state}/store' in said and f'for models at {state}/store' in said, 'doctor looks at the store of the service', said)
    code, said = ingle('doctor', '--host', '127.0.0.1:1')
    ok(code == 3 or code == 1 and 'problem  service' in said, 'doctor: a service that was named and does not answer is a problem', (code, said))
    if os.getuid() or not runs_as(USER):
        tap.skip('other users', 'the test is not root, or they cannot read it')
        return
    code, said = ingle('status', '--json', '--host', tcp, user=USER)
    ok(code == 0 and 'store' not in json.loads(said), 'another user sees the status, but no path', said)
    ingle('run', 'chat', 'x', '--max-tokens', '1', '--host', unix)
    for args in (('rm', 'chat'), ('pull', CHAT, 'x'), ('cp', 'chat', 'y'), ('pin', 'chat')):
        code, said = ingle(*args, '--host', tcp, user=USER)
        ok(code == 1 and 'root' in said, f'another user may not {args[0]}, and is told who may', (code, said))
    ok(ingle('ps', '--host', unix)[1].count('chat') == 1 and ingle('run', 'chat', 'x', '--max-tokens', '1', '--host', tcp, user=USER)[0] == 0,
       'but use the models')


def runs_as(user):
    try:
        return ingle('version', user=user)[0] == 0
    except (PermissionError, FileNotFoundError):
        return False


def test_gone(s, path):
    """A management call of a caller that has gone: its socket has no owner any more, so that it is nobody's."""
    def left(request):
        c = socket.create_connection(('127.0.0.1', s.port))
        c.sendall(b'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n')
        c.recv(4096)  # it is accepted, and known
        os.kill(s.process.pid, signal.SIGSTOP)  # so that the call is looked at only when its caller has gone
        c.sendall(request)
        c.close()
        os.kill(s.process.pid, signal.SIGCONT)

    def request(method, address, body):
        data = json.dumps(body).encode()
        return (f'{method} {address} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n').encode() + data

    unix = 'unix:' + path
    with socket.create_connection(('127.0.0.1', s.port)) as c:
        c.sendall(request('POST', '/api/copy', {'source': 'chat', 'destination': 'half'}))
        c.shutdown(socket.SHUT_WR)
        ok(b' 200 OK' in c.recv(4096), 'a management call of a client that is half closed is carried out')

    def names():
        return [line.split()[0] for line in ingle('list', '--host', unix)[1].splitlines()]

    before = names()
    for method, address, body in (('DELETE', '/api/delete', {'model': 'chat'}), ('POST', '/api/copy', {'source': 'chat', 'destination': 'z'}),
                                  ('POST', '/ingle/pin', {'model': 'chat', 'pinned': True}),
                                  ('POST', '/api/create', {'model': 'z', 'from': 'chat', 'stream': False})):
        n = int(json.loads(ingle('status', '--json', '--host', unix)[1])['requests'])
        left(request(method, address, body))
        until(lambda: int(json.loads(ingle('status', '--json', '--host', unix)[1])['requests']) >= n + 3)
        ok(names() == before and 'pinned' not in ingle('ps', '--host', unix)[1],
           f'{method} {address} of a client that has closed is not', ingle('list', '--host', unix))
    ingle('rm', 'half', '--host', unix)


# ---------------------------------------------------------------------------------------------- what cannot be

def test_taken(s, folder, path):
    other = folder + '/other'
    code, said = ingle('serve', '--state', other, '--listen', f'tcp:127.0.0.1:{s.port}')
    ok(code == 1 and f'by ingle (process {s.process.pid})' in said and f'--listen tcp:127.0.0.1:{s.port + 1}' in said,
       'a port that is taken: by whom, and how to choose another', (code, said))
    code, said = ingle('serve', '--state', other, '--listen', 'unix:' + path)
    ok(code == 1 and path in said and '--listen unix:PATH' in said, 'a socket that is taken', (code, said))
    with socket.socket() as c:
        c.bind(('127.0.0.1', 0))
        c.listen(1)
        code, said = ingle('serve', '--state', other, '--listen', f'tcp:127.0.0.1:{c.getsockname()[1]}')
        ok(code == 1 and f'(process {os.getpid()})' in said, 'by another program', (code, said))
    for address, text in (('tcp:0.0.0.0:0', 'TLS'), ('tcp:127.0.0.1', 'tcp:HOST:PORT'), ('tcp:127.0.0.1:99999', 'tcp:HOST:PORT'),
                          ('http://127.0.0.1:1', 'tcp:HOST:PORT'), ('nonsense', 'unix:PATH'), ('unix:/nowhere/s', 'No such file'),
                          ('unix:' + '/x' * 80, '107'), ('unix:', 'unix:PATH')):
        code, said = ingle('serve', '--state', other, '--listen', address)
        ok(code in (1, 2) and text in said, f'serve --listen {address}: {text}', (code, said))
    plain = folder + '/plain'
    with open(plain, 'w') as f:
        f.write('x')
    for args, text in ((('--state', plain), 'no folder'), (('--state', ''), '--state'), (('--nosuch',), '--nosuch'), (('x',), 'none'),
                       (('--state', other, '--model', 'a=/nowhere/x.gguf'), '/nowhere/x.gguf'), (('--state', other, '--keep-alive', '5x'), '5m'),
                       (('--state', other, '--memory', 'x'), '--memory'), (('--state', other, '--tls-cert', plain), 'key'),
                       (('--state', other, '--origin', 'nonsense'), 'SCHEME://NAME'),
                       (('--state', other, '--origin', 'https://a.example/x'), 'SCHEME://NAME'), (('--state', other, '--host', 'http://x'), 'box.example')):
        code, said = ingle('serve', *args, *(() if '--listen' in args else ('--listen', 'unix:' + folder + '/o')), '--quiet')
        ok(code in (1, 2) and text in said, f'serve {" ".join(args)}: {text}', (code, said))


# ---------------------------------------------------------------------------------------------- without root

def test_user():
    if os.getuid() == 0 and not runs_as(USER):
        tap.skip('without root', 'another user cannot read the program')
        return
    user = USER if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        home = folder + '/home'
        os.mkdir(home)
        if user:
            os.chown(home, user, user)
        state, path = home + '/state', home + '/s'
        s = Serve('--state', state, '--listen', 'tcp:127.0.0.1:0', '--listen', 'unix:' + path, user=user, HOME=home)
        try:
            tcp = f'127.0.0.1:{s.port}'
            ok(s.port, 'serve --state runs without root', s.text())
            ok(ingle('pull', CHAT, 'mine', '--host', tcp, user=user)[0] == 0, 'its user may change its models over TCP')
            code, said = ingle('run', 'mine', 'Hello', '--max-tokens', '2', '--host', 'unix:' + path, user=user)
            ok(code == 0, 'and use them', said)
            _, said = ingle('status', '--host', tcp, user=user)
            uid = user or os.getuid()
            ok(f'may change models: root and the service\'s user, uid {uid}' in said and f'the service\'s user, uid {uid} and root' in said,
               'status names the user', said)
            ok(stat.S_IMODE(os.stat(path).st_mode) == 0o600, 'its socket is its own')
            outside = [os.path.join(d, f) for d, _, files in os.walk(home) for f in files if not d.startswith(state)]
            ok([x for x in outside if x != path] == [], 'and all its files lie in the one folder', outside)
            if user:
                ok(ingle('cp', 'mine', 'yours', '--host', tcp)[0] == 0, 'root may change them, too')
        finally:
            ok(s.stop() == 0, 'it stops in order', s.text()[-300:])


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        test_start(folder)
    test_user()
    return tap.end()


sys.exit(main())
