#!/usr/bin/env python3
"""The measuring stick: models it makes, figures it computes from samples, pages it writes, and a whole small run beside a
program that plays the peer. Speeds are not judged here. Prints TAP."""
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import INGLE, SANITIZED, Tap  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ['INGLE_BUILD']
MAKE = os.path.join(BUILD, 'bench', 'make_model')
sys.path.append(os.path.join(ROOT, 'bench'))
import measure  # noqa: E402
import report  # noqa: E402

tap = Tap()
ok = tap.ok
PEER = '''#!/bin/sh
echo "$PEER_LIB $*" >>"$0.calls"
case $1 in
bench) printf 'run 1: prompt 100.0 t/s, generate 10.0 t/s\\ndepth 50.0 t/s\\npeak 1048576 bytes\\n' ;;
first) echo 5 ;;
*) exit 1 ;;
esac
'''
# Shapes as bench/models.py asks for them, cut to a few layers and words.
SHAPES = {'1b': ['layers=2'], '3b': ['layers=2'], 'experts': ['layers=2'], 'windows': ['layers=6'], 'hybrid': ['layers=4']}


def run(*command, **k):
    p = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=280, **k)
    return p.returncode, p.stdout, p.stderr


def make(path, *words):
    return run(MAKE, path, *words)[0] == 0


def test_models(folder):
    for shape, smaller in SHAPES.items():
        path = os.path.join(folder, shape + '.gguf')
        good = make(path, 'shape=' + shape, 'mix=Q4_K_M', 'vocab=512', *smaller)
        code, out, err = run(INGLE, 'eval', path, '--tokens', '1,300,301,302,303,304,305', '--greedy', '4')
        ids = out.split()
        ok(good and code == 0 and len(ids) == 4 and len(set(ids)) > 1, f'a model of the shape {shape} says something', out + err)
        os.unlink(path)


def test_same_bytes(folder):
    a, b = (os.path.join(folder, x) for x in ('a.gguf', 'b.gguf'))
    good = make(a, 'small=1', 'mix=Q4_K_M') and make(b, 'small=1', 'mix=Q4_K_M')
    with open(a, 'rb') as f, open(b, 'rb') as g:
        ok(good and f.read() == g.read(), 'the same arguments give the same file')
    make(b, 'small=1', 'mix=Q4_K_M', 'seed=2')
    with open(a, 'rb') as f, open(b, 'rb') as g:
        ok(f.read() != g.read(), 'another seed gives another')


def types(path):
    return {t['name']: t['type'] for t in json.loads(run(INGLE, 'show', path, '--json', '--tensors')[1])['tensors']}


def test_mixtures(folder):
    plain, ours, theirs = (os.path.join(folder, x) for x in ('f16.gguf', 'mix.gguf', 'quantised.gguf'))
    shape = ['small=1', 'layers=8', 'type=F16']
    for mix in ('Q4_0', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'Q8_0'):
        good = make(plain, *shape) and make(ours, *shape, 'mix=' + mix)
        code, _, err = run(INGLE, 'quantize', plain, theirs, mix)
        ok(good and code == 0 and types(ours) == types(theirs), f'{mix}: the types that ingle quantize takes', err)
    large, small = os.path.join(folder, 'large.gguf'), os.path.join(folder, 'few.gguf')
    good = make(large, 'small=1', 'layers=6', 'loud=2') and make(small, 'small=1', 'layers=2', 'loud=2')
    ids = [[run(INGLE, 'eval', x, '--tokens', f'1,300,{t}', '--greedy', '1')[1].strip() for t in range(260, 276)] for x in (large, small)]
    ok(good and all(ids[0]) and sum(a == b for a, b in zip(*ids)) > 11, 'a model of two loud layers says what those two say', ids)
    os.unlink(large)
    os.unlink(small)
    for words in (['shape=none'], ['type=Q9'], ['mix=Q9'], ['layers=x'], ['d'], ['heads=3', 'small=1', 'heads=7']):
        ok(not make(ours, *words), f'make_model refuses {" ".join(words)}')


