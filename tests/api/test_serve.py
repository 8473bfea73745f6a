#!/usr/bin/env python3
"""The service from outside: dialects, truth, scheduling, memory, faults. Prints TAP."""
import concurrent.futures
import hashlib
import json
import os
import signal
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, STORY, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
HELLO = [{'role': 'user', 'content': 'Hello'}]
ENDLESS = {'model': 'chat', 'messages': HELLO, 'stream': True, 'max_tokens': 1000000, 'ignore_eos': True, 'shift': True}
SEEDED = {'temperature': 0.8, 'seed': 7, 'max_tokens': 24}
TOOL = {'type': 'function', 'function': {'name': 'weather', 'description': 'w', 'parameters': {
    'type': 'object', 'properties': {'city': {'enum': ['Rome', 'Oslo']}, 'days': {'type': 'integer', 'minimum': 1, 'maximum': 9}},
    'required': ['city', 'days'], 'additionalProperties': False}}}
SCHEMA = {'type': 'object', 'properties': {'n': {'type': 'integer', 'minimum': 0, 'maximum': 99}, 'ok': {'type': 'boolean'}},
          'required': ['n', 'ok'], 'additionalProperties': False}


def chat(s, **k):
    return s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, **SEEDED, **k})


def test_lists(s):
    status, text, _ = s.get('/')
    ok(status == 200 and text == 'Ollama is running', 'GET /', text)
    for path, key in (('/api/version', 'version'), ('/health', 'status'), ('/ready', 'status'), ('/v1/models', 'data'),
                      ('/api/tags', 'models'), ('/api/ps', 'models'), ('/ingle/status', 'version')):
        status, body, _ = s.get(path)
        ok(status == 200 and key in body, f'GET {path}', (status, body))
    ok([m['id'] for m in s.get('/v1/models')[1]['data']] == ['chat', 'story'], 'models are listed by name')
    status, body, _ = s.get('/v1/models/chat')
    ok(status == 200 and body['id'] == 'chat', 'one model', body)
    status, body, _ = s.post('/api/show', {'model': 'chat'})
    ok(status == 200 and body['model_info'].get('general.architecture') == 'llama' and 'tools' in body['capabilities'],
       'show knows the file', body)
    status, body, _ = s.get('/metrics')
    ok(status == 200 and '# TYPE ingle_requests_running gauge' in body, 'metrics', body)


def test_openai(s):
    status, body, headers = chat(s)
    text = body['choices'][0]['message']['content'] if status == 200 else body
    ok(status == 200 and body['object'] == 'chat.completion' and body['choices'][0]['finish_reason'] == 'length' and
       body['usage']['completion_tokens'] == 24, 'openai: chat', body)
    ok(headers.get('x-request-id') and headers.get('x-ingle-ran-on') == 'local', 'openai: header fields', dict(headers))
    _, again, _ = chat(s)
    ok(again['choices'][0]['message']['content'] == text, 'the same seed gives the same answer', again)
    ok(again['usage']['prompt_tokens_details']['cached_tokens'] > 0, 'the second time the prompt is cached', again['usage'])
    status, events = s.sse('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'stream': True,
                                                    'stream_options': {'include_usage': True}, **SEEDED})
    data = [d for _, d in events]
    joined = ''.join(d['choices'][0]['delta'].get('content') or '' for d in data[:-1] if d['choices'])
    ok(status == 200 and data[-1] == '[DONE]' and joined == text, 'openai: the stream says the same', events[-3:])
    ok(data[-2].get('usage', {}).get('completion_tokens') == 24 and data[-2]['choices'] == [], 'openai: usage chunk', data[-2])
    status, body, _ = s.post('/v1/completions', {'model': 'story', 'prompt': 'Once upon a time', 'max_tokens': 12, 'temperature': 0})
    ok(status == 200 and body['choices'][0]['text'].startswith(', there was'), 'openai: completion', body)
    status, body, _ = s.post('/v1/embeddings', {'model': 'chat', 'input': ['a', 'b']})
    ok(status == 200 and len(body['data']) == 2 and isinstance(body['data'][0]['embedding'], list), 'openai: embeddings', body)
    status, body, _ = s.post('/v1/embeddings', {'model': 'chat', 'input': 'a', 'encoding_format': 'base64'})
    ok(status == 200 and isinstance(body['data'][0]['embedding'], str), 'openai: embeddings as base64', body)
    status, body, _ = s.post('/v1/responses', {'model': 'chat', 'input': 'Hello', 'max_output_tokens': 8})
    ok(status == 200 and body['object'] == 'response' and body['status'] in ('incomplete', 'completed'), 'openai: responses', body)
    return text


