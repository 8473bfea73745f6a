#!/usr/bin/env python3
"""The wire forms of every dialect, as a pedantic client sees them: field by field, header by header. Prints TAP."""
import base64
import concurrent.futures
import http.client
import json
import os
import re
import select
import shutil
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, INGLE, STORY, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
HELLO = [{'role': 'user', 'content': 'Hello'}]
ENDLESS = {'model': 'chat', 'messages': HELLO, 'stream': True, 'max_tokens': 1000000, 'ignore_eos': True, 'shift': True}
UNKEPT = {'type': 'object', 'properties': {'a': {'type': 'array', 'uniqueItems': True}}}
ANTHROPIC = {'anthropic-version': '2023-06-01'}


def chat(s, **k):
    return s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'max_tokens': 4, 'seed': 1, **k})


def message(body):
    error = body.get('error') if isinstance(body, dict) else None
    return error if isinstance(error, str) else (error or {}).get('message', '')


# ---------------------------------------------------------------------------------------------- what was cut is told

def test_cut(s):
    two = [{'role': 'user', 'content': 'a' * 3000}, {'role': 'user', 'content': 'b' * 3000}]
    status, body, _ = chat(s, messages=two, truncate=True)
    told = body.get('ingle', {})
    ok(status == 200 and told.get('truncated') is True and told.get('dropped', 0) > 2900, 'chat: what truncation took is told', body)
    status, body, _ = s.post('/api/chat', {'model': 'chat', 'messages': two, 'truncate': True, 'stream': False,
                                           'options': {'num_predict': 2}})
    ok(status == 200 and body['ingle'].get('dropped', 0) > 2900, 'ollama: too', body)
    for path, body in (('/v1/embeddings', {'input': 'a' * 5000}), ('/api/embed', {'input': 'a' * 5000})):
        status, answer, _ = s.post(path, {'model': 'chat', 'truncate': True, **body})
        ok(status == 200 and answer['ingle'].get('truncated') is True and answer['ingle'].get('dropped') == 5000 - 4096,
           f'{path}: too', {k: v for k, v in answer.items() if k not in ('data', 'embeddings')})
    status, body, _ = s.post('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 700, 'shift': True,
                                                 'ignore_eos': True, 'temperature': 0})
    ok(status == 200 and body['ingle'].get('shifted', 0) > 0 and body['usage']['completion_tokens'] == 700, 'a shift is told', body.get('ingle'))
    status, body, _ = s.post('/completion', {'model': 'story', 'prompt': 'Once', 'n_predict': 700, 'shift': True, 'ignore_eos': True})
    ok(status == 200 and body['truncated'] is True, 'editor: truncated', body.get('ingle'))


def test_num_ctx(s):
    for path, body in (('/api/chat', {'messages': HELLO, 'stream': False, 'options': {'num_ctx': 8192, 'num_predict': 1}}),
                       ('/v1/chat/completions', {'messages': HELLO, 'num_ctx': 8192, 'max_tokens': 1})):
        status, answer, _ = s.post(path, {'model': 'chat', **body})
        told = answer.get('ingle', {})
        ok(status == 200 and told['n_ctx'] == 4096 and told['ignored'] == ['num_ctx above 4096'], f'{path}: a context that is not there is told', answer)
    status, answer, _ = s.post('/api/chat', {'model': 'chat', 'messages': HELLO, 'stream': False, 'options': {'num_ctx': 2048, 'num_predict': 1}})
    ok(status == 200 and answer['ingle']['ignored'] == [], 'less than there is needs no word', answer)


# ---------------------------------------------------------------------------------------------- refusals

def test_ranges(s):
    for field, value in (('max_tokens', -5), ('max_tokens', 5.5), ('max_completion_tokens', '5'), ('temperature', 2.5), ('temperature', -1), ('presence_penalty', -3), ('frequency_penalty', 2.1),
                         ('logit_bias', {'97': 150}), ('top_p', 1.5), ('n', 0), ('top_logprobs', 3), ('seed', 'x')):
        status, body, _ = chat(s, **{field: value})
        ok(status == 400 and body['error']['param'] == field, f'openai: {field} {value} is refused', (status, body))
    status, body, _ = s.post('/v1/messages', {'model': 'chat', 'messages': HELLO, 'max_tokens': 1, 'temperature': 1.5}, headers=ANTHROPIC)
    ok(status == 400 and 'temperature' in message(body), 'anthropic: temperature 1.5 is refused', body)
    for path in ('/v1/embeddings', '/api/embed'):
        status, body, _ = s.post(path, {'model': 'chat', 'input': 'a', 'dimensions': 65})
        ok(status == 400 and '65' in message(body) and '64' in message(body), f'{path}: more dimensions than there are', body)


