"""Runs ingle and the peer on one model and returns figures. Every function that measures takes a Side and returns
{metric: value}."""
import glob
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

RUN = re.compile(r'^run \d+: prompt ([0-9.]+) t/s, generate ([0-9.]+) t/s', re.M)
TEXT = 'the speed of the first word'
FIRST_CTX = 4096
# Other processes that take more than this many cores make a figure doubtful.
OTHERS_MAX = 0.1
TICKS = os.sysconf('SC_CLK_TCK')
# Levels: name, what ingle is told, the peer's CPU library that belongs to it (None: it chooses).
LEVELS = {'best': (None, None), 'avx512': ('avx512', 'zen4'), 'avx2': ('avx2', 'haswell')}


def output(command, env=None):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f'{" ".join(command)}: {(done.stderr.strip() or "exit " + str(done.returncode))[-400:]}')
    return done.stdout


class Side:
    """One engine on one level."""

    def __init__(self, name, program, level, threads):
        self.name, self.program, self.threads = name, program, threads
        self.env = {k: v for k, v in os.environ.items() if k not in ('INGLE_KERNELS', 'PEER_LIB')}
        kernels, library = LEVELS[level]
        if name == 'ingle' and kernels:
            self.env['INGLE_KERNELS'] = kernels
        if name == 'peer' and library:
            self.env['PEER_LIB'] = peer_level(os.path.dirname(program), library)

    def bench(self, model, prompt, generate, depth=0, streams=1, runs=1, more=()):
        """prompt_tps, generate_tps, depth_tps, peak_rss_bytes, and for ingle what `ingle bench --json` says besides."""
        n = [str(x) for x in (self.threads, prompt, generate, depth, streams, runs)]
        if self.name == 'ingle':
            return json.loads(output([self.program, 'bench', model, '--json', '--threads', n[0], '--prompt', n[1], '--generate', n[2],
                                      '--depth', n[3], '--streams', n[4], '--runs', n[5], *more], self.env))
        text = output([self.program, 'bench', model, *n], self.env)
        rows = RUN.findall(text)
        median = [statistics.median(float(r[k]) for r in rows) for k in (0, 1)]
        return {'prompt_tps': median[0], 'generate_tps': median[1], 'depth_tps': float(re.search(r'^depth ([0-9.]+)', text, re.M)[1]),
                'peak_rss_bytes': int(re.search(r'^peak (\d+)', text, re.M)[1])}

    def first(self, model):
        """Seconds from the start of the process to the first byte that it prints: load, a short prompt, a token."""
        threads = str(self.threads)
        if self.name == 'ingle':
            command = [self.program, 'run', '--local', model, TEXT, '--raw', '--temp', '0', '-n', '1', '--ctx', str(FIRST_CTX), '--threads', threads]
        else:
            command = [self.program, 'first', model, threads, str(FIRST_CTX), TEXT]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env) as p:
            p.stdout.read(1)
            took = time.perf_counter() - start
            p.stdout.read()
            said = p.stderr.read().decode(errors='replace')
        if p.returncode:
            raise RuntimeError(f'{" ".join(command)}: {said.strip()[-400:]}')
        return took


def peer_level(folder, library):
    """A folder that holds this one CPU library of the peer's."""
    level = os.path.join(folder, 'levels', library)
    found = glob.glob(os.path.join(folder, 'node_modules', '@node-llama-cpp', '*', 'bins', '*', f'libggml-cpu-{library}.so'))
    if not found:
        raise RuntimeError(f'the peer has no library {library}')
    os.makedirs(level, exist_ok=True)
    link = os.path.join(level, os.path.basename(found[0]))
    if not os.path.lexists(link):
        os.symlink(found[0], link)
    return level


def forget(path):
    """Drops a file from the page cache. Returns false where some of it stays."""
    with open(path, 'rb') as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if not shutil.which('fincore'):
        return True
    return int(output(['fincore', '-b', '-n', '-o', 'RES', path]) or 0) < os.path.getsize(path) / 50


# ---------------------------------------------------------------------------------------------------- what is measured

def short(side, model, o):
    r = side.bench(model, 512, o.generate)
    if r.get('bytes_per_token'):
        o.bytes_per_token['decode-0'] = r['bytes_per_token']
    return {'prefill-512': r['prompt_tps'], 'decode-0': r['generate_tps'], 'memory-512': r['peak_rss_bytes']}


def deep(side, model, o):
    r = side.bench(model, 8, o.generate, depth=4096)
    if r.get('bytes_per_token'):
        o.bytes_per_token['decode-4096'] = r['bytes_per_token']
    return {'prefill-4096': r['depth_tps'], 'decode-4096': r['generate_tps'], 'memory-4096': r['peak_rss_bytes']}


def streams(side, model, o):
    return {'streams-8': side.bench(model, 16, o.generate, streams=8)['generate_tps']}


# Calculates and never waits, until whoever has started it is gone.
SPIN = """import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(100000):
        pass
"""


def crowded(side, model, o):
    """While a process on every core calculates and never waits."""
    others = []
    try:
        for _ in os.sched_getaffinity(0):
            others.append(subprocess.Popen([sys.executable, '-c', SPIN, str(os.getpid())]))
        r = side.bench(model, 512, o.generate)
    finally:
        for p in others:  # waited for, so that Watch counts them as ours
            p.kill()
            p.wait()
    return {'crowded-prefill-512': r['prompt_tps'], 'crowded-decode-0': r['generate_tps']}