def test_others(s, text):
    options = {'temperature': 0.8, 'seed': 7, 'num_predict': 24, 'top_k': 0, 'top_p': 1}
    status, lines = s.lines('/api/chat', {'model': 'chat', 'messages': HELLO, 'options': options})
    said = ''.join(x['message']['content'] for x in lines) if status == 200 else ''
    ok(status == 200 and lines[-1]['done'] and lines[-1]['done_reason'] == 'length' and said, 'ollama: chat', lines[-1:])
    status, body, _ = s.post('/api/chat', {'model': 'chat', 'messages': HELLO, 'options': options, 'stream': False})
    ok(status == 200 and body['message']['content'] == said, 'ollama: not streamed', (body, said))
    status, body, _ = s.post('/api/generate', {'model': 'story', 'prompt': 'Once upon a time', 'raw': True, 'stream': False,
                                               'options': {'temperature': 0, 'num_predict': 12}})
    ok(status == 200 and body['response'].startswith(', there was'), 'ollama: generate', body)
    status, body, _ = s.post('/api/embed', {'model': 'chat', 'input': 'a'})
    ok(status == 200 and len(body['embeddings']) == 1, 'ollama: embed', body)
    message = {'model': 'chat', 'messages': HELLO, 'max_tokens': 24, 'temperature': 0.8}
    status, body, _ = s.post('/v1/messages', message, headers={'anthropic-version': '2023-06-01'})
    ok(status == 200 and body['type'] == 'message' and body['stop_reason'] in ('max_tokens', 'end_turn'), 'anthropic: message', body)
    status, events = s.sse('/v1/messages', dict(message, stream=True), {'anthropic-version': '2023-06-01'})
    names = [e for e, _ in events]
    ok(status == 200 and names[0] == 'message_start' and names[-1] == 'message_stop', 'anthropic: events', names)
    status, body, _ = s.post('/v1/messages/count_tokens', {'model': 'chat', 'messages': HELLO})
    ok(status == 200 and body['input_tokens'] > 5, 'anthropic: count', body)
    status, body, _ = s.post('/tokenize', {'content': 'ab'})
    ok(status == 200 and body['tokens'] == [97, 98], 'editor: tokenize', body)
    status, body, _ = s.post('/detokenize', {'tokens': [97, 98]})
    ok(status == 200 and body['content'] == 'ab', 'editor: detokenize', body)
    status, body, _ = s.post('/apply-template', {'messages': HELLO})
    ok(status == 200 and 'Hello' in body['prompt'], 'editor: apply-template', body)
    status, body, _ = s.post('/infill', {'input_prefix': 'int ', 'input_suffix': ';', 'n_predict': 4})
    ok(status == 200 and 'content' in body, 'editor: infill', body)
    for path in ('/props', '/slots'):
        status, body, _ = s.get(path)
        ok(status == 200, f'editor: {path}', body)


def test_structure(s):
    status, body, _ = chat(s, response_format={'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': SCHEMA}}, max_tokens=200)
    try:
        value = json.loads(body['choices'][0]['message']['content'])
        ok(isinstance(value['ok'], bool) and 0 <= value['n'] <= 99, 'a schema holds', value)
    except (KeyError, ValueError, TypeError) as e:
        ok(False, 'a schema holds', (e, body))
    status, body, _ = chat(s, tools=[TOOL], tool_choice='required', max_tokens=400)
    try:
        call = body['choices'][0]['message']['tool_calls'][0]
        arguments = json.loads(call['function']['arguments'])
        ok(call['function']['name'] == 'weather' and arguments['city'] in ('Rome', 'Oslo') and 1 <= arguments['days'] <= 9 and
           body['choices'][0]['finish_reason'] == 'tool_calls', 'a forced call is valid', body)
    except (KeyError, ValueError, TypeError) as e:
        ok(False, 'a forced call is valid', (e, body))
    status, body, _ = chat(s, response_format={'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': {
        'type': 'array', 'uniqueItems': True}}})
    ok(status == 400 and 'uniqueItems' in json.dumps(body), 'a keyword that cannot be kept is refused by name', (status, body))