def test_names(s):
    """A refusal names the client's field, also where the worker found the fault."""
    schema = {'type': 'array', 'uniqueItems': True}
    form = {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': schema}}
    rows = [('/v1/chat/completions', {'messages': HELLO, 'response_format': form}, 'response_format', 'invalid_json_schema'),
            ('/v1/responses', {'input': 'a', 'text': {'format': {'type': 'json_schema', 'name': 'x', 'schema': schema}}}, 'text.format',
             'invalid_json_schema'),
            ('/v1/responses', {'input': 'a' * 5000}, 'input', 'context_length_exceeded'),
            ('/v1/responses/input_tokens', {'input': 7}, 'input', None),
            ('/v1/completions', {'prompt': 'a' * 5000}, 'prompt', 'context_length_exceeded'),
            ('/v1/chat/completions', {'messages': [{'role': 'user', 'content': 'a' * 5000}]}, 'messages', 'context_length_exceeded'),
            ('/infill', {'input_prefix': 'a' * 5000, 'input_suffix': 'b'}, 'input_prefix', 400),
            ('/v1/embeddings', {'input': ['a', '']}, 'input', None),
            ('/v1/rerank', {'query': 'a', 'documents': ['b']}, 'model', 'unsupported_parameter')]
    for path, body, param, code in rows:
        status, answer, _ = s.post(path, {'model': 'chat', **body})
        error = answer.get('error', {})
        ok(status == 400 and error.get('param') == param and error.get('code') == code, f'{path}: param {param}', answer)
    status, body, _ = s.post('/detokenize', {'model': 'chat', 'tokens': [9999]})
    ok(status == 400 and body['error']['param'] == 'tokens' and 'ids' not in message(body), '/detokenize: param tokens', body)
    status, body, _ = s.post('/v1/messages', {'model': 'chat', 'messages': HELLO, 'max_tokens': 1, 'thinking': {'type': 'enabled'}},
                             headers=ANTHROPIC)
    ok(status == 400 and message(body).startswith('thinking '), 'anthropic: thinking', body)


def test_strict(s):
    tools = [{'type': 'function', 'function': {'name': 'u'}}]
    status, body, _ = chat(s, model='story', tools=tools)
    ok(status == 400 and body['error']['param'] == 'tools' and body['error']['code'] == 'unsupported_parameter', 'a model without tools', body)
    for strict, choice, good in ((None, 'auto', True), (None, 'required', True), (False, 'auto', True), (True, 'auto', False),
                                 (True, 'required', False)):
        tool = {'type': 'function', 'function': {'name': 'u', 'parameters': UNKEPT}}
        if strict is not None:
            tool['function']['strict'] = strict
        status, body, _ = chat(s, tools=[tool], tool_choice=choice, max_tokens=30)
        if good:
            ok(status == 200 and 'tools.u.parameters' in body['ingle']['ignored'], f'strict {strict}, {choice}: best effort, and told', body)
        else:
            ok(status == 400 and 'uniqueItems' in message(body) and body['error']['param'] == 'tools', f'strict {strict}, {choice}: refused', body)
    status, body, _ = s.post('/v1/messages', {'model': 'chat', 'messages': HELLO, 'max_tokens': 30,
                                              'tools': [{'name': 'u', 'input_schema': UNKEPT}]}, headers=ANTHROPIC)
    ok(status == 200 and 'tools.u.parameters' in body['ingle']['ignored'], 'anthropic: best effort', body)


# ---------------------------------------------------------------------------------------------- headers, methods

def test_methods(s):
    for method, path, allow in (('GET', '/api/chat', 'POST, OPTIONS'), ('POST', '/api/tags', 'GET, HEAD, OPTIONS'),
                                ('DELETE', '/v1/models', 'GET, HEAD, OPTIONS'), ('PUT', '/v1/messages', 'POST, OPTIONS'),
                                ('GET', '/api/delete', 'DELETE, OPTIONS'), ('POST', '/ingle/status', 'GET, OPTIONS')):
        status, body, headers = s.ask(method, path)
        ok(status == 405 and headers['allow'] == allow and message(body), f'{method} {path}: 405 with Allow', (status, body, headers['allow']))
    status, _, headers = s.ask('OPTIONS', '/v1/models')
    ok(status == 204 and headers['allow'] == 'GET, HEAD, OPTIONS', 'OPTIONS says what a path takes', headers['allow'])
    for path in ('/v1/models', '/api/tags', '/', '/health', '/metrics', '/api/version', '/ingle/status'):
        _, _, headers = s.get(path)
        ok(headers['x-request-id'] and headers['request-id'] == headers['x-request-id'], f'{path} has a request id', dict(headers))
    for path in ('/v1/models', '/api/tags', '/', '/health', '/api/version'):
        c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=30)
        c.request('HEAD', path)
        r = c.getresponse()
        got = len(s.get(path)[1]) if path == '/' else None
        ok(r.status == 200 and r.read() == b'' and int(r.headers['content-length']) > 0 and
           (got is None or int(r.headers['content-length']) == got), f'HEAD {path}', dict(r.headers))
        c.close()
    status, body, headers = chat(s, model='nobody')
    ok(status == 404 and headers['x-should-retry'] == 'false', 'a deterministic failure is not worth a retry', dict(headers))


def test_anthropic_lists(s):
    status, body, _ = s.get('/v1/models', headers=ANTHROPIC)
    ok(status == 200 and body['data'][0]['type'] == 'model' and body['has_more'] is False, 'anthropic: models', body)
    status, body, _ = s.get('/v1/models/chat', headers=ANTHROPIC)
    ok(status == 200 and body['type'] == 'model' and body['id'] == 'chat' and 'created_at' in body, 'anthropic: one model', body)
    status, body, _ = s.get('/v1/models/nobody', headers=ANTHROPIC)
    ok(status == 404 and body['type'] == 'error' and body['error']['type'] == 'not_found_error', 'anthropic: no such model', body)
    for asked, meant in (('a%2Fb%3Ac', 'a/b:c'), ('a%2541', 'a%41')):
        status, body, _ = s.get('/v1/models/' + asked)
        ok(status == 404 and f"'{meant}'" in message(body), f'{asked}: its escapes are undone once', body)
    status, body, _ = s.get('/v1/models/story')
    ok(body['ingle']['n_ctx_load'] == 512, 'what a model would be loaded with is never more than it was trained on', body)


