#!/usr/bin/env python3
"""The vendors' own clients (tests/clients) against a running service, and the matrix that docs/conformance.md shows.

    tests/api/test_clients.py            TAP; fails where docs/conformance.md says otherwise
    tests/api/test_clients.py --print    the matrix (make docs)"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, Service, Tap  # noqa: E402

CLIENTS = os.path.join(os.environ['INGLE_SOURCE'], 'tests', 'clients')
DOCUMENT = os.path.join(os.environ['INGLE_SOURCE'], 'docs', 'conformance.md')
# A column: file of the test, how its lines begin, packages.
COLUMNS = [
    ('openai', '', ['openai']),
    ('anthropic', '', ['@anthropic-ai/sdk']),
    ('ollama', '', ['ollama']),
    ('ai', 'openai-compatible: ', ['ai', '@ai-sdk/openai-compatible']),
    ('ai', 'ollama: ', ['ai', 'ollama-ai-provider-v2']),
    ('langchain', 'openai: ', ['@langchain/openai']),
    ('langchain', 'ollama: ', ['@langchain/ollama']),
    ('raw', '', []),
]
# A row: what people look for, and the lines that prove it. The first row that a line matches has it.
ROWS = [
    ('tools', r'\btools?\b(?!.*goes back)(?!.*streamed)|structured calls'),
    ('tools, streamed', r'\btools?\b(?!.*goes back)'),
    ('results of tools go back', r'goes back'),
    ('reasoning', r'thoughts|think'),
    ('schema, streamed', r'structured output, streamed'),
    ('schema', r'schema|structured|an object'),
    ('prompt too long: 400 with both numbers', r'too long'),
    ('unknown model: 404', r'a model that is not there'),
    ('bad fields are named', r'names the field|wrong type|is required|refused by name|fields are named|no JSON|keep no state'),
    ('errors in the client\'s form', r'errors in each form|no such path'),
    ('a stream is aborted', r'aborted'),
    ('Responses API', r'^responses'),
    ('embeddings', r'embed'),
    ('several choices', r'two choices'),
    ('log probabilities', r'log probabilities'),
    ('stop strings', r'stop string'),
    ('seed', r'same seed'),
    ('text completion', r'text, whole and|two prompts|^raw$|generate|completion'),
    ('streaming', r'stream|events in order'),
    ('chat', r'^chat|messages|text|invoke|a beginning'),
    ('lists and loading', r'models|list|load'),
    ('counting tokens, editors', r'counting|tokens and back'),
    ('keys', r'key'),
]
THINK_TEMPLATE = ('{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}'
                  '{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}')


def think_model(s):
    """The test model under another name, with a template that lets it think first."""
    with open(CHAT, 'rb') as f:
        data = f.read()
    digest = 'sha256:' + hashlib.sha256(data).hexdigest()
    s.post('/api/blobs/' + digest, data)
    status, body, _ = s.post('/api/create', {'model': 'thinker', 'files': {'m.gguf': digest}, 'template': THINK_TEMPLATE,
                                             'parameters': {'temperature': 0}, 'stream': False})
    return status == 200 and body == {'status': 'success'}


def run_client(s, name):
    """Lines as (good, what, note)."""
    env = dict(os.environ, INGLE_TEST_MODEL='chat', INGLE_TEST_THINK_MODEL='thinker')
    done = subprocess.run(['node', os.path.join(CLIENTS, name + '.mjs'), s.base], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    lines = [(not m[1], m[2], m[3] or '') for m in
             re.finditer(r'^(not )?ok \d+ - (.*?)(?: # SKIP (.*))?$', done.stdout, re.M)]
    if not re.search(r'^1\.\.%d$' % len(lines), done.stdout, re.M):
        lines.append((False, name + ' did not end', done.stdout[-300:]))
    why = re.findall(r'^not ok .*\n((?:#.*\n)*)', done.stdout, re.M)
    failed = iter(why + [''] * len(lines))
    return [(good, what, note if good else next(failed).replace('\n', ' ')) for good, what, note in lines]


def rows_of(what):
    """Of a line that says both ways of asking, two rows."""
    found = [i for i, (_, pattern) in enumerate(ROWS) if re.search(pattern, what)]
    return found[:2 if 'whole and streamed' in what else 1]


def version(package):
    with open(os.path.join(CLIENTS, 'package.json'), encoding='utf-8') as f:
        return json.load(f)['dependencies'][package]


def matrix(results):
    """The document. results: {file: lines}"""
    cells = [['' for _ in COLUMNS] for _ in ROWS]
    for k, (name, prefix, _) in enumerate(COLUMNS):
        for good, what, note in results[name]:
            if not what.startswith(prefix):
                continue
            for i in rows_of(what[len(prefix):]):
                if cells[i][k] != 'no':
                    cells[i][k] = 'no' if not good else cells[i][k] or '–' if note else 'yes'
    heads = ['<br>'.join(f'{p} {version(p)}' for p in packages) or 'plain HTTP' for _, _, packages in COLUMNS]
    rows = ['| ' + ' | '.join([title] + cells[i]) + ' |' for i, (title, _) in enumerate(ROWS) if any(cells[i])]
    return '\n'.join([
        '# Clients and what works with them', '',
        'Written by `tests/api/test_clients.py`: every cell is one or more tests of the vendor\'s own package against a running',
        'service (`tests/clients`). "yes": all pass, streamed and not where the client does both; "–": the client cannot ask for',
        'it; empty: not tried with this client. The model of the tests has random weights, so that forms are tested and not',
        'what is said.', '',
        '| | ' + ' | '.join(heads) + ' |', '|---' * (len(COLUMNS) + 1) + '|', *rows, ''])


def main():
    tap = Tap()
    if not shutil.which('node') or not os.path.isdir(os.path.join(CLIENTS, 'node_modules')):
        tap.skip('clients', 'no packages: npm ci --prefix tests/clients')
        return tap.end()
    s = Service('chat=' + CHAT, args=['--default', 'chat'])
    results = {}
    try:
        thinks = think_model(s)
        for name in dict.fromkeys(c[0] for c in COLUMNS):
            results[name] = run_client(s, name)
    finally:
        code = s.stop()
    text = matrix(results)
    if '--print' in sys.argv:
        print(text, end='')
        return 0
    tap.ok(thinks, 'a model with thoughts is made')
    for name, lines in results.items():
        for good, what, note in lines:
            if good and note:
                tap.skip(f'{name}: {what}', note)
            else:
                tap.ok(good, f'{name}: {what}', note)
            prefixes = [c[1] for c in COLUMNS if c[0] == name and what.startswith(c[1])]
            if not prefixes or not rows_of(what[len(prefixes[0]):]):
                tap.ok(False, f'{name}: {what}: no row of the matrix has it')
    with open(DOCUMENT, encoding='utf-8') as f:
        tap.ok(f.read() == text, 'docs/conformance.md is what the tests say', 'type: make docs')
    tap.ok(code == 0, 'the service stops in order', s.log[-5:])
    return tap.end()


sys.exit(main())