def test_truth(s):
    long = [{'role': 'user', 'content': 'a' * 9000}]
    for path, body in (('/v1/chat/completions', {'model': 'chat', 'messages': long}),
                       ('/v1/responses', {'model': 'chat', 'input': 'a' * 9000}),
                       ('/v1/completions', {'model': 'chat', 'prompt': 'a' * 9000}),
                       ('/v1/messages', {'model': 'chat', 'messages': long, 'max_tokens': 9}),
                       ('/api/chat', {'model': 'chat', 'messages': long}),
                       ('/api/generate', {'model': 'chat', 'prompt': 'a' * 9000, 'raw': True}),
                       ('/api/embed', {'model': 'chat', 'input': 'a' * 9000}),
                       ('/v1/embeddings', {'model': 'chat', 'input': 'a' * 9000}),
                       ('/completion', {'prompt': 'a' * 9000})):
        status, answer, _ = s.post(path, body)
        text = json.dumps(answer)
        ok(status == 400 and '4096' in text and '90' in text, f'too long at {path}: 400 with both numbers', (status, text))
        status, answer, _ = s.post(path, dict(body, model='nobody'))
        ok(status == 404, f'unknown model at {path}', (status, answer))
    status, body, _ = chat(s, max_tokens=100000, temperature=0)
    ok(status == 200 and body['choices'][0]['finish_reason'] in ('length', 'stop'), 'max_tokens beyond the room is no error', body)
    status, body, _ = chat(s, top_p=2)
    ok(status == 400 and 'top_p' in json.dumps(body), 'a value out of range is refused by name', (status, body))
    status, body, _ = chat(s, no_such_field=1)
    ok(status == 200 and 'no_such_field' in body.get('ingle', {}).get('ignored', []), 'an unknown field is named', body)
    status, body, _ = s.post('/v1/chat/completions', b'{"model": "chat", "messages": [')
    ok(status == 400 and body['error']['message'], 'broken JSON', body)
    status, body, headers = s.get('/v1/chat/completions')
    ok(status == 405, 'wrong method', (status, body))
    status, body, _ = s.get('/no/such/path')
    ok(status == 404 and 'error' in body, 'unknown path', (status, body))


def test_many(s):
    def one(i):
        status, events = s.sse('/v1/chat/completions', {'model': 'chat', 'messages': [{'role': 'user', 'content': f'count {i}'}],
                                                        'stream': True, 'max_tokens': 20, 'seed': i})
        return status, bool(events) and events[-1][1] == '[DONE]'
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        results = list(pool.map(one, range(64)))
    ok(all(r == (200, True) for r in results), '64 streams at once', [r for r in results if r != (200, True)][:3])


def abandon(s, stream):
    """Begins an answer without an end and goes away."""
    c = socket.create_connection(('127.0.0.1', s.port))
    body = json.dumps({**ENDLESS, 'stream': stream, 'logit_bias': {}}).encode()
    c.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
              b'Content-Length: %d\r\n\r\n' % len(body) + body)
    if stream:
        c.recv(1000)
    began = until(lambda: s.metric('ingle_requests_running') > 0, 30)
    c.close()
    return began


def test_gone(s):
    for stream in (True, False):
        began = abandon(s, stream)
        ok(began and until(lambda: s.metric('ingle_requests_running') == 0, 20), f'a client that goes away frees its place (stream {stream})',
           s.workers())


def test_death(s):
    chat(s)
    worker = [w for w in s.workers() if w['model'] == 'chat'][0]
    c, r = s.open('POST', '/v1/chat/completions', ENDLESS)
    r.read(200)
    os.kill(worker['pid'], signal.SIGKILL)
    rest = r.read().decode()
    ok('"error"' in rest, 'a worker that dies ends its streams with an error', rest[-300:])
    status, body, _ = chat(s)
    ok(status == 200, 'the next request starts it again', body)


