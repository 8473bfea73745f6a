#!/usr/bin/env python3
"""Policy in the service, from outside: keys, groups from a directory, one decision for every dialect and listing, going
offline, losing a group, budgets, reload. Prints TAP."""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fake_ldap as fake  # noqa: E402
from service import CHAT, INGLE, STORY, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
HELLO = [{'role': 'user', 'content': 'Hello'}]
RULES = '''[policy]
mode = deny
[rule eng]
effect = allow
who = group:eng
models = chat
context = 512
[rule staff]
effect = allow
who = group:staff
models = story
[rule not-bob]
effect = refuse
who = user:bob
models = chat
reason = Bob writes stories.
[rule small]
effect = limit
who = user:carl
tokens_per_day = 30
'''


def person(uid):
    return {'objectClass': ['posixAccount'], 'uid': [uid]}


def directory():
    dn = {u: f'uid={u},ou=people,dc=x' for u in ('ada', 'bob', 'carl', 'dora')}
    entries = {d: person(u) for u, d in dn.items()}
    entries['cn=eng,ou=groups,dc=x'] = {'objectClass': ['groupOfNames'], 'cn': ['eng'], 'member': [dn['ada'], dn['bob'], dn['carl']]}
    entries['cn=staff,ou=groups,dc=x'] = {'objectClass': ['groupOfNames'], 'cn': ['staff'], 'member': [dn['bob']]}
    return entries


