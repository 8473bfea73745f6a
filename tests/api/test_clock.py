#!/usr/bin/env python3
"""M14, M15: the clock of a running service jumps by a day back, ten years ahead and back, and stands still, by libfaketime: the day's
tokens, keys that expire, groups and their age, a catalogue and its grace, garbage, ledger and audit log. Nothing is lost, nothing
that was refused is allowed for it, and with the clock right again all is as before. And the machine sleeps for two hours: what was
due meanwhile is done, once. Prints TAP."""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import re
import signal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import INGLE, STORY, Service, Tap, until  # noqa: E402

SUSPEND = os.path.join(os.environ['INGLE_BUILD'], 'tests', 'suspend.so')
LIBRARY = next(iter(glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')), None)
DAY = 86400
LIMIT = 600
work = tempfile.mkdtemp(prefix='ingle-clock-')
tap = Tap()
ok = tap.ok


def path(*parts):
    return os.path.join(work, *parts)


def write(name, text):
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), 'w') as f:
        f.write(text)


class Machine:
    """A service whose clock this program sets, and verbs with the same one."""
    tls = False
    get, post, ask, open = Service.get, Service.post, Service.ask, Service.open

    def __init__(self):
        self.env = {k: v for k, v in os.environ.items() if not k.startswith('INGLE_')}
        self.env.update(INGLE_CONFIG=path('etc'), INGLE_KEYS=path('keys.json'), INGLE_METERED='no', INGLE_STORE=path('state', 'store'),
                        INGLE_GC_S='1', no_proxy='*')
        self.fake = dict(LD_PRELOAD=LIBRARY, FAKETIME_TIMESTAMP_FILE=path('now'), FAKETIME_NO_CACHE='1', FAKETIME_DONT_FAKE_MONOTONIC='1',
                         NO_FAKE_STAT='1')
        self.set('+0')

    def set(self, when):
        """'+0', '-1d', '+10y', or a time at which the clock stands."""
        write('now.new', when + '\n')
        os.rename(path('now.new'), path('now'))

    def run(self, *args, fake=False, **env):
        return subprocess.run([INGLE, *args], env=dict(self.env, **(self.fake if fake else {}), **env), cwd=work, capture_output=True, text=True,
                              timeout=120, stdin=subprocess.DEVNULL, check=False)

    def start(self):
        self.log = []
        env = {k: v for k, v in dict(self.env, **self.fake).items() if k != 'INGLE_STORE'}
        self.process = subprocess.Popen([INGLE, 'serve', '--state', path('state'), '--listen', 'tcp:127.0.0.1:0', '--ctx', '512'],
                                        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env, cwd=work)
        for line in self.process.stderr:
            self.log.append(line)
            m = re.search(r'http://127\.0\.0\.1:(\d+)', line)
            if m:
                self.port = int(m.group(1))
                break
        else:
            raise RuntimeError(''.join(self.log))
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.env['INGLE_HOST'] = f'127.0.0.1:{self.port}'

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def key(self, name, *args):
        r = self.run('key', 'add', name, *args)
        return {'Authorization': 'Bearer ' + r.stdout.strip()}

    def chat(self, key, n=4, model='all:1'):
        status, body, _ = self.post('/v1/completions', {'model': model, 'prompt': 'Once', 'max_tokens': n, 'ignore_eos': True}, headers=key)
        return status, body

    def days(self):
        return [x['name'] for x in json.loads(self.run('cost', '--by', 'day', '--json').stdout)['rows']]

    def sync(self):
        self.run('catalogue', 'sync', '--wait')
        return json.loads(self.run('status', '--compliance', '--json').stdout)

    def checked(self):
        return json.loads(self.run('status', '--compliance', '--json').stdout)['checked']

    def names(self):
        return sorted(x['name'] for x in json.loads(self.run('list', '--json', INGLE_HOST='').stdout)['models'])


def catalogue():
    env = dict(os.environ, INGLE_STORE=path('admin'), INGLE_HOST='')
    for args in (['pull', STORY, 'all:1', '-q'], ['catalogue', 'init', 'c'],
                 ['catalogue', 'add', 'c', 'all:1', '--license', 'MIT', '--origin', STORY],
                 ['catalogue', 'assign', 'c', 'all:1', '--required', '--group', 'staff', '--id', 'r'], ['catalogue', 'sign', 'c'],
                 ['catalogue', 'publish', 'c', path('www')]):
        subprocess.run([INGLE, *args], env=env, cwd=work, capture_output=True, check=True, timeout=60)


def used_up(m, key):
    for _ in range(40):
        status, body = m.chat(key, 60)
        if status != 200:
            return status, body
    return status, body


