#!/usr/bin/env python3
"""nginx as a hub, over TLS: ranges, a range answered with 200, redirects, stalls, slow, truncated and altered bytes, wrong lengths,
429 and 503 with Retry-After; resumed after a kill of either side; two pulls of one file are one download; the limit of speed is
kept; the token stays with its origin and out of every text. Rules M06, M10, M11, H34 to H36. Prints TAP."""
import hashlib
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
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import INGLE, STORY, Service, Tap, until  # noqa: E402

WORK = tempfile.mkdtemp(prefix='test_hub.')
STORE = os.path.join(WORK, 'store')
SECRET = 'hf_a-secret-that-nobody-sees'
tap = Tap()
ok = tap.ok
COMMIT = '0123456789abcdef0123456789abcdef01234567'


def sha(data):
    return hashlib.sha256(data).hexdigest()


def put(path, data):
    path = os.path.join(WORK, 'www', path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + '.new', 'wb') as f:
        f.write(data)
    os.replace(path + '.new', path)


def pattern(n, seed):
    block = b''.join(hashlib.sha256(b'%d %d' % (seed, i)).digest() for i in range(2048))
    return (block * (n // len(block) + 1))[:n]


MODEL = b'GGUF' + pattern((6 << 20) + 4321, 1)
OTHER = b'GGUF' + pattern((5 << 20) + 99, 2)
BIG = b'GGUF' + pattern(80 << 20, 3)


# ---------------------------------------------------------------------------------------------------- servers

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Backend:
    """Stands behind nginx and breaks its word: /HOW/file. Speaks HTTP by hand."""

    def __init__(self):
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.port = self.socket.getsockname()[1]
        self.asked = {}
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            c, _ = self.socket.accept()
            threading.Thread(target=self.answer, args=(c,), daemon=True).start()

    def answer(self, c):
        try:
            with c:
                head = b''
                while b'\r\n\r\n' not in head:
                    piece = c.recv(4096)
                    if not piece:
                        return
                    head += piece
                self.reply(c, head.split(b' ')[1].decode().split('/')[1], head)
        except OSError:
            pass

    def reply(self, c, how, head):
        n = self.asked[how] = self.asked.get(how, 0) + 1
        m = re.search(rb'\r\nrange: bytes=(\d+)-(\d*)', head, re.I)
        start = int(m.group(1)) if m else 0
        data, told = MODEL[start:], len(MODEL) - start
        if how == 'short':  # fewer bytes than told, three times
            data = data[:1 << 20] if n <= 3 else data
        elif how == 'long':  # more than told
            told, data = told - 1000, data
        elif how == 'other-range' and m:  # another range than asked for
            start += 10
        elif how == 'altered':
            data = data[:1000] + b'!' + data[1001:]
        fields = f'HTTP/1.1 {206 if m else 200} OK\r\nETag: "backend"\r\nContent-Length: {told}\r\nConnection: close\r\n'
        if m:
            fields += f'Content-Range: bytes {start}-{len(MODEL) - 1}/{len(MODEL)}\r\n'
        c.sendall(fields.encode() + b'\r\n')
        if how == 'stall' and n == 1:  # half of it, then nothing
            c.sendall(data[:len(data) // 2])
            time.sleep(60)
        elif how == 'drip' and n == 1:  # a byte now and then
            c.sendall(data[:1 << 20])
            for i in range(1500):
                c.sendall(data[(1 << 20) + i:(1 << 20) + i + 1])
                time.sleep(0.1)
        else:
            c.sendall(data)


CONF = """
daemon off;
user root;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format line '$status "$http_range" $uri $body_bytes_sent "$http_authorization"';
  access_log {work}/access.log line;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3; uwsgi_temp_path {work}/t4;
  scgi_temp_path {work}/t5;
  limit_req_zone $server_name zone=busy:1m rate=30r/m;
  limit_req_zone $server_name zone=down:1m rate=30r/m;
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name hub;
    ssl_certificate {work}/cert.pem;
    ssl_certificate_key {work}/key.pem;
    root {work}/www;
    location /slow/ {{ alias {work}/www/; limit_rate 3m; }}
    location /noranges/ {{ alias {work}/www/; max_ranges 0; }}
    location /busy/ {{ alias {work}/www/; limit_req zone=busy; limit_req_status 429; error_page 429 = @again; }}
    location /down/ {{ alias {work}/www/; limit_req zone=down; limit_req_status 503; error_page 503 = @later; }}
    location @again {{ add_header Retry-After 2 always; return 429; }}
    location @later {{ add_header Retry-After 2 always; return 503; }}
    location = /hop.gguf {{ return 302 https://localhost:{port}/hop2.gguf; }}
    location = /hop2.gguf {{ return 307 /m.gguf; }}
    location = /loop.gguf {{ return 302 /loop.gguf; }}
    location = /file.gguf {{ return 302 file:///etc/passwd; }}
    location = /link.gguf {{ return 302 https://169.254.169.254/latest/meta-data; }}
    location = /private.gguf {{ return 302 https://10.0.0.1/m.gguf; }}
    location = /plain.gguf {{ return 302 http://localhost:{plain}/m.gguf; }}
    location = /gopher.gguf {{ return 302 gopher://localhost/m.gguf; }}
    location /bad/ {{ proxy_pass http://127.0.0.1:{backend}/; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 90s; }}
    location /org/repo/resolve/ {{ return 302 https://localhost:{far}$uri; }}
    location /closed/ {{ if ($http_authorization != "Bearer {secret}") {{ return 401; }} alias {work}/www/; }}
  }}
  server {{
    listen 127.0.0.1:{far} ssl;
    ssl_certificate {work}/cert.pem;
    ssl_certificate_key {work}/key.pem;
    access_log {work}/far.log line;
    location /org/repo/resolve/{commit}/ {{ alias {work}/www/; }}
  }}
  server {{ listen 127.0.0.1:{plain}; access_log {work}/plain.log line; root {work}/www; }}
}}
"""


class Nginx:
    def __init__(self, backend):
        self.port, self.far, self.plain = free_port(), free_port(), free_port()
        with open(os.path.join(WORK, 'conf'), 'w', encoding='utf-8') as f:
            f.write(CONF.format(work=WORK, port=self.port, far=self.far, plain=self.plain, backend=backend.port, secret=SECRET,
                                commit=COMMIT))
        self.start()

    def start(self):
        self.p = subprocess.Popen(['nginx', '-p', WORK, '-e', os.path.join(WORK, 'start.log'), '-c', os.path.join(WORK, 'conf')],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        if not until(lambda: not socket.socket().connect_ex(('127.0.0.1', self.port)), 20):
            raise RuntimeError('nginx does not start')

    def stop(self, number=signal.SIGTERM):
        """The master takes its workers along, but for SIGKILL: their ids are known from /proc."""
        with open(f'/proc/{self.p.pid}/task/{self.p.pid}/children', encoding='ascii') as f:
            workers = [int(x) for x in f.read().split()]
        self.p.send_signal(number)
        self.p.wait(20)
        for pid in workers:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    @property
    def url(self):
        return f'https://localhost:{self.port}'


def log(name='access.log'):
    path = os.path.join(WORK, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as f:
        return [line.strip() for line in f]


def of(uri, name='access.log'):
    return [line for line in log(name) if f' {uri} ' in line]


# ---------------------------------------------------------------------------------------------------- ingle

ENV = dict(os.environ, INGLE_STORE=STORE, HOME=WORK, no_proxy='*', SSL_CERT_FILE=os.path.join(WORK, 'cert.pem'), HF_TOKEN=SECRET)
for gone in ('HF_HOME', 'HF_HUB_CACHE', 'OLLAMA_MODELS', 'https_proxy', 'HTTPS_PROXY', 'CURL_CA_BUNDLE', 'INGLE_HOST'):
    ENV.pop(gone, None)
texts = []  # everything that was ever printed


def begin(*args, **env):
    return subprocess.Popen([INGLE, *args], env=dict(ENV, **env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def end(p, seconds=120):
    out = p.communicate(timeout=seconds)[0]
    texts.append(out)
    return p.returncode, out


def ingle(*args, **env):
    return end(begin(*args, **env))


def pull(url, name, *more, **env):
    return ingle('pull', '-q', '--no-check', *more, url, name, **env)


def digest_of(name):
    rc, out = ingle('list', '--json')
    for m in json.loads(out)['models']:
        if m['name'] == name + ':latest':
            return m['files'][0]['digest'].removeprefix('sha256:')
    return None


def part_bytes():
    folder = os.path.join(STORE, 'parts')
    return sum(os.stat(os.path.join(folder, f)).st_size for f in os.listdir(folder) if f.endswith('.part')) \
        if os.path.isdir(folder) else 0


def drop():
    shutil.rmtree(STORE, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------- tests

def test_ranges(hub):
    rc, out = pull(hub.url + '/m.gguf', 'plain')
    ok(rc == 0 and digest_of('plain') == sha(MODEL), 'a file', out)
    drop()
    p = begin('pull', '-q', '--no-check', hub.url + '/slow/m.gguf', 'killed')
    until(lambda: part_bytes() > 2 << 20, 30)
    p.kill()
    end(p)
    had = part_bytes()
    rc, out = pull(hub.url + '/slow/m.gguf', 'killed')
    last = of('/slow/m.gguf')[-1]
    ok(rc == 0 and digest_of('killed') == sha(MODEL) and had > 2 << 20 and last.startswith(f'206 "bytes={had}-'),
       'killed, it goes on where it was (M10)', (out, last, had))
    drop()
    p = begin('pull', '-q', '--no-check', hub.url + '/slow/m.gguf', 'restarted')
    until(lambda: part_bytes() > 2 << 20, 30)
    hub.stop(signal.SIGKILL)
    time.sleep(0.3)
    hub.start()
    rc, out = end(p)
    ok(rc == 0 and digest_of('restarted') == sha(MODEL) and of('/slow/m.gguf')[-1].startswith('206'),
       'the server is killed and comes back: it goes on', (out, of('/slow/m.gguf')[-2:]))
    drop()
    p = begin('pull', '-q', '--no-check', hub.url + '/slow/changing.gguf', 'changed')
    until(lambda: part_bytes() > 2 << 20, 30)
    p.kill()
    end(p)
    put('changing.gguf', OTHER)
    rc, out = pull(hub.url + '/slow/changing.gguf', 'changed')
    ok(rc == 0 and digest_of('changed') == sha(OTHER), 'the file was changed meanwhile: another tag, all anew', out)
    drop()
    p = begin('pull', '-q', '--no-check', hub.url + '/slow/m.gguf#sha256=' + sha(MODEL), 'first')
    until(lambda: part_bytes() > 1 << 20, 30)
    p.kill()
    end(p)
    before = len(of('/noranges/m.gguf'))
    rc, out = pull(hub.url + '/noranges/m.gguf#sha256=' + sha(MODEL), 'second')
    lines = of('/noranges/m.gguf')[before:]
    ok(rc == 0 and digest_of('second') == sha(MODEL) and lines and lines[0].startswith('200 "bytes='),
       'a range that is answered with 200', (out, lines))
    drop()
    rc, out = pull(hub.url + '/big.gguf#sha256=' + sha(BIG), 'big', '--connections', '3')
    spans = [line for line in of('/big.gguf') if line.startswith('206')]
    ok(rc == 0 and digest_of('big') == sha(BIG) and len(spans) >= 1, 'a large file over several connections', (out, of('/big.gguf')))
    drop()


def test_bad_bytes(hub, backend):
    rc, out = pull(hub.url + '/bad/short/m.gguf', 'short')
    ok(rc == 0 and digest_of('short') == sha(MODEL) and backend.asked['short'] == 4, 'truncated three times: resumed', (out, backend.asked))
    drop()
    rc, out = pull(hub.url + '/bad/long/m.gguf#sha256=' + sha(MODEL), 'long')
    ok(rc == 1 and digest_of('long') is None and sha(MODEL)[:12] in out, 'a length that is too small: the digest tells', out)
    rc, out = pull(hub.url + '/bad/altered/m.gguf#sha256=' + sha(MODEL), 'altered')
    ok(rc == 1 and digest_of('altered') is None and 'expected ' + sha(MODEL)[:12] in out and not part_bytes(),
       'one altered byte: refused, and nothing kept', out)
    p = begin('pull', '-q', '--no-check', hub.url + '/slow/m.gguf#sha256=' + sha(MODEL), 'range')
    until(lambda: part_bytes() > 1 << 20, 30)
    p.kill()
    end(p)
    rc, out = pull(hub.url + '/bad/other-range/m.gguf#sha256=' + sha(MODEL), 'range')
    ok(rc == 1 and digest_of('range') is None, 'another range than asked for is not taken', out)
    rc, out = pull(hub.url + '/m.gguf#sha256=' + sha(MODEL), 'range')
    ok(rc == 0 and digest_of('range') == sha(MODEL), 'and does no lasting harm', out)
    drop()


def test_stalls(hub, backend):
    """Both wait for the client's patience at once."""
    ps = [(how, begin('pull', '-q', '--no-check', f'{hub.url}/bad/{how}/m.gguf', how)) for how in ('stall', 'drip')]
    for how, p in ps:
        rc, out = end(p, 200)
        ok(rc == 0 and digest_of(how) == sha(MODEL) and backend.asked[how] >= 2, f'{how}: given up, and resumed', (out, backend.asked))
    drop()


def test_busy(hub):
    for where, status in (('busy', '429'), ('down', '503')):
        try:
            urllib.request.urlopen(f'{hub.url}/{where}/x', timeout=10, context=context()).close()
        except OSError:
            pass
        began = time.monotonic()
        rc, out = pull(f'{hub.url}/{where}/m.gguf', where)
        took = time.monotonic() - began
        lines = [line.split(' ')[0] for line in of(f'/{where}/m.gguf')]
        ok(rc == 0 and digest_of(where) == sha(MODEL) and status in lines and took >= 1.9, f'{status} with Retry-After: waited for',
           (out, lines, took))
        drop()


def context():
    import ssl
    return ssl.create_default_context(cafile=os.path.join(WORK, 'cert.pem'))


def test_redirects(hub):
    rc, out = pull(hub.url + '/hop.gguf', 'hop')
    ok(rc == 0 and digest_of('hop') == sha(MODEL), 'over two hops', out)
    for where, says in (('loop', 'redirect'), ('file', 'leads to'), ('gopher', 'leads to'), ('link', 'leads to'), ('plain', 'leads to')):
        rc, out = pull(f'{hub.url}/{where}.gguf', where)
        ok(rc == 1 and says in out and digest_of(where) is None, f'a redirect: {where}', out)
    ok(not log('plain.log'), 'the plain server was never asked', log('plain.log'))
    drop()


def test_together(hub):
    before = len(of('/slow/m.gguf'))
    ps = [begin('pull', '-q', '--no-check', hub.url + '/slow/m.gguf#sha256=' + sha(MODEL), f'at-once-{i}') for i in range(4)]
    done = [end(p) for p in ps]
    lines = of('/slow/m.gguf')[before:]
    ok(all(rc == 0 for rc, _ in done) and all(digest_of(f'at-once-{i}') == sha(MODEL) for i in range(4)), 'four pulls of one file', done)
    ok(len(lines) == 1, 'are one download (M11)', lines)
    drop()
    began = time.monotonic()
    rc, out = pull(hub.url + '/m.gguf', 'rated', '--rate', '2048')
    took = time.monotonic() - began
    ok(rc == 0 and 2.2 < took < 30, f'2 MiB a second are kept: 6 MiB in {took:.1f} s', out)
    drop()


def test_token(hub):
    """The hub's interface: the token goes to it, not to where it redirects, and into no text."""
    put('api/models/org/repo/revision/main', json.dumps({'sha': COMMIT, 'cardData': {'license': 'mit'}}).encode())
    git = hashlib.sha1(b'blob %d\0' % len(MODEL) + MODEL).hexdigest()
    put('api/models/org/repo/tree/' + COMMIT, json.dumps([{'type': 'file', 'oid': git, 'size': len(MODEL), 'path': 'm.gguf', 'lfs': {
        'oid': sha(MODEL), 'size': len(MODEL), 'pointerSize': 130}}]).encode())
    p = begin('pull', '--no-check', 'hf://org/repo', 'hub', HF_ENDPOINT=hub.url)
    lines = []
    while p.poll() is None:
        try:
            with open(f'/proc/{p.pid}/cmdline', 'rb') as f:
                lines.append(f.read())
        except OSError:
            break
        time.sleep(0.01)
    rc, out = end(p)
    ok(rc == 0 and digest_of('hub') == sha(MODEL), 'a repository of the hub', out)
    ok(any(SECRET in line for line in log()) and log('far.log') and not any(SECRET in line for line in log('far.log')),
       'the token goes to the hub alone (H36)', log('far.log'))
    ok(not any(SECRET.encode() in line for line in lines), 'and into no command line')
    rc, out = ingle('pull', '--no-check', 'hf://org/gone', 'gone', HF_ENDPOINT=hub.url)
    ok(rc == 1 and SECRET not in out, 'nor into a message about what is not there', out)
    rc, out = ingle('pull', '--no-check', f'https://me:{SECRET}@localhost:{hub.port}/closed/m.gguf', 'closed')
    ok(rc == 1 and SECRET not in out, 'a password in an address is not repeated', out)
    s = Service(args=['--ledger', 'none'], env=dict(ENV, HF_ENDPOINT=hub.url))
    status, lines = s.lines('/api/pull', {'model': 'hf://org/repo', 'insecure': False})
    text = json.dumps(lines)
    s.post('/api/pull', {'model': 'hf://org/gone'})
    s.post('/api/pull', {'model': f'https://me:{SECRET}@localhost:{hub.port}/closed/m.gguf'})
    folder = os.path.join(s.folder.name, 'store', 'state', 'audit')
    s.process.send_signal(signal.SIGTERM)
    s.process.wait(30)
    audit = b''
    for d, _, files in os.walk(folder):
        for f in files:
            with open(os.path.join(d, f), 'rb') as g:
                audit += g.read()
    texts.extend([text, ''.join(s.log), audit.decode()])
    s.folder.cleanup()
    ok(status == 200 and 'pull' in audit.decode(), 'the service pulls, and it is audited', text[-300:])
    ok(not any(SECRET in t for t in texts), 'nothing that was ever printed, logged or audited holds the token',
       [t[max(0, t.index(SECRET) - 200):][:400] for t in texts if SECRET in t])
    drop()


def catalogue(*args, **env):
    return ingle('catalogue', *args, **env)


def test_catalogue(hub):
    """A catalogue behind TLS: verified by the certificate and by its signatures; altered and cut bytes change nothing."""
    cat, out, etc = (os.path.join(WORK, x) for x in ('cat', 'www/cat', 'etc'))
    rc, said = ingle('pull', '-q', STORY, 'story')
    put('story.gguf', open(STORY, 'rb').read())
    for step in (('init', cat), ('add', cat, 'story', '--license', 'MIT', '--origin', hub.url + '/story.gguf'),
                 ('assign', cat, 'story', '--required', '--id', 'all'), ('sign', cat), ('publish', cat, out)):
        rc, said = catalogue(*step)
        if rc:
            return ok(False, f'catalogue {step[0]}', said)
    root, client = os.path.join(out, 'metadata', '1.root.json'), os.path.join(WORK, 'client')
    ingle('pull', '-q', STORY, 'x', INGLE_STORE=client)
    rc, said = catalogue('sync', hub.url + '/cat', '--root', root, INGLE_STORE=client)
    ok(rc == 0 and 'story' in said, 'a catalogue is synced over TLS', said)
    rc, said = catalogue('sync', INGLE_STORE=client, SSL_CERT_FILE='/etc/ssl/certs/ca-certificates.crt')
    ok(rc == 1 and 'last good state' in said, 'not from a server whose certificate nobody vouches for', said)
    rc, said = catalogue('sync', hub.url + '/cat', INGLE_STORE=client, no_proxy='*')
    ok(rc == 0, 'and again from the right one', said)
    stamp = os.path.join(out, 'metadata', 'timestamp.json')
    with open(stamp, 'rb') as f:
        good = f.read()
    for what, bad in (('cut', good[:len(good) // 2]), ('altered', good.replace(b'"version":', b'"version":1')), ('empty', b''),
                      ('endless', good + b' ' * 100000), ('a page of a captive portal', b'<html>log in</html>')):
        put('cat/metadata/timestamp.json', bad)
        rc, said = catalogue('sync', INGLE_STORE=client)
        ok(rc == 1 and 'timestamp' in said and 'last good state' in said, f'{what}: refused, the last good state stays', said)
    put('cat/metadata/timestamp.json', good)
    os.makedirs(os.path.join(etc, 'conf.d'))
    with open(os.path.join(etc, 'conf.d', 'c.conf'), 'w', encoding='utf-8') as f:
        f.write(f'[catalogue c]\nsource = {hub.url}/cat\nroot = {root}\nbattery = yes\nmetered = yes\n')
    s = Service(env=dict(ENV, INGLE_CONFIG=etc, CURL_CA_BUNDLE=os.path.join(WORK, 'cert.pem')))
    rc, said = ingle('catalogue', 'sync', '--wait', '--host', f'127.0.0.1:{s.port}')
    ok(rc == 0 and 'present' in said, 'a service follows it over TLS', said)
    s.stop()
    return drop()


def main():
    if not shutil.which('nginx') or not shutil.which('openssl'):
        tap.skip('nginx as a hub', 'nginx or openssl is not installed')
        return tap.end()
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', os.path.join(WORK, 'key.pem'), '-out',
                    os.path.join(WORK, 'cert.pem'), '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
                   capture_output=True, check=True)
    os.chmod(WORK, 0o755)
    for name, data in (('m.gguf', MODEL), ('changing.gguf', MODEL), ('big.gguf', BIG)):
        put(name, data)
    backend = Backend()
    hub = Nginx(backend)
    try:
        test_ranges(hub)
        test_bad_bytes(hub, backend)
        test_busy(hub)
        test_redirects(hub)
        test_together(hub)
        test_token(hub)
        test_catalogue(hub)
        if "--no-stalls" not in sys.argv:
            test_stalls(hub, backend)
    finally:
        hub.stop()
    shutil.rmtree(WORK, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