def test_keep(s):
    status, body, _ = s.post('/api/generate', {'model': 'chat', 'keep_alive': 0, 'stream': False})
    ok(status == 200 and body['done_reason'] == 'unload', 'unload', body)
    ok(until(lambda: not [w for w in s.workers() if w['model'] == 'chat']), 'it is gone', s.workers())
    status, body, _ = s.post('/api/generate', {'model': 'chat', 'stream': False})
    ok(status == 200 and body['done_reason'] == 'load', 'load', body)
    ok([m['name'] for m in s.get('/api/ps')[1]['models'] if m['name'].startswith('chat')], 'ps shows it', s.get('/api/ps'))


def test_access(s):
    status, body, _ = s.get('/v1/models', headers={'Host': 'evil.example'})
    ok(status == 403, 'H23: another host name', (status, body))
    status, body, _ = s.get('/v1/models', headers={'Origin': 'https://evil.example'})
    ok(status == 403, 'H24: another origin', (status, body))
    status, body, headers = s.ask('OPTIONS', '/v1/models', headers={'Origin': f'http://127.0.0.1:{s.port}'})
    ok(status == 204, 'preflight', (status, body))


def test_store(s):
    with open(CHAT, 'rb') as f:
        data = f.read()
    digest = 'sha256:' + hashlib.sha256(data).hexdigest()
    ok(s.ask('HEAD', '/api/blobs/' + digest)[0] == 404, 'a blob that is not there')
    status, body, _ = s.post('/api/blobs/sha256:' + '0' * 64, data)
    ok(status == 400, 'an upload with another digest is refused', (status, body))
    status, body, _ = s.post('/api/blobs/' + digest, data)
    ok(status == 201, 'upload', (status, body))
    ok(s.ask('HEAD', '/api/blobs/' + digest)[0] == 200, 'the blob is there')
    status, lines = s.lines('/api/create', {'model': 'mine', 'files': {'m.gguf': digest}, 'system': 'Be brief.',
                                            'parameters': {'num_predict': 3, 'temperature': 0}})
    ok(status == 200 and lines[-1] == {'status': 'success'}, 'create from an upload', lines)
    status, body, _ = s.post('/api/chat', {'model': 'mine', 'messages': HELLO, 'stream': False})
    ok(status == 200 and body['eval_count'] == 3, 'its parameters hold', body)
    status, body, _ = s.post('/api/show', {'model': 'mine'})
    ok(status == 200 and body['system'] == 'Be brief.' and 'num_predict' in body['parameters'] and 'tools' in body['capabilities'],
       'show', body)
    status, body, _ = s.post('/api/create', {'model': 'other', 'from': 'mine', 'system': 'x', 'stream': False})
    ok(status == 200 and body == {'status': 'success'}, 'create from another', body)
    status, body, _ = s.post('/api/copy', {'source': 'mine', 'destination': 'copied'})
    ok(status == 200, 'copy', (status, body))
    names = [m['name'] for m in s.get('/api/tags')[1]['models']]
    ok({'mine:latest', 'other:latest', 'copied:latest'} <= set(names), 'tags', names)
    ok(s.ask('DELETE', '/api/delete', {'model': 'copied'})[0] == 200, 'delete')
    ok(s.ask('DELETE', '/api/delete', {'model': 'copied'})[0] == 404, 'delete twice')
    bad = 'sha256:' + hashlib.sha256(data[:5000]).hexdigest()
    s.post('/api/blobs/' + bad, data[:5000])
    status, lines = s.lines('/api/create', {'model': 'broken', 'files': {'m.gguf': bad}})
    ok('error' in lines[-1] and 'broken:latest' not in [m['name'] for m in s.get('/api/tags')[1]['models']],
       'a broken model is refused when it is added', lines)
    status, lines = s.lines('/api/pull', {'model': '/etc/passwd'})
    ok(status == 400 or 'error' in lines[-1], 'a client names no paths', lines)


def test_idle(s):
    def switches():
        with open(f'/proc/{s.process.pid}/status') as f:
            return sum(int(x.split()[1]) for x in f if 'ctxt_switches' in x)
    for w in s.workers():
        s.post('/api/generate', {'model': w['model'], 'keep_alive': 0, 'stream': False})
    until(lambda: not s.workers())
    time.sleep(1.5)
    before = switches()
    time.sleep(3)
    ok(switches() - before <= 6, 'an idle service sleeps', switches() - before)
    ok(s.memory() < 20 << 20 or 'asan' in os.environ['INGLE_BUILD'] or 'tsan' in os.environ['INGLE_BUILD'],
       'an idle service is small', s.memory())


