#!/usr/bin/env python3
"""How the service treats its users and its models: who sees what, who has to wait, when a model goes. Middle tier. TAP."""
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, DATA, INGLE, STORY, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
HELLO = [{'role': 'user', 'content': 'Hello'}]
ENDLESS = {'model': 'chat', 'messages': HELLO, 'stream': True, 'max_tokens': 1000000, 'ignore_eos': True, 'shift': True}
OTHER = 23456


def ask(s, text, **k):
    return {'model': 'chat', 'messages': [{'role': 'user', 'content': text}], 'max_tokens': 4, 'seed': 1, **k}


def cached(body):
    return body['usage']['prompt_tokens_details']['cached_tokens'] if 'usage' in body else body


# ---------------------------------------------------------------------------------------------- users

def test_users(s):
    if os.getuid() != 0:
        tap.skip('users', 'another user can only be played by root')
        return
    canary = 'The canary of root sings ' + 'la ' * 80
    first, again = (s.post('/v1/chat/completions', ask(s, canary))[1] for _ in range(2))
    ok(cached(again) > 200, 'one user finds the own prompt in the cache', (cached(first), cached(again)))
    status, body = s.as_user(OTHER, 'POST', '/v1/chat/completions', ask(s, canary))
    ok(status == 200 and cached(body) == 0, 'U04: another user does not', (status, body))
    status, body = s.as_user(OTHER, 'POST', '/v1/chat/completions', ask(s, canary))
    ok(status == 200 and cached(body) > 200, 'who has the own cache', (status, body))
    for path, question in (('/completion', {'prompt': canary, 'n_predict': 2}), ('/api/chat', dict(ask(s, canary), stream=False)),
                           ('/v1/messages', ask(s, canary))):
        s.post(path, question)
        status, body = s.as_user(OTHER, 'POST', path, dict(question, **({'prompt': canary + 'x'} if 'prompt' in question else {})))
        if path == '/completion':
            ok(status == 200 and body['timings'].get('cache_n', 0) == 0, f'U04: nor at {path}', (status, body))
        elif path == '/v1/messages':  # the same prompt as before: its own cache, never more
            ok(status == 200, f'U04: {path}', (status, body))
    c = s.flow('/v1/chat/completions', dict(ENDLESS, messages=[{'role': 'user', 'content': canary}]))
    until(lambda: s.metric('ingle_requests_running') > 0)
    status, slots = s.as_user(OTHER, 'GET', '/slots')
    ok(status == 200 and not any('user' in x or 'n_prompt' in x for x in slots), 'others do not see what runs', slots)
    status, slots, _ = s.get('/slots')
    ok(any(x.get('user') == 'uid:0' for x in slots), 'who may manage sees all of it', slots)
    c.close()
    status, body = s.as_user(OTHER, 'DELETE', '/api/delete', {'model': 'chat'})
    ok(status == 403, 'others may not manage', (status, body))
    until(lambda: s.metric('ingle_requests_running') == 0)


def auc(a, b):
    """How well a threshold tells a from b: 0.5 is not at all."""
    wins = sum((x > y) + 0.5 * (x == y) for x in a for y in b) / (len(a) * len(b))
    return max(wins, 1 - wins)


def test_guess(s):
    """U04: can the time of an answer tell whether another user has asked the same? The same user's can, which shows that the
    test would see it."""
    if os.getuid() != 0:
        tap.skip('guessing', 'another user can only be played by root')
        return

    def prompt_ms(who, i, known):
        body = ask(s, f'{who} {i} ' + 'secret ' * 60)
        if known:
            s.post('/v1/chat/completions', body)
        answer = s.as_user(OTHER, 'POST', '/v1/chat/completions', body)[1] if who == 'other' else s.post('/v1/chat/completions', body)[1]
        return answer['timings']['prompt_ms']

    times = {who: ([], []) for who in ('same', 'other')}
    for i in range(80):
        for who in times:
            times[who][i % 2].append(prompt_ms(who, i, i % 2 == 1))
    same, other = auc(*times['same']), auc(*times['other'])
    ok(same > 0.85, f'the own cache shows in the time (AUC {same:.2f})', same)
    ok(other < 0.7, f'U04: another user\'s does not (AUC {other:.2f})', other)


