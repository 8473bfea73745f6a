#!/usr/bin/env python3
"""Figures of the service (called by bench/bench): what HTTP, the queue and the worker's process cost beside the engine alone.

    bench/service.py [--threads N] [--ctx N] [--models FOLDER] [--only first,many,turns,idle]

Printed: time to the first token over HTTP above that in the own process; tokens/s of 8 clients and the engine's own rate with 8
sequences, once with a model of a real size (that the target is for), once with one so small that HTTP outweighs it; what a second
turn costs at --ctx tokens; memory and wake-ups of an idle service."""
import argparse
import concurrent.futures
import http.client
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault('INGLE_BUILD', os.path.join(ROOT, 'build'))
os.environ.setdefault('INGLE_DATA', os.path.join(ROOT, 'tests', 'data'))
sys.path[0] = os.path.join(ROOT, 'tests', 'api')  # not this folder: it has a service, too
from service import CHAT, INGLE, Service, until  # noqa: E402

sys.path.append(os.path.join(ROOT, 'bench'))
import measure  # noqa: E402
import models  # noqa: E402

BUILD = os.environ['INGLE_BUILD']
PROMPT = 64
CLIENTS = 8
# The sizes for many clients: words for the table, shape and weights, tokens of an answer, rounds, part of the rate that is aimed at.
SIZES = [
    ('1.2 billion weights, Q4_0', '1b', 'Q4_0', 128256, 48, 3, '(target: 95)'),
    ('10 million weights, where HTTP outweighs the model', 'service', 'Q8_0', 8192, 256, 5, '(no target)'),
]


def engine(path, a, *more):
    command = [INGLE, 'bench', path, '--json', '--threads', str(a.threads), *map(str, more)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def tokens(seed, n, vocab):
    """Ids that no other seed begins with."""
    return [3 + (seed * 7919 + i * 104729 + i * i * seed) % (vocab - 3) for i in range(n)]


def first_token(s, name, prompt):
    """Milliseconds from the request to the first piece of the answer, over a connection that is open."""
    body = json.dumps({'model': name, 'prompt': prompt, 'max_tokens': 2, 'temperature': 0, 'stream': True, 'ignore_eos': True})
    s.raw.connect() if s.raw.sock is None else None
    start = time.perf_counter()
    s.raw.request('POST', '/v1/completions', body, {'Content-Type': 'application/json'})
    r = s.raw.getresponse()
    r.read1(1)
    took = 1000 * (time.perf_counter() - start)
    r.read()
    return took


def measure_first(s, a):
    rows = []
    for k in range(5):
        http_ms = statistics.median(first_token(s, 'small', tokens(100 * k + i + 1, PROMPT, 256)) for i in range(60))
        own = engine(CHAT, a, '--prompt', PROMPT, '--generate', 8)
        rows.append((http_ms, 1000 * PROMPT / own['prompt_tps'] + 1000 / own['generate_tps']))
    http_ms, own_ms = (statistics.median(r[i] for r in rows) for i in (0, 1))
    above = statistics.median(r[0] - r[1] for r in rows)
    print(f'  first token of a prompt of {PROMPT}: {http_ms:.2f} ms over HTTP, {own_ms:.2f} ms in process: {above:+.2f} ms (target: 1)')


def generate(s, vocab, seed, n):
    """When each of its tokens came, in seconds; one event is one token, but the last, which says why the answer ends."""
    c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=600)
    c.request('POST', '/v1/completions', json.dumps({'model': 'many', 'prompt': tokens(seed, 16, vocab), 'max_tokens': n, 'temperature': 0,
                                                     'ignore_eos': True, 'stream': True}), {'Content-Type': 'application/json'})
    r = c.getresponse()
    times = []
    while piece := r.read1(1 << 16):
        times += [time.perf_counter()] * piece.count(b'data: {')
    return times[:-1]


def together(answers):
    """Tokens/s while all of them are being answered, from the last's first token to the first's last: the engine's own rate is
    without its prompts, too."""
    begin, end = max(a[0] for a in answers), min(a[-1] for a in answers)
    return sum(begin < t <= end for a in answers for t in a) / (end - begin)


