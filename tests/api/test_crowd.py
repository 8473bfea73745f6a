#!/usr/bin/env python3
"""Two services and ten clients on one store: pull, run, cp, rm, gc, import and verify at once. At every moment a name that is there
has its whole files, a model that answers is not taken away, and nobody gets another error than that a name is not there or was just
replaced (M11, M12).
Prints TAP."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, DATA, INGLE, SANITIZED, Tap, until  # noqa: E402
from test_storm import Daemon as Storm  # noqa: E402

ROUNDS = 8 if SANITIZED else 30
WORK = tempfile.mkdtemp(prefix='test_crowd.', dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None)
STORE = os.path.join(WORK, 'store')
ENV = dict(os.environ, INGLE_STORE=STORE, no_proxy='*')
for gone in ('INGLE_HOST', 'OLLAMA_HOST'):
    ENV.pop(gone, None)
FILES = [os.path.join(DATA, f) for f in ('stories260K.gguf', 'stories260K.q8_0.gguf', 'stories260K.q4_0.gguf')] + [CHAT]
NAMES = ['one', 'two', 'three', 'four']
FINE = ('is not in the store', 'there is no model', 'not found', 'does not exist', 'did you mean')
tap = Tap()
ok = tap.ok
problems, counts, lock = [], {}, threading.Lock()


def problem(text):
    with lock:
        problems.append(text)
        print('# ' + text[:400].replace('\n', ' '), flush=True)


def count(what):
    with lock:
        counts[what] = counts.get(what, 0) + 1


class Daemon(Storm):
    def __init__(self, number):
        self.socket = os.path.join(WORK, f's{number}')
        self.log = open(os.path.join(WORK, f'log{number}'), 'w+')
        state = os.path.join(WORK, f'state{number}')
        os.makedirs(state)
        self.p = subprocess.Popen([INGLE, 'serve', '--listen', 'unix:' + self.socket, '--store', STORE, '--ledger',
                                   os.path.join(state, 'ledger.db'), '--audit', os.path.join(state, 'audit')],
                                  env=dict(ENV, INGLE_GC_S='1'), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)


def verb(*args):
    p = subprocess.run([INGLE, *args], env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=300)
    return p.returncode, p.stdout


def one_step(rng, daemons):
    d, name = rng.choice(daemons), rng.choice(NAMES)
    what = rng.choice(['pull', 'pull', 'ask', 'ask', 'ask', 'run', 'cp', 'rm', 'gc', 'verify', 'api copy', 'api delete', 'list'])
    out, bad = '', False
    if what == 'ask':
        status, text, _ = d.ask('/v1/completions', {'model': name, 'prompt': 'Once', 'max_tokens': 4}, 300)
        out = text.decode()
        bad = status not in (200, 404) and not (status == 503 and 'was replaced a moment ago; ask again' in out)
        if status == 200:
            count('answered')
    elif what.startswith('api'):
        body = {'source': name, 'destination': rng.choice(NAMES)} if what == 'api copy' else {'model': name}
        status, text, _ = d.ask('/api/' + what[4:], body, 300) if what == 'api copy' else delete(d, body)
        out, bad = text.decode(), status not in (200, 404)
    elif what == 'list':
        status, text, _ = d.ask('/v1/models', None, 300)
        out, bad = text.decode(), status != 200
    else:
        args = {'pull': ['pull', '-q', '--no-check', rng.choice(FILES), name], 'run': ['run', name, 'Once', '-n', '3'],
                'cp': ['cp', name, rng.choice(NAMES)], 'rm': ['rm', name], 'gc': ['gc', '--all'], 'verify': ['verify']}[what]
        rc, out = verb(*args)
        bad = rc != 0 and not any(f in out for f in FINE)
        if what == 'verify' and rc and 'cannot' not in out and 'digest' not in out:
            bad = False  # a name that went away while it was read
    count(what)
    if bad:
        problem(f'{what} {name}: {out[-300:]}')


def delete(d, body):
    import http.client
    import socket
    c = http.client.HTTPConnection('localhost', timeout=300)
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.settimeout(300)
    c.sock.connect(d.socket)
    c.request('DELETE', '/api/delete', json.dumps(body), {'Content-Type': 'application/json'})
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, text, None


def client(number, daemons):
    rng = random.Random(number)
    try:
        for _ in range(ROUNDS):
            one_step(rng, daemons)
            if problems:
                return
    except Exception as e:  # pylint: disable=broad-except
        problem(f'client {number}: {type(e).__name__} {e}')


def look():
    """The store, read by other eyes."""
    named = set()
    for file in os.listdir(os.path.join(STORE, 'names')):
        with open(os.path.join(STORE, 'names', file), encoding='utf-8') as f:
            named |= {x['digest'].removeprefix('sha256:') for x in json.load(f)['model']['files']}
    there = set()
    for folder, _, files in os.walk(os.path.join(STORE, 'blobs')):
        for file in files:
            with open(os.path.join(folder, file), 'rb') as f:
                if hashlib.sha256(f.read()).hexdigest() != file:
                    problem(f'blob {file} is not whole')
            there.add(file)
    return named, there


def fresh(d):
    """What another program has just changed holds at once, though the service has only just looked."""
    body = {'model': 'early', 'prompt': 'Once', 'max_tokens': 4}
    d.ask('/v1/models', None, 300)
    verb('pull', '-q', '--no-check', FILES[0], 'early')
    status, text, _ = d.ask('/v1/completions', body, 300)
    ok(status == 200, 'a model that was pulled a moment ago answers', (status, text))
    verb('cp', 'early', 'late')
    d.ask('/v1/models', None, 300)
    verb('rm', 'late')
    status, text, _ = d.ask('/v1/completions', dict(body, model='late'), 300)
    ok(status == 404, 'one that was removed a moment ago is not found', (status, text))
    verb('rm', 'early')


def main():
    daemons = [Daemon(1), Daemon(2)]
    ok(all(until(d.up, 60) for d in daemons), 'two services on one store', [d.said() for d in daemons])
    fresh(daemons[0])
    threads = [threading.Thread(target=client, args=(i, daemons)) for i in range(10)]
    began = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    ok(not problems and counts.get('answered', 0) > ROUNDS / 2, f'{sum(counts.values())} steps of ten clients in {time.monotonic() - began:.1f} s: nothing went wrong', problems[:3])
    print(f'# {counts}', flush=True)
    for d in daemons:
        d.p.send_signal(signal.SIGTERM)
    ok(all(d.p.wait(60) == 0 for d in daemons), 'both stop in order', [d.said() for d in daemons])
    rc, out = verb('verify')
    ok(rc == 0, 'ingle verify', out)
    rc, out = verb('gc', '--all')
    named, there = look()
    ok(rc == 0 and named == there and not problems, 'after gc there is what is named, and nothing else', (named ^ there, out))
    rc, out = verb('cost', '--check', '--ledger', os.path.join(WORK, 'state1', 'ledger.db'))
    ok(rc == 0, 'the ledger is whole', out)
    rc, out = verb('audit', 'verify', '--dir', os.path.join(WORK, 'state2', 'audit'))
    ok(rc == 0, 'the audit log is whole', out)
    shutil.rmtree(WORK, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
