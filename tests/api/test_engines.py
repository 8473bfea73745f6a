#!/usr/bin/env python3
"""Engines that are not ours, behind the service: every dialect, faults of the engine, memory, rights. Prints TAP."""
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, INGLE, STORY, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'engine_server.py')
TOOL = {'type': 'function', 'function': {'name': 'weather', 'parameters': {'type': 'object'}}}


class Engines(Service):
    """sections: name: (words of the command behind the server, further lines)."""

    def __init__(self, sections, models=(), args=(), env=None, store=None):
        self.place = tempfile.TemporaryDirectory()
        self.record_file = os.path.join(self.place.name, 'record')
        os.mkdir(os.path.join(self.place.name, 'conf.d'))
        self.write(sections)
        super().__init__(*models, args=args, env={'INGLE_CONFIG': self.place.name, **(env or {})}, store=store)

    def write(self, sections):
        path = os.path.join(self.place.name, 'conf.d', 'engines.conf')
        with open(path, 'w') as f:
            for name, (words, lines) in sections.items():
                f.write(f'[engine {name}]\ncommand = {sys.executable} {SERVER}\n')
                if words:
                    f.write(f'command = {words}\n')
                f.write(f'environment = RECORD={self.record_file} KEY={{key}}\n{lines}\n')
        os.chmod(path, 0o644)

    def records(self, key):
        if not os.path.exists(self.record_file):
            return []
        with open(self.record_file) as f:
            lines = [json.loads(x) for x in f if x.endswith('\n')]
        return [x[key] for x in lines if key in x]

    def say(self, model, text, **k):
        return self.post('/v1/chat/completions', {'model': model, 'messages': [{'role': 'user', 'content': text}], **k})

    def stream(self, model, text, **k):
        return self.sse('/v1/chat/completions', {'model': model, 'messages': [{'role': 'user', 'content': text}],
                                                 'stream': True, **k})


def content(body):
    try:
        return body['choices'][0]['message']['content']
    except (KeyError, TypeError):
        return body