def test_fair(s):
    """L04: a flood by one user; another is answered soon."""
    if os.getuid() != 0:
        tap.skip('fairness', 'another user can only be played by root')
        return
    flood = [s.send('/v1/chat/completions', dict(ENDLESS, stream=False, max_tokens=20000, seed=i)) for i in range(40)]
    until(lambda: s.metric('ingle_requests_running') >= 4)
    start = time.monotonic()
    status, body = s.as_user(OTHER, 'POST', '/v1/chat/completions', ask(s, 'Me?'))
    took = time.monotonic() - start
    waiting = s.metric('ingle_requests_waiting')
    ok(status == 200 and waiting > 20, 'U05, L04: one user\'s flood does not hold up another', (status, took, waiting))
    for c in flood:
        c.close()
    ok(until(lambda: s.metric('ingle_requests_running') + s.metric('ingle_requests_waiting') == 0), 'and is gone with its client')


def test_queue():
    s = Service('chat=' + CHAT, args=['--queue', '8'])
    try:
        s.post('/api/generate', {'model': 'chat'})
        flood = [s.send('/v1/chat/completions', dict(ENDLESS, stream=False)) for i in range(6)]
        until(lambda: s.metric('ingle_requests_running') + s.metric('ingle_requests_waiting') >= 6)
        status, body, headers = s.post('/v1/chat/completions', ask(s, 'one more'))
        ok(status == 429 and headers['retry-after'].isdigit(), 'L02: the own share of the queue is full: 429 with Retry-After',
           (status, body))
        if os.getuid() == 0:
            status, body = s.as_user(OTHER, 'POST', '/v1/chat/completions', ask(s, 'Me?'))
            ok(status == 200, 'L04: another user still has a place', (status, body))
        for c in flood:
            c.close()
    finally:
        s.stop()


# ---------------------------------------------------------------------------------------------- departures

def vanish(c, how):
    if how == 'reset':
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.close()


def departs(s, how, body, name):
    before = s.metric('ingle_requests_gone_total')
    c = s.send('/v1/chat/completions', body, 'tcp' if how == 'reset' else how)
    came = until(lambda: s.metric('ingle_requests_running') == 1)
    vanish(c, how)
    start = time.monotonic()
    left = until(lambda: s.metric('ingle_requests_running') == 0)
    took = time.monotonic() - start
    ok(came and left and took < 4 and s.metric('ingle_requests_gone_total') == before + 1, name, (came, left, took))


def test_departures(s, ways):
    long = [{'role': 'user', 'content': 'x ' * 1900}]
    for how in ways:
        departs(s, how, ENDLESS, f'H16: a client that goes away ({how}) frees its place')
        departs(s, how, dict(ENDLESS, stream=False), f'H16: also one that waits for the whole answer ({how})')
        prompt = s.metric('ingle_tokens_prompt_total')
        c = s.send('/v1/chat/completions', dict(ENDLESS, messages=long, seed=ways.index(how)), 'tcp' if how == 'reset' else how)
        vanish(c, how)
        idle = until(lambda: s.metric('ingle_requests_running') + s.metric('ingle_requests_waiting') == 0)
        time.sleep(0.6)
        ok(idle and s.metric('ingle_tokens_prompt_total') - prompt < 3800, f'H19: in its prompt, too ({how})',
           (idle, s.metric('ingle_tokens_prompt_total') - prompt))


def test_half_close(s):
    c = s.send('/v1/chat/completions', ask(s, 'half'))
    c.shutdown(socket.SHUT_WR)
    text = b''
    while True:
        piece = c.recv(65536)
        if not piece:
            break
        text += piece
    ok(b'200 OK' in text and b'"finish_reason"' in text, 'H16: a client that only has said all gets its answer', text[-200:])


