#!/usr/bin/env python3
"""Ledger and audit log of a running service, read by the verbs. Prints TAP."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, INGLE, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
PRICES = """currency = EUR
[elsewhere/small]
input = 1000000
output = 2000000
cached = 0
"""
HELLO = [{'role': 'user', 'content': 'Hello'}]


def ingle(*args):
    p = subprocess.run([INGLE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def state(s, name):
    return os.path.join(s.folder.name, 'store', 'state', name)


def until_booked(s, n):
    for _ in range(80):
        code, out, _ = ingle('cost', '--ledger', state(s, 'ledger.db'), '--json')
        if code == 0 and sum(r['requests'] for r in json.loads(out)['rows']) >= n:
            return True
        time.sleep(0.1)
    return False


def records_of(folder):
    """The log as it lies on the disk; what has no end is no record."""
    out = []
    for name in sorted(n for n in os.listdir(folder) if n.endswith('.jsonl')):
        with open(os.path.join(folder, name), 'rb') as f:
            out += [json.loads(line) for line in f.read().split(b'\n')[:-1]]
    return out


def ask(s, **k):
    return s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'max_tokens': 8, 'temperature': 0, **k},
                  headers={'X-Ingle-App': 'editor'})


def test_booked(s):
    usage = [ask(s)[1]['usage'] for _ in range(3)]
    usage.append(ask(s, n=2)[1]['usage'])
    s.post('/v1/embeddings', {'model': 'chat', 'input': ['a', 'b']}, headers={'X-Ingle-App': 'editor'})
    c, r = s.open('POST', '/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'max_tokens': 3000, 'temperature': 0.8,
                                                   'stream': True, 'ignore_eos': True}, {'X-Ingle-App': 'gone'})
    r.read(64)
    c.sock.close() if c.sock else r.close()
    r.close()
    c.close()
    ok(until_booked(s, 6), 'six requests are booked within seconds')
    ledger = state(s, 'ledger.db')
    rows = json.loads(ingle('cost', '--ledger', ledger, '--by', 'app', '--json')[1])['rows']
    by = {r['name']: r for r in rows}
    out = sum(u['completion_tokens'] for u in usage)
    ok(by['editor']['requests'] == 5 and by['editor']['tokens_out'] == out, 'the ledger has the tokens of the answers', (by, usage))
    chat_in = sum(u['prompt_tokens'] for u in usage)
    ok(by['editor']['tokens_in'] > chat_in and by['editor']['tokens_cached'] > 0, 'and of the prompts, those of embeddings, too', (by, usage))
    ok(by['gone']['requests'] == 1 and by['gone']['tokens_out'] > 0, 'a client that went away is booked', by)
    code, text, _ = ingle('cost', '--ledger', ledger, '--by', 'model')
    ok(code == 0 and 'chat' in text, 'a table for people', text)
    ok(ingle('cost', '--ledger', ledger, '--check')[0] == 0, 'the ledger is sound')
    return ledger


def test_prices(s, ledger):
    path = os.path.join(s.folder.name, 'prices.conf')
    with open(path, 'w') as f:
        f.write(PRICES)
    row = json.loads(ingle('cost', '--ledger', ledger, '--prices', path, '--json')[1])['rows'][0]
    expected = (row['tokens_in'] - row['tokens_cached']) * 1000000 + row['tokens_out'] * 2000000
    ok(row['elsewhere_micro']['elsewhere/small'] == expected, 'a price a token is exact', row)
    code, text, _ = ingle('cost', '--ledger', ledger, '--prices', path, '--by', 'user', '--csv')
    ok(code == 0 and text.splitlines()[0].startswith('user,requests,') and 'uid:' in text, 'CSV by user', text)
    code, text, _ = ingle('cost', '--ledger', ledger, '--otlp')
    names = [m['name'] for m in json.loads(text)['resourceMetrics'][0]['scopeMetrics'][0]['metrics']]
    ok(names[:2] == ['gen_ai.client.token.usage', 'gen_ai.client.operation.duration'], 'OpenTelemetry metrics', names)
    code, text, _ = ingle('cost', '--ledger', ledger, '--focus')
    lines = text.splitlines()
    ok(code == 0 and lines[0].startswith('BilledCost,') and all(l.count(',') >= 31 for l in lines), 'FOCUS columns', lines[:2])
    with open(path, 'a') as f:
        f.write('[wrong]\ninput = x\n')
    code, _, err = ingle('cost', '--ledger', ledger, '--prices', path)
    ok(code == 1 and 'line 7' in err, 'a wrong price is refused with its line', err)


def test_audit(s):
    folder = state(s, 'audit')
    ask(s, model='no-such-model')
    for _ in range(60):
        records = [json.loads(line) for line in ingle('audit', 'export', '--dir', folder)[1].splitlines()]
        if any(r['kind'] == 'refusal' for r in records):
            break
        time.sleep(0.1)
    kinds = [r['kind'] for r in records]
    ok(kinds[0] == 'open' and kinds.count('request') == 6 and 'refusal' in kinds, 'requests and refusals are audited', kinds)
    r = next(r for r in records if r['kind'] == 'request')
    ok(r['decision'] == 'allow' and r['model'] == 'chat' and r['who'].startswith('uid:') and r['tokens_out'] > 0 and
       r['ran_on'] == 'local', 'a record says who, what and how much', r)
    text = json.dumps(records)
    ok('Hello' not in text and '"content"' not in text, 'no content')
    code, text, _ = ingle('audit', 'verify', '--dir', folder, '--json')
    ok(code == 0 and json.loads(text)['ok'] and json.loads(text)['in_use'], 'a log in use verifies', text)
    return folder


def test_content():
    """Prompts and answers are recorded where policy says so, marked, from the reload on that says it; never in the messages."""
    with tempfile.TemporaryDirectory() as etc:
        env = {'INGLE_CONFIG': etc, 'INGLE_KEYS': os.path.join(etc, 'keys.json')}
        s = Service('chat=' + CHAT, args=['--ctx', '1024'], env=env)

        def say(text, **more):
            return s.post('/v1/chat/completions', {'model': 'chat', 'messages': [{'role': 'user', 'content': text}], 'max_tokens': 6,
                                                   'temperature': 0, **more})[1]

        def tell(*verb):
            return subprocess.run([INGLE, *verb, '--host', f'127.0.0.1:{s.port}'], capture_output=True, text=True, timeout=60,
                                  check=False).stdout

        def switch(yes):
            with open(os.path.join(etc, 'ingle.conf'), 'w') as f:
                f.write(f'[audit]\ncontent = {yes}\n')
            n = len(s.log)
            s.process.send_signal(signal.SIGHUP)
            until(lambda: any('read again' in line for line in s.log[n:]))
        say('plumcake')
        ok('recorded' not in tell('status') and 'recorded nowhere' in tell('doctor'), 'off by default, status and doctor say so')
        switch('yes')
        answer = say('gingerbread')['choices'][0]['message']['content']
        two = say('liquorice', n=2)
        c, r = s.open('POST', '/v1/completions', {'model': 'chat', 'prompt': 'treacle ' * 60, 'max_tokens': 4, 'stream': True})
        r.read()
        c.close()
        ok('prompts and answers are recorded' in tell('status'), 'ingle status says that it is on', tell('status'))
        ok('prompts and answers are recorded' in tell('doctor'), 'so does ingle doctor', tell('doctor'))
        ok(any('prompts and answers are recorded' in line for line in s.log), 'and the service')
        switch('no')
        say('aniseed')
        s.process.terminate()
        s.process.wait(60)
        records = [r for r in records_of(state(s, 'audit')) if r['kind'] == 'request']
        by = {word: [r for r in records if word in json.dumps(r)] for word in ('gingerbread', 'liquorice', 'treacle')}
        ok(all(len(by[w]) == 1 and by[w][0].get('content') is True for w in by), 'what was asked is there, and marked', records)
        ok(by['gingerbread'][0].get('answer') == answer, 'and the answer', (by['gingerbread'], answer))
        ok(by['liquorice'][0]['answer'] == '\n'.join(f'[{i + 1}] ' + x['message']['content'] for i, x in enumerate(two['choices'])), 'of several choices each', by['liquorice'])
        ok(len(records) == 5 and sum('content' in r for r in records) == 3 and
           not any(w in json.dumps(records) for w in ('plumcake', 'aniseed')), 'nothing from before and after', records)
        text = ''.join(s.log)
        ok(not any(w in text for w in ('gingerbread', 'liquorice', 'treacle')), 'nothing of it is in the messages', text)
        code, out, _ = ingle('audit', 'verify', '--dir', state(s, 'audit'))
        ok(code == 0, 'the log verifies', out)
        s.stop()


def test_journal():
    """--audit-journal: every record goes to syslog, too, in the order of the chain; what was asked and answered does not."""
    if os.geteuid() or os.path.lexists('/dev/log'):
        return tap.skip('audit records in syslog', '/dev/log is another program\'s, or may not be made')
    sink = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sink.bind('/dev/log')
    sink.settimeout(60)
    try:
        with tempfile.TemporaryDirectory() as etc:
            with open(os.path.join(etc, 'ingle.conf'), 'w') as f:
                f.write('[audit]\ncontent = yes\n')
            s = Service('chat=' + CHAT, args=['--audit-journal'], env={'INGLE_CONFIG': etc, 'INGLE_KEYS': os.path.join(etc, 'keys.json')})
            ask(s, model='no-such-model')
            s.post('/v1/chat/completions', {'model': 'chat', 'messages': [{'role': 'user', 'content': 'gingerbread'}], 'max_tokens': 2})
            s.process.terminate()
            s.process.wait(60)
            records = records_of(state(s, 'audit'))
            lines = []
            while len(lines) < len(records):
                line = sink.recv(65536).decode()
                lines += [line] if 'ingle audit' in line else []
            s.stop()
    except socket.timeout:
        pass
    finally:
        sink.close()
        os.unlink('/dev/log')
    told = [json.loads(m.group(1)) for m in (re.search(r'ingle audit: (\{.*\})', line) for line in lines) if m]
    ok(told == [r for r in records if 'content' not in r] and len(told) >= 3, 'every record is in syslog, as it is in the log',
       (len(told), len(records)))
    ok(not any('gingerbread' in line for line in lines) and any('has content' in line for line in lines) and
       any('gingerbread' in json.dumps(r) for r in records), 'but for those with content, which stay in the log', lines)
    return None


def test_after(folder):
    code, text, err = ingle('audit', 'verify', '--dir', folder)
    ok(code == 0 and 'the log is whole' in text, 'after the stop: whole and sealed', text + err)
    shutil.copy(os.path.join(folder, 'audit.head'), os.path.join(folder, 'elsewhere'))
    name = os.path.join(folder, sorted(n for n in os.listdir(folder) if n.endswith('.jsonl'))[0])
    with open(name, 'rb') as f:
        whole = f.read()
    with open(name, 'wb') as f:
        f.write(whole.replace(b'"tokens_out":8', b'"tokens_out":7', 1))
    code, text, _ = ingle('audit', 'verify', '--dir', folder)
    ok(code == 3 and 'altered' in text, 'an altered number is found', text)
    with open(name, 'wb') as f:
        f.write(b''.join(whole.splitlines(True)[:3]))
    os.remove(os.path.join(folder, 'audit.head'))
    ok(ingle('audit', 'verify', '--dir', folder)[0] == 0, 'a log cut off with its head looks whole')
    code, text, _ = ingle('audit', 'verify', '--dir', folder, '--head', os.path.join(folder, 'elsewhere'))
    ok(code == 3 and 'taken away' in text, 'but not against a head kept elsewhere', text)
    code, text, _ = ingle('audit', 'show', '--dir', folder, '--last', '2')
    ok(len(text.splitlines()) == 2, 'show prints the last records', text)


def test_energy():
    """Joules of a made-up meter: all of them are shared out, none twice."""
    sys_folder = tempfile.mkdtemp()
    zone = os.path.join(sys_folder, 'class', 'powercap', 'intel-rapl:0')
    os.makedirs(zone)

    def put(name, value):
        with open(os.path.join(zone, name + '.new'), 'w') as f:
            f.write(f'{value}\n')
        os.rename(os.path.join(zone, name + '.new'), os.path.join(zone, name))

    put('name', 'package-0')
    put('max_energy_range_uj', 10**12)
    put('energy_uj', 5000)
    s = Service(f'chat={CHAT}', env={'INGLE_METERS': sys_folder})
    ask(s)  # loads the model
    put('energy_uj', 7000)
    ask(s, max_tokens=1)  # begins after the first has ended: what the meter counted between belongs to nobody
    for i in range(4):
        c, r = s.open('POST', '/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'max_tokens': 1000, 'stream': True,
                                                       'temperature': 0.8, 'seed': i, 'ignore_eos': True})
        r.read(16)
        put('energy_uj', 7000 + (i + 1) * 1000003)  # while the answer runs, unless the machine stalls this program
        r.read()
        c.close()
    until_booked(s, 6)
    e = json.loads(ingle('cost', '--ledger', state(s, 'ledger.db'), '--json')[1])['rows'][0]['energy']
    ok(e and e['requests'] == 6 and 1000003 <= e['microjoules'] <= 2000 + 4 * 1000003, 'energy is booked, none twice', e)
    s.post('/api/delete', {'model': 'no-such'})
    s.ask('DELETE', '/api/delete', {'model': 'no-such'})
    folder = state(s, 'audit')
    for _ in range(60):
        records = [json.loads(line) for line in ingle('audit', 'export', '--dir', folder)[1].splitlines()]
        if any(r['kind'] == 'admin' for r in records):
            break
        time.sleep(0.1)
    ok(any(r['kind'] == 'admin' and r['op'] == 'delete' and r['model'] == 'no-such' for r in records), 'management is audited',
       [r['kind'] for r in records])
    s.stop()
    shutil.rmtree(sys_folder)


def test_full(tmpfs):
    """M05: a full disk stops what must be audited, and says so; where the audit log is not required it goes on."""
    for required in (False, True):
        folder = os.path.join(tmpfs, f'log{required}')
        s = Service(f'chat={CHAT}', args=['--audit', folder] + (['--audit-required'] if required else []))
        ok(ask(s)[0] == 200, f'audit required {required}: answers')
        with open(os.path.join(tmpfs, 'fill'), 'wb', buffering=0) as f:
            try:
                while f.write(b'x' * 4096):
                    pass
            except OSError:
                pass
        status, ids = [], []
        for _ in range(60):
            code, _, fields = ask(s)
            status.append(code)
            if code == 503:
                break
            ids.append(fields['X-Request-Id'])
            if not required:
                time.sleep(0.05)
        if required:
            there = {r['request'] for r in records_of(folder) if r['kind'] == 'begin'}
            ok(status[-1] == 503 and set(ids) <= there, 'a full disk: 503, and what was answered before it is in the log', (status, ids))
            status, text, _ = s.post('/api/copy', {'source': 'chat', 'destination': 'other'})
            ok(status == 503 and 'audit log' in str(text), 'so is what an administrator asks for', (status, text))
            said = until(lambda: [x for x in s.log if 'cannot be written' in x], 5)
            ok(said and folder in said[0] and 'No space' in said[0], 'the reason is said, with the folder', s.log)
        else:
            ok(set(status) == {200}, 'a full disk: answers go on', status[-1])
        os.remove(os.path.join(tmpfs, 'fill'))
        for _ in range(80):
            if ask(s)[0] == 200 and 'written again' in ''.join(s.log):
                break
            time.sleep(0.05)
        ok(ask(s)[0] == 200, 'with room again it goes on', ''.join(s.log))
        s.stop()
        code, text, err = ingle('audit', 'verify', '--dir', folder)
        ok(code == 0, 'and the log is whole', text + err)


def main():
    s = Service(f'chat={CHAT}')
    ledger = test_booked(s)
    test_prices(s, ledger)
    folder = test_audit(s)
    kept = tempfile.mkdtemp()
    s.process.terminate()
    s.process.wait(30)
    copy = shutil.copytree(folder, os.path.join(kept, 'audit'))
    s.stop()
    test_after(copy)
    shutil.rmtree(kept)
    test_energy()
    test_content()
    test_journal()
    tmpfs = tempfile.mkdtemp()
    mounted = os.geteuid() == 0 and subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'none', tmpfs],
                                                   stderr=subprocess.DEVNULL).returncode == 0
    if mounted:
        try:
            test_full(tmpfs)
        finally:
            subprocess.run(['umount', '-l', tmpfs], check=False)
    else:
        tap.skip('a full disk', 'no small file system can be mounted here')
    os.rmdir(tmpfs)
    return tap.end()


sys.exit(main())