def lives(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def test_dialects(s):
    names = [m['id'] for m in s.get('/v1/models')[1]['data']]
    ok(names == ['chat', 'py', 'other'], 'engines stand in the list of models', names)
    status, body, _ = s.post('/api/show', {'model': 'py'})
    ok(status == 200 and 'completion' in body['capabilities'] and not s.records('pid'), 'show does not start the engine', body)
    status, body, headers = s.say('py', 'hello', temperature=0.5, seed=3, stop=['x'], max_tokens=9)
    ok(status == 200 and content(body) == 'Hello from beyond' and body['choices'][0]['finish_reason'] == 'stop', 'openai: chat', body)
    ok(body['ingle']['engine'] == 'py' and body['ingle']['device'] == 'card' and headers.get('x-ingle-engine') == 'py' and
       headers.get('x-ingle-ran-on') == 'local', 'the answer says which engine ran it', (body['ingle'], dict(headers)))
    ok(body['usage']['prompt_tokens'] == 11 and body['usage']['completion_tokens'] == 3 and
       body['usage']['prompt_tokens_details']['cached_tokens'] == 5, 'tokens as the engine counts them', body['usage'])
    sent = s.records('body')[-1]
    ok(sent['model'] == 'py' and sent['temperature'] == 0.5 and sent['seed'] == 3 and sent['stop'] == ['x'] and
       sent['max_tokens'] == 9 and sent['stream'] and 'top_p' not in sent and 'user' not in sent,
       'the engine gets what was asked for, and nothing else', sent)
    status, events = s.stream('py', 'hello', stream_options={'include_usage': True})
    text = ''.join(d['choices'][0]['delta'].get('content') or '' for _, d in events if d != '[DONE]' and d['choices'])
    ok(status == 200 and text == 'Hello from beyond' and events[-1][1] == '[DONE]' and
       events[-2][1]['usage']['completion_tokens'] == 3, 'openai: stream', events[-3:])
    ok(any(d != '[DONE]' and d.get('ingle', {}).get('engine') == 'py' for _, d in events), 'the stream names the engine, too')
    hello = [{'role': 'user', 'content': 'hello'}]
    status, lines = s.lines('/api/chat', {'model': 'py', 'messages': hello})
    ok(status == 200 and ''.join(x['message']['content'] for x in lines) == 'Hello from beyond' and
       lines[-1]['eval_count'] == 3 and lines[-1]['ingle']['engine'] == 'py', 'ollama: chat', lines[-1:])
    status, body, _ = s.post('/api/generate', {'model': 'py', 'prompt': 'hello', 'stream': False})
    ok(status == 200 and body['response'] == 'Hello from beyond', 'ollama: generate', body)
    status, body, _ = s.post('/v1/messages', {'model': 'py', 'messages': hello, 'max_tokens': 5},
                             headers={'anthropic-version': '2023-06-01'})
    ok(status == 200 and body['content'][0]['text'] == 'Hello from beyond' and body['usage']['output_tokens'] == 3,
       'anthropic: message', body)
    status, events = s.sse('/v1/messages', {'model': 'py', 'messages': hello, 'max_tokens': 5, 'stream': True},
                           {'anthropic-version': '2023-06-01'})
    ok([e for e, _ in events][-1] == 'message_stop', 'anthropic: events', events[-2:])
    status, body, _ = s.post('/v1/responses', {'model': 'py', 'input': 'hello'})
    ok(status == 200 and body['output'][-1]['content'][0]['text'] == 'Hello from beyond', 'openai: responses', body)
    status, body, _ = s.post('/v1/completions', {'model': 'py', 'prompt': 'Once', 'max_tokens': 5})
    ok(status == 200 and body['choices'][0]['text'] == 'and so on' and body['choices'][0]['finish_reason'] == 'length',
       'openai: completions', body)
    status, body, _ = s.say('py', 'whole')
    ok(status == 200 and content(body) == 'In one piece' and body['choices'][0]['message']['reasoning_content'] == 'Hm' and
       body['choices'][0]['finish_reason'] == 'length', 'an engine that does not stream', body)
    status, body, _ = s.say('py', 'uncounted')
    ok(status == 200 and body['ingle'].get('flag') == 'uncounted', 'tokens that nobody counted are no silent zero', body)


def test_fields(s):
    status, body, _ = s.say('py', 'tool', tools=[TOOL], tool_choice={'type': 'function', 'function': {'name': 'weather'}})
    message = body['choices'][0]['message'] if status == 200 else {}
    ok(status == 200 and message['tool_calls'][0]['function'] == {'name': 'weather', 'arguments': '{"city":"Rome"}'} and
       message['reasoning_content'] == 'Let me see' and body['choices'][0]['finish_reason'] == 'tool_calls', 'tool calls', body)
    sent = s.records('body')[-1]
    ok(sent['tools'][0]['function']['name'] == 'weather' and sent['tool_choice'] == {'type': 'function', 'function': {'name': 'weather'}},
       'tools reach the engine', sent)
    status, lines = s.lines('/api/chat', {'model': 'py', 'messages': [{'role': 'user', 'content': 'tool'}], 'tools': [TOOL]})
    calls = [c for x in lines for c in x['message'].get('tool_calls', [])] if status == 200 else lines
    ok(calls and calls[0]['function']['arguments'] == {'city': 'Rome'}, 'ollama: tool calls', lines)
    status, body, _ = s.say('py', 'two', n=2)
    ok(status == 200 and [c['message']['content'] for c in body['choices']] == ['number 0', 'number 1'] and
       body['usage']['completion_tokens'] == 3, 'n answers', body)
    status, body, _ = s.say('py', 'probs', logprobs=True, top_logprobs=1)
    lp = body['choices'][0]['logprobs']['content'][0] if status == 200 else body
    ok(status == 200 and lp['token'] == 'Hi' and lp['logprob'] == -0.5 and lp['top_logprobs'][0]['token'] == 'Ho', 'log probabilities', lp)
    status, body, _ = s.say('py', 'hello', response_format={'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': {'type': 'object'}}})
    sent = s.records('body')[-1]
    ok(status == 200 and sent['response_format']['json_schema']['schema'] == {'type': 'object'}, 'schemas reach the engine', sent)
    status, body, _ = s.say('py', 'hello', top_k=5)
    ok(status == 400 and 'top_k' in body['error']['message'] and 'passes' in body['error']['message'],
       'what the engine has no word for is refused', body)
    status, body, _ = s.say('other', 'hello', top_k=5)
    ok(status == 200 and s.records('body')[-1]['top_k'] == 5, 'what the configuration passes is passed', body)
    status, body, _ = s.post('/v1/embeddings', {'model': 'py', 'input': ['a', 'b']})
    ok(status == 200 and [round(d['embedding'][1], 3) for d in body['data']] == [0.8, 0.8] and body['usage']['prompt_tokens'] == 7,
       'openai: embeddings', body)
    status, body, _ = s.post('/api/embed', {'model': 'py', 'input': 'a'})
    ok(status == 200 and [round(x, 3) for x in body['embeddings'][0]] == [0.6, 0.8], 'ollama: embeddings are normal', body)
    status, body, _ = s.post('/v1/embeddings', {'model': 'other', 'input': ['a']})
    ok(status == 400 and 'embeddings = yes' in body['error']['message'], 'an engine without embeddings says so', body)
    status, body, _ = s.post('/tokenize', {'content': 'ab', 'model': 'py'})
    ok(status in (400, 501), 'what an engine cannot do is refused', (status, body))