def test_bodies(s):
    """What is refused before a body is read."""
    own = f'http://127.0.0.1:{s.port}'
    body = json.dumps({'model': 'chat', 'messages': HELLO, 'max_tokens': 1}).encode()
    for fields, want, text in (({'Origin': own, 'Content-Type': 'text/plain'}, 415, 'application/json'),
                               ({'Content-Encoding': 'zstd'}, 415, 'zstd'), ({'Content-Encoding': 'gzip'}, 415, 'gzip'),
                               ({'Content-Encoding': 'identity'}, 200, ''), ({'Content-Type': 'application/x-www-form-urlencoded'}, 200, ''),
                               ({'Origin': 'https://a.example'}, 403, '--origin https://a.example'),
                               ({'Origin': 'null'}, 403, 'cannot be allowed'),
                               ({'Host': 'a.example:99'}, 403, '--host a.example:99'), ({'Host': 'a.example'}, 403, '--host a.example'),
                               ({'Host': 'localhost:99'}, 403, '--host localhost:99')):
        for path in ('/v1/chat/completions', '/api/chat', '/v1/messages'):
            status, answer, _ = s.post(path, body, headers=fields)
            ok(status == want and (status == 200 or text in message(answer)), f'{path}, {fields}: {want}', (status, answer))
    usage = subprocess.run([INGLE, 'serve', '--help'], capture_output=True, text=True, check=True).stdout
    ok('--origin URL' in usage and '--host NAME' in usage, 'and these flags are there')
    c = s.connect()
    c.sendall(b'POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000000\r\nExpect: 100-continue\r\n\r\n')
    text = c.recv(4096).decode()
    ok(' 413 ' in text and '40000000' in text and '33554432' in text and '"request_too_large"' in text, '413 with both numbers', text)
    c.close()


def is_refusal(path, text, status):
    """An answer of the server's own: status, request id in the header and, where the dialect has it there, in the body."""
    head, _, body = text.partition('\r\n\r\n')
    fields = {k.lower(): v for k, _, v in (line.partition(': ') for line in head.split('\r\n')[1:])}
    answer = json.loads(body)
    if path == '/v1/messages':
        form = answer['type'] == 'error' and answer['request_id'] == fields['request-id'] and answer['error']['type']
    elif path == '/api/chat':
        form = isinstance(answer['error'], str)
    else:
        form = set(answer['error']) == {'message', 'type', 'param', 'code'}
    return (form and f'HTTP/1.1 {status} ' in head and fields['x-request-id'] == fields['request-id'] and len(fields['request-id']) == 24 and
            fields['x-should-retry'] == ('true' if status == 408 else 'false') and int(fields['content-length']) == len(body.encode()))


def test_own_refusals(s):
    """What the server refuses before anybody has seen the request."""
    slow = []
    for path in ('/v1/chat/completions', '/api/chat', '/v1/messages'):
        many = ''.join(f'X{i}: 1\r\n' for i in range(101))
        for status, rest in ((400, 'Host: localhost\r\nBad : 1\r\n\r\n'), (400, '\r\n'), (431, many + '\r\n'),
                             (431, 'X: ' + 'a' * 9000 + '\r\n\r\n'), (400, 'Host: localhost\r\nContent-Length: +1\r\n\r\n'),
                             (400, 'Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n'),
                             (413, 'Host: localhost\r\nContent-Length: 99999999\r\n\r\n'),
                             (417, 'Host: localhost\r\nContent-Length: 1\r\nExpect: more\r\n\r\n')):
            c = s.connect()
            c.sendall(f'POST {path}?beta=true HTTP/1.1\r\n{rest}'.encode())
            with c.makefile('rb') as f:
                text = f.read().decode()
            c.close()
            ok(is_refusal(path, text, status), f'{path}: {status} in the form of the dialect, with a request id', text)
        for rest in ('Host: local', 'Host: localhost\r\nContent-Length: 5\r\n\r\nab'):
            c = s.connect()
            c.sendall(f'POST {path} HTTP/1.1\r\n{rest}'.encode())
            slow.append((path, c))
    c = s.connect()
    c.sendall(b'\x16\x03\x01\x02\x00\x01\x00')
    ok(is_refusal('', c.recv(4096).decode(), 400), 'TLS on a plain port: 400')
    c.close()
    return slow


def test_slow(slow):
    for path, c in slow:
        with c.makefile('rb') as f:
            text = f.read().decode()
        c.close()
        ok(is_refusal(path, text, 408), f'{path}: 408 in the form of the dialect, with a request id', text)


# ---------------------------------------------------------------------------------------------- names of models

def test_names_of_models(s):
    s.post('/api/copy', {'source': 'mine', 'destination': 'other:v2'})
    for asked, said in (('mine', 'mine'), ('mine:latest', 'mine:latest'), ('other:v2', 'other:v2')):
        status, body, _ = s.post('/api/chat', {'model': asked, 'messages': HELLO, 'stream': False, 'options': {'num_predict': 1}})
        ok(status == 200 and body['model'] == said, f'{asked} is answered as {said}', body)
    status, body, _ = s.post('/v1/chat/completions', {'model': 'mine', 'messages': HELLO, 'max_tokens': 1})
    ok(status == 200 and body['model'] == 'mine', 'openai: too', body)
    for method, path, body in (('DELETE', '/api/delete', {'model': 'nobody'}), ('POST', '/api/copy', {'source': 'nobody', 'destination': 'x'}),
                               ('POST', '/api/show', {'model': 'nobody'})):
        status, answer, _ = s.ask(method, path, body)
        ok(status == 404 and answer['error'].startswith("model 'nobody' not found"), f'{path}: no such model', answer)