def test_guesses():
    """With guesses and a file for what loses its place: the answers of a service without; both are told."""
    prompt = 'Once upon a time, there was a little girl named Lily. She loved to play outside. Once upon a time, there was'
    texts, told = {}, {}
    for name, args in (('plain', ['--speculate', 'off']), ('guessing', ['--speculate', 'ngram', '--spill', '0.05'])):
        s = Service('story=' + STORY, args=[*args, '--parallel', '1', '--threads', '1'])
        try:
            for turn in range(2):
                for i in range(3):
                    body = {'model': 'story', 'prompt': f'{"Lily Tom Anna".split()[i]} said. {prompt}', 'max_tokens': 80,
                            'temperature': 0.2 * i, 'seed': 5, 'timings_per_token': True}
                    if turn:
                        body['prompt'] += texts[name][i] + ' And then'
                    _, answer, _ = s.post('/v1/completions', body)
                    texts.setdefault(name, []).append(answer['choices'][0]['text'])
                    told.setdefault(name, []).append((answer['timings'], answer['usage']))
        finally:
            s.stop()
    ok(len(texts['plain']) == 6 and texts['plain'] == texts['guessing'], 'guesses change no answer', texts)
    drafted = [t.get('draft_n', 0) for t, _ in told['guessing']]
    accepted = [t.get('draft_n_accepted', 0) for t, _ in told['guessing']]
    ok(sum(drafted) >= sum(accepted) > 0, 'guesses are counted', (drafted, accepted))
    ok(not any('draft_n' in t for t, _ in told['plain']), 'and not told where there are none', told['plain'])
    cached = {name: [u['prompt_tokens_details']['cached_tokens'] for _, u in rows[3:]] for name, rows in told.items()}
    ok(max(cached['plain']) < 20 and min(cached['guessing']) > 30, 'conversations come back from disk', cached)


def test_draft():
    """A smaller model of the configuration: the same answers, counted; one that does not fit, or is not there, is named."""
    small = os.path.join(os.path.dirname(STORY), 'stories260K.q4_0.gguf')
    body = {'model': 'story', 'prompt': 'Once upon a time, Tom had a dog.', 'max_tokens': 80, 'temperature': 0.5, 'seed': 5,
            'timings_per_token': True}
    with tempfile.TemporaryDirectory() as folder:
        def ask(s, draft):
            """With another configuration."""
            with open(os.path.join(folder, 'ingle.conf'), 'w') as f:
                f.write(f'[model stor*]\ndraft = {draft}\n' if draft else '[service]\n')
            before = sum('read again' in x for x in s.log)
            s.process.send_signal(signal.SIGHUP)
            until(lambda: sum('read again' in x for x in s.log) > before)
            return s.post('/v1/completions', body)[:2]

        s = Service('story=' + STORY, 'small=' + small, 'chat=' + CHAT, args=['--speculate', 'ngram', '--threads', '1'],
                    env={'INGLE_CONFIG': folder})
        try:
            plain, drafted = ask(s, None)[1], ask(s, 'small')[1]
            ok(plain['choices'][0]['text'] == drafted['choices'][0]['text'] != '', 'a smaller model changes no answer',
               (plain, drafted))
            timings = drafted['timings']
            ok(timings.get('draft_n_accepted', 0) > 40, 'and guesses most of it', timings)
            for draft, word in (('chat', 'vocabulary'), ('nobody', 'not there')):
                status, answer = ask(s, draft)
                ok(status >= 400 and word in str(answer), f'{draft} cannot draft: {word}', answer)
        finally:
            s.stop()


def main():
    s = Service('chat=' + CHAT, 'story=' + STORY, args=['--default', 'chat'])
    try:
        test_lists(s)
        text = test_openai(s)
        test_others(s, text)
        test_structure(s)
        test_truth(s)
        test_many(s)
        test_gone(s)
        test_death(s)
        test_keep(s)
        test_access(s)
        test_store(s)
        test_idle(s)
    finally:
        code = s.stop()
        ok(code == 0, 'stops in order', (code, s.log[-5:]))
    test_guesses()
    test_draft()
    return tap.end()


sys.exit(main())