def test_rights(s):
    status, body, _ = s.say('py', 'self')
    seen = json.loads(content(body).replace('\u00a0', ' ')) if status == 200 else {}
    ok('$HOME;touch' in seen['argv'] and '*' in seen['argv'], 'no shell reads the command', seen)
    allowed = {'PATH', 'LANG', 'LC_ALL', 'TZ', 'RECORD', 'KEY', 'LC_CTYPE'}
    ok(set(seen['env']) <= allowed, 'a clean environment', seen['env'])
    ok(len(seen['fds']) <= 6, 'no descriptor of the service but the engine\'s own', seen['fds'])
    ok(seen['privs'] and seen['privs'][0].split()[1] == '1' and seen['uid'] == os.getuid(), 'no more rights than the front', seen)
    folder = os.path.dirname(seen['argv'][seen['argv'].index('--socket') + 1])
    ok(os.stat(folder).st_mode & 0o777 == 0o700, 'its socket lies in a folder of its own', folder)


def test_faults(s):
    for text, want in (('broken', 'no JSON'), ('strange', 'tool calls wrongly'), ('early', 'broke off'), ('long', 'too long'),
                       ('late', 'the card is gone')):
        status, events = s.stream('py', text)
        last = [d for _, d in events if d != '[DONE]' and 'error' in d]
        ok(last and want in last[-1]['error']['message'] and 'py' in last[-1]['error']['message'],
           f'{text}: the stream ends with a typed error', events[-2:])
        status, body, _ = s.say('py', text)
        ok(status == 500 and want in body['error']['message'], f'{text}: not streamed, 500', (status, body))
    status, body, _ = s.say('py', 'error')
    ok(status == 400 and 'no such thing' in body['error']['message'], 'what the engine refuses is refused in its words', body)
    status, body, _ = s.say('py', 'full')
    ok(status == 400 and body['error']['code'] == 'context_length_exceeded' and '900' in body['error']['message'] and
       '512' in body['error']['message'], 'too long: both numbers', body)
    status, body, _ = s.say('py', 'busy')
    ok(status in (429, 503), 'busy is busy', (status, body))
    ok(len(s.records('pid')) == len(set(m['pid'] for m in s.workers())), 'none of this cost the engine its life', s.log[-5:])


