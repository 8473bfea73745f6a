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

WRITE_ARCH = os.path.join(os.environ['INGLE_BUILD'], 'tests', 'write_arch')
tap = Tap()
ok = tap.ok


def ingle(s, *args, code=0, stdin='', env=None):
    """Runs a verb; what it printed."""
    r = subprocess.run([INGLE, *args], input=stdin, capture_output=True, text=True, timeout=120, errors='replace',
                       env={**os.environ, 'INGLE_HOST': 'unix:' + s.socket, **(env or {})})
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


def test_queries(s):
    """What tokenize, template and embed print is the same bytes, whoever computes."""
    def same(what, name, path, *args, stdin='', code=0):
        verb, *rest = args
        there = ingle(s, verb, name, *rest, stdin=stdin, code=code)
        here = ingle(s, verb, path, *rest, stdin=stdin, code=code, env={'INGLE_HOST': '', 'OLLAMA_HOST': ''})
        ok(there[0] is not None and there[0] == here[0] and (code or there[0]), what, (there, here))

    talk = [{'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'Hi \u00e9\n'}]
    same('tokenize', 'chat', CHAT, 'tokenize', 'Hello w\u00f6rld <|im_end|>')
    same('tokenize --special', 'stories260K', STORY, 'tokenize', 'Once <s> upon', '--special')
    same('tokenize of standard input', 'chat', CHAT, 'tokenize', stdin='a\nb\n')
    same('tokenize of nothing', 'chat', CHAT, 'tokenize', '')
    same('tokenize --decode', 'stories260K', STORY, 'tokenize', '--decode', '1 403 407,261 2')
    same('tokenize --decode --special', 'stories260K', STORY, 'tokenize', '--decode', '--special', '1 403 407 261 2')
    same('half a character', 'stories260K', STORY, 'tokenize', '--decode', '198 ')
    same('ids that are none', 'chat', CHAT, 'tokenize', '--decode', '1 x', code=1)
    same('template of a list', 'chat', CHAT, 'template', stdin=json.dumps(talk))
    same('template of an object', 'chat', CHAT, 'template', stdin=json.dumps({'messages': talk}))
    same('template with variables', 'chat', CHAT, 'template',
         stdin=json.dumps({'messages': talk, 'add_generation_prompt': True, 'enable_thinking': False, 'note': 'x'}))
    for texts in (['a cat'], ['a cat', 'another text', 'a cat']):
        same('embed', 'stories260K', STORY, 'embed', *texts)
        same('embed --normalize --json', 'stories260K', STORY, 'embed', *texts, '--normalize', '--json')
    same('embed --pooling mean', 'stories260K', STORY, 'embed', 'a cat', '--pooling', 'mean')
    same('embed --pooling none --json', 'stories260K', STORY, 'embed', 'a cat', '--pooling', 'none', '--json')
    same('embed of ids', 'stories260K', STORY, 'embed', '--tokens', '1,403,407', '--tokens', '5')
    same('embed of 150 lines', 'stories260K', STORY, 'embed', '--lines', stdin='\n'.join(f'line {i}' for i in range(150)))
    same('embed of no lines', 'stories260K', STORY, 'embed', '--lines', code=1)
    ranker = os.path.join(s.folder.name, 'ranker')
    if not os.path.exists(WRITE_ARCH):
        return tap.skip('embed --query', 'the program that makes models is not built')
    for name in ('bert-rerank', 'bert-rerank-bare', 'modern-bert-rerank', 'qwen3-rerank'):
        subprocess.run([WRITE_ARCH, name, ranker], check=True)
        ingle(s, 'pull', ranker, name)
        same(f'embed --query, {name}', name, ranker, 'embed', '--query', 'what do cats eat', 'fish', 'The sky is blue', 'fish')


def test_host(s):
    """--host where a verb asks no service is one sentence, and a variable of the environment is no harm."""
    for args, words in ((['eval', STORY, '--tokens', '1'], 'name the model'), (['grammar', 'check'], 'without a model'),
                        (['quantize', STORY, 'x', 'q8_0'], 'files of this computer'), (['verify'], 'where the service runs'),
                        (['gc'], 'where the service runs'), (['key', 'list'], 'where the service runs'), (['version'], 'without one')):
        for host in (['--host', 'unix:' + s.socket], ['--host=127.0.0.1:1']):
            out, err = ingle(s, *args, *host, code=2)
            ok(out == '' and err.count('\n') == 1 and words in err and '--host away' in err, f'{args[0]} --host', err)
    out, err = ingle(s, 'eval', STORY, '--tokens', '1,403', '--greedy', '2', env={'INGLE_HOST': 'unix:/no/such'})
    ok(out, 'eval with INGLE_HOST', err)
    out, err = ingle(s, 'embed', STORY, 'a', env={'INGLE_HOST': 'unix:/no/such'})
    ok(out, 'a file is read here', err)
    out, err = ingle(s, 'embed', 'chat', 'a', '--threads', '1', '--host', 'unix:' + s.socket, code=2)
    ok(out == '' and '--threads' in err, 'a flag that the service cannot honour', err)
    out, err = ingle(s, 'tokenize', 'nosuch', 'a', code=1)
    ok(out == '' and 'nosuch' in err and 'not found' in err, 'a model that the service does not have', err)
    out, err = ingle(s, 'template', 'x.jinja', '--host', 'unix:' + s.socket, code=2)
    ok(out == '' and '--host away' in err, 'a template file', err)
    out, err = ingle(s, 'bench', 'chat', '--prompt', '24', '--generate', '6', '--runs', '2', '--json')
    figures = json.loads(out or '{}')
    ok(figures.get('prompt') == 24 and figures['prompt_tps'] > 0 and figures['generate_tps'] > 0 and len(figures['digest']) == 64,
       'bench', (out, err))
    out, err = ingle(s, 'bench', 'chat', '--runs', '1', '--generate', '4')
    ok(out and 'generate ' in out and 'the service' in out, 'bench in words', (out, err))
    out, err = ingle(s, 'bench', 'chat', '--streams', '2', '--host', 'unix:' + s.socket, code=2)
    ok(out == '' and '--streams' in err, 'bench of what only this process can measure', err)


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
        test_queries(s)
        test_host(s)
        test_state(s)
    finally:
        s.stop()
    return tap.end()


sys.exit(main())