def test_tls():
    with tempfile.TemporaryDirectory() as folder:
        pair = [os.path.join(folder, x) for x in ('cert.pem', 'key.pem')]

        def make(name):
            subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days',
                            '2', '-subj', '/CN=' + name, '-out', pair[0], '-keyout', pair[1]], check=True, stderr=subprocess.DEVNULL)

        make('one')
        keys = os.path.join(folder, 'keys.json')
        env = {'INGLE_KEYS': keys, 'INGLE_CONFIG': folder}

        def key(*words):
            return subprocess.run([INGLE, 'key', *words], env=dict(os.environ, **env), check=True, capture_output=True,
                                  text=True).stdout.strip()

        good = key('add', 'first')
        s = Service('chat=' + CHAT, tls=pair, args=['--require-keys'], env=env)
        try:
            def over(key, path='/v1/models', c=None):
                c = c or s.connect('tls')
                c.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n'.encode())
                return c.recv(9) and int(c.recv(3))

            ok(over(good) == 200 and over('wrong-key-0001') == 401, 'keys over TLS')
            old = s.connect('tls')
            first = old.getpeercert(True)
            make('two')
            second = key('add', 'second')
            key('revoke', 'first')
            s.process.send_signal(signal.SIGHUP)
            ok(until(lambda: s.said('read again')), 'SIGHUP reads keys and certificate again', s.log[-3:])
            ok(s.connect('tls').getpeercert(True) != first, 'H30: new connections see the new certificate')
            ok(over(second) == 200 and over(good) == 401, 'the new key holds, the revoked one does not')
            ok(over(second, c=old) == 200, 'a connection from before goes on')
            os.chmod(keys, 0o644)
            s.process.send_signal(signal.SIGHUP)
            ok(until(lambda: s.said('the old keys stay')) and over(second) == 200, 'a broken file of keys changes nothing')
            os.chmod(keys, 0o600)
            with open(keys) as f:
                ok(second not in f.read() and good not in f.read(), 'the file holds hashes alone')
            status, body, _ = s.get('/v1/models')
            ok(status == 200, 'who comes over the unix socket needs none', body)
            s.post('/api/generate', {'model': 'chat'})
            c = s.connect('tls')
            body = json.dumps(ENDLESS).encode()
            c.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
                      b'Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n' % (second.encode(), len(body)) + body)
            came = until(lambda: s.metric('ingle_requests_running') == 1)
            c.close()
            ok(came and until(lambda: s.metric('ingle_requests_running') == 0), 'H16: a client that goes away (tls) frees its place')
            tries = [over(f'wrong-key-{i:04}') for i in range(12)]
            ok(429 in tries and tries[0] == 401, 'H27: many wrong keys have to wait', tries)
            ok(over(second) == 429, 'so has the right one then: nothing is learned', tries)
            ok(s.get('/v1/models')[0] == 200, 'who comes over the unix socket does not')
        finally:
            s.stop()


# ---------------------------------------------------------------------------------------------- models

def children(s):
    out = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(s.process.pid)], stdout=subprocess.PIPE, text=True).stdout
    return [int(x) for x in out.split()]


