#!/usr/bin/env python3
"""A service on a rough machine: started on a read-only or a full disk (M25), without descriptors (M18), and with a model's file cut
short under it (M07). Prints TAP."""
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import re
import signal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, INGLE, SANITIZED, STORY, Service, Tap, until  # noqa: E402

work = tempfile.mkdtemp(prefix='ingle-rough-')
tap = Tap()
ok = tap.ok
ENV = {k: v for k, v in os.environ.items() if not k.startswith('INGLE_')}
ENV.update(INGLE_CONFIG=os.path.join(work, 'etc'), HOME=work)


def verb(*args, **env):
    return subprocess.run([INGLE, *args], env=dict(ENV, **env), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


class Machine:
    tls = False
    get, post, ask, open = Service.get, Service.post, Service.ask, Service.open

    def __init__(self, *args, limit=None):
        def few():
            if limit:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self.log = []
        self.process = subprocess.Popen([INGLE, 'serve', '--listen', 'tcp:127.0.0.1:0', '--ctx', '512', *args], stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, text=True, env=ENV, cwd=work, preexec_fn=few)
        self.port = None
        for line in self.process.stderr:
            self.log.append(line)
            m = re.search(r'http://127\.0\.0\.1:(\d+)', line)
            if m:
                self.port = int(m.group(1))
                break
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def chat(self, model):
        status, body, _ = self.post('/v1/completions', {'model': model, 'prompt': 'Once', 'max_tokens': 4})
        return status, body

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def cpu(self):
        with open(f'/proc/{self.process.pid}/stat') as f:
            rest = f.read().rsplit(')', 1)[1].split()
        return (int(rest[11]) + int(rest[12])) / os.sysconf('SC_CLK_TCK')


def on_disk(disk, name, *, wrong):
    m = Machine('--state', os.path.join(disk, 'state'))
    try:
        if not ok(m.port, f'M25: {name}: the service starts', m.log):
            return
        ok(m.chat('story')[0] == 200, f'M25: {name}: a model that is here is served', (m.chat('story'), m.log))
        ok(re.search(wrong, ''.join(m.log)), f'M25: {name}: what is wrong is said', m.log)
        status, body, _ = m.post('/api/pull', {'model': CHAT, 'stream': False})
        ok(status != 200 or 'error' in str(body), f'M25: {name}: nothing is pulled', (status, body))
        ok(m.chat('story')[0] == 200, f'M25: {name}: and the model is still served')
    finally:
        code = m.stop()
        ok(code == 0, f'M25: {name}: it ends well', (code, m.log[-5:]))


def test_disks():
    disk = os.path.join(work, 'disk')
    os.makedirs(disk)
    if os.geteuid() != 0 or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=72m', 'none', disk], stderr=subprocess.DEVNULL, check=False).returncode:
        tap.skip('M25: disks', 'no small file system can be mounted here')
        return
    try:
        r = verb('pull', STORY, 'story', '-q', INGLE_STORE=os.path.join(disk, 'state', 'store'))
        ok(r.returncode == 0, 'a model', r.stderr)
        with open(os.path.join(disk, 'fill'), 'wb', buffering=0) as f:
            try:
                while f.write(b'x' * 4096):
                    pass
            except OSError:
                pass
        on_disk(disk, 'a full disk', wrong='No space')
        os.remove(os.path.join(disk, 'fill'))
        subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
        on_disk(disk, 'a read-only disk', wrong='[Rr]ead-only')
    finally:
        subprocess.run(['umount', '-l', disk], check=False)


def test_descriptors():
    m = Machine('--store', os.path.join(work, 'fds'), '--model', 'story=' + STORY, limit=64)
    try:
        ok(m.port and m.chat('story')[0] == 200, 'M18: 64 descriptors', m.log)
        crowd = []
        for _ in range(200):
            c = socket.socket()
            c.settimeout(1)
            try:
                c.connect(('127.0.0.1', m.port))
            except OSError:
                pass
            crowd.append(c)
        time.sleep(1)
        before, start = m.cpu(), time.monotonic()
        time.sleep(3)
        share = (m.cpu() - before) / (time.monotonic() - start)
        ok(share < 0.3 or SANITIZED, f'M18: without descriptors it does not spin: {100 * share:.0f} % of a processor')
        ok(m.process.poll() is None, 'M18: and lives', m.log[-3:])
        for c in crowd:
            c.close()
        answered = until(lambda: asked(m) == 200, 60)
        ok(answered, 'M18: with descriptors again it answers', m.log[-3:])
    finally:
        code = m.stop()
        ok(code == 0, 'M18: it ends well', (code, m.log[-5:]))


def asked(m):
    try:
        return m.chat('story')[0]
    except OSError:
        return None


def test_truncated():
    file = shutil.copy(STORY, os.path.join(work, 'cut.gguf'))
    m = Machine('--store', os.path.join(work, 'cut'), '--model', 'cut=' + file, '--model', 'chat=' + CHAT)
    try:
        ok(m.chat('cut')[0] == 200, 'M07: a model', m.log)
        os.truncate(file, 8192)
        status, body = m.chat('cut')
        ok(status >= 500 and 'error' in str(body), 'M07: its file is cut short while it is loaded: an error', (status, body))
        ok(until(lambda: re.search('damaged|changed|shorter', ''.join(m.log)), 20), 'M07: the model is said to be damaged', m.log)
        status, body = m.chat('cut')
        ok(status >= 400, 'M07: it is not served again', (status, body))
        ok(m.chat('chat')[0] == 200, 'M07: another one is', m.log[-3:])
        shutil.copy(STORY, file)
        ok(until(lambda: m.chat('cut')[0] == 200, 90), 'M07: when the file is whole again it is served', (m.chat('cut'), m.log[-3:]))
    finally:
        code = m.stop()
        ok(code == 0, 'M07: the service ends well', (code, m.log[-5:]))


def main():
    try:
        test_truncated()
        test_descriptors()
        test_disks()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
