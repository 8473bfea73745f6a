#!/usr/bin/env python3
"""What the service stands: workers that die, crowds, slow and idle connections, hours of work. Middle tier. Prints TAP.

    tests/api/test_hard.py                 all of it, the soak for 30 s
    tests/api/test_hard.py --soak SECONDS  the soak alone (make soak: 600)"""
import concurrent.futures
import json
import os
import random
import resource
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, SANITIZED, STORY, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
HELLO = [{'role': 'user', 'content': 'Hello'}]


# ---------------------------------------------------------------------------------------------- answers

def judge(status, headers, text, dialect):
    """None where an answer is whole or ends with an error of the dialect's form; else what is wrong."""
    try:
        if status != 200:
            error = json.loads(text)['error']
            message = error if isinstance(error, str) else error['message']
            if status in (429, 503, 529) and not (headers['retry-after'] or '').isdigit():
                return f'{status} without Retry-After'
            return None if message and status >= 400 else f'{status} without a message'
        if dialect == 'openai whole':
            return None if json.loads(text)['choices'][0]['finish_reason'] else 'no finish'
        if dialect == 'ollama':
            last = json.loads(text.rstrip('\n').split('\n')[-1])
            return None if last.get('done') or last.get('error') else 'the stream just stops'
        blocks = [b for b in text.split('\n\n') if b and not b.startswith(':')]
        if dialect == 'anthropic':
            return None if blocks[-1].startswith(('event: message_stop', 'event: error')) else 'the stream just stops: ' + text[-80:]
        if blocks[-1] == 'data: [DONE]':
            return None
        error = json.loads(blocks[-1].removeprefix('data: '))['error']
        return None if error['message'] and error['type'] else 'no type of the error'
    except (ValueError, KeyError, IndexError, TypeError) as e:
        return f'{e!r}: {text[-200:]}'


QUESTIONS = [
    ('openai', '/v1/chat/completions', {'messages': HELLO, 'stream': True, 'max_tokens': 400, 'ignore_eos': True}),
    ('openai whole', '/v1/chat/completions', {'messages': HELLO, 'max_tokens': 200}),
    ('ollama', '/api/chat', {'messages': HELLO, 'options': {'num_predict': 300}}),
    ('anthropic', '/v1/messages', {'messages': HELLO, 'max_tokens': 300, 'stream': True}),
]


def ask(s, i, timeout=60):
    dialect, path, body = QUESTIONS[i % len(QUESTIONS)]
    try:
        c, r = s.open('POST', path, dict(body, model='chat'), timeout=timeout)
        text = r.read().decode()
        c.close()
        return r.status, judge(r.status, r.headers, text, dialect)
    except (OSError, ValueError) as e:
        return 0, f'{dialect}: {e!r}'
    except Exception as e:  # http.client's own
        return 0, f'{dialect}: {e!r}'


# ---------------------------------------------------------------------------------------------- deaths

