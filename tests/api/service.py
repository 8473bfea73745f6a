"""Starts and asks a service: shared by the tests from outside."""
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

INGLE = os.path.join(os.environ['INGLE_BUILD'], 'ingle')
DATA = os.environ['INGLE_DATA']
SANITIZED = any(x in os.environ['INGLE_BUILD'] for x in ('asan', 'tsan'))  # time and memory mean nothing then
CHAT = os.path.join(DATA, 'serve', 'chat.gguf')
STORY = os.path.join(DATA, 'stories260K.gguf')


class Tap:
    def __init__(self):
        self.n = self.failures = 0

    def ok(self, good, name, why=''):
        self.n += 1
        mark = 'ok' if good else 'not ok'
        print(f'{mark} {self.n} - {name}' + ('' if good else f' # {str(why)[:600]}'), flush=True)
        self.failures += not good
        return good

    def skip(self, name, why):
        self.n += 1
        print(f'ok {self.n} - {name} # SKIP {why}', flush=True)

    def end(self):
        print(f'1..{self.n}', flush=True)
        return 1 if self.failures else 0


def drink(c):
    try:
        while c.recv(65536):
            pass
    except (OSError, ValueError):
        pass  # closed


class Flow:
    """An answer that flows; close: its client goes away."""

    def __init__(self, c):
        self.c = c

    def close(self):
        try:
            self.c.shutdown(socket.SHUT_RDWR)  # wakes who reads
        except OSError:
            pass
        self.c.close()


class Service:
    """A service on a free port and a unix socket, with the models given as NAME=PATH."""

    def __init__(self, *models, args=(), env=None, tls=None, store=None):
        """tls: (certificate, key): TCP speaks TLS, and the test asks over the unix socket. store: a folder that outlives it."""
        self.folder = tempfile.TemporaryDirectory()
        self.socket = os.path.join(self.folder.name, 's')
        command = [INGLE, 'serve', '--listen', 'tcp:127.0.0.1:0', '--listen', 'unix:' + self.socket, '--store',
                   store or os.path.join(self.folder.name, 'store')]
        for m in models:
            command += ['--model', m]
        if tls:
            command += ['--tls-cert', tls[0], '--tls-key', tls[1]]
        self.tls = bool(tls)
        self.log = []
        self.process = subprocess.Popen(command + list(args), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                        env=dict(os.environ, **(env or {})))
        self.port = None
        for line in self.process.stderr:
            self.log.append(line)
            m = re.search(r'https?://127\.0\.0\.1:(\d+)', line)
            if m:
                self.port = int(m.group(1))
                break
        threading.Thread(target=self.drain, daemon=True).start()
        if not self.port:
            self.process.wait(10)
            raise RuntimeError('the service did not start: ' + ''.join(self.log))

    def drain(self):
        for line in self.process.stderr:
            self.log.append(line)

    @property
    def base(self):
        return f'http://127.0.0.1:{self.port}'

    def open(self, method, path, body=None, headers=None, timeout=60):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        if self.tls:
            c.sock = self.connect('unix', timeout)
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        c.request(method, path, data, {'Content-Type': 'application/json', **(headers or {})})
        return c, c.getresponse()

    def connect(self, how='tcp', timeout=60):
        """A socket: tcp, unix or tls."""
        if how == 'unix':
            c = socket.socket(socket.AF_UNIX)
            c.settimeout(timeout)
            c.connect(self.socket)
            return c
        c = socket.create_connection(('127.0.0.1', self.port), timeout=timeout)
        if how == 'tls':
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            c = context.wrap_socket(c)
        return c

    def send(self, path, body, how='tcp'):
        """A POST whose answer is not read: the socket."""
        data = json.dumps(body).encode()
        c = self.connect(how)
        c.sendall(b'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n'
                  % (path.encode(), len(data)) + data)
        return c

    def flow(self, path, body, how='tcp'):
        """A POST whose answer is read and thrown away, for as long as it comes: the socket. (What nobody reads is given up.)"""
        c = self.send(path, body, how)
        threading.Thread(target=drink, args=(c,), daemon=True).start()
        return Flow(c)

    def open_only(self, path, body):
        """send, with time to spare for the answer."""
        c = self.send(path, body)
        c.settimeout(60)
        return c

    def add(self, name, data):
        """A model of the store, made of the bytes of its file."""
        digest = 'sha256:' + hashlib.sha256(data).hexdigest()
        self.post('/api/blobs/' + digest, data)
        return self.lines('/api/create', {'model': name, 'files': {'m.gguf': digest}})

    def as_user(self, uid, method, path, body=None, headers=None):
        """The same as ask, by a process of another user (the test is root)."""
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                status, answer, _ = self.ask(method, path, body, headers)
                with os.fdopen(writer, 'w') as f:
                    json.dump([status, answer], f)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as f:
            text = f.read()
        os.waitpid(pid, 0)
        return tuple(json.loads(text)) if text else (0, 'the other user got no answer')

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """Status, parsed JSON (or text), headers."""
        c, r = self.open(method, path, body, headers, timeout)
        raw = r.read()
        c.close()
        try:
            return r.status, json.loads(raw), r.headers
        except ValueError:
            return r.status, raw.decode('utf-8', 'replace'), r.headers

    def post(self, path, body, **k):
        return self.ask('POST', path, body, **k)

    def get(self, path, **k):
        return self.ask('GET', path, **k)

    def sse(self, path, body, headers=None):
        """Events of a stream as (event, data) pairs; data parsed where it is JSON."""
        c, r = self.open('POST', path, body, headers)
        text = r.read().decode()
        c.close()
        out = []
        for block in text.split('\n\n'):
            event, data = None, []
            for line in block.split('\n'):
                if line.startswith('event: '):
                    event = line[7:]
                elif line.startswith('data: '):
                    data.append(line[6:])
            if data:
                joined = '\n'.join(data)
                out.append((event, json.loads(joined) if joined != '[DONE]' else joined))
        return r.status, out

    def lines(self, path, body):
        c, r = self.open('POST', path, body)
        text = r.read().decode()
        c.close()
        return r.status, [json.loads(x) for x in text.splitlines() if x]

    def metric(self, name):
        """Sum over the labels."""
        total = 0.0
        for line in self.get('/metrics')[1].splitlines():
            m = re.match(r'(\w+)(?:\{.*\})? (\S+)$', line)
            if m and m.group(1) == name:
                total += float(m.group(2))
        return total

    def workers(self):
        return self.get('/ingle/status')[1]['models']

    def said(self, text):
        return [line for line in self.log if text in line]

    def memory(self, pid=None):
        with open(f'/proc/{pid or self.process.pid}/smaps_rollup') as f:
            return int(re.search(r'^Rss:\s+(\d+)', f.read(), re.M).group(1)) * 1024

    def stop(self, signal_number=signal.SIGTERM, seconds=30):
        self.process.send_signal(signal_number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None
        finally:
            self.folder.cleanup()


def until(condition, seconds=10):
    """Waits for a condition; what it returned last."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.02)
