#!/usr/bin/env python3
"""Tokens a day by the ledger: held by requests at once and across a restart and a kill, for a person who comes by user id and by
keys alike. Prints TAP."""
import json
import os
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, INGLE, Service, Tap, until  # noqa: E402

tap = Tap()
ok = tap.ok
LIMIT = 600
RULES = f"""[policy]
mode = open
[rule day]
effect = limit
who = user:root
tokens_per_day = {LIMIT}
[directory]
providers = system
"""
HELLO = [{'role': 'user', 'content': 'Hello'}]


class Place:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        with open(os.path.join(self.folder.name, 'ingle.conf'), 'w', encoding='utf-8') as f:
            f.write(RULES)
        self.env = {'INGLE_CONFIG': self.folder.name, 'INGLE_KEYS': os.path.join(self.folder.name, 'keys.json')}
        self.ledger = os.path.join(self.folder.name, 'ledger.db')
        self.keys = [self.key(i) for i in range(2)]
        self.start()

    def key(self, i):
        out = subprocess.run([INGLE, 'key', 'add', f'k{i}', '--user', 'root'], env=dict(os.environ, **self.env), capture_output=True,
                             text=True, check=True)
        return {'Authorization': 'Bearer ' + out.stdout.strip()}

    def start(self):
        self.s = Service(f'chat={CHAT}', args=['--ledger', self.ledger, '--ctx', '1024'], env=self.env)

    def chat(self, headers=None, **more):
        status, body, _ = self.s.post('/v1/chat/completions', {'model': 'chat', 'messages': HELLO, 'ignore_eos': True, **more},
                                      headers=headers, timeout=300)
        return status, body['usage']['total_tokens'] if status == 200 else 0, body

    def used(self):
        out = subprocess.run([INGLE, 'cost', '--ledger', self.ledger, '--json'], capture_output=True, text=True, check=False).stdout
        return sum(r['tokens_in'] + r['tokens_out'] for r in json.loads(out)['rows']) if out else 0


def main():
    if os.geteuid():
        tap.skip('quotas', 'the test speaks of the user root')
        return tap.end()
    p = Place()
    status, first, body = p.chat(max_tokens=20)
    ok(status == 200, 'a request within the day', body)
    total, prompt = first, first - 20

    results = []
    threads = [threading.Thread(target=lambda h=h: results.append(p.chat(h, max_tokens=200)))
               for h in (None, p.keys[0], p.keys[1], None, p.keys[0], p.keys[1], None, None)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    total += sum(r[1] for r in results)
    codes = sorted(r[0] for r in results)
    ok(set(codes) <= {200, 429} and 200 in codes, 'eight requests at once, by user and by keys', codes)
    ok(total <= LIMIT + 8 * prompt, f'they use no more than the day and their prompts: {total}', (results, prompt))

    while True:  # to the end of the day
        status, n, body = p.chat()
        total += n
        if status != 200:
            break
    ok(status == 429 and 'day' in str(body) and LIMIT <= total <= LIMIT + 9 * prompt, f'the rest of the day goes, then 429: {total}', body)
    ok(p.chat(p.keys[0])[0] == 429, 'by a key as well')
    ok(until(lambda: p.used() == total, 20), 'the ledger says the same', (p.used(), total))

    p.s.stop()
    p.start()
    ok([p.chat(h)[0] for h in (None, *p.keys)] == [429] * 3, 'after a restart the day is still used')
    p.s.process.kill()
    p.s.process.wait()
    p.s.folder.cleanup()
    p.start()
    ok([p.chat(h)[0] for h in (None, *p.keys)] == [429] * 3, 'after a kill as well')
    p.s.stop()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