def test_ahead(m, keys):
    """Ten years: the short key and the catalogue have expired; nothing is thrown away for it."""
    m.set('+10y')
    ok(m.chat(keys['short'])[0] == 401, 'ten years ahead: a key has expired')
    report = m.sync()
    status, body = m.chat(keys['long'])
    ok(status == 403 and 'work:expired' in str(body), 'beyond its grace the catalogue\'s models are refused', (status, body))
    ok(not report['compliant'] and report['catalogues'][0]['state'] == 'expired', 'compliance says why', report['catalogues'])
    time.sleep(2.5)  # the garbage collection of every second has run with this clock
    ok(m.names() == ['all:1'], 'nothing is thrown away', m.names())
    m.set('+0')
    until(lambda: m.sync()['compliant'], 60)
    report = m.sync()
    ok(report['compliant'] and report['catalogues'][0]['state'] == 'current', 'right again: the catalogue is current', report)
    ok(m.chat(keys['short'])[0] == 200 and m.chat(keys['long'])[0] == 200, 'and both keys are served')


def test_budget(m, keys):
    """The day's tokens: another day has its own; the old one is found again, as it was used."""
    status, body = used_up(m, keys['long'])
    ok(status == 429 and 'day' in str(body), 'the day is used up', (status, body))
    n = len(m.days())
    m.set('-1d')
    ok(m.chat(keys['long'])[0] == 200, 'a day back is another day')
    ok(until(lambda: len(m.days()) == n + 1, 30), 'under which it is booked', m.days())
    m.set('+0')
    ok(m.chat(keys['long'])[0] == 429, 'the clock that goes back and forth gives nothing twice')
    m.set('+1d')
    ok(m.chat(keys['long'])[0] == 200, 'tomorrow is a new one')
    ok(until(lambda: len(m.days()) == n + 2, 30), 'booked as well', m.days())
    m.set('+0')
    ok(m.chat(keys['long'])[0] == 429, 'and today is still used up')


def test_back(m, keys):
    m.set('-10y')
    report = m.sync()
    ok(report['catalogues'][0]['state'] == 'current' and m.chat(keys['other'])[0] == 200, 'ten years back: who may is served', report)
    ok(m.chat(keys['none'])[0] == 403, 'who may not is not')
    time.sleep(2.5)
    ok(m.names() == ['all:1'], 'and nothing is thrown away')


def test_frozen(m, keys):
    m.set(time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime()))
    start = time.monotonic()
    codes = [m.chat(keys['other'])[0] for _ in range(3)]
    ok(codes == [200] * 3 and time.monotonic() - start < 60, 'a clock that stands still', codes)
    ok(m.sync()['catalogues'][0]['state'] == 'current', 'a sync ends all the same')
    m.set('+0')


def test_sleep(m):
    """Two hours asleep, the interval is one: the catalogue is looked at soon, and once."""
    m.stop()
    m.fake = dict(LD_PRELOAD=SUSPEND, INGLE_SLEPT=path('slept'))  # alone: with the other library waits do not end
    m.start()
    until(lambda: m.sync()['compliant'], 60)
    time.sleep(12)  # longer than the service waits between its looks at the clock
    before = m.checked()
    write('slept', '7200')
    ok(until(lambda: m.checked() > before, 60), 'after two hours asleep the catalogue is looked at', before)
    then = m.checked()
    time.sleep(12)
    ok(m.checked() == then, 'once', (then, m.checked()))


def main():
    if not LIBRARY:
        tap.skip('the clock', 'libfaketime is not installed; type: apt install faketime')
        return tap.end()
    m = Machine()
    try:
        catalogue()
        write('etc/ingle.conf', f'[directory]\nproviders = file\ngroups_file = {path("groups")}\ncache = 1s\n'
              f'[rule day]\neffect = limit\nwho = any\ntokens_per_day = {LIMIT}\n'
              f'[catalogue work]\nsource = {path("www")}\nroot = {path("www", "metadata", "1.root.json")}\ngrace = 1d\ninterval = 1h\nbattery = yes\n')
        write('groups', 'staff: ada bob cy\n')
        keys = {'short': m.key('short', '--user', 'ada', '--expires', '30d'), 'long': m.key('long', '--user', 'bob'),
                'other': m.key('other', '--user', 'cy'), 'none': m.key('none', '--user', 'dan')}
        m.start()
        until(lambda: m.sync()['compliant'] and m.names() == ['all:1'], 60)
        ok(m.chat(keys['short'])[0] == 200 and m.chat(keys['long'])[0] == 200, 'with the right time')
        ok(m.run('key', 'list', fake=True).returncode == 0, 'verbs run with the library')
        test_ahead(m, keys)
        test_budget(m, keys)
        test_back(m, keys)
        test_frozen(m, keys)
        test_sleep(m)
        code = m.stop()
        ok(code == 0, 'the service ends', code)
        r = m.run('audit', 'verify')
        ok(r.returncode == 0, 'the audit log is whole', r.stdout + r.stderr)
        r = m.run('cost', '--check')
        ok(r.returncode == 0, 'and so is the ledger', r.stdout + r.stderr)
        ok(len(m.days()) >= 4, f'use is booked on {len(m.days())} days', m.days())
    finally:
        if hasattr(m, 'process') and m.process.poll() is None:
            m.process.kill()
            m.process.wait(20)
        if tap.failures:
            print(''.join('# ' + x for x in getattr(m, 'log', [])[-40:]))
        shutil.rmtree(work, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
