"""Figures as CSV, table, plot and page (docs/performance.md). Everything that is shown is computed from the CSV's samples."""
import csv
import html
import os
import re
import statistics

from measure import OTHERS_MAX

COLUMNS = ['model', 'type', 'level', 'metric', 'unit', 'engine', 'round', 'value', 'others']
UNITS = {'prefill': 'tokens/s', 'decode': 'tokens/s', 'streams': 'tokens/s', 'load': 's', 'memory': 'MiB', 'depth': 'tokens/s',
         'guess': 'tokens/s', 'crowded': 'tokens/s'}
LABELS = {'prefill-512': 'prefill of 512', 'prefill-4096': 'prefill of 4,096', 'decode-0': 'decode', 'decode-4096': 'decode after 4,096',
          'streams-8': '8 streams together', 'load-cold': 'load + first token, cold', 'load-warm': 'load + first token, warm',
          'crowded-prefill-512': 'prefill of 512, all cores busy', 'crowded-decode-0': 'decode, all cores busy',
          'memory-512': 'peak memory, context 512', 'depth-0': 'decode at once', 'depth-4096': 'decode behind 4,096',
          'depth-16384': 'decode behind 16,384', 'depth-65536': 'decode behind 65,536', 'depth-131008': 'decode behind 131,008',
          'guess-off': 'an answer that repeats itself, no guesses', 'guess-text': 'the same, guesses by look-up',
          'guess-draft': 'the same, guesses by a smaller model', 'memory-4096': 'peak memory, context 4,096'}
BUSY = 'BUSY MACHINE: figures marked ! were taken while other processes used the cores, and are not to be quoted'


def unit(metric):
    return UNITS[metric.split('-')[0]]


def smaller_is_better(metric):
    return metric.split('-')[0] in ('load', 'memory')


def goal(metric, level, meta):
    """The ratio that is aimed at; None where there is none."""
    kind = metric.split('-')[0]
    if kind == 'prefill':
        if level == 'best':
            return 3.0 if meta.get('amx') == 'yes' else 1.9 if meta.get('kernels') == 'avx512' else 1.6
        return {'avx512': 1.9, 'avx2': 1.6}.get(level)
    return {'decode': 1.2, 'streams': 1.5, 'load': 1.0, 'crowded': 1.0, 'memory': 1 / 0.6}.get(kind)


# ---------------------------------------------------------------------------------------------------- CSV

def write_csv(path, meta, samples):
    with open(path + '.tmp', 'w', encoding='utf-8', newline='') as f:
        for key, value in meta.items():
            for line in str(value).split('\n'):
                f.write(f'# {key}: {line}\n')
        w = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        w.writeheader()
        w.writerows(samples)
    os.replace(path + '.tmp', path)


def read_csv(path):
    meta, lines = {}, []
    with open(path, encoding='utf-8', newline='') as f:
        for line in f:
            found = re.match(r'# ([^:]+): ?(.*)$', line.rstrip('\n'))
            if not found:
                lines.append(line)
            elif found[1] in meta:
                meta[found[1]] += '\n' + found[2]
            else:
                meta[found[1]] = found[2]
    samples = list(csv.DictReader(lines))
    for s in samples:
        s['round'], s['value'], s['others'] = int(s['round']), float(s['value']), float(s['others'])
    return meta, samples


# ---------------------------------------------------------------------------------------------------- rows

class Row:
    """One line of the table."""

    def __init__(self, key, samples, meta):
        self.model, self.type, self.level, self.metric = key
        self.values = {e: {s['round']: s['value'] for s in samples if s['engine'] == e} for e in ('ingle', 'peer')}
        self.others = max(s['others'] for s in samples)
        self.ratios = []
        for r, ours in self.values['ingle'].items():
            theirs = self.values['peer'].get(r)
            if ours and theirs:
                self.ratios.append(theirs / ours if smaller_is_better(self.metric) else ours / theirs)
        self.goal = goal(self.metric, self.level, meta)

    def median(self, engine):
        v = self.values[engine].values()
        return statistics.median(v) if v else None

    def spread(self, engine):
        """Half of the range, as a share of the median; None for one round."""
        v = self.values[engine].values()
        return (max(v) - min(v)) / 2 / statistics.median(v) if len(v) > 1 else None

    @property
    def ratio(self):
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def busy(self):
        """Others' processes change no memory of these."""
        return self.others > OTHERS_MAX and not self.metric.startswith('memory')

    @property
    def verdict(self):
        """'yes', 'no'; 'busy' where the figures decide nothing; '' where there is no goal or no peer."""
        if self.ratio is None or self.goal is None:
            return ''
        return 'busy' if self.busy else 'yes' if self.ratio >= self.goal else 'no'

    def figure(self, engine):
        m, s = self.median(engine), self.spread(engine)
        if m is None:
            return '-'
        text = f'{m:,.0f}' if m >= 1000 else f'{m:.1f}' if m >= 10 else f'{m:.2f}'
        return text + (f' ±{100 * s:.0f} %' if s is not None else '')