def test_cancel(s):
    c, r = s.open('POST', '/v1/chat/completions', {'model': 'py', 'stream': True, 'messages': [{'role': 'user', 'content': 'forever'}]})
    r.read(400)
    c.sock.close() if c.sock else None
    r.close()
    c.close()
    ok(until(lambda: s.records('gone'), 20), 'a client that leaves ends the engine\'s work')
    ok(until(lambda: s.get('/ingle/status')[1]['queue'] == 0), 'and frees its place')


def test_flood(s):
    status, body, _ = s.say('py', 'flood')
    ok(status == 200 and len(content(body)) == 4000000, 'a large answer comes whole', status)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda i: content(s.say('py', 'hello')[1]), range(48)))
    ok(all(x == 'Hello from beyond' for x in got), 'many at once', got[:3])


def test_deaths(s):
    first = s.records('pid')[-1]
    status, events = s.stream('py', 'exit')
    last = [d for _, d in events if d != '[DONE]' and 'error' in d]
    ok(last and 'ended with code 3' in last[-1]['error']['message'], 'an engine that ends costs its requests a typed error', events[-2:])
    ok(content(s.say('py', 'hello')[1]) == 'Hello from beyond' and s.records('pid')[-1] != first, 'the next request starts it again')
    status, body, _ = s.say('py', 'hang')
    ok(status == 500 and 'said nothing for 2 s' in body['error']['message'], 'an engine that hangs is stopped', body)
    hung = s.records('pid')[-1]
    ok(until(lambda: not lives(hung)), 'it is gone')
    ok(content(s.say('py', 'hello')[1]) == 'Hello from beyond', 'and started again')
    bridge = [m['pid'] for m in s.workers() if m['model'] == 'py'][0]
    engine = s.records('pid')[-1]
    os.kill(bridge, signal.SIGKILL)
    ok(until(lambda: not lives(engine)), 'an engine dies with its bridge')
    ok(content(s.say('py', 'hello')[1]) == 'Hello from beyond', 'an outside kill costs nothing more')
    for i in range(3):
        status, body, _ = s.say('other', 'crash')
        ok(status == 500 and 'signal 11' in body['error']['message'], f'crash {i + 1}', body)
        until(lambda: not [m for m in s.workers() if m['model'] == 'other'])
    status, body, _ = s.say('other', 'hello')
    ok(status == 503 and 'set aside' in body['error']['message'], 'an engine that crashes three times is set aside', body)


def test_unload(s):
    helper = s.records('helper')[-1]
    s.post('/api/generate', {'model': 'py', 'keep_alive': 0})
    ok(until(lambda: s.records('term')), 'keep_alive 0: it is asked to end')
    ok(until(lambda: not lives(helper)), 'what it has started has gone with it', helper)
    ok(until(lambda: not [m for m in s.workers() if m['model'] == 'py']), 'it is no longer in ps')