def test_load_survives(s):
    s.post('/api/generate', {'model': 'story', 'keep_alive': 0})
    until(lambda: not [w for w in s.workers() if w['model'] == 'story'])
    started = s.metric('ingle_workers_started_total')
    old = set(children(s))
    c = s.send('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 3})
    new = until(lambda: set(children(s)) - old)
    for pid in new:
        os.kill(pid, signal.SIGSTOP)
    c.close()
    time.sleep(0.3)
    for pid in new:
        os.kill(pid, signal.SIGCONT)
    ready = until(lambda: [w for w in s.workers() if w['model'] == 'story' and w['state'] == 'ready'])
    ok(ready and ready[0]['pid'] in new and s.metric('ingle_workers_started_total') == started + 1,
       'a load survives its first client going away', (ready, new))


def test_options(s):
    s.post('/v1/chat/completions', ask(s, 'x'))
    pid = [w['pid'] for w in s.workers() if w['model'] == 'chat']
    for options in ({'num_ctx': 512}, {'num_ctx': 2048}, {'num_ctx': 131072}, {'num_batch': 64}, {'use_mmap': False}, {'num_thread': 1},
                    {'use_mlock': True}, {'num_gpu': 0}, {'low_vram': True}, {'main_gpu': 1}, {'num_ctx': 4096, 'num_keep': 4}):
        s.post('/api/chat', {'model': 'chat', 'messages': HELLO, 'stream': False, 'options': {'num_predict': 2, **options}})
    ok([w['pid'] for w in s.workers() if w['model'] == 'chat'] == pid, 'no option of a client causes a reload', (pid, s.workers()))


def test_keep_alive():
    s = Service('chat=' + CHAT, 'story=' + STORY, args=['--keep-alive', '1s'])
    try:
        s.post('/v1/chat/completions', ask(s, 'x'))
        s.post('/api/generate', {'model': 'story', 'keep_alive': -1})
        expires = {m['name']: m['expires_at'] for m in s.get('/api/ps')[1]['models']}
        ok(until(lambda: [w['model'] for w in s.workers()] == ['story']), 'keep-alive: one goes, the other stays', (s.workers(), expires))
        s.post('/api/generate', {'model': 'story', 'keep_alive': '100ms'})
        ok(until(lambda: not s.workers()), 'a client may say how long', s.workers())
        c = s.flow('/v1/chat/completions', dict(ENDLESS, keep_alive=0))
        until(lambda: s.metric('ingle_requests_running') == 1)
        time.sleep(1.5)
        ok([w['running'] for w in s.workers()] == [1], 'what is in use does not expire', s.workers())
        c.close()
    finally:
        s.stop()


def test_holds():
    """Nobody's keep_alive takes a model from somebody else; who may manage unloads it for all."""
    if os.getuid() != 0:
        tap.skip('holds', 'another user can only be played by root')
        return
    s = Service('chat=' + CHAT)

    def other(body):
        return s.as_user(OTHER, 'POST', '/api/generate', {'model': 'chat', 'stream': False, **body})

    def pids():
        return [w['pid'] for w in s.workers()]

    try:
        other({'keep_alive': '1h'})
        pid = pids()
        ok(len(pid) == 1 and s.post('/api/generate', {'model': 'chat', 'prompt': 'x', 'stream': False, 'keep_alive': 0,
                                                      'options': {'num_predict': 1}})[0] == 200 and pids() == pid,
           "another user's keep_alive 0 leaves it", s.workers())
        status, body = other({'keep_alive': 0})
        ok(status == 200 and body['done_reason'] == 'unload' and until(lambda: not s.workers()), 'the last one who holds it may let it go', body)
        s.post('/api/generate', {'model': 'chat', 'keep_alive': '1h'})
        pid = pids()
        status, body = other({'keep_alive': 0})
        ok(status == 200 and 'keep_alive: others use the model' in body['ingle']['ignored'] and pids() == pid, 'it stays for who holds it', body)
        s.post('/api/generate', {'model': 'chat', 'prompt': 'x', 'stream': False, 'keep_alive': 0, 'options': {'num_predict': 1}})
        ok(until(lambda: not s.workers()), 'and goes with the last hold', s.workers())
        c = s.flow('/v1/chat/completions', ENDLESS)
        ok(until(lambda: s.metric('ingle_requests_running') == 1), 'somebody is served')
        pid = pids()
        status, body = other({'keep_alive': 0})
        ok(status == 200 and body['ingle']['ignored'] and [w['state'] for w in s.workers()] == ['ready'], 'what others use is not unloaded', body)
        c.close()
        other({'prompt': 'x', 'options': {'num_predict': 1}, 'keep_alive': '1h'})
        status, body, _ = s.post('/api/generate', {'model': 'chat', 'keep_alive': 0, 'stream': False})
        ok(status == 200 and until(lambda: not s.workers()), 'who may manage unloads it for all', s.workers())
    finally:
        s.stop()


def test_digests():
    """A file of --model gets the digest that the store would give it, is read for it once, and never keeps that of another."""
    with tempfile.TemporaryDirectory() as folder:
        path, store = os.path.join(folder, 'chat.gguf'), os.path.join(folder, 'store')
        shutil.copy(CHAT, path)

        def digest(s, name='chat'):
            return s.post('/v1/chat/completions', dict(ask(s, 'x'), model=name))[1]['ingle']['digest']

        s = Service('chat=' + path, store=store)
        try:
            first = digest(s)
            known = until(lambda: digest(s))
            ok(first in (None, known) and re.fullmatch('[0-9a-f]{64}', known or ''), 'a file gets a digest', (first, known))
            with open(CHAT, 'rb') as f:
                data = f.read()
            blob = 'sha256:' + hashlib.sha256(data).hexdigest()
            s.post('/api/blobs/' + blob, data)
            s.post('/api/create', {'model': 'stored', 'files': {'chat.gguf': blob}, 'stream': False})
            ok(digest(s, 'stored') == known, 'it is the one of the store', (known, digest(s, 'stored')))
            listed = [m['ingle']['digest'] for m in s.get('/v1/models')[1]['data'] if m['id'] == 'chat']
            ok(listed == [known], 'lists tell it', listed)
        finally:
            s.stop()
        with open(os.path.join(store, 'state', 'digests.json'), encoding='utf-8') as f:
            ok(list(json.load(f).values()) == [blob[7:]], 'what is known of a file is kept')
        s = Service('chat=' + path, store=store)
        try:
            ok(digest(s) == known, 'after a restart it is known at once', digest(s))
            other = os.path.join(folder, 'other')
            shutil.copy(STORY, other)
            os.replace(other, path)
            s.post('/api/generate', {'model': 'chat', 'keep_alive': 0})
            until(lambda: not [w for w in s.workers() if w['model'] == 'chat'])
            complete = {'model': 'chat', 'prompt': 'Once', 'max_tokens': 1}
            first = s.post('/v1/completions', complete)[1]['ingle']['digest']
            again = until(lambda: s.post('/v1/completions', complete)[1]['ingle']['digest'])
            ok(first in (None, again) and again not in (None, known), 'another file has another digest', (first, again, known))
        finally:
            s.stop()
        with open(os.path.join(store, 'state', 'digests.json'), 'w', encoding='utf-8') as f:
            f.write('{"broken')
        s = Service('chat=' + path, store=store)
        try:
            ok(until(lambda: s.post('/v1/completions', complete)[1]['ingle']['digest']) == again, 'a damaged file of digests is made again')
        finally:
            s.stop()


def test_eviction():
    """Room for one model only by a guess from the sizes of the files, for both by what they need (test_engines.py has more)."""
    s = Service('chat=' + CHAT, 'story=' + STORY, args=['--memory', '0.255', '--keep-alive', '-1', '--ctx', '4096'])
    try:
        budget = s.get('/ingle/status')[1]['memory_budget_bytes']
        ok(abs(budget - 0.255 * 2**30) < 2**20, 'the budget that was asked for', budget)
        c, r = s.open('POST', '/v1/chat/completions', dict(ENDLESS, max_tokens=6000))
        first = r.read(300)
        status, body, _ = s.post('/v1/completions', {'model': 'story', 'prompt': 'Once upon a time', 'max_tokens': 4, 'temperature': 0})
        text = (first + r.read()).decode()
        ok(status == 200 and text.rstrip().endswith('[DONE]') and '"error"' not in text and len(s.workers()) == 2 and
           s.metric('ingle_models_evicted_total') == 0, 'what a model needs is known before another would go for a guess', (status, text[-200:]))
    finally:
        s.stop()
    s = Service('chat=' + CHAT)
    try:
        with open('/proc/meminfo') as f:
            host = int(re.search(r'MemAvailable: +(\d+)', f.read()).group(1)) * 1024
        limits = [host]
        with open('/proc/self/cgroup') as f:
            folder = '/sys/fs/cgroup' + (re.findall(r'^0::(.*)$', f.read(), re.M) or [''])[0]
        while folder.startswith('/sys/fs/cgroup'):
            for name in ('memory.max', 'memory.high'):
                path = os.path.join(folder, name)
                if os.path.exists(path):
                    with open(path) as f:
                        limits += [int(x) for x in f.read().split() if x.isdigit()]
            folder = os.path.dirname(folder)
        budget = s.get('/ingle/status')[1]['memory_budget_bytes']
        ok(0.5 * min(limits) < budget < 0.9 * min(limits), 'the budget is three quarters of what machine and cgroup leave', (budget, limits))
    finally:
        s.stop()
    s = Service('chat=' + CHAT, args=['--memory', '0.05'])
    try:
        status, body, headers = s.post('/v1/chat/completions', ask(s, 'x'))
        text = json.dumps(body)
        ok(status in (200, 503) and (status == 200 or len(re.findall(r'[\d.]+ GiB', text)) == 2),
           'what cannot fit is refused with both numbers', (status, body))
    finally:
        s.stop()


def test_pressure():
    with tempfile.NamedTemporaryFile('w+') as f:
        def press(percent):
            f.seek(0)
            f.write(f'some avg10={percent:.2f} avg60=0.00 avg300=0.00 total=0\n')
            f.truncate()
            f.flush()

        press(0)
        s = Service('chat=' + CHAT, 'story=' + STORY, env={'INGLE_PRESSURE': f.name})
        try:
            s.post('/api/generate', {'model': 'chat'})
            c = s.flow('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 1000000, 'stream': True, 'ignore_eos': True, 'shift': True})
            until(lambda: s.metric('ingle_requests_running') == 1)
            press(55)
            ok(until(lambda: not [w for w in s.workers() if w['model'] == 'chat'], 12), 'L09: idle models go when memory is short', s.log[-3:])
            until(lambda: not [w for w in s.workers() if w['state'] == 'ready' and not w['running']], 12)
            status, body, headers = s.post('/v1/chat/completions', ask(s, 'x'))
            ok(status == 503 and 'short of memory' in json.dumps(body) and headers['retry-after'], 'L09: then loads are refused', (status, body))
            press(0)
            status, body, _ = s.post('/v1/chat/completions', ask(s, 'x'))
            ok(status == 200, 'until it is over', (status, body))
            c.close()
        finally:
            s.stop()


def test_prefix():
    """Cached tokens of the second turn, and after an edit of the last turn, for each kind of cache."""
    kinds = [('llama-dense', 'full'), ('gemma3', 'windowed'), ('qwen3next', 'hybrid'), ('falcon-h1', 'hybrid'), ('mamba', 'recurrent')]
    s = Service(*(f'{n}={os.path.join(DATA, "archs", n)}.gguf' for n, _ in kinds), args=['--parallel', '2'])

    def turn(model, prompt):
        status, body, _ = s.post('/v1/completions', {'model': model, 'prompt': prompt, 'max_tokens': 2, 'temperature': 0})
        if status != 200:
            return body, []
        return body['usage'].get('prompt_tokens_details', {}).get('cached_tokens', 0), body

    try:
        for model, kind in kinds:
            first = [5 + (i * 7) % 90 for i in range(150)]
            turn(model, first)
            more, body = turn(model, first + [9, 8, 7] * 10)
            edited, _ = turn(model, first + [11, 12] * 10)
            ok(isinstance(more, int) and more >= 128, f'second turn, {kind} cache ({model}): only what is new is computed', (more, body))
            ok(isinstance(edited, int) and edited >= 64, f'the last turn edited, {kind} cache ({model})', (edited, body))
    finally:
        s.stop()


def test_shared():
    """One user's prompt serves others only where the configuration says so."""
    if os.getuid() != 0:
        tap.skip('a shared cache', 'another user can only be played by root')
        return
    canary = 'Everybody begins like this ' + 'la ' * 60
    for text, want in (('[model story]\nshare_cache = yes\n', False), ('[model ch*]\nshare_cache = yes\n', True)):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, 'ingle.conf'), 'w', encoding='utf-8') as f:
                f.write(text)
            s = Service('chat=' + CHAT, env={'INGLE_CONFIG': folder})
            try:
                s.post('/v1/chat/completions', ask(s, canary))
                status, body = s.as_user(OTHER, 'POST', '/v1/chat/completions', ask(s, canary))
                ok(status == 200 and (cached(body) > 100) == want, f'{text.splitlines()[0]} share_cache: {want}', (status, body))
            finally:
                s.stop()