def undisturbed(samples):
    """Those of one row, or of the limits, from rounds that nobody disturbed; all where there is none."""
    worst = {}
    for s in samples:
        worst[s['round']] = max(worst.get(s['round'], 0), s['others'])
    return [s for s in samples if worst[s['round']] <= OTHERS_MAX] or samples


def rows(samples, meta):
    found = {}
    for s in samples:
        if s['engine'] in ('ingle', 'peer'):
            found.setdefault((s['model'], s['type'], s['level'], s['metric']), []).append(s)
    return [Row(k, undisturbed(v), meta) for k, v in found.items()]


def single(samples):
    """Limits (measured before and after the rest) and shares: {(model, type, level, metric): the highest}."""
    found = {}
    for s in samples:
        if s['engine'] in ('machine', 'share'):
            found.setdefault((s['model'], s['type'], s['level'], s['metric']), []).append(s['value'])
    return {k: max(v) for k, v in found.items()}


def share_of(row, samples):
    """How much of the machine's limit ingle's figure is."""
    one = single(samples)
    read = one.get(('', '', '', 'read'))
    key = (row.model, row.type, row.level)
    per_token = one.get((*key, row.metric + ' bytes'))
    rate = row.median('ingle')
    if per_token and read and rate:
        return f'{100 * per_token * rate / read:.0f} % of reading'
    operations = one.get((*key, 'prefill operations'))
    if operations and rate and row.metric.startswith('prefill'):
        peak = max((v for k, v in one.items() if k[3].startswith('peak ') and k[3].endswith('int8') and fits(k[3], row.level)), default=None)
        if peak:
            return f'{100 * operations * rate / peak:.0f} % of int8'
    return ''


def fits(peak, level):
    """Peaks that a level's kernels may use."""
    name = peak.split()[1]
    return level == 'best' or name == {'avx512': 'avx512', 'avx2': 'avx2'}.get(level)


def cells(row, samples):
    ratio = '-' if row.ratio is None else f'{row.ratio:.2f}'
    target = '-' if row.goal is None else f'{row.goal:.2f}'
    return [row.model, row.type, row.level, LABELS.get(row.metric, row.metric) + (' !' if row.busy else ''), unit(row.metric),
            row.figure('ingle'), row.figure('peer'), ratio, target, row.verdict, share_of(row, samples)]


HEAD = ['model', 'type', 'level', 'what', 'unit', 'ingle', 'peer', 'ratio', 'goal', 'met', 'limit']
RIGHT = {5, 6, 7, 8}


def table(meta, samples):
    """Text for a terminal."""
    grid = [HEAD] + [cells(r, samples) for r in rows(samples, meta)]
    width = [max(len(line[i]) for line in grid) for i in range(len(HEAD))]
    lines = ['  '.join(c.rjust(w) if i in RIGHT else c.ljust(w) for i, (c, w) in enumerate(zip(line, width))).rstrip() for line in grid]
    if any(r.busy for r in rows(samples, meta)):
        lines += ['', BUSY]
    return '\n'.join(lines)


# ---------------------------------------------------------------------------------------------------- plot

def svg(meta, samples):
    """Ratios as bars with the range of the rounds; 1 is the peer."""
    shown = [r for r in rows(samples, meta) if r.ratio is not None]
    most = max([2.0] + [min(max(r.ratios), 6.0) for r in shown])
    left, top, step, width = 330, 46, 17, 520
    height = top + step * (len(shown) + 1) + 10

    def x(ratio):
        return left + width * min(ratio, most) / most

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {height}" font-family="sans-serif" font-size="11">',
           f'<rect width="{left + width + 90}" height="{height}" fill="#fff"/>',
           f'<text x="10" y="18" font-size="14">ingle beside llama.cpp, {html.escape(meta.get("date", ""))}</text>',
           '<text x="10" y="34" fill="#555">How many times better ingle is (rates, or times and memory upside down); lines: lowest and '
           'highest round; gray: busy machine</text>']
    for tick in range(int(most) + 1):
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{height - 10}" stroke="{"#333" if tick == 1 else "#ddd"}"/>')
    for i, r in enumerate(shown):
        y = top + step * i + 4
        label = f'{r.model} {r.type} {r.level}: {LABELS.get(r.metric, r.metric)}' + (' !' if r.busy else '')
        color = '#bbb' if r.busy else '#2a7' if r.ratio >= (r.goal or 1) else '#e93' if r.ratio >= 1 else '#c44'
        out.append(f'<text x="{left - 8}" y="{y + 10}" text-anchor="end">{html.escape(label)}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{x(r.ratio) - left:.1f}" height="{step - 5}" fill="{color}"/>')
        out.append(f'<line x1="{x(min(r.ratios)):.1f}" x2="{x(max(r.ratios)):.1f}" y1="{y + 6}" y2="{y + 6}" stroke="#000"/>')
        out.append(f'<text x="{x(max(r.ratios)) + 5:.1f}" y="{y + 10}">{r.ratio:.2f}</text>')
    return '\n'.join(out + ['</svg>', ''])