def test_starts():
    lines = 'start = 5m\ntimeout = 30s'
    s = Engines({'slow': ('--socket {socket} --slow 4', lines), 'dies': ('--socket {socket} --die', lines),
                 'never': ('--socket {socket} --never', 'start = 1s'), 'port': ('--port {port} --no-health', lines),
                 'files': ('--port {port} --model {model}', 'models = st*')}, models=['story=' + STORY])
    try:
        status, body, _ = s.say('slow', 'hello')
        ok(status == 200 and s.records('health')[-1] >= 4, 'a slow start is waited for', (status, body, s.records('health')))
        status, body, _ = s.say('dies', 'hello')
        ok(status == 500 and 'ended with code 3' in body['error']['message'] and 'no such card' in body['error']['message'],
           'an engine that does not start says why', body)
        status, body, _ = s.say('never', 'hello')
        ok(status == 500 and 'not healthy' in body['error']['message'], 'one that never gets healthy is given up', body)
        status, body, _ = s.say('port', 'hello')
        ok(status == 200 and s.records('path')[0:1] and '/v1/models' in s.records('path'),
           'a loopback port; an engine without /health is asked for its models', (status, body))
        status, body, _ = s.say('story', 'file')
        ok(status == 200 and content(body) == 'begins with GGUF' and body['ingle']['engine'] == 'files',
           'an engine runs a model of ours', body)
        s.write({'fresh': ('--socket {socket}', '')})
        s.process.send_signal(signal.SIGHUP)
        ok(until(lambda: [m['id'] for m in s.get('/v1/models')[1]['data']] == ['story', 'fresh']), 'SIGHUP reads the engines again')
        status, body, _ = s.say('fresh', 'hello')
        ok(status == 200 and content(body) == 'Hello from beyond', 'a new engine answers', body)
        s.write({'fresh': ('--socket nowhere', '')})
        s.process.send_signal(signal.SIGHUP)
        ok(until(lambda: s.said('has to say where it listens')) and s.say('fresh', 'hello')[0] == 200,
           'a bad configuration leaves the old one in force', s.log[-3:])
    finally:
        pids = s.records('pid')
        s.stop()
        ok(until(lambda: not [p for p in pids if lives(p)]), 'no engine outlives the service', pids)


CAP = '[rule cap]\neffect = limit\nwho = any\ncontext = 200\n'


def told(body):
    """The sentence of a refusal, whatever the dialect."""
    error = body.get('error', '')
    return error if isinstance(error, str) else error.get('message', '')