def test_swap():
    """With --spill a model finds its users' conversations again after it has gone, for each kind of cache."""
    kinds = [('llama-dense', 'full'), ('gemma3', 'windowed'), ('falcon-h1', 'hybrid'), ('mamba', 'recurrent')]
    s = Service(*(f'{n}={os.path.join(DATA, "archs", n)}.gguf' for n, _ in kinds), 'chat=' + CHAT, args=['--spill', '0.05'])

    def turn(model, prompt, user=None):
        body = {'model': model, 'prompt': prompt, 'max_tokens': 8, 'temperature': 0}
        status, body = s.as_user(user, 'POST', '/v1/completions', body) if user else s.post('/v1/completions', body)[:2]
        if status != 200:
            return body, None
        return body['usage'].get('prompt_tokens_details', {}).get('cached_tokens', 0), body['choices'][0]['text']

    def worker(model):
        return [w['pid'] for w in s.workers() if w['model'] == model]

    def swap(model):
        s.post('/api/generate', {'model': model, 'keep_alive': 0})
        return until(lambda: not worker(model))

    try:
        for model, kind in kinds:
            prompt = [5 + (i * 7) % 90 for i in range(150)]
            _, text = turn(model, prompt)
            again, _ = turn(model, prompt)
            gone = swap(model)
            found, same = turn(model, prompt)
            ok(gone and isinstance(found, int) and found >= 128 and found == again and same == text,
               f'{kind} cache ({model}): reused over a swap, with the same answer', (gone, again, found, same, text))
        canary = 'The canary of root sings ' + 'la ' * 80
        turn('chat', canary)
        swap('chat')
        if os.getuid() == 0:
            found, _ = turn('chat', canary, OTHER)
            ok(found == 0, 'U04: not that of another user', found)
            swap('chat')
        found, _ = turn('chat', canary)
        ok(isinstance(found, int) and found > 200, 'the own one, also behind a second swap', found)
        swap('chat')
        found, _ = turn('chat', canary)
        for pid in worker('chat'):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not worker('chat'))
        lost, text = turn('chat', canary)
        ok(isinstance(found, int) and found > 200 and lost == 0 and text, 'a worker that is killed leaves nothing', (found, lost))
    finally:
        s.stop()


