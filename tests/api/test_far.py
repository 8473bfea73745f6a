#!/usr/bin/env python3
"""The command line against a running service: models sent, pulled, run, listed, removed. Prints TAP."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, INGLE, STORY, Service, Tap  # noqa: E402

tap = Tap()
ok = tap.ok


def ingle(s, *args, code=0, stdin='', env=None):
    """Runs a verb; what it printed."""
    r = subprocess.run([INGLE, *args], input=stdin, capture_output=True, text=True, timeout=120, errors='replace',
                       env=dict(os.environ, INGLE_HOST='unix:' + s.socket, **(env or {})))
    if r.returncode != code:
        print(f'# {args}: exit {r.returncode}, expected {code}: {r.stderr[:300]}')
        return None, r.stderr
    return r.stdout, r.stderr


def test_models(s):
    out, _ = ingle(s, 'list')
    ok(out is not None and out.startswith('NAME') and out.count('\n') == 1, 'no models at first', out)
    out, err = ingle(s, 'pull', CHAT, 'chat')
    ok(out is not None and 'success' in err, 'a file is sent', err)
    out, err = ingle(s, 'pull', STORY)
    ok(out is not None, 'a file without a name', err)
    out, _ = ingle(s, 'list', '--quiet')
    ok(out == 'chat:latest\nstories260K:latest\n', 'both are there', out)
    out, _ = ingle(s, 'list', '--json')
    ok(out and len(json.loads(out)['models']) == 2, 'list --json', out)
    out, _ = ingle(s, 'cp', 'chat', 'team/chat')
    ok(out == '', 'cp', out)
    out, err = ingle(s, 'rm', 'team/chat', 'nosuch', code=1)
    ok(out and 'removed team/chat' in out and 'nosuch' in err if out else False, 'rm', (out, err))
    out, err = ingle(s, 'pull', '/no/such/file.gguf', code=1)
    ok(out == '' and err.count('ingle: ') == 1, 'a file that is not there', err)
    out, err = ingle(s, 'pull', __file__, 'bad', code=1)
    ok(out == '' and 'bad:latest' not in ingle(s, 'list')[0], 'a file that is no model is refused', err)


def test_directory(s):
    """A Hugging Face directory, with the file that lies a folder deeper."""
    bert = os.path.join(os.environ.get('INGLE_GOLDEN', ''), 'hf', 'bert')
    if not os.path.isdir(bert):
        return tap.skip('directories', 'no reference data: INGLE_GOLDEN')
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, 'cls')
        shutil.copytree(bert, model)
        os.mkdir(os.path.join(model, '1_Pooling'))
        with open(os.path.join(model, '1_Pooling', 'config.json'), 'w') as f:
            json.dump({'pooling_mode_cls_token': True, 'pooling_mode_mean_tokens': False}, f)
        out, err = ingle(s, 'pull', model)
        ok(out is not None, 'a directory is sent', err)
        ingle(s, 'pull', bert)
        here = [[float(x) for x in ingle(s, 'embed', m, 'hello')[0].split()] for m in (model, bert)]
        there = [s.post('/api/embed', {'model': os.path.basename(m), 'input': 'hello'})[1]['embeddings'][0] for m in (model, bert)]
        for name, a, b in zip(('cls', 'mean'), here, there):
            norm = sum(x * x for x in a) ** 0.5
            ok(all(abs(x / norm - y) < 1e-5 for x, y in zip(a, b)), f'{name}: its pooling came along', (a[:2], b[:2]))
        ok(here[0][0] != here[1][0], 'and the two differ')
        ingle(s, 'rm', 'cls', 'bert')


def test_run(s):
    out, err = ingle(s, 'run', 'stories260K', 'Once upon a time', '--raw', '--temp', '0', '-n', '12', '--stats')
    ok(out == ', there was a little girl named Lily. Sher'[:len(out or '')] and out and 'ran in the service' in err, 'run', (out, err))
    local, _ = ingle(s, 'run', STORY, 'Once upon a time', '--raw', '--temp', '0', '-n', '12')
    ok(out == local, 'the same as in this process', (out, local))
    out, err = ingle(s, 'run', 'chat', '--json-schema', '{"type": "boolean"}', stdin='hi\n')
    ok(out in ('true', 'false'), 'run --json-schema, prompt on standard input', (out, err))
    out, err = ingle(s, 'run', 'nosuch', 'hi', code=1)
    ok(out == '' and 'nosuch' in err, 'an unknown model', err)
    out, err = ingle(s, 'run', 'chat', 'hi', '--grammar', 'root ::= "a"', code=2)
    ok(out == '' and '--grammar' in err, 'what the service cannot do is said', err)
    out, err = ingle(s, 'run', 'chat', 'a' * 9000, code=1)
    ok(out == '' and '4096' in err, 'a prompt that is too long', err)


def test_state(s):
    out, _ = ingle(s, 'ps')
    ok(out and 'stories260K:latest' in out, 'ps', out)
    out, _ = ingle(s, 'status')
    ok(out and 'listens at unix:' in out, 'status', out)
    out, _ = ingle(s, 'doctor')
    ok(out and 'the service answers' in out, 'doctor', out)
    out, _ = ingle(s, 'doctor', '--json')
    ok(out and json.loads(out)['healthy'], 'doctor --json', out)
    out, _ = ingle(s, 'stop', 'chat')
    ok(out == '', 'stop', out)
    out, err = ingle(s, 'ps', '--host', 'unix:/no/such/socket', code=1)
    ok(out == '' and 'ingle serve' in err, 'no service', err)


def main():
    s = Service()
    try:
        test_models(s)
        test_directory(s)
        test_run(s)
        test_state(s)
    finally:
        s.stop()
    return tap.end()


sys.exit(main())