def test_counts():
    """Policy's limit of a context: by the engine's count, or by the bytes where it does not count."""
    s = Engines({'counts': ('--socket {socket} --counts', 'embeddings = yes'), 'mute': ('--socket {socket}', 'embeddings = yes'),
                 'large': ('--socket {socket}', 'context = 100')})
    with open(os.path.join(s.place.name, 'conf.d', 'limits.conf'), 'w') as f:
        f.write(CAP)
    s.process.send_signal(signal.SIGHUP)
    try:
        until(lambda: s.said('read again'))
        # What surely fits is not counted.
        status, body, _ = s.say('counts', 'hello', max_tokens=9)
        ok(status == 200 and content(body) == 'Hello from beyond' and s.records('path')[-1:] == ['/v1/chat/completions'] and
           '/tokenize' not in s.records('path'), 'a short prompt is not counted', (body, s.records('path')))
        # 500 bytes, but 102 tokens by the engine's count, and 98 are left.
        words = 'hello ' + ' '.join(['word'] * 99)
        status, body, _ = s.say('counts', words, max_tokens=300)
        ok(status == 200 and s.records('path')[-3:] == ['/apply-template', '/tokenize', '/v1/chat/completions'] and
           s.records('body')[-1]['max_tokens'] == 98, 'more bytes than the limit: the engine counts', (body, s.records('path')[-4:]))
        status, body, _ = s.say('counts', words)
        ok(status == 200 and s.records('body')[-1]['max_tokens'] == 98, 'an answer without a length is held to what is left')
        status, body, _ = s.say('counts', words, max_tokens=5)
        ok(status == 200 and s.records('body')[-1]['max_tokens'] == 5, 'a shorter one stays')
        many = 'hello ' + ' '.join(['word'] * 300)
        messages = [{'role': 'user', 'content': many}]
        for path, ask in (('/v1/chat/completions', {'messages': messages}), ('/api/chat', {'messages': messages, 'stream': False}),
                          ('/v1/messages', {'messages': messages, 'max_tokens': 5}), ('/v1/responses', {'input': many})):
            status, body, _ = s.post(path, {'model': 'counts', **ask}, headers={'anthropic-version': '2023-06-01'})
            ok(status == 400 and all(x in told(body) for x in ('303', '200', 'count of engine counts', 'rule cap')),
               f'{path}: too long by the count of the engine', body)
            status, body, _ = s.post(path, {'model': 'mute', **ask}, headers={'anthropic-version': '2023-06-01'})
            ok(status == 400 and all(x in told(body) for x in ('up to', '200', 'does not count', 'rule cap')),
               f'{path}: too long by its bytes', body)
        status, body, _ = s.say('mute', 'hello', max_tokens=9)
        ok(status == 200 and content(body) == 'Hello from beyond', 'an engine that does not count answers what surely fits', body)
        status, body, _ = s.say('mute', 'hello')
        held = s.records('body')[-1]['max_tokens']
        ok(status == 200 and 0 < held < 72, 'and is held to what is left', held)
        status, body, _ = s.say('large', 'hello ' + 'word ' * 500)
        ok(status == 200 and 'max_tokens' not in s.records('body')[-1], 'an engine of a smaller context needs no watching', body)
        n = s.records('path').count('/tokenize')
        status, body, _ = s.post('/v1/completions', {'model': 'counts', 'prompt': 'word ' * 150, 'suffix': 'end', 'max_tokens': 80})
        ok(status == 200 and s.records('body')[-1]['max_tokens'] == 200 - 151 - 2 and s.records('path').count('/tokenize') == n + 2,
           'a completion: prompt and suffix', (body, s.records('body')[-1]))
        status, body, _ = s.post('/v1/completions', {'model': 'mute', 'prompt': list(range(150)), 'max_tokens': 10})
        ok(status == 200, 'token ids are counted already', body)
        status, body, _ = s.post('/v1/completions', {'model': 'mute', 'prompt': list(range(201)), 'max_tokens': 10})
        ok(status == 400 and '200' in told(body), 'too many of them', body)
        for n, want in ((150, 200), (250, 400)):
            status, body, _ = s.post('/v1/embeddings', {'model': 'counts', 'input': ['a', 'word ' * n]})
            ok(status == want and (want == 200 or f'{n + 1} tokens' in told(body)), f'embeddings of {n} words: {want}', body)
        status, body, _ = s.post('/v1/embeddings', {'model': 'mute', 'input': ['a', 'word ' * 150]})
        ok(status == 400 and 'does not count' in told(body), 'embeddings by their bytes', body)
        # An engine whose counts are nonsense is not believed.
        status, body, _ = s.say('counts', 'hello bad ' + 'word ' * 100)
        ok(status == 400 and 'up to' in told(body), 'a count that cannot be read is none', body)
        test_queries(s)
    finally:
        s.stop()


def test_queries(s):
    hello = [{'role': 'system', 'content': 'Be brief'}, {'role': 'user', 'content': 'hello there'}]
    rows = [('/tokenize', {'content': 'a word'}, lambda b: b['tokens'] == [1, 4]),
            ('/tokenize', {'content': 'a word', 'add_special': True, 'with_pieces': True},
             lambda b: b['tokens'][0] == {'id': 3, 'piece': '<s>'} and len(b['tokens']) == 3),
            ('/detokenize', {'tokens': [1, 4]}, lambda b: b['content'] == 'x xxxx'),
            ('/apply-template', {'messages': hello}, lambda b: b['prompt'] == '<system> Be brief <user> hello there'),
            ('/v1/messages/count_tokens', {'messages': hello}, lambda b: b['input_tokens'] == 7),
            ('/v1/responses/input_tokens', {'input': 'hello there'}, lambda b: b['input_tokens'] == 4)]
    for path, ask, good in rows:
        status, body, _ = s.post(path, {'model': 'counts', **ask}, headers={'anthropic-version': '2023-06-01'})
        ok(status == 200 and good(body), f'{path}: the engine answers', body)
        status, body, _ = s.post(path, {'model': 'mute', **ask}, headers={'anthropic-version': '2023-06-01'})
        ok(status == 400 and 'engine mute does not answer /' in told(body) and 'choose another model' in told(body),
           f'{path}: one clear refusal', body)
    status, body, _ = s.post('/v1/messages/count_tokens', {'model': 'counts', 'messages': [{'role': 'user', 'content': 'bad'}]})
    ok(status == 500 and 'cannot be read' in told(body), 'an answer that is none', body)