class Place:
    """Configuration, keys, a fake directory and a service."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.env = {'INGLE_CONFIG': self.folder.name, 'INGLE_KEYS': os.path.join(self.folder.name, 'keys.json')}
        self.ldap = fake.Fake(directory())
        self.silent = False
        self.ldap.fault = lambda s, c, m, q: self.silent
        self.write(RULES)
        self.keys = {u: self.key(u) for u in ('ada', 'bob', 'carl', 'dora')}
        self.service = Service('chat=' + CHAT, 'story=' + STORY, args=['--ctx', '1024'], env=self.env)

    def write(self, rules, grace='1h', cache='1s'):
        with open(os.path.join(self.folder.name, 'ingle.conf'), 'w') as f:
            f.write(f'{rules}[directory]\nproviders = system ldap\ncache = {cache}\nnegative_cache = 1s\ngrace = {grace}\n'
                    f'deadline = 2s\n[ldap]\nuri = {self.ldap.uri}\nbase = dc=x\ntimeout = 500ms\n')

    def key(self, user, *args):
        out = subprocess.run([INGLE, 'key', 'add', 'of-' + user, '--user', user, *args], env=dict(os.environ, **self.env),
                             capture_output=True, text=True, check=True)
        return {'Authorization': 'Bearer ' + out.stdout.strip()}

    def reload(self):
        n = len(self.service.log)
        self.service.process.send_signal(signal.SIGHUP)
        until(lambda: len(self.service.log) > n)
        return ''.join(self.service.log[n:])

    def chat(self, user, model='chat', **more):
        return self.service.post('/v1/chat/completions', {'model': model, 'messages': HELLO, 'max_tokens': 8, **more},
                                 headers=self.keys.get(user))

    def close(self):
        self.service.stop()
        self.ldap.close()


def text_of(body):
    return str(body)


def test_decisions(p):
    s = p.service
    status, body, _ = p.chat('ada')
    ok(status == 200, 'ada of eng may use chat', body)
    status, body, _ = p.chat('ada', 'story')
    ok(status == 403 and 'builtin:deny' in text_of(body), 'and not story', (status, body))
    status, body, _ = p.chat('bob')
    ok(status == 403 and 'Bob writes stories.' in text_of(body) and 'not-bob' in text_of(body), 'a reason and the rule', body)
    status, body, _ = p.chat('dora')
    ok(status == 403, 'dora has no group', (status, body))
    for path, more in (('/v1/messages', {'max_tokens': 4}), ('/api/chat', {'stream': False}), ('/v1/responses', {}),
                       ('/v1/completions', {}), ('/api/generate', {'prompt': 'x', 'stream': False}),
                       ('/v1/embeddings', {'input': 'x'}), ('/api/show', {}), ('/api/embed', {'input': 'x'})):
        request = {'model': 'chat', 'messages': HELLO, 'prompt': 'x', 'input': 'x', **more}
        if path not in ('/v1/messages', '/api/chat'):
            del request['messages']
        if path == '/v1/responses':
            del request['prompt']
        status, body, _ = s.post(path, request, headers=p.keys['bob'])
        ok(status == 403 and 'not-bob' in text_of(body), f'{path} refuses too', (status, body))
    for user, want in (('ada', ['chat']), ('bob', ['story']), ('dora', [])):
        seen = [m['id'] for m in s.get('/v1/models', headers=p.keys[user])[1]['data']]
        tags = [m['name'].split(':')[0] for m in s.get('/api/tags', headers=p.keys[user])[1]['models']]
        ok(seen == want and tags == want, f'{user} sees {want}', (seen, tags))
    ps = s.get('/api/ps', headers=p.keys['dora'])[1]['models']
    ok(ps == [], 'loaded models of others are not shown', ps)
    for user, want in (('ada', ['chat']), ('dora', [])):
        seen = [m['model'] for m in s.get('/ingle/status', headers=p.keys[user])[1]['models']]
        ok(seen == want, f'nor in the status, for {user}', seen)
        seen = set(re.findall(r'model="(\w+)"', s.get('/metrics', headers=p.keys[user])[1]))
        ok(seen == set(want), f'nor in the metrics, for {user}', seen)
        c, r = s.open('GET', '/ingle/events', headers=p.keys[user])
        line = [r.readline().decode() for _ in range(2)][1]
        ok([m['model'] for m in json.loads(line[6:])['models']] == want, f'nor in the events, for {user}', line)
        c.sock.close()
        r.close()
    status, body, _ = s.get('/v1/models/story', headers=p.keys['ada'])
    ok(status == 403, 'nor one by name', (status, body))
    status, body, _ = s.post('/api/chat', {'model': 'chat', 'messages': HELLO, 'stream': False, 'options': {'num_ctx': 513}},
                             headers=p.keys['ada'])
    ok(status == 403 and '512' in text_of(body), 'a context above the limit', (status, body))
    status, body, _ = s.post('/api/chat', {'model': 'chat', 'messages': HELLO, 'stream': False, 'keep_alive': -1},
                             headers=p.keys['ada'])
    ok(status == 403 and 'builtin:key' in text_of(body), 'a key that may use may not pin', (status, body))
    status, body, _ = s.ask('DELETE', '/api/delete', {'model': 'nothing'}, headers=p.keys['ada'])
    ok(status == 403, 'nor delete', (status, body))
    status, body, _ = s.ask('DELETE', '/api/delete', {'model': 'nothing'})
    ok(status == 404, 'who runs the service may manage it', (status, body))
    status, body, _ = s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO})
    ok(status == 403, 'but needs a rule to use', (status, body))


def test_budget(p):
    answers = [p.chat('carl', max_tokens=16)[0] for _ in range(4)]
    ok(answers[0] == 200 and answers[-1] == 429, '30 tokens a day', answers)
    status, body, headers = p.chat('carl')
    ok('small' in text_of(body) and headers.get('Retry-After'), 'the rule is named', body)


def test_keys(p):
    s = p.service
    bad = {'Authorization': 'Bearer ingle-aaaaaaaa-' + 'x' * 43}
    first = s.get('/v1/models', headers=bad)
    near = {'Authorization': p.keys['ada']['Authorization'][:-1] + '~'}
    second = s.get('/v1/models', headers=near)
    ok(first[0] == 401 and second[0] == 401 and
       first[1]['error']['message'] == second[1]['error']['message'], 'unknown and wrong are one', (first, second))
    for _ in range(3):
        status, body, _ = s.get('/v1/models', headers=bad)
    ok(status == 429, 'then one has to wait', (status, body))
    until(lambda: s.get('/v1/models', headers=p.keys['ada'])[0] == 200)
    ok(s.get('/v1/models', headers=p.keys['ada'])[0] == 200, 'a good key ends the wait')
    ok(s.get('/v1/models', headers={'Authorization': 'Bearer ollama'})[0] == 200, 'what clients send without need is no key')
    ask = {'model': 'chat', 'messages': HELLO, 'max_tokens': 1}
    key = p.keys['ada']['Authorization'].split()[1]
    for fields, want in (({'x-api-key': key}, 200), ({'x-api-key': key[:-1] + '~'}, 401), (p.keys['ada'], 200), ({}, 403)):
        status, body, _ = s.post('/v1/messages', ask, headers={'anthropic-version': '2026-10-21', **fields})
        ok(status == want, f'anthropic: keys by either header ({", ".join(fields)}: {want})', (status, body))
    until(lambda: s.get('/v1/models', headers=p.keys['ada'])[0] == 200)
    subprocess.run([INGLE, 'key', 'revoke', 'of-dora'], env=dict(os.environ, **p.env), check=True)
    until(lambda: s.get('/v1/models', headers=p.keys['dora'])[0] == 401)
    ok(s.get('/v1/models', headers=p.keys['dora'])[0] == 401, 'a revoked key')


def test_offline(p):
    ok(p.chat('ada')[0] == 200, 'ada is served')
    members = p.ldap.entries['cn=eng,ou=groups,dc=x']['member']
    p.ldap.entries['cn=eng,ou=groups,dc=x']['member'] = members[1:]
    time.sleep(2.1)
    ok(p.chat('ada')[0] == 403, 'a lost group is lost after the cache age')
    p.ldap.entries['cn=eng,ou=groups,dc=x']['member'] = members
    time.sleep(2.1)
    ok(p.chat('ada')[0] == 200, 'and comes back')
    p.silent = True
    time.sleep(2.1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(p.chat, 'ada')
        time.sleep(0.1)
        start = time.monotonic()
        status = p.service.get('/health')[0]
        ok(status == 200 and time.monotonic() - start < 0.4, 'a directory that hangs stops nobody else')
        ok(waiting.result()[0] == 200, 'offline ada is served in the grace period')
    p.write(RULES, grace='2s')
    log = p.reload()
    time.sleep(2.5)
    status, body, _ = p.chat('ada')
    ok(status == 403 and 'builtin:directory' in text_of(body), 'and refused after it', (status, body, log))
    p.silent = False
    until(lambda: p.chat('ada')[0] == 200)
    ok(p.chat('ada')[0] == 200, 'until the directory answers again')


def test_reload(p):
    p.write(RULES.replace('effect = refuse', 'effect = perhaps'))
    log = p.reload()
    ok('stays in force' in log and p.chat('bob')[0] == 403 and p.chat('ada')[0] == 200,
       'M23: a bad file leaves the old policy in force', log)
    p.write(RULES.replace('who = user:bob', 'who = user:ada'))
    log = p.reload()
    ok(p.chat('bob')[0] == 200 and p.chat('ada')[0] == 403, 'a good one replaces it', log)


def test_words(p):
    def ingle(*args):
        r = subprocess.run([INGLE, *args], env=dict(os.environ, **p.env), capture_output=True, text=True, timeout=60)
        return r.returncode, r.stdout + r.stderr
    p.write(RULES)
    table = os.path.join(p.folder.name, 'expected')
    with open(table, 'w') as f:
        f.write('allow user:ada use chat rule=eng n_ctx=512\nrefuse user:bob use chat rule=not-bob\nrefuse nobody use chat\n')
    code, out = ingle('policy', 'test', table)
    ok(code == 0, 'policy test: expectations met, groups of the directory', (code, out))
    with open(table, 'a') as f:
        f.write('allow nobody use chat\n')
    code, out = ingle('policy', 'test', table)
    ok(code == 3 and 'line 4' in out, 'policy test: exit 3 and the line', (code, out))
    with open(table, 'a') as f:
        f.write('perhaps nobody use chat\n')
    code, out = ingle('policy', 'test', table)
    ok(code == 1 and ':5:' in out, 'policy test: a table that cannot be read', (code, out))
    code, out = ingle('policy', 'explain', 'bob', 'chat')
    ok(code == 0 and 'refused by not-bob' in out and 'eng' in out, 'policy explain', out)
    code, out = ingle('policy', 'explain', 'bob', 'chat', '--json')
    answer = json.loads(out)
    ok(answer['rule'] == 'not-bob' and [r['verdict'] for r in answer['rules'] if r['rule'] == 'eng'] == ['allows'],
       'policy explain --json', out)
    ok(ingle('policy', 'check')[0] == 0, 'policy check')
    p.write('[rule x]\neffect = perhaps\n')
    code, out = ingle('policy', 'check')
    ok(code == 1 and 'ingle.conf:2:' in out, 'M23: policy check: a bad file, by name and line', (code, out))
    p.write(RULES)
    code, out = ingle('key', 'add', 'of-ada', '--user', 'ada', '--absent')
    ok(code == 0 and 'unchanged' in out, 'key add --absent leaves what is there', (code, out))
    ok(ingle('key', 'add', 'of-ada')[0] == 1, 'without it the name is taken')
    code, out = ingle('key', 'add', 'new', '--dry-run')
    ok(code == 0 and 'nothing was written' in out and ingle('key', 'show', 'new')[0] == 1, 'key add --dry-run', (code, out))
    code, out = ingle('key', 'revoke', 'of-ada', '--dry-run')
    ok(code == 0 and 'good' in ingle('key', 'show', 'of-ada')[1], 'key revoke --dry-run', (code, out))
    code, out = ingle('key', 'revoke', 'of-dora')
    ok(code == 0 and 'unchanged' in out, 'revoking again changes nothing', (code, out))
    code, out = ingle('key', 'show', 'of-ada')
    ok(code == 0 and 'sha256' not in out and p.keys['ada']['Authorization'][7:] not in out, 'key show shows no secret', out)


def test_unconfigured():
    with tempfile.TemporaryDirectory() as folder:
        s = Service('chat=' + CHAT, args=['--ctx', '1024'],
                    env={'INGLE_CONFIG': folder, 'INGLE_KEYS': os.path.join(folder, 'keys.json')})
        status, body, _ = s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'max_tokens': 4},
                                 headers={'Authorization': 'Bearer ingle-something'})
        ok(status == 200, 'without policy and keys everything is as before', (status, body))
        s.stop()
        env = {'INGLE_CONFIG': folder, 'INGLE_KEYS': os.path.join(folder, 'keys.json')}
        out = subprocess.run([INGLE, 'key', 'add', 'k', '--model', 'story'], env=dict(os.environ, **env), capture_output=True,
                             text=True, check=True)
        key = {'Authorization': 'Bearer ' + out.stdout.strip()}
        s = Service('chat=' + CHAT, 'story=' + STORY, args=['--ctx', '1024'], env=env)
        status, body, _ = s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'max_tokens': 4}, headers=key)
        ok(status == 403 and 'builtin:key' in text_of(body), 'the bounds of a key hold without a policy too', (status, body))
        status, body, _ = s.ask('DELETE', '/api/delete', {'model': 'nothing'}, headers=key)
        ok(status == 403, 'also for who could manage without it', (status, body))
        seen = [m['id'] for m in s.get('/v1/models', headers=key)[1]['data']]
        ok(seen == ['story'] and len(s.get('/v1/models')[1]['data']) == 2, 'and in listings', seen)
        s.stop()


def test_priority():
    """One conversation at a time: who has less than the usual priority steps aside at once, others after their turn."""
    def race(s, keys):
        """How much sooner than carl, who began before, ada has her answer, as a share of the time that his takes."""
        c, r = s.open('POST', '/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 1000, 'stream': True, 'ignore_eos': True},
                      keys['carl'])
        r.read(16)
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            def rest():
                r.read()
                return time.monotonic()
            carl = pool.submit(rest)
            status, body, _ = s.post('/v1/completions', {'model': 'story', 'prompt': 'A', 'max_tokens': 1}, headers=keys['ada'])
            ada = time.monotonic()
            c_end = carl.result(120)
        c.close()
        return (c_end - ada) / (c_end - start) if status == 200 else body

    with tempfile.TemporaryDirectory() as folder:
        env = {'INGLE_CONFIG': folder, 'INGLE_KEYS': os.path.join(folder, 'keys.json')}
        keys = {}
        for user in ('ada', 'carl'):
            out = subprocess.run([INGLE, 'key', 'add', user, '--user', user, '--group', 'x'], env=dict(os.environ, **env), capture_output=True,
                                 text=True, check=True)
            keys[user] = {'Authorization': 'Bearer ' + out.stdout.strip()}
        for less in (False, True):
            with open(os.path.join(folder, 'ingle.conf'), 'w') as f:
                f.write('[policy]\nmode = open\n' + ('[rule less]\neffect = limit\nwho = user:carl\npriority = 10\n' if less else ''))
            s = Service('story=' + STORY, args=['--ctx', '2048', '--parallel', '1'], env=env)
            s.post('/v1/completions', {'model': 'story', 'prompt': 'Once', 'max_tokens': 1}, headers=keys['ada'])
            times = []
            while len(times) < (10 if less else 3) and not (less and times and times[-1] > 0.25):
                times.append(race(s, keys))
            if less:
                ok(times[-1] > 0.25, 'with less priority he steps aside', times)
            else:
                ok(sorted(times)[1] < 0.25, 'alike, she waits for her turn', times)
            s.stop()


def main():
    p = Place()
    try:
        for test in (test_decisions, test_budget, test_keys, test_offline, test_reload, test_words):
            test(p)
    finally:
        code = p.service.stop()
        p.ldap.close()
    ok(code == 0, 'the service ends well', (code, ''.join(p.service.log)[-3000:]))
    test_unconfigured()
    test_priority()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