def test_show(s):
    s.lines('/api/create', {'model': 'stops', 'from': 'mine', 'parameters': {'stop': ['a', 'b'], 'num_ctx': 1024}, 'system': 'S'})
    status, body, _ = s.post('/api/show', {'model': 'stops'})
    lines = body.get('modelfile', '').split('\n')
    ok(status == 200 and 'PARAMETER stop "a"' in lines and 'PARAMETER stop "b"' in lines, 'show: one line a stop string', lines)
    info = body.get('model_info', {})
    ok(info.get('general.parameter_count') == 109888 and info.get('general.basename') and info.get('llama.context_length') == 4096,
       'show: what clients read of model_info', info)
    ok(info['tokenizer.ggml.tokens'] is None and 'tensors' not in body, 'show: arrays are null')
    status, all_, _ = s.post('/api/show', {'model': 'stops', 'verbose': True})
    tokens = all_.get('model_info', {}).get('tokenizer.ggml.tokens') or []
    ok(status == 200 and len(tokens) == 280 and isinstance(tokens[0], str) and
       {'name': 'token_embd.weight', 'type': 'F32', 'shape': [64, 280]} in all_.get('tensors', []), 'show, verbose: arrays and tensors', (status, str(all_)[-800:]))
    status, body2, _ = s.post('/api/show', {'model': 'nobody', 'verbose': True})
    ok(status == 404, 'show, verbose: no such model', body2)
    ok('stop ' in body['parameters'] and body['system'] == 'S' and body['details']['family'] == 'llama' and body['modified_at'],
       'show: parameters, system, details', body)


def test_cut_calls(s):
    """A forced call that max_tokens cuts off, at every length: no marker and no JSON of it is ever said, streamed or not."""
    tool = {'type': 'function', 'function': {'name': 'weather', 'parameters': {'type': 'object', 'properties': {'c': {'enum': ['x']}},
                                                                              'required': ['c'], 'additionalProperties': False}}}
    faults, calls = [], 0
    for n in range(1, 60):
        body = {'model': 'chat', 'messages': HELLO, 'tools': [tool], 'tool_choice': 'required', 'max_tokens': n, 'seed': n}
        for stream in (False, True):
            if stream:
                deltas = [d['choices'][0]['delta'] for _, d in s.sse('/v1/chat/completions', {**body, 'stream': True})[1] if d != '[DONE]']
                said = ''.join(d.get('content') or '' for d in deltas)
                begun = [c for d in deltas for c in d.get('tool_calls') or [] if c.get('id')]
            else:
                m = s.post('/v1/chat/completions', body)[1]['choices'][0]['message']
                said, begun = m['content'] or '', m.get('tool_calls') or []
            calls += len(begun)
            if len(said.strip()) > 2 or '{' in said:
                faults.append((n, stream, said))
    ok(not faults and calls > 50, f'a call that is cut off says nothing ({calls} calls)', faults[:3])
    text = '<tool_call>{"name": "weather"}</tool_call> <tool_call>'
    status, body, _ = chat(s, max_tokens=200, response_format={'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': {'const': text}}})
    ok(status == 200 and json.loads(body['choices'][0]['message']['content']) == text and not body['choices'][0]['message'].get('tool_calls'),
       'without tools what looks like a call is text', body)


def test_log(s):
    """H28: what people say is in no log, whatever becomes of it."""
    secret = 'Canary-7411'
    said = [{'role': 'user', 'content': secret}]
    for path, body in (('/v1/chat/completions', {'messages': said, 'max_tokens': 2}), ('/v1/chat/completions', {'messages': [{'role': secret}]}),
                       ('/v1/chat/completions', {'messages': said, secret: 1, 'response_format': {'type': secret}}),
                       ('/v1/completions', {'prompt': secret * 3000}), ('/v1/messages', {'messages': said, 'max_tokens': 2, 'system': secret}),
                       ('/v1/responses', {'input': secret, 'max_output_tokens': 2}), ('/api/chat', {'messages': said, 'stream': False, 'think': secret}),
                       ('/api/generate', {'prompt': secret, 'stream': False, 'options': {'num_predict': 1, 'stop': [secret]}}),
                       ('/api/embed', {'input': secret}), ('/infill', {'input_prefix': secret, 'input_suffix': secret, 'n_predict': 1}),
                       ('/tokenize', {'content': secret}), ('/apply-template', {'messages': said}), ('/v1/rerank', {'query': secret, 'documents': [secret]})):
        s.post(path, {'model': 'chat', **body})
    s.post('/v1/chat/completions', ('{"model": "chat", "messages": [' + secret).encode())
    c = s.send('/v1/chat/completions', dict(ENDLESS, messages=said))
    c.recv(100)
    os.kill([w['pid'] for w in s.workers() if w['model'] == 'chat'][0], 9)
    c.close()
    ok(until(lambda: s.said('was killed')), 'a worker that dies is said')
    ok(not s.said(secret), 'H28: but no prompt is', s.said(secret))
    shown = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True).stdout
    ok(secret not in shown, 'U10: nor in the title of a process')


def test_file_models(s):
    """What the service was started with is not in the store, and is not said to be nowhere."""
    for method, path, body in (('DELETE', '/api/delete', {'model': 'chat'}), ('POST', '/api/copy', {'source': 'chat', 'destination': 'x'}),
                               ('POST', '/api/create', {'model': 'x', 'from': 'chat'}), ('POST', '/api/push', {'model': 'chat'})):
        status, answer, _ = s.ask(method, path, body)
        ok(status == 409 and 'not in the store' in message(answer) and 'ingle pull' in message(answer), f'{path} of a file: 409', (status, answer))