def test_memory():
    lines = 'memory = 300M\ntimeout = 30s'
    s = Engines({'a': ('--socket {socket}', lines), 'b': ('--socket {socket}', lines),
                 'c': ('--socket {socket}', 'memory = 3G'), 'd': ('--socket {socket} --eat 350', 'memory = 20M')},
                args=['--memory', '0.5'])
    try:
        s.say('a', 'hello')
        ok([m['memory_bytes'] for m in s.workers()] == [300 << 20], 'an engine counts in the budget', s.workers())
        status, body, _ = s.say('b', 'hello')
        ok(status == 200 and until(lambda: [m['model'] for m in s.workers()] == ['b']), 'one goes for the other', s.workers())
        c, r = s.open('POST', '/v1/chat/completions', {'model': 'b', 'stream': True, 'messages': [{'role': 'user', 'content': 'forever'}]})
        r.read(300)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            other = pool.submit(lambda: s.say('a', 'hello'))
            ok(until(lambda: [m for m in s.workers() if m['model'] == 'a' and m['state'] == 'waiting']) and not other.done() and
               [m['state'] for m in s.workers() if m['model'] == 'b'] == ['ready'] and len(r.read(300)) == 300,
               'active work is never evicted', s.workers())
            r.close()
            c.close()
            ok(other.result(60)[0] == 200 and until(lambda: [m['model'] for m in s.workers()] == ['a']),
               'who needs the room gets it then', s.workers())
        status, body, _ = s.say('c', 'hello')
        ok(status == 503 and '3.0 GiB' in body['error']['message'] and '0.5 GiB' in body['error']['message'],
           'one that can never fit: both numbers', body)
        status, body, _ = s.say('d', 'hello')
        ok(status == 200 and until(lambda: [m for m in s.workers() if m['model'] == 'd' and m['memory_bytes'] > 350 << 20]),
           'what it really uses counts', s.workers())
    finally:
        s.stop()


def verb(s, *args):
    r = subprocess.run([INGLE, *args], capture_output=True, text=True, timeout=60, env=dict(os.environ, INGLE_HOST='unix:' + s.socket))
    return r.returncode, r.stdout + r.stderr