def test_ingle_bench(model):
    code, out, err = run(INGLE, 'bench', model, '--json', '--threads', 1, '--prompt', 24, '--generate', 8, '--depth', 40, '--streams', 2,
                         '--runs', 2)
    j = json.loads(out) if code == 0 else {}
    for key in ('prompt_tps', 'generate_tps', 'depth_tps', 'load_ms', 'peak_rss_bytes', 'bytes_per_token'):
        ok(j.get(key, 0) > 0, f'ingle bench --json tells {key}', out + err)
    ok('bandwidth_share' in j and (j['bandwidth_share'] is None or j['bandwidth_share'] > 0), 'and bandwidth_share')
    ok([j.get(k) for k in ('threads', 'prompt', 'generate', 'depth', 'streams', 'runs')] == [1, 24, 8, 40, 2, 2], 'and what was asked', out)
    less = json.loads(run(INGLE, 'bench', model, '--json', '--prompt', 24, '--generate', 8, '--runs', 1)[1])
    ok(less['depth_tps'] is None and less['runs'] == 1, 'no depth, no speed of it')
    # two streams share the weights, and 40 tokens more lie in each one's cache
    ok(j['bytes_per_token'] < less['bytes_per_token'], 'streams read the weights together', (j, less))
    deeper = json.loads(run(INGLE, 'bench', model, '--json', '--prompt', 24, '--generate', 8, '--depth', 400, '--runs', 1)[1])
    ok(deeper['bytes_per_token'] > less['bytes_per_token'], 'a deeper context is more to read')
    made_up = json.loads(run(INGLE, 'bench', model, '--json', '--prompt', 24, '--generate', 8, '--depth', 400, '--runs', 1, '--made-up')[1])
    ok(made_up['generate_tps'] > 0 and made_up['depth_tps'] is None and made_up['bytes_per_token'] == deeper['bytes_per_token'],
       'a depth that is made up is as much to read', made_up)
    for more in (['--speculate', 'auto'], ['--speculate', 'draft', '--draft', model]):
        code, out, err = run(INGLE, 'bench', model, '--json', '--prompt', 24, '--generate', 60, '--runs', 1, *more)
        j = json.loads(out) if code == 0 else {}
        ok(code == 0 and j['generate_tps'] > 0 and j['drafted'] >= j['accepted'] >= 0 and (j['accepted'] > 20 or 'auto' in more),
           f'{" ".join(more[:2])}: guesses are counted', out + err)
    for more, why in ((['--speculate', 'draft'], 'needs --draft'), (['--speculate', 'off', '--draft', model], 'exclude each other'),
                      (['--speculate', 'auto', '--streams', '2'], 'one stream')):
        code, out, err = run(INGLE, 'bench', model, *more)
        ok(code == 2 and not out and why in err, f'{more[:3]} is refused: {why}', err)
    for flag, value in (('--threads', '0'), ('--threads', 'x'), ('--prompt', '0'), ('--prompt', '-1'), ('--generate', '0'),
                        ('--generate', '1.5'), ('--depth', '-1'), ('--depth', '99999999999'), ('--streams', '0'), ('--streams', '1025'),
                        ('--runs', '0'), ('--runs', '101'), ('--batch', '0')):
        code, out, err = run(INGLE, 'bench', model, flag, value)
        ok(code == 2 and not out and flag in err and 'expected a whole number' in err and err.count('\n') == 1,
           f'{flag} {value} is refused in a sentence', err)
    code, out, err = run(INGLE, 'bench', model, '--depth', 10000000)
    ok(code == 1 and not out and 'context' in err and err.count('\n') == 1, 'a depth beyond the trained context is refused', err)


def sample(metric, engine, round_idx, value, others=0.0, level='best'):
    return dict(zip(report.COLUMNS, ('m', 'Q4_0', level, metric, report.unit(metric), engine, round_idx, value, others)))