# ---------------------------------------------------------------------------------------------------- the page

INTRO = '''# Performance

This page is generated by `bench/bench --docs` from [NAME.csv](NAME.csv), which holds every sample; do not edit it.
`make bench` measures your machine (`make bench ARGS=--quick` in about six minutes) and `ingle bench MODEL` one model.
'''
METHOD = '''## How it is measured

- Both engines read the same file, one after the other and the first one changing from round to round, so that a machine that drifts
  drifts for both. A run begins with a short one to warm up. A figure is the median of the rounds, ± half of their range; a ratio is
  the median of the rounds' ratios. Above 1 ingle is better: rates are ingle's over the peer's, times and memory the peer's over ingle's.
- The models have random weights and real shapes (`bench/make_model.c`); speed does not depend on what the weights say. Mixtures such as
  Q4_K_M are those of `ingle quantize`.
- Level *best*: every engine chooses. *avx2*: `INGLE_KERNELS=avx2` beside the peer's Haswell library alone, *avx512*: beside its Zen 4
  library alone; shown where it is not the best.
- Keys and values are F16 on both sides, prompts are fed as each side feeds them (256 and 512 tokens at a time), tokens are the most probable ones, and neither side
  speculates. Streams have prompts of 16 tokens. *All cores busy*: beside a process on every core that calculates and never waits.
- Decode behind so many tokens: keys and values of the depth are made up and written at once (`ingle bench --made-up`); what the tokens
  behind it read is what they would read behind a text. Answers that repeat themselves, with guesses ([speculation.md](speculation.md)):
  of a model whose last 14 layers add next to nothing, so that one of two layers guesses as a good smaller model would. ingle alone.
- Load + first token: from the start of the process to the first byte it prints, prompt of a few tokens, context 4,096; *cold* after the
  file was dropped from the page cache. Peak memory: the most that was resident, mapped weights included.
- The limits are measured before and after everything else, and the better result counts. *% of reading*: weights, keys and values that
  the tokens had to read, over what all threads together can read of memory. *% of int8*: two operations for every weight and token, over
  the peak of int8 multiply-adds of the level.
- Rounds in which other processes used more than a tenth of a core are left out where a row has others; a row marked ! has none, and is not
  to be quoted.
'''


def md_table(head, lines, right=()):
    marks = ['---:' if i in right else '---' for i in range(len(head))]
    return '\n'.join('| ' + ' | '.join(x) + ' |' for x in [head, marks, *lines])


def limits_table(samples):
    one = single(samples)
    machine = [s for s in samples if s['engine'] == 'machine']
    mark = ' !' if any(s['others'] > OTHERS_MAX for s in undisturbed(machine)) else ''
    lines = []
    for (model, _, _, metric), value in one.items():
        if model == '' and metric == 'read':
            lines.append(['reading memory, all threads', f'{value / 1e9:.1f} GB/s{mark}'])
        elif model == '' and metric.startswith('peak '):
            lines.append([f'{metric[5:]} multiply-adds, all threads', f'{value / 1e12:.2f} tera-operations/s{mark}'])
    return md_table(['limit', 'measured'], lines, {1})


def docs(name, meta, samples):
    all_rows = rows(samples, meta)
    part = [INTRO.replace('NAME', name)]
    if any(r.busy for r in all_rows):
        part.append(f'**{BUSY}.**\n')
    facts = [[k, str(meta[k])] for k in ('machine', 'memory', 'system', 'threads', 'kernels', 'date', 'version', 'peer', 'command', 'left out', 'load', 'others')
             if k in meta]
    part.append('## Where and when\n\n' + md_table(['', ''], facts) + '\n')
    if single(samples):
        part.append('## Limits of the machine\n\n' + limits_table(samples) + '\n')
    part.append('## Figures\n\n' + md_table(HEAD, [cells(r, samples) for r in all_rows], RIGHT) + '\n')
    judged = [r.verdict for r in all_rows if r.verdict in ('yes', 'no')]
    if judged:
        part.append(f'{judged.count("yes")} of {len(judged)} rows that could be judged meet their goal.\n')
    if any(r.ratio is not None for r in all_rows):
        part.append(f'![ratios]({name}.svg)\n')
    for key, title in (('service', 'The service'), ('text', 'Structured output')):
        if key in meta:
            part.append(f'## {title}\n\n```\n{meta[key]}\n```\n')
    part.append(METHOD)
    return '\n'.join(part)


def write_docs(folder, name, meta, samples):
    write_csv(os.path.join(folder, name + '.csv'), meta, samples)
    for end, text in (('.svg', svg(meta, samples)), ('.md', docs(name, meta, samples))):
        with open(os.path.join(folder, name + end), 'w', encoding='utf-8') as f:
            f.write(text)