def test_create(s):
    """Every field of a model that is made of another one."""
    history = [{'role': 'user', 'content': 'Who are you?'}, {'role': 'assistant', 'content': 'A test.'}]
    status, lines = s.lines('/api/create', {'model': 'made', 'from': 'mine', 'system': 'Be brief.', 'license': ['One', 'Two'],
                                            'messages': history, 'parameters': {'temperature': 0, 'stop': ['x']}})
    ok(status == 200 and lines[-1] == {'status': 'success'}, 'create', lines)
    _, body, _ = s.post('/api/show', {'model': 'made'})
    ok(body.get('messages') == history and body['license'] == 'One\n\nTwo' and body['system'] == 'Be brief.' and
       'MESSAGE user "Who are you?"' in body['modelfile'].split('\n'), 'show: messages, licences, system', {k: body.get(k) for k in ('messages', 'license')})
    said = '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\nA test.<|im_end|>\n'
    _, body, _ = s.post('/apply-template', {'model': 'made', 'messages': HELLO})
    ok(body.get('prompt') == said + '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n', 'every conversation begins with them', body)
    _, body, _ = s.post('/apply-template', {'model': 'made', 'messages': [{'role': 'system', 'content': 'Be brief.'}, *HELLO]})
    ok(body.get('prompt', '').startswith(said), 'behind the system prompt of the request', body)
    n = len(body.get('prompt', ''))
    counts = [s.post('/v1/messages/count_tokens', {'model': 'made', 'messages': HELLO}, headers=ANTHROPIC)[1].get('input_tokens')]
    for path, ask, read in (('/api/chat', {'messages': HELLO, 'stream': False, 'options': {'num_predict': 1}}, lambda b: b['prompt_eval_count']),
                            ('/api/generate', {'prompt': 'Hello', 'stream': False, 'options': {'num_predict': 1}}, lambda b: b['prompt_eval_count']),
                            ('/v1/chat/completions', {'messages': HELLO, 'max_tokens': 1}, lambda b: b['usage']['prompt_tokens']),
                            ('/v1/messages', {'messages': HELLO, 'max_tokens': 1},
                             lambda b: b['usage']['input_tokens'] + b['usage']['cache_read_input_tokens'])):
        status, body, _ = s.post(path, {'model': 'made', **ask}, headers=ANTHROPIC)
        counts.append(read(body) if status == 200 else body)
    ok(n > 100 and len(set(counts)) == 1, 'every dialect reads the same prompt, and counts it alike', counts)
    for field, value, text in (('template', '{{ .System }} {{ .Prompt }}', 'Go'), ('template', '{% if', 'template'),
                               ('messages', [{'role': 'user', 'content': 'x', 'images': ['aGk=']}], 'images'),
                               ('messages', [{'role': 'wizard', 'content': 'x'}], 'role'), ('parameters', {'temperature': 'hot'}, 'temperature'),
                               ('adapters', {'a': 'sha256:' + '0' * 64}, 'adapters'), ('license', 7, 'license')):
        status, body, _ = s.post('/api/create', {'model': 'bad', 'from': 'mine', 'stream': False, field: value})
        ok(status in (400, 501) and text in message(body), f'create, {field} {value}: refused', (status, body))
    ok(s.post('/api/show', {'model': 'bad'})[0] == 404, 'and nothing was made')


def test_effort(s):
    """What a template does not read changes nothing, and is named in the client's words."""
    for path, ask, name in (('/v1/chat/completions', {'messages': HELLO, 'reasoning_effort': 'high', 'max_tokens': 1}, 'reasoning_effort'),
                            ('/v1/chat/completions', {'messages': HELLO, 'chat_template_kwargs': {'tone': 'dry'}, 'max_tokens': 1},
                             'chat_template_kwargs.tone'),
                            ('/v1/responses', {'input': 'a', 'reasoning': {'effort': 'low'}, 'max_output_tokens': 1}, 'reasoning.effort'),
                            ('/v1/messages', {'messages': HELLO, 'output_config': {'effort': 'low'}, 'max_tokens': 1}, 'output_config.effort')):
        status, body, _ = s.post(path, {'model': 'chat', **ask}, headers=ANTHROPIC)
        ok(status == 200 and body['ingle']['ignored'] == [name], f'{path}: {name}', body)
    status, body, _ = chat(s, reasoning_effort='none', max_tokens=1)
    ok(status == 200 and body['ingle']['ignored'] == [], 'no reasoning where there is none: nothing to tell', body)


# ---------------------------------------------------------------------------------------------- generate

def test_context(s):
    ask = {'model': 'chat', 'stream': False, 'options': {'num_predict': 3, 'seed': 1}}
    status, first, _ = s.post('/api/generate', {**ask, 'prompt': 'Hello'})
    ids = first.get('context')
    ok(status == 200 and len(ids) == first['prompt_eval_count'] + first['eval_count'], 'generate: the context holds prompt and answer', first)
    status, second, _ = s.post('/api/generate', {**ask, 'prompt': 'More', 'context': ids})
    ok(status == 200 and second['context'][:len(ids)] == ids and second['prompt_eval_count'] > len(ids), 'it goes on from there', second)
    ok(second['ingle']['cached'] >= len(ids) - 1, 'from the cache', second['ingle'])
    _, lines = s.lines('/api/generate', {**ask, 'prompt': 'Hello', 'stream': True})
    ok(len(lines[-1].get('context', [])) > 3 and 'context' not in lines[0], 'streamed: in the last line', lines[-1])
    for context, raw in (([99999], False), (['x'], False), ('x', False), ([1], True)):
        status, body, _ = s.post('/api/generate', {**ask, 'prompt': 'a', 'context': context, 'raw': raw})
        ok(status == 400 and 'context' in message(body), f'context {context}, raw {raw} is refused', body)