def test_figures(folder):
    samples = []
    for r, (ours, theirs) in enumerate([(10, 10), (30, 10), (20, 16)]):
        samples += [sample('decode-0', 'ingle', r, ours), sample('decode-0', 'peer', r, theirs)]
    samples += [sample('load-warm', 'ingle', 0, 2.0, 0.5), sample('load-warm', 'peer', 0, 1.0)]
    samples.append(sample('prefill-512', 'ingle', 0, 50))
    meta = {'machine': 'a machine', 'date': 'today', 'amx': 'no', 'kernels': 'avx512', 'text': 'one\n two'}
    path = os.path.join(folder, 'performance.csv')
    report.write_csv(path, meta, samples)
    again_meta, again = report.read_csv(path)
    ok(again_meta == meta and again == samples, 'samples and facts come back from the CSV', again_meta)
    decode, load, prefill = report.rows(again, again_meta)
    ok(decode.median('ingle') == 20 and decode.spread('ingle') == 0.5, 'median and half of the range')
    ok(decode.ratio == 1.25 and decode.goal == 1.2, "the median of the rounds' ratios, not the ratio of medians", decode.ratio)
    later = [sample('load-warm', 'ingle', 1, 3.0), sample('load-warm', 'peer', 1, 6.0), sample('load-warm', 'ingle', 2, 9.0, 0.2)]
    calm = [r for r in report.rows(again + later, again_meta) if r.metric == 'load-warm']
    ok(len(calm) == 1 and calm[0].ratio == 2 and calm[0].median('ingle') == 3 and not calm[0].busy, 'disturbed rounds are left out where there are others')
    ok(load.ratio == 0.5 and load.busy and not decode.busy, 'times are upside down; a busy row is known')
    ok(prefill.ratio is None and prefill.figure('peer') == '-' and prefill.goal == 1.9, 'without the peer a figure stands alone')
    text = report.table(again_meta, again)
    ok('warm !' in text and report.BUSY in text, 'the table warns', text)
    page = report.docs('performance', again_meta, again)
    ok(report.BUSY in page and '| 1.25 | 1.20 | yes |' in page and '1 of 1 rows' in page and '| 0.50 | 1.00 | busy |' in page and ' two\n' in page, 'and so does the page', page)
    picture = xml.etree.ElementTree.fromstring(report.svg(again_meta, again))
    ok(sum(x.tag.endswith('rect') for x in picture) == 3, 'the plot has a bar for every ratio')
    ok(report.BUSY not in report.docs('performance', meta, [s for s in samples if s['others'] == 0]), 'a quiet run has no warning')
    ok(report.goal('depth-4096', 'best', {}) is None and report.unit('guess-text') == 'tokens/s', 'rows without a goal')
    ok(report.goal('prefill-512', 'best', {'amx': 'yes'}) == 3 and report.goal('prefill-512', 'avx2', {}) == 1.6, 'goals by level')


def test_committed():
    for page in ('performance', 'performance-amx'):
        path = os.path.join(ROOT, 'docs', page)
        meta, samples = report.read_csv(path + '.csv')
        for end, text in (('.md', report.docs(page, meta, samples)), ('.svg', report.svg(meta, samples))):
            with open(path + end, encoding='utf-8') as f:
                ok(f.read() == text, f'docs/{page}{end} is what bench/bench --from docs/{page}.csv --docs writes')


def test_watch():
    watch = measure.Watch()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        pass  # work of our own does not count
    others = watch.others()
    ok(0 <= others <= (os.cpu_count() or 1) + 0.5, 'cores of others are counted', others)


def children():
    """Processes that this one has started."""
    parents = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
                parents.append(int(f.read().rsplit(')', 1)[1].split()[1]))
        except OSError:  # gone meanwhile
            pass
    return parents.count(os.getpid())