def load(side, model, o):
    del o
    cold = forget(model)
    got = {'load-cold': side.first(model)} if cold else {}
    with open(model, 'rb') as f:  # the whole file, whatever the first run touched
        while f.read(1 << 24):
            pass
    return dict(got, **{'load-warm': side.first(model)})


DEPTHS = [0, 4096, 16384, 65536, 131008]  # the last one: what 128k leave for a prompt and an answer


def depths(side, model, o):
    """What a token costs behind so many; keys and values are made up, or the deepest would take hours."""
    got = {}
    for n in DEPTHS:
        r = side.bench(model, 8, o.generate, depth=n, more=['--made-up'])
        o.bytes_per_token[f'depth-{n}'] = r['bytes_per_token']
        got[f'depth-{n}'] = r['generate_tps']
    return got


def guess(side, model, o):
    """An answer that repeats itself, with and without guesses."""
    ways = {'guess-off': ['--speculate', 'off'], 'guess-text': ['--speculate', 'auto'],
            'guess-draft': ['--speculate', 'draft', '--draft', o.draft]}
    return {name: side.bench(model, 64, o.generate, more=more)['generate_tps'] for name, more in ways.items()}


KINDS = {'short': short, 'deep': deep, 'streams': streams, 'crowded': crowded, 'load': load, 'depths': depths, 'guess': guess}
ALONE = {'depths', 'guess'}  # what the peer is not asked
METRICS = {'short': ['prefill-512', 'decode-0', 'memory-512'], 'deep': ['prefill-4096', 'decode-4096', 'memory-4096'],
           'streams': ['streams-8'], 'crowded': ['crowded-prefill-512', 'crowded-decode-0'], 'load': ['load-cold', 'load-warm'],
           'depths': [f'depth-{n}' for n in DEPTHS], 'guess': ['guess-off', 'guess-text', 'guess-draft']}


# ---------------------------------------------------------------------------------------------------- the machine

class Watch:
    """How many cores others used while our processes ran."""

    def __init__(self):
        self.start = self.read()

    @staticmethod
    def read():
        ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        try:
            with open('/proc/stat', encoding='ascii') as f:
                t = [int(x) for x in f.readline().split()[1:9]]
        except (OSError, ValueError):
            return None
        return time.monotonic(), (sum(t) - t[3] - t[4]) / TICKS, ours  # all but idle and waiting for disks

    def others(self):
        a, b = self.start, self.read()
        if not a or not b or b[0] <= a[0]:
            return 0.0
        return max(0.0, (b[1] - a[1] - (b[2] - a[2])) / (b[0] - a[0]))


def others_now(seconds=1.0):
    """Cores that others use while we do nothing."""
    watch = Watch()
    time.sleep(seconds)
    return watch.others()


def fingerprint(path):
    """Which build of a program this is."""
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()[:16]


def cpu_name():
    name = os.uname().machine
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as f:
            text = f.read()
        found = re.search(r'^model name\s*: (.*)$', text, re.M)
        name = found[1] if found else name
        family = re.search(r'^cpu family\s*: (\d+)$', text, re.M), re.search(r'^model\s*: (\d+)$', text, re.M)
        if all(family):
            name += f' (family {family[0][1]}, model {family[1][1]})'
    except OSError:
        pass
    return name


def has_amx():
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as f:
            return ' amx_int8' in f.read()
    except OSError:
        return False


def tool(build, name):
    """Path of a program of this folder; builds it where it is not there (`make bench` builds all)."""
    path = os.path.join(build, 'bench', name)
    if not os.path.exists(path):
        output(['ninja', '-C', build, 'bench/' + name])
    return path


def limits(build, threads):
    return json.loads(output([tool(build, 'limits'), str(threads)]))


def prefill_operations(ingle, model):
    """Operations a token of a long prompt: two for every weight of the layers that it meets (the output matrix is for the
    last token alone), attention left out."""
    j = json.loads(output([ingle, 'show', model, '--json', '--tensors']))
    share = j['experts_used'] / j['experts'] if j.get('experts') else 1
    total = 0
    for t in j['tensors']:
        n = 1
        for x in t['shape']:
            n *= x
        if t['name'].startswith('blk.') and len(t['shape']) > 1:
            total += n * (share if '_exps.' in t['name'] else 1)
    return 2 * total


def install_peer(root, build):
    """Path of the peer's program, or None and why."""
    program = os.path.join(build, 'peer', 'peer')
    source = os.path.join(root, 'bench', 'peer', 'peer.c')
    if os.path.exists(program) and os.path.getmtime(program) >= os.path.getmtime(source):
        return program, ''
    if os.uname().machine != 'x86_64':
        return None, 'its prebuilt libraries are for x86-64'
    if not shutil.which('npm') and not os.path.isdir(os.path.join(build, 'peer', 'node_modules')):
        return None, 'npm, which installs it, is not there'
    done = subprocess.run([os.path.join(root, 'bench', 'peer', 'setup'), os.path.join(build, 'peer')], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return None, 'bench/peer/setup failed: ' + (done.stderr.strip().split('\n') or [''])[-1][:200]
    print(done.stderr, end='', file=sys.stderr)
    return program, ''