def test_final(s):
    ask = {'model': 'chat', 'prompt': 'Hello', 'stream': False, 'options': {'num_predict': 3, 'temperature': 0}}
    _, body, _ = s.post('/api/generate', ask)
    ns = [body.get(k) for k in ('total_duration', 'load_duration', 'prompt_eval_duration', 'eval_duration')]
    ok(all(isinstance(x, int) and x >= 0 for x in ns) and ns[0] >= ns[3], 'durations are whole nanoseconds', body)
    ok(re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z', body['created_at']), 'created_at', body['created_at'])
    ok(body['done'] is True and body['done_reason'] == 'length' and body['eval_count'] == 3, 'done_reason, eval_count', body)


# ---------------------------------------------------------------------------------------------- completions

def test_echo(s):
    base = {'model': 'story', 'prompt': 'Once upon', 'max_tokens': 2, 'temperature': 0, 'echo': True}
    _, body, _ = s.post('/v1/completions', base)
    ok(body['choices'][0]['text'] == 'Once upon a time', 'echo begins with the prompt as it was written', body)
    _, body, _ = s.post('/v1/completions', {**base, 'logprobs': 1})
    c = body['choices'][0]
    lp = c['logprobs']
    ok(c['text'] == 'Once upon a time' and ''.join(lp['tokens']) == c['text'], 'with log probabilities, too', c)
    ok(lp['token_logprobs'][0] is None and lp['top_logprobs'][0] is None and all(x <= 0 for x in lp['token_logprobs'][1:]) and
       len(lp['tokens']) == len(lp['text_offset']) == len(lp['top_logprobs']), 'the first has none', lp)
    ok([c['text'][o:o + len(t)] for o, t in zip(lp['text_offset'], lp['tokens'])] == lp['tokens'], 'offsets point at the tokens', lp)
    _, body, _ = s.post('/v1/completions', {**base, 'logprobs': 1, 'max_tokens': 0})
    ok(body['choices'][0]['text'] == 'Once upon' and body['usage']['completion_tokens'] == 0, 'scoring alone', body)
    _, body, _ = s.post('/v1/completions', {'model': 'chat', 'prompt': 'int ', 'suffix': ';', 'echo': True, 'max_tokens': 2})
    ok(body['choices'][0]['text'].startswith('int ') and 'fim' not in body['choices'][0]['text'], 'echo with a suffix: no marks', body)
    _, body, _ = s.post('/v1/completions', {'model': 'story', 'prompt': [[1, 2], [3, 4]], 'n': 2, 'max_tokens': 1})
    ok([c['index'] for c in body['choices']] == [0, 1, 2, 3] and body['usage']['prompt_tokens'] == 4, 'prompts of ids, two answers each', body)


def test_embeddings(s):
    _, plain, _ = s.post('/v1/embeddings', {'model': 'chat', 'input': ['a', 'b']})
    _, packed, _ = s.post('/v1/embeddings', {'model': 'chat', 'input': ['a', 'b'], 'encoding_format': 'base64'})
    rows = [struct.unpack('<64f', base64.b64decode(d['embedding'])) for d in packed['data']]
    good = all(abs(a - b) < 1e-6 for d, row in zip(plain['data'], rows) for a, b in zip(d['embedding'], row))
    ok(good and [d['index'] for d in plain['data']] == [0, 1], 'floats and base64 are the same numbers', packed)
    _, cut, _ = s.post('/v1/embeddings', {'model': 'chat', 'input': 'a', 'dimensions': 4})
    row = cut['data'][0]['embedding']
    ok(len(row) == 4 and abs(sum(x * x for x in row) - 1) < 1e-5, 'dimensions: cut and of length 1 again', cut)


# ---------------------------------------------------------------------------------------------- editors

def test_editors(s):
    _, body, _ = s.post('/tokenize', {'model': 'chat', 'content': 'a\u00e9', 'with_pieces': True, 'odd': 1})
    ok(body['tokens'] == [{'id': 97, 'piece': 'a'}, {'id': 195, 'piece': [195]}, {'id': 169, 'piece': [169]}], 'pieces of tokens', body)
    ok(body['ingle']['ignored'] == ['odd'], 'what was ignored is named here, too', body)
    _, body, _ = s.post('/v1/messages/count_tokens', {'model': 'chat', 'messages': HELLO, 'odd': 1}, headers=ANTHROPIC)
    ok(body['input_tokens'] == 22 and body['ingle']['ignored'] == ['odd'], 'and where tokens are counted', body)
    _, body, _ = s.post('/completion', {'model': 'chat', 'prompt': [97, 'b', 99], 'n_predict': 1, 'seed': 5})
    ok(body.get('tokens_evaluated') == 3, 'a prompt of ids and texts', body)
    settings = body.get('generation_settings', {})
    ok(settings.get('n_predict') == 1 and settings.get('seed') == 5 and 'user' not in settings, 'generation_settings', settings)
    status, body, _ = s.post('/v1/completions', {'model': 'chat', 'prompt': [97, 'b'], 'max_tokens': 1})
    ok(status == 400, 'OpenAI has no such prompts', body)
    _, body, _ = s.get('/props?model=chat')
    ok(body['total_slots'] == 4 and body['default_generation_settings']['params']['n_predict'] == -1, 'props', body)
    # Nobody names a model: the one that was used last, which can do it.
    s.post('/completion', {'model': 'story', 'prompt': 'a', 'n_predict': 1})
    _, body, _ = s.post('/completion', {'prompt': 'a', 'n_predict': 1})
    ok(body.get('model') == 'story', 'without a name: the model used last', body)
    status, body, _ = s.post('/infill', {'input_prefix': 'a', 'input_suffix': 'b', 'n_predict': 1})
    ok(status == 200 and body['model'] == 'chat', 'infill: the one used last that fills gaps', body)
    status, body, _ = s.post('/v1/embeddings', {'model': 'GPT-4', 'input': 'a'})
    ok(status == 200, 'an editor asks for "GPT-4"', body)


def test_slots(s):
    s.post('/completion', {'model': 'story', 'prompt': 'a', 'n_predict': 1})
    c = s.flow('/v1/chat/completions', ENDLESS)
    until(lambda: any(x['is_processing'] for x in s.get('/slots')[1]))
    _, slots, _ = s.get('/slots')
    ok({x['model'] for x in slots} == {'chat', 'story'} and [x['id'] for x in slots] == list(range(8)), '/slots: those of all models', slots)
    busy = [x for x in slots if x['is_processing']]
    ok(len(busy) == 1 and busy[0]['model'] == 'chat' and busy[0]['next_token']['n_decoded'] >= 0, 'the one at work', busy)
    _, slots, _ = s.get('/slots?model=story')
    ok(len(slots) == 4 and not any(x['is_processing'] for x in slots), '/slots of one model', slots)
    c.close()
    ok(until(lambda: not any(x['is_processing'] for x in s.get('/slots')[1])), 'it is free when the client has gone')


# ---------------------------------------------------------------------------------------------- streams

def test_responses(s):
    for extra in ({}, {'include': ['message.output_text.logprobs'], 'top_logprobs': 1}):
        status, events = s.sse('/v1/responses', {'model': 'chat', 'input': 'Hello', 'max_output_tokens': 3, 'stream': True, **extra})
        data = [d for _, d in events]
        ok(status == 200 and all(e == d['type'] for e, d in events), 'responses: the event repeats its name', events[:1])
        ok([d['sequence_number'] for d in data] == list(range(len(data))), 'sequence numbers have no gaps')
        last = data[-1]['response']
        text = ''.join(d['delta'] for d in data if d['type'] == 'response.output_text.delta')
        item = [d['item'] for d in data if d['type'] == 'response.output_item.done'][0]
        ok(last['output'] == [item] and item['content'][0]['text'] == text and last['usage']['output_tokens'] <= 3,
           'the stream and the finished object are the same', (last, text))


def test_thoughts(s):
    """A model whose template opens its thoughts: blocks in every dialect."""
    template = ('{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}'
                '{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}')
    s.lines('/api/create', {'model': 'thinker', 'from': 'mine', 'template': template, 'parameters': {'temperature': 0}})
    status, body, _ = s.post('/api/chat', {'model': 'thinker', 'messages': HELLO, 'think': True, 'stream': False, 'options': {'num_predict': 8}})
    ok(status == 200 and body['message'].get('thinking') and body['message']['content'] == '', 'ollama: thinking', body)
    status, body, _ = chat(s, model='thinker', max_tokens=8)
    m = body['choices'][0]['message']
    ok(m.get('reasoning') and m['reasoning'] == m['reasoning_content'] and body['usage']['completion_tokens_details']['reasoning_tokens'] > 0,
       'openai: under both names, and counted', body)
    status, events = s.sse('/v1/messages', {'model': 'thinker', 'messages': HELLO, 'max_tokens': 8, 'stream': True,
                                            'thinking': {'type': 'enabled', 'budget_tokens': 1024}}, ANTHROPIC)
    kinds = [d['delta']['type'] for _, d in events if d['type'] == 'content_block_delta']
    start = [d['content_block'] for _, d in events if d['type'] == 'content_block_start']
    ok(status == 200 and start == [{'type': 'thinking', 'thinking': '', 'signature': ''}] and kinds[-1] == 'signature_delta' and
       set(kinds[:-1]) == {'thinking_delta'}, 'anthropic: a signed block', events)
    for summary, kind in ((None, 'reasoning_text'), ('auto', 'reasoning_summary_text')):
        _, events = s.sse('/v1/responses', {'model': 'thinker', 'input': 'a', 'max_output_tokens': 8, 'stream': True,
                                            'reasoning': {'summary': summary}})
        types = [d['type'] for _, d in events]
        ok(f'response.{kind}.delta' in types and f'response.{kind}.done' in types and events[-1][1]['response']['output'][0]['type'] == 'reasoning',
           f'responses: {kind}', types)
    status, body, _ = s.post('/api/show', {'model': 'thinker'})
    ok('thinking' in body['capabilities'], 'show: thinking', body['capabilities'])


def test_calls(s):
    one = {'type': 'function', 'function': {'name': 'one', 'parameters': {
        'type': 'object', 'properties': {'a': {'enum': ['x', 'y']}}, 'required': ['a'], 'additionalProperties': False}}}
    # Without an end of the answer there is nothing to say but another call.
    body = {'model': 'chat', 'messages': HELLO, 'tools': [one], 'tool_choice': 'required', 'seed': 1, 'max_tokens': 900, 'stream': True,
            'ignore_eos': True, 'stream_options': {'include_usage': True}}
    _, events = s.sse('/v1/chat/completions', body)
    calls, ids = {}, []
    for _, d in events[:-2]:
        for t in d['choices'][0]['delta'].get('tool_calls', []):
            if 'id' in t:
                ids.append((t['index'], t['id']))
                calls[t['index']] = ''
            calls[t['index']] += t['function']['arguments']
    ok(len(calls) > 1 and [i for i, _ in ids] == list(range(len(ids))) and len({x for _, x in ids}) == len(ids),
       'parallel calls: indexes from 0, ids of their own', ids)
    whole = list(calls.values())[:-1]
    ok(all(json.loads(c)['a'] in ('x', 'y') for c in whole), 'their arguments are whole', calls)
    finish = [d['choices'][0]['finish_reason'] for _, d in events[:-2]]
    ok(finish[-1] in ('tool_calls', 'length') and not any(finish[:-1]), 'one finish', finish[-1])
    ok(all(d['usage'] is None for _, d in events[:-2]) and events[-2][1]['choices'] == [] and events[-1][1] == '[DONE]', 'usage at the end')


def test_progress():
    s = Service('chat=' + CHAT, args=['--parallel', '1', '--speculate', 'off'])
    try:
        first = s.flow('/v1/chat/completions', ENDLESS)
        until(lambda: s.metric('ingle_requests_running') == 1)
        others = [s.open_only('/v1/chat/completions', ENDLESS) for _ in range(6)]
        texts = {c: b'' for c in others}
        told, end = None, time.monotonic() + 60
        while texts and not told and time.monotonic() < end:
            for c in select.select(list(texts), [], [], 1)[0]:
                data = c.recv(65536)
                texts[c] += data
                told = told or re.search(rb': queue position [1-6] of [1-6]\n\n', texts[c])
                if not data or b'data: [DONE]' in texts[c]:
                    del texts[c]
        ok(told, 'a stream that waits is told its place and the depth of the queue')
        for c in others:
            c.close()
        first.close()
        ok(until(lambda: s.metric('ingle_requests_running') == 0 and s.metric('ingle_requests_waiting') == 0), 'and all have gone')
    finally:
        s.stop()


# ---------------------------------------------------------------------------------------------- metrics

def test_metrics(s):
    text = s.get('/metrics')[1]
    for name, kind in (('ingle_requests_running', 'gauge'), ('ingle_requests_waiting', 'gauge'), ('ingle_kv_use_ratio', 'gauge')):
        ok(f'# TYPE {name} {kind}\n' in text and re.search(rf'^{name}{{model="chat"}} [0-9.]+$', text, re.M), f'metrics: {name}', text)
    if not shutil.which('promtool'):
        tap.skip('promtool finds nothing wrong', 'no promtool: install prometheus')
        return
    done = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True, text=True, check=False)
    ok(done.returncode == 0 and not done.stderr, 'promtool finds nothing wrong', done.stderr + done.stdout)