# ---------------------------------------------------------------------------------------------- the whole

METRIC = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? '
                    r'([+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$')


def check_metrics(text):
    """What the text format demands, and what promtool would complain about: the first fault, or None."""
    types, seen, last, helped = {}, set(), None, set()
    if not text.endswith('\n'):
        return 'no line end at the end'
    for line in text.splitlines():
        m = re.match(r'^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$', line)
        if m and m[1] == 'TYPE':
            if m[2] in types or m[3] not in ('counter', 'gauge', 'histogram', 'summary'):
                return line
            if (m[3] == 'counter') != m[2].endswith('_total'):
                return 'a counter ends with _total, nothing else does: ' + line
            types[m[2]] = m[3]
        elif m:
            if m[2] in helped:
                return line
            helped.add(m[2])
        else:
            m = METRIC.match(line)
            if not m or m[1] not in types or m[1] not in helped or (m[1], m[2]) in seen:
                return line
            if m[1] != last and any(x[0] == m[1] for x in seen):
                return 'not together: ' + line
            seen.add((m[1], m[2]))
            last = m[1]
    return None


def test_metrics(s):
    text = s.get('/metrics')[1]
    ok(check_metrics(text) is None, 'metrics: the text format', check_metrics(text))
    for name in ('ingle_requests_running', 'ingle_requests_waiting', 'ingle_kv_use_ratio'):
        ok(re.search(r'^# TYPE %s gauge$' % name, text, re.M) and re.search(r'^%s\{model="chat"\} ' % name, text, re.M), f'metrics: {name}', text[:500])
    try:
        done = subprocess.run(['promtool', 'check', 'metrics'], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ok(done.returncode == 0, 'promtool', done.stdout)
    except FileNotFoundError:
        tap.skip('promtool', 'it is not installed (apt install prometheus)')


def test_events(s):
    s.post('/api/generate', {'model': 'story', 'keep_alive': 0})
    until(lambda: not [w for w in s.workers() if w['model'] == 'story'])
    c = s.connect('unix')
    c.sendall(b'GET /ingle/events HTTP/1.1\r\nHost: localhost\r\n\r\n')
    c.settimeout(30)
    text = c.recv(65536)
    s.post('/api/generate', {'model': 'story'})
    states, piece = [], b'-'
    while piece and states[-1:] != [b'ready']:
        piece = c.recv(65536)
        text += piece
        states = re.findall(rb'event: model\ndata: [^\n]*?"model": ?"story"[^\n]*?"state": ?"(\w+)"', text)
    ok(b'text/event-stream' in text and b'event: status' in text, 'events: how things are at the start', text[:300])
    ok(states[:1] == [b'waiting'] and b'loading' in states and states[-1:] == [b'ready'], 'events: a model is loaded', (states, text[-400:]))
    c.close()


def test_stop():
    s = Service('chat=' + CHAT)
    watcher = s.send('/ingle/events', {})
    watcher.close()
    watcher = s.connect()
    watcher.sendall(b'GET /ingle/events HTTP/1.1\r\nHost: localhost\r\n\r\n')
    c, r = s.open('POST', '/v1/chat/completions', dict(ENDLESS, max_tokens=6000))
    first = r.read(200)
    s.process.send_signal(signal.SIGTERM)
    until(lambda: s.said('stopping'))
    try:
        refused = s.post('/v1/chat/completions', ask(s, 'late'))[0]
    except OSError:
        refused = 'closed'
    ok(refused in (503, 'closed'), 'L19: nothing new after SIGTERM', refused)
    text = (first + r.read()).decode()
    ok(text.rstrip().endswith('[DONE]'), 'L19: what runs is finished', text[-200:])
    try:
        code = s.process.wait(20)
    except subprocess.TimeoutExpired:
        code = None
    ok(code == 0, 'and the service ends', (code, s.log[-3:]))
    s.stop()


def test_environment():
    s = Service('chat=' + CHAT, env={'OLLAMA_HOST': '127.0.0.1:1', 'OLLAMA_KEEP_ALIVE': '7m', 'OLLAMA_CONTEXT_LENGTH': '1024',
                                     'OLLAMA_NUM_PARALLEL': '3', 'OLLAMA_MAX_QUEUE': '5', 'OLLAMA_ORIGINS': 'https://app.example,https://b.example'})
    try:
        s.post('/api/generate', {'model': 'chat'})
        worker = s.workers()[0]
        ok(worker['n_ctx'] == 1024, 'OLLAMA_CONTEXT_LENGTH', worker)
        stay = worker['expires_ns'] / 1e9 - time.time()
        ok(400 < stay < 425, 'OLLAMA_KEEP_ALIVE', stay)
        ok(len(s.get('/slots')[1]) == 3, 'OLLAMA_NUM_PARALLEL', s.get('/slots')[1])
        status, _, headers = s.get('/v1/models', headers={'Origin': 'https://b.example'})
        ok(status == 200 and headers['access-control-allow-origin'] == 'https://b.example', 'OLLAMA_ORIGINS', (status, dict(headers)))
        said = s.said('OLLAMA_')
        ok(said and 'OLLAMA_KEEP_ALIVE' in said[0] and 'OLLAMA_HOST' not in said[0], 'the service says what it took from there', s.log)
    finally:
        s.stop()


UNITS = os.path.join(os.environ['INGLE_SOURCE'], 'packaging', 'systemd')


def test_systemd():
    if not shutil.which('systemd-analyze'):
        tap.skip('units', 'there is no systemd-analyze')
    else:
        done = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--threshold=15', os.path.join(UNITS, 'ingle.service')],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        ok(done.returncode == 0 and 'Unknown' not in done.stdout, 'U15: the unit has an exposure of at most 1.5', done.stdout[-300:])
    if not shutil.which('systemd-socket-activate'):
        tap.skip('socket activation', 'there is no systemd-socket-activate')
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 's')
        p = subprocess.Popen(['systemd-socket-activate', '-l', path, INGLE, 'serve', '--state', folder + '/state', '--model', 'chat=' + CHAT],
                             stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            ok(until(lambda: os.path.exists(path)), 'systemd opens the socket')
            c = socket.socket(socket.AF_UNIX)
            c.settimeout(20)
            c.connect(path)
            c.sendall(b'GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
            text = b''
            while piece := c.recv(65536):
                text += piece
            ok(b'"chat"' in text, 'the first connection starts the service, which answers it', text[-200:])
        finally:
            p.terminate()
            try:
                code = p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                code = None
        ok(code == 0, 'and it stops in order', code)


def main():
    s = Service('chat=' + CHAT, 'story=' + STORY, args=['--default', 'chat'])
    try:
        s.post('/api/generate', {'model': 'chat'})
        test_users(s)
        test_guess(s)
        test_fair(s)
        test_departures(s, ['tcp', 'reset', 'unix'])
        test_half_close(s)
        test_load_survives(s)
        test_options(s)
        test_metrics(s)
        test_events(s)
    finally:
        code = s.stop()
        ok(code == 0, 'stops in order', (code, s.log[-5:]))
    test_tls()
    test_queue()
    test_keep_alive()
    test_holds()
    test_swap()
    test_shared()
    test_digests()
    test_eviction()
    test_pressure()
    test_prefix()
    test_stop()
    test_environment()
    test_systemd()
    return tap.end()


sys.exit(main())