def test_kills(s, n):
    """n SIGKILLs while 8 clients ask."""
    stop, results, lock = threading.Event(), [], threading.Lock()

    def client(k):
        i = k
        while not stop.is_set():
            result = ask(s, i)
            i += 1
            with lock:
                results.append(result)

    threads = [threading.Thread(target=client, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    killed, pids, end = 0, set(), time.monotonic() + 90
    while killed < n and time.monotonic() < end:
        for w in s.workers():
            if w['state'] in ('ready', 'loading') and w['pid'] > 0 and w['pid'] not in pids:
                time.sleep(random.uniform(0, 0.15))
                try:
                    os.kill(w['pid'], signal.SIGKILL)
                except ProcessLookupError:
                    continue
                pids.add(w['pid'])
                killed += 1
        time.sleep(0.01)
    stop.set()
    for t in threads:
        t.join(60)
    bad = [r[1] for r in results if r[1]]
    whole = sum(r == (200, None) for r in results)
    ok(killed == n, f'M22: {n} kills of the worker under load', killed)
    ok(not bad and results, f'M22: of {len(results)} answers every one is whole or ends with an error', bad[:3])
    ok(whole > 0, 'M22: some of them are whole', len(results))
    ok(ask(s, 1) == (200, None) and not s.said('set aside'), 'M22: a kill from outside starts the worker again at once', s.log[-3:])


def test_quarantine(s):
    for _ in range(3):
        ask(s, 1)
        pid = until(lambda: [w['pid'] for w in s.workers() if w['model'] == 'chat' and w['state'] == 'ready'])
        os.kill(pid[0], signal.SIGABRT if SANITIZED else signal.SIGSEGV)
        until(lambda: not [w for w in s.workers() if w['pid'] == pid[0]])
    status, body, headers = s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO})
    ok(status == 503 and 'crashed 3 times' in json.dumps(body) and headers['retry-after'],
       'M22: a model whose worker crashes three times is set aside', (status, body, s.log[-4:]))
    status, body, _ = s.post('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 4})
    ok(status == 200, 'M22: other models are not affected', (status, body))


def test_hung(s):
    """A worker that is stopped does not hold up the service, and its client can leave."""
    s.post('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 4})
    pid = [w['pid'] for w in s.workers() if w['model'] == 'story'][0]
    os.kill(pid, signal.SIGSTOP)
    c = s.send('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 4})
    start = time.monotonic()
    status, _, _ = s.get('/v1/models')
    ok(status == 200 and time.monotonic() - start < 1, 'a worker that hangs does not hold up the front')
    c.close()
    os.kill(pid, signal.SIGCONT)
    status, body, _ = s.post('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 4})
    ok(status == 200, 'and when it goes on, so does everything', (status, body))


# ---------------------------------------------------------------------------------------------- crowds

def test_streams(s, n=64):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        results = list(pool.map(lambda i: ask(s, 4 * i), range(n)))
    ok(all(r == (200, None) for r in results), f'{n} streams at once', [r for r in results if r != (200, None)][:3])


def test_streams_small():
    s = Service('chat=' + CHAT, args=['--queue', '20'])
    try:
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            results = list(pool.map(lambda i: ask(s, i), range(128)))
        statuses = sorted(set(r[0] for r in results))
        bad = [r for r in results if r[1] or r[0] not in (200, 429, 503, 529)]
        ok(not bad and 200 in statuses and len(statuses) > 1,
           'a small queue: answers, or 429 and its like with Retry-After, nothing else', (statuses, bad[:3]))
    finally:
        s.stop()


def percentile(s, n=300):
    """99th percentile of small requests over one connection and over new ones, in ms."""
    times = []
    for _ in range(n):
        start = time.monotonic()
        status, _, _ = s.post('/tokenize', {'model': 'chat', 'content': 'ab'})
        times.append(1000 * (time.monotonic() - start))
        if status != 200:
            return float('inf')
    return sorted(times)[int(0.99 * n)]


def crowd(s, n, first):
    """n connections that have sent `first` and say no more."""
    out = []
    for _ in range(n):
        c = socket.create_connection(('127.0.0.1', s.port))
        c.sendall(first)
        out.append(c)
    return out


def slow_senders(conns, stop):
    data, at = b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ' + b'a' * 4000, 0
    while not stop.is_set():
        for c in conns:
            try:
                c.send(data[at % len(data):at % len(data) + 1])
            except OSError:
                pass
        at += 1
        stop.wait(0.5)


def test_connections(s):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        tap.skip('H15: 1,000 connections', f'this process may open {hard} files only')
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    s.post('/api/generate', {'model': 'chat', 'keep_alive': -1})
    percentile(s)
    before = min(percentile(s) for _ in range(3))
    fds, memory = len(os.listdir(f'/proc/{s.process.pid}/fd')), s.memory()
    idle = crowd(s, 1000, b'')
    limit = max(before + 5, 2 * before)
    ok(until(lambda: s.metric('ingle_connections') >= 1000), '1,000 connections are there', s.metric('ingle_connections'))
    after = min(percentile(s) for _ in range(3))
    ok(after <= limit or SANITIZED, f'H15: 1,000 idle connections: p99 {before:.2f} to {after:.2f} ms', (before, after))
    each = (s.memory() - memory) / 1000
    ok(each < 20000 or SANITIZED, f'H21: an idle connection costs {each:.0f} bytes', each)
    for c in idle:
        c.close()
    slow, stop = crowd(s, 1000, b'PO'), threading.Event()
    thread = threading.Thread(target=slow_senders, args=(slow, stop))
    thread.start()
    ok(until(lambda: s.metric('ingle_connections') >= 1000, 5), '1,000 slow ones, too', s.metric('ingle_connections'))
    after = min(percentile(s) for _ in range(3))
    ok(after <= limit or SANITIZED, f'H15: 1,000 slow connections: p99 {before:.2f} to {after:.2f} ms', (before, after))
    status, why = ask(s, 0)
    ok(status == 200 and not why, 'H15: and a stream beside them', (status, why))
    gone = until(lambda: s.metric('ingle_connections') < 100, 15)
    ok(gone, 'H15: who has not sent a head after ten seconds is closed', s.metric('ingle_connections'))
    stop.set()
    thread.join()
    for c in slow:
        c.close()
    ok(until(lambda: len(os.listdir(f'/proc/{s.process.pid}/fd')) <= fds + 4), 'H21: all descriptors come back',
       (fds, len(os.listdir(f'/proc/{s.process.pid}/fd'))))
    many = crowd(s, 2200, b'')
    status, body, _ = s.get('/v1/models')
    ok(status == 200 and s.metric('ingle_connections') <= 2001, 'H15: above 2,000 connections of one user the oldest idle goes',
       (status, s.metric('ingle_connections')))
    for c in many:
        c.close()


def test_unread(s):
    """H17: clients that ask for endless streams and read nothing."""
    memory = s.memory()
    body = {'model': 'chat', 'messages': HELLO, 'stream': True, 'max_tokens': 10000000, 'ignore_eos': True, 'shift': True}
    conns = [s.send('/v1/chat/completions', body) for _ in range(4)]
    until(lambda: s.metric('ingle_requests_running') == 4)
    most = [0]

    def over():
        most[0] = max(most[0], s.memory() - memory)
        return s.metric('ingle_requests_running') == 0

    ok(until(over, 60), 'H17: a client that reads nothing is given up', s.metric('ingle_requests_running'))
    ok(most[0] < 64 << 20 or SANITIZED, f'H17: and costs little until then: {most[0] / 4 / 2**20:.1f} MiB', most[0])
    for c in conns:
        c.close()


# ---------------------------------------------------------------------------------------------- soak

def mixed(s, i):
    """One of many kinds of request; what is wrong with its answer, or None."""
    kind = i % 11
    if kind == 4:
        c = s.send('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'max_tokens': 500, 'stream': True})
        c.close()
        return None
    if kind == 5:
        return None if s.post('/v1/embeddings', {'model': 'chat', 'input': ['a', 'b']})[0] == 200 else 'embeddings'
    if kind == 6:
        return None if s.post('/v1/chat/completions', {'model': 'nobody', 'messages': HELLO})[0] == 404 else 'unknown model'
    if kind == 7:
        return None if s.post('/v1/chat/completions', b'{"model":')[0] == 400 else 'broken JSON'
    if kind == 8:
        return None if s.post('/v1/completions', {'model': 'story', 'prompt': f'Once {i}', 'max_tokens': 8})[0] == 200 else 'completion'
    if kind == 9:
        return None if s.get('/metrics')[0] == 200 and s.get('/api/tags')[0] == 200 else 'lists'
    if kind == 10:
        schema = {'type': 'object', 'properties': {'n': {'enum': [i % 50, 77]}}, 'required': ['n'], 'additionalProperties': False}
        body = {'model': 'chat', 'messages': HELLO, 'max_tokens': 50,
                'response_format': {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': schema}}}
        return None if s.post('/v1/chat/completions', body)[0] == 200 else 'schema'
    return ask(s, kind)[1]


def measure(s):
    """Memory of the front and of its workers, descriptors of the front."""
    until(lambda: s.metric('ingle_requests_running') == 0)
    time.sleep(0.5)
    return s.memory(), sum(s.memory(w['pid']) for w in s.workers()), len(os.listdir(f'/proc/{s.process.pid}/fd'))


def test_soak(seconds):
    s = Service('chat=' + CHAT, 'story=' + STORY, args=['--keep-alive', '-1'])
    bad, n, lock = [], [0], threading.Lock()

    def client(end):
        while time.monotonic() < end:
            with lock:
                i = n[0]
                n[0] += 1
            why = mixed(s, i)
            if why:
                bad.append(why)

    def run(duration):
        threads = [threading.Thread(target=client, args=(time.monotonic() + duration,)) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    try:
        run(max(4, seconds / 5))
        before = measure(s)
        run(seconds)
        after = measure(s)
        ok(not bad, f'L20: {n[0]} requests in {seconds} s', bad[:3])
        names = ('memory of the front', 'memory of the workers', 'descriptors of the front')
        for name, a, b in zip(names, before, after):
            flat = b <= a + (2 if 'desc' in name else max(a // 100, 1 << 20))
            ok(flat or (SANITIZED and 'memory' in name), f'M19: {name}: {a} before, {b} after', (a, b))
    finally:
        code = s.stop()
        ok(code == 0, 'L20: stops in order', (code, s.log[-3:]))


def main():
    if '--soak' in sys.argv:
        test_soak(float(sys.argv[sys.argv.index('--soak') + 1]))
        return tap.end()
    s = Service('chat=' + CHAT, 'story=' + STORY)
    try:
        test_streams(s)
        test_connections(s)
        test_unread(s)
        test_kills(s, 100)
        test_hung(s)
        test_quarantine(s)
    finally:
        code = s.stop()
        ok(code == 0, 'stops in order', (code, s.log[-5:]))
    test_streams_small()
    test_soak(30)
    return tap.end()


sys.exit(main())