def test_hosts():
    """What a 403 says to type helps."""
    s = Service('chat=' + CHAT, args=['--host', 'a.example:99', '--host', 'b.example', '--origin', 'https://app.example'])
    try:
        for fields, want in (({'Host': 'a.example:99'}, 200), ({'Host': 'a.example'}, 403), ({'Host': 'b.example'}, 200),
                             ({'Host': f'B.example:{s.port}'}, 200), ({'Host': 'b.example:99'}, 403),
                             ({'Origin': 'https://app.example'}, 200), ({'Origin': 'https://app.example.evil'}, 403),
                             ({'Origin': 'http://app.example'}, 403), ({'Origin': 'null'}, 403)):
            status, body, headers = s.get('/v1/models', headers=fields)
            cors = headers['access-control-allow-origin']
            ok(status == want and cors == (fields.get('Origin') if want == 200 else None), f'{fields}: {want}', (status, body, cors))
    finally:
        s.stop()


def test_empty():
    """A fresh service, nothing loaded, several models."""
    s = Service('chat=' + CHAT, 'story=' + STORY)
    try:
        ok(s.get('/slots')[:2] == (200, []), '/slots where nothing is loaded', s.get('/slots'))
        status, body, _ = s.post('/infill', {'input_prefix': 'a', 'input_suffix': 'b'})
        ok(status == 400 and 'model' in message(body), 'no name, nothing loaded: which model?', body)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda m: s.post('/api/generate', {'model': m, 'stream': False})[1]['done_reason'], ['chat', 'story'] * 2))
        ok(got == ['load'] * 4, 'an empty prompt loads', got)
    finally:
        s.stop()


def main():
    s = Service('chat=' + CHAT, 'story=' + STORY)
    try:
        slow = test_own_refusals(s)
        test_cut(s)
        test_num_ctx(s)
        test_ranges(s)
        test_names(s)
        test_strict(s)
        test_methods(s)
        test_bodies(s)
        test_anthropic_lists(s)
        test_context(s)
        test_final(s)
        test_echo(s)
        test_embeddings(s)
        test_editors(s)
        test_slots(s)
        test_responses(s)
        test_calls(s)
        test_metrics(s)
        with open(CHAT, 'rb') as f:
            s.add('mine', f.read())
        test_names_of_models(s)
        test_show(s)
        test_create(s)
        test_file_models(s)
        test_cut_calls(s)
        test_log(s)
        test_effort(s)
        test_thoughts(s)
        test_slow(slow)
    finally:
        code = s.stop()
        ok(code == 0, 'stops in order', (code, s.log[-5:]))
    test_progress()
    test_hosts()
    test_empty()
    return tap.end()


sys.exit(main())