def measure_many(a, label, shape, kind, vocab, n, rounds, target):
    path, rows = models.get(BUILD, a.models, shape, kind), []
    s = Service('many=' + path, args=['--parallel', str(CLIENTS), '--threads', str(a.threads), '--ctx', '1024'])
    try:
        s.post('/v1/completions', {'model': 'many', 'prompt': tokens(1, 16, vocab), 'max_tokens': 2, 'ignore_eos': True}, timeout=600)
        for k in range(rounds):
            own = engine(path, a, '--prompt', 16, '--generate', n, '--streams', CLIENTS, '--runs', 1)['generate_tps']
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                answers = list(pool.map(lambda i: generate(s, vocab, 1000 * k + i + 2, n), range(CLIENTS)))
            firsts = [x[0] for x in answers]
            rows.append((together(answers), own, max(firsts) - min(firsts)))
    finally:
        s.stop()
    print(f'  {CLIENTS} clients, {label}: {statistics.median(r[0] for r in rows):.0f} tokens/s, engine '
          f'{statistics.median(r[1] for r in rows):.0f}: {100 * statistics.median(r[0] / r[1] for r in rows):.0f} % {target}; first tokens within '
          f'{1000 * statistics.median(r[2] for r in rows):.0f} ms', flush=True)


def turn(s, prompt):
    start = time.perf_counter()
    status, body, _ = s.post('/v1/completions', {'model': 'large', 'prompt': prompt, 'max_tokens': 8, 'temperature': 0, 'ignore_eos': True},
                             timeout=600)
    if status != 200:
        sys.exit(f'{status}: {body}')
    return time.perf_counter() - start, body


def measure_turns(s, a):
    prompt = tokens(77, a.ctx, 8192)
    first, _ = turn(s, prompt)
    second, body = turn(s, prompt + tokens(78, 40, 8192))
    cached = body['usage']['prompt_tokens_details']['cached_tokens']
    print(f'  second turn at {a.ctx} tokens: {a.ctx + 40 - cached} of {a.ctx + 40} computed, {1000 * second:.0f} ms (first turn {1000 * first:.0f} ms)')


def measure_idle(a):
    s = Service('small=' + CHAT)
    try:
        def switches():
            with open(f'/proc/{s.process.pid}/status') as f:
                return sum(int(x.split()[1]) for x in f if 'ctxt_switches' in x)
        s.post('/v1/completions', {'model': 'small', 'prompt': 'a', 'max_tokens': 4})
        s.post('/api/generate', {'model': 'small', 'keep_alive': 0})
        until(lambda: not s.workers())
        time.sleep(2)
        before = switches()
        time.sleep(5)
        print(f'  idle: {s.memory() / 2**20:.1f} MiB resident (target: 20), {(switches() - before) / 5:.1f} wake-ups a second (target: 1)')
    finally:
        s.stop()


def measure_one(a):
    """One client: first tokens and second turns."""
    large = models.get(BUILD, a.models, 'service', 'Q8_0')
    s = Service('small=' + CHAT, 'large=' + large, args=['--parallel', str(CLIENTS), '--threads', str(a.threads), '--ctx', '16384'])
    s.raw = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
    try:
        s.post('/api/generate', {'model': 'small'})
        s.post('/api/generate', {'model': 'large'})
        if 'first' in a.only:
            measure_first(s, a)
        if 'turns' in a.only:
            measure_turns(s, a)
    finally:
        s.stop()


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument('--ctx', type=int, default=8000)
    p.add_argument('--models', default=models.default_folder())
    p.add_argument('--only', type=lambda x: x.split(','), default=['first', 'many', 'turns', 'idle'])
    a = p.parse_args()
    print(f'{a.threads} threads', flush=True)
    watch = measure.Watch()
    if 'first' in a.only or 'turns' in a.only:
        measure_one(a)
    for size in SIZES if 'many' in a.only else []:
        measure_many(a, *size)
    if 'idle' in a.only:
        measure_idle(a)
    if watch.others() > measure.OTHERS_MAX:
        print(f'  BUSY MACHINE: others used {watch.others():.1f} cores meanwhile; these figures are not to be quoted')


if __name__ == '__main__':
    main()