def test_pins():
    sections = {'a': ('--socket {socket}', 'memory = 300M'), 'b': ('--socket {socket}', 'memory = 300M'),
                'c': ('--socket {socket}', 'memory = 100M')}
    store = tempfile.TemporaryDirectory()
    how = {'args': ['--memory', '0.5', '--keep-alive', '1s'], 'store': store.name}
    s = Engines(sections, **how)
    try:
        code, said = verb(s, 'pin', 'a')
        ok(code == 0 and [(m['model'], m['pinned'], m['state']) for m in s.workers()] == [('a', True, 'ready')], 'pin loads and pins', said)
        code, said = verb(s, 'ps')
        ok(code == 0 and 'pinned' in said, 'ps shows it', said)
        status, body, _ = s.say('b', 'hello')
        ok(status == 503 and all(x in body['error']['message'] for x in ('0.29 GiB', '0.50 GiB', '(a)', 'ingle unpin')),
           'no room beside pinned ones: in numbers', body)
        code, said = verb(s, 'pin', 'b')
        ok(code == 1 and '(a)' in said, 'what does not fit is not pinned', said)
        status, body, _ = s.say('c', 'hello')
        ok(status == 200 and until(lambda: [m['model'] for m in s.workers()] == ['a']), 'the pinned one outlives the unused one', s.workers())
        code, said = verb(s, 'stop', 'a')
        ok(code == 1 and 'ingle unpin a' in said, 'stop says what to type', said)
        if os.getuid() == 0:
            os.chmod(s.folder.name, 0o755)
            status, body = s.as_user(12345, 'POST', '/ingle/pin', {'model': 'c', 'pinned': True})
            ok(status == 403 and 'pin' in str(body), 'pinning needs the right', (status, body))
        engine = s.records('pid')[-2]
        bridge = [m['pid'] for m in s.workers() if m['model'] == 'a'][0]
        os.kill(bridge, signal.SIGKILL)
        ok(until(lambda: [m for m in s.workers() if m['model'] == 'a' and m['pid'] not in (bridge, -1) and m['state'] == 'ready']),
           'a pinned one that dies is loaded again', (engine, s.workers()))
        code, said = verb(s, 'pin', 'nosuch')
        ok(code == 1 and 'nosuch' in said, 'an unknown model', said)
    finally:
        s.stop()
    s = Engines(sections, **how)
    try:
        ok(until(lambda: [(m['model'], m['state'], m['pinned']) for m in s.workers()] == [('a', 'ready', True)]),
           'it is loaded when the service starts again', s.workers())
        code, said = verb(s, 'unpin', 'a')
        ok(code == 0 and until(lambda: not s.workers(), 20), 'unpinned, it goes when it is unused', (said, s.workers()))
        status, body, _ = s.say('b', 'hello')
        ok(status == 200, 'and leaves its room', body)
    finally:
        s.stop()
    with open(os.path.join(store.name, 'state', 'pins.json'), 'w') as f:
        f.write('{"a": ')
    s = Engines(sections, **how)
    ok(s.said('damaged') and s.get('/health')[0] == 200, 'a damaged list of pins costs the pins alone', s.log)
    s.stop()


def test_llama():
    server = os.environ.get('LLAMA_SERVER') or shutil.which('llama-server')
    if not server:
        tap.skip('llama-server', 'it is not installed')
        return
    s = Engines({}, models=['chat=' + CHAT])
    path = os.path.join(s.place.name, 'conf.d', 'engines.conf')
    with open(path, 'w') as f:
        f.write(f'[engine llama]\ncommand = {server} --model {{model}} --host {{socket}} --ctx-size 512 --jinja --api-key {{key}}\n'
                'models = chat\npasses = top_k min_p repeat_penalty\n')
    s.process.send_signal(signal.SIGHUP)
    try:
        until(lambda: s.said('read again'))
        status, body, _ = s.say('chat', 'Hello', max_tokens=8, seed=1)
        ok(status == 200 and body['ingle']['engine'] == 'llama' and body['usage']['completion_tokens'] == 8, 'llama-server answers', body)
        status, lines = s.lines('/api/chat', {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}], 'options': {'num_predict': 4}})
        ok(status == 200 and lines[-1]['eval_count'] == 4, 'llama-server in the dialect of Ollama', lines[-1:])
    finally:
        s.stop()


def main():
    s = Engines({'py': ('--socket {socket} --helper $HOME;touch *', 'timeout = 2s\nembeddings = yes\ndevice = card\nmemory = 50M'),
                 'other': ('--socket {socket}', 'passes = top_k min_p\ntimeout = 30s')}, models=['chat=' + CHAT])
    try:
        for test in (test_dialects, test_fields, test_rights, test_faults, test_cancel, test_flood, test_deaths, test_unload):
            test(s)
    finally:
        pids = s.records('pid') + s.records('helper')
        s.stop()
    ok(until(lambda: not [p for p in pids if lives(p)]), 'nothing is left of any engine', pids)
    test_starts()
    test_counts()
    test_memory()
    test_pins()
    test_llama()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