def ended(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            return f.read().rsplit(')', 1)[1].split()[0] in 'ZX'  # nobody may have waited for it
    except OSError:
        return True


class Asked:
    """Stands for an engine and counts what runs beside it."""

    def __init__(self, fails=False):
        self.fails, self.beside = fails, 0
        self.generate = 4

    def bench(self, *_):
        self.beside = children()
        if self.fails:
            raise RuntimeError('no')
        return {'prompt_tps': 2.0, 'generate_tps': 1.0}


def test_crowded():
    side, before, cores = Asked(), children(), len(os.sched_getaffinity(0))
    got = measure.crowded(side, 'model', side)
    ok(side.beside == before + cores and children() == before, 'a busy machine has a process on every core, and none afterwards', side.beside)
    ok(set(got) == set(measure.METRICS['crowded']) and all(report.goal(m, 'best', {}) == 1 and m in report.LABELS for m in got),
       'figures beside busy cores have a goal and a name', got)
    side = Asked(fails=True)
    try:
        measure.crowded(side, 'model', side)
        ok(False, 'an engine that fails is noticed')
    except RuntimeError:
        ok(side.beside == before + cores and children() == before, 'an engine that fails leaves nothing behind')
    code = ('import os, subprocess as s, sys\n'
            f'print(s.Popen([sys.executable, "-c", {measure.SPIN!r}, str(os.getpid())], stdout=s.DEVNULL, stderr=s.DEVNULL).pid)')
    pid = run(sys.executable, '-c', code)[1].strip()  # whoever started it does not wait for it
    until = time.monotonic() + 20
    while not ended(pid) and time.monotonic() < until:
        time.sleep(0.05)
    ok(pid.isdigit() and ended(pid), 'what keeps a core busy ends with the bench', pid)
    if pid.isdigit() and not ended(pid):
        os.kill(int(pid), 9)


def test_whole(folder, model):
    peer = os.path.join(folder, 'peer')
    with open(peer, 'w', encoding='ascii') as f:
        f.write(PEER)
    os.chmod(peer, 0o755)
    command = [os.path.join(ROOT, 'bench', 'bench'), model, '--rounds', 2, '--threads', 1, '--out', folder, '--peer', peer, '--only', 'best']
    code, out, err = run(*command, *(['--only', 'short'] if SANITIZED else []))
    ok(code == 0 and 'prefill of 512' in out, 'a small run beside a peer', err)
    _, samples = report.read_csv(os.path.join(folder, 'performance.csv'))
    got = {(s['engine'], s['metric'], s['round']) for s in samples}
    expected = {(e, m, r) for e in ('ingle', 'peer') for m in measure.METRICS['short'] for r in (0, 1)}
    ok(expected <= got, 'samples of both for every round', sorted(expected - got))
    values = {(s['engine'], s['metric']): s['value'] for s in samples}
    ok(values[('peer', 'prefill-512')] == 100 and values[('peer', 'memory-512')] == 1, "the peer's figures are what it said", values)
    ok(any(s['engine'] == 'machine' and s['metric'] == 'read' and s['value'] > 0 for s in samples), 'the limits stand beside them')
    order = [s['engine'] for s in samples if s['metric'] == 'decode-0']
    ok(order == ['ingle', 'peer', 'peer', 'ingle'], 'the engines take turns in going first', order)
    for name in ('performance.svg', 'performance.md'):
        ok(os.path.getsize(os.path.join(folder, name)) > 200, f'{name} is written')
    code, out, err = run(*command[:-2], '--only', 'short', '--minutes', 0.001)
    meta, samples = report.read_csv(os.path.join(folder, 'performance.csv'))
    ok(code == 0 and 'left out: 4 repetitions' in err and 'avx2: prefill of 512' in meta['left out'] and not report.rows(samples, meta),
       'when the minutes are over, what was left out is named', err)
    code, out, err = run(*command, '--minutes', -1)
    ok(code == 2 and '--minutes a number' in err, 'minutes below 0 are refused', err)
    os.unlink(peer)
    code, out, err = run(os.path.join(ROOT, 'bench', 'bench'), '--plan', '--only', 'no-such-word')
    ok(code != 0 and 'no-such-word' in err and '--plan' in err, 'words that fit nothing are refused', err)
    code, out, err = run(os.path.join(ROOT, 'bench', 'bench'), '--plan', '--only', 'decode', '--only', 'Q6_K,MXFP4', '--only', '1b')
    lines = out.strip().split('\n')
    ok(code == 0 and lines and all('decode' in x and (' Q6_K ' in x or ' MXFP4 ' in x) for x in lines), '--only chooses rows', out + err)
    deep = run(os.path.join(ROOT, 'bench', 'bench'), '--plan', '--only', 'depth')[1] + run(os.path.join(ROOT, 'bench', 'bench'), '--plan', '--only', 'guess')[1]
    ok('behind 131,008' in deep and 'by a smaller model' in deep, 'depths and guesses have rows', deep)


def main():
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, 'tiny.gguf')
        make(model, 'small=1', 'ctx=8192')
        test_models(folder)
        test_same_bytes(folder)
        test_mixtures(folder)
        test_ingle_bench(model)
        test_figures(folder)
        test_committed()
        test_watch()
        test_crowded()
        test_whole(folder, model)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
