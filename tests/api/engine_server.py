#!/usr/bin/env python3
"""A minimal engine that is not ours: OpenAI's dialect on a unix socket or a port, for test_engines.py. What the last message
says decides how it behaves; the file RECORD gets a line for whatever the test wants to know."""
import http.server
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time

ARGS = sys.argv[1:]
KEY = os.environ.get('KEY', '')
RECORD = os.environ.get('RECORD', '/dev/null')
HEALTH = {'asked': 0}


def value(name):
    return ARGS[ARGS.index(name) + 1] if name in ARGS else None


def record(**k):
    with open(RECORD, 'a') as f:
        f.write(json.dumps(k) + '\n')


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def address_string(self):
        return 'unix'

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        HEALTH['asked'] += 1
        if self.path == '/health' and '--no-health' in ARGS:
            self.answer(404, {})
        elif '--never' in ARGS or HEALTH['asked'] < int(value('--slow') or 0):
            self.answer(503, {'error': {'message': 'Loading model'}})
        else:
            record(health=HEALTH['asked'], path=self.path)
            self.answer(200, {'status': 'ok'})

    def raw(self, data):
        self.wfile.write(b'%x\r\n%s\r\n' % (len(data), data))
        self.wfile.flush()

    def event(self, o):
        self.raw(b'data: ' + (o if isinstance(o, bytes) else json.dumps(o).encode()) + b'\n\n')

    def delta(self, delta, finish=None, index=0, **k):
        self.event({'object': 'chat.completion.chunk', 'choices': [
            {'index': index, 'delta': delta, 'finish_reason': finish, **k}]})

    def begin(self):
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()

    def end(self, usage=True):
        if usage:
            self.event({'choices': [], 'usage': {'prompt_tokens': 11, 'completion_tokens': 3,
                                                 'prompt_tokens_details': {'cached_tokens': 5}}})
        self.event(b'[DONE]')
        self.raw(b'')

    def words(self, text, **k):
        self.begin()
        for i, w in enumerate(text.split(' ')):
            self.delta({'content': (' ' if i else '') + w})
        self.delta({}, 'stop')
        self.end(**k)

    def count(self, body):
        """As llama-server, with a word a token; its id is its length."""
        if 'bad' in ARGS or 'bad' in str(body.get('messages')):
            self.answer(200, {'tokens': 'many', 'prompt': 7})
        elif self.path == '/apply-template':
            self.answer(200, {'prompt': ' '.join(f'<{m["role"]}> {m["content"]}' for m in body['messages'])})
        elif self.path == '/detokenize':
            self.answer(200, {'content': ' '.join('x' * t for t in body['tokens'])})
        else:
            words = (['<s>'] if body.get('add_special') else []) + body['content'].split()
            self.answer(200, {'tokens': [{'id': len(w), 'piece': w} if body.get('with_pieces') else len(w) for w in words]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        if KEY and self.headers.get('Authorization') != 'Bearer ' + KEY:
            self.answer(401, {'error': {'message': 'wrong key'}})
            return
        record(path=self.path, body=body)
        if self.path in ('/tokenize', '/detokenize', '/apply-template') and '--counts' in ARGS:
            self.count(body)
        elif not self.path.startswith('/v1/'):
            self.answer(404, {'error': {'message': 'File Not Found'}})
        elif self.path == '/v1/embeddings':
            data = [{'index': i, 'embedding': [3.0, 4.0]} for i in range(len(body['input']))]
            self.answer(200, {'data': data[::-1], 'usage': {'prompt_tokens': 7}})
        elif self.path == '/v1/completions':
            self.begin()
            self.event({'choices': [{'index': 0, 'text': 'and so on', 'finish_reason': 'length'}]})
            self.end()
        else:
            asked = body['messages'][-1]['content']
            getattr(self, 'do_' + asked.split(' ')[0], self.do_hello)(body)

    def do_hello(self, _):
        self.words('Hello from beyond')

    def do_uncounted(self, _):
        self.words('Nobody counts', usage=False)

    def do_whole(self, _):
        self.answer(200, {'choices': [{'index': 0, 'finish_reason': 'length', 'message': {
            'role': 'assistant', 'content': 'In one piece', 'reasoning_content': 'Hm'}}], 'usage': {'prompt_tokens': 2,
                                                                                                  'completion_tokens': 4}})

    def do_tool(self, _):
        self.begin()
        self.delta({'reasoning_content': 'Let me see'})
        self.delta({'tool_calls': [{'index': 0, 'id': 'c1', 'type': 'function', 'function': {'name': 'weather', 'arguments': ''}}]})
        self.delta({'tool_calls': [{'index': 0, 'function': {'arguments': '{"city":'}}]})
        self.delta({'tool_calls': [{'index': 0, 'function': {'arguments': '"Rome"}'}}]})
        self.delta({}, 'tool_calls')
        self.end()

    def do_two(self, _):
        self.begin()
        for i in (1, 0):
            self.delta({'content': f'number {i}'}, index=i)
            self.delta({}, 'stop', index=i)
        self.end()

    def do_probs(self, _):
        self.begin()
        self.delta({'content': 'Hi'}, logprobs={'content': [{'token': 'Hi', 'logprob': -0.5, 'bytes': [72, 105],
                                                             'top_logprobs': [{'token': 'Ho', 'logprob': -1.5, 'bytes': None}]}]})
        self.delta({}, 'stop')
        self.end()

    def do_self(self, _):
        fds = sorted(int(x) for x in os.listdir('/proc/self/fd'))
        self.words(json.dumps({'argv': ARGS, 'env': sorted(os.environ), 'fds': [x for x in fds if x > 2],
                               'privs': [x for x in open('/proc/self/status') if x.startswith('NoNewPrivs')],
                               'uid': os.getuid()}).replace(' ', '\u00a0'))

    def do_file(self, _):
        with open(value('--model'), 'rb') as f:
            self.words('begins with ' + f.read(4).decode())

    def do_crash(self, _):
        self.begin()
        self.delta({'content': 'I feel'})
        os.kill(os.getpid(), signal.SIGSEGV)

    def do_exit(self, _):
        self.begin()
        self.delta({'content': 'I leave'})
        os._exit(3)

    def do_hang(self, _):
        self.begin()
        self.delta({'content': 'Wait'})
        time.sleep(600)

    def do_broken(self, _):
        self.begin()
        self.delta({'content': 'Now'})
        self.event(b'{"choices":[{"index":0,')
        self.end()

    def do_strange(self, _):
        self.begin()
        self.delta({'content': 'Now'})
        self.delta({'tool_calls': [{'index': 77, 'function': {'name': 'x'}}]})
        self.end()

    def do_early(self, _):
        self.begin()
        self.delta({'content': 'That was'})
        self.raw(b'')

    def do_long(self, _):
        self.begin()
        self.delta({'content': 'Now'})
        for _ in range(80):
            self.raw(b'data: ' + b'x' * 65536)
        self.end()

    def do_error(self, _):
        self.answer(400, {'error': {'message': 'no such thing', 'type': 'invalid_request_error'}})

    def do_full(self, _):
        self.answer(400, {'error': {'message': 'too long', 'type': 'exceed_context_size_error', 'n_prompt_tokens': 900,
                                    'n_ctx': 512}})

    def do_busy(self, _):
        self.answer(503, b'<html>busy</html>')

    def do_late(self, _):
        self.begin()
        self.delta({'content': 'First'})
        self.event({'error': {'message': 'the card is gone', 'code': 500}})
        self.raw(b'')

    def do_forever(self, _):
        self.begin()
        try:
            while True:
                self.delta({'content': 'and '})
                time.sleep(0.01)
        except OSError:
            record(gone=True)

    def do_flood(self, _):
        self.begin()
        for _ in range(2000):
            self.delta({'content': 'x' * 2000})
        self.delta({}, 'stop')
        self.end()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    address_family = socket.AF_UNIX if value('--socket') else socket.AF_INET
    request_queue_size = 64

    def server_bind(self):
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = 'engine', 0

    def get_request(self):
        c, _ = super().get_request()
        return c, ('unix', 0)


def main():
    if '--die' in ARGS:
        print('there is no such card', file=sys.stderr)
        sys.exit(3)
    if '--helper' in ARGS:
        helper = subprocess.Popen(['sleep', '1000'])
        record(helper=helper.pid)
    if value('--eat'):
        HEALTH['memory'] = bytearray(int(value('--eat')) << 20)
        for i in range(0, len(HEALTH['memory']), 4096):
            HEALTH['memory'][i] = 1
    record(pid=os.getpid())
    signal.signal(signal.SIGTERM, lambda *_: (record(term=True), os._exit(0)))
    server = Server(value('--socket') or ('127.0.0.1', int(value('--port'))), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        time.sleep(0.2)  # pause() would miss a signal that comes a moment before it


main()
