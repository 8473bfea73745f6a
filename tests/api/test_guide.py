#!/usr/bin/env python3
"""docs/admin.md cannot rot: its blocks are taken out of the page in order and run as they stand, by a shell, with nothing but the
addresses and folders of this computer put in. The directory is slapd, the hub is nginx. Prints TAP."""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_workplace as place  # noqa: E402
from service import CHAT, INGLE, STORY, Tap, until  # noqa: E402

PAGE = os.path.join(os.environ['INGLE_SOURCE'], 'docs', 'admin.md')
TYPED_MAX = 30  # commands: what can be done in fifteen minutes
tap = Tap()
ok = tap.ok
path = place.path


def blocks():
    """(heading, language, text) of every block of the three steps."""
    heading, out = '', []
    with open(PAGE) as f:
        lines = iter(f.read().splitlines())
    for line in lines:
        if line.startswith('## '):
            heading = line[3:]
        elif line.startswith('```') and re.match(r'\d\.', heading):
            text = []
            for inner in lines:
                if inner == '```':
                    break
                text.append(inner)
            out.append((heading, line[3:], '\n'.join(text)))
    return out


def commands(text):
    """Lines as a shell has them, without comments."""
    text = text.replace('\\\n', ' ')
    return [c for c in (re.sub(r'\s+#\s.*$', '', line).strip() for line in text.splitlines()) if c]


class Here:
    """The names of the page, and what they are on this computer."""

    def __init__(self, hub, directory):
        self.names = {'https://hub.example.org': hub.url, 'ldaps://dc1.example.org': f'ldap://127.0.0.1:{directory.port}',
                      '/etc/ingle': path('etc')}
        os.makedirs(path('bin'))
        with open(path('bin', 'systemctl'), 'w') as f:  # the unit of this computer
            f.write(f'#!/bin/sh\n[ "$*" = "reload ingle" ] && kill -HUP "$(cat {path("pid")})"\n')
        os.chmod(path('bin', 'systemctl'), 0o755)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith('INGLE_') and k != 'OLLAMA_HOST'}
        self.env.update(PATH=f'{path("bin")}:{os.path.dirname(INGLE)}:{os.environ["PATH"]}', HOME=place.work, no_proxy='*', INGLE_METERED='no',
                        INGLE_STORE=path('admin'))
        self.typed = 0

    def put(self, text):
        for name, here in self.names.items():
            text = text.replace(name, here)
        return text

    def run(self, line, want=(0,)):
        self.typed += 1
        r = subprocess.run(['sh', '-c', self.put(line)], env=self.env, cwd=place.work, capture_output=True, text=True, timeout=120,
                           stdin=subprocess.DEVNULL, check=False)
        ok(r.returncode in want, line[:110], (r.returncode, r.stdout + r.stderr))
        return r.stdout

    def files(self, text):
        """A block of files, each behind a comment that says where it lies."""
        out = {}
        name = None
        for line in text.splitlines():
            m = re.match(r'# (/etc/ingle/\S+\.conf)$', line)
            name = m.group(1) if m else name
            out.setdefault(name, []).append(line)
        for name, lines in out.items():
            if name:
                place.write(os.path.relpath(self.put(name), place.work), self.put('\n'.join(lines)) + '\n')
        return sorted(k for k in out if k)


class Machine(place.Machine):
    """A service that runs before anything is configured."""

    def __init__(self, here):
        here.env.update(INGLE_CONFIG=path('etc'), INGLE_KEYS=path('keys.json'), INGLE_STORE=path('laptop', 'state', 'store'))
        os.makedirs(path('etc', 'conf.d'))
        os.makedirs(path('laptop'))
        self.env = {k: here.env[k] for k in ('INGLE_CONFIG', 'INGLE_KEYS', 'INGLE_STORE', 'INGLE_METERED')}
        self.log = []
        self.start()
        here.env['INGLE_HOST'] = self.host
        place.write('pid', str(self.process.pid))


def administrator(here, steps):
    for name, file in (('coder-1', CHAT), ('writer-1', STORY), ('helper-1', CHAT)):
        shutil.copy(file, path('www', 'files', name + '.gguf'))
    ok([language for _, language, _ in steps] == ['sh'], 'step 1 is a block of commands', steps)
    for line in commands(steps[0][2]):
        here.run(line)
    there = ' '.join(name for _, _, names in os.walk(path('www', 'catalogue')) for name in names)
    ok(all(m in there for m in ('coder=1', 'writer=1', 'helper=1')), 'three models are published', there)


def machine(here, steps):
    languages = [language for _, language, _ in steps]
    ok(languages == ['ini', 'sh', 'sh'], 'step 2 is files, commands, a key', languages)
    m = Machine(here)
    root = re.search(r'# /etc/ingle/(\S+): a copy of (\S+);', steps[0][2])
    ok(root, 'it says where the root comes from', steps[0][2][:200])
    shutil.copy(path(root.group(2)), path('etc', root.group(1)))
    names = here.files(steps[0][2])
    ok([os.path.basename(x) for x in names] == ['50-work.conf', '60-directory.conf'], 'two files', names)
    for line in commands(steps[1][2]):
        here.run(line)
    for line in commands(steps[2][2]):
        out = here.run(line)
        if line.startswith('ingle key add ada'):
            m.keys = {'ada': {'Authorization': 'Bearer ' + out.strip()}}
    m.used = {'ada': 0}
    return m


def seen(here, m, steps):
    ok(until(lambda: m.states().get('coder:1') == 'present' and m.states().get('helper:1') == 'present', 60),
       'ada\'s models are here, bob\'s is not', m.states())
    ok(m.models('ada') == ['coder:1', 'helper:1'], 'she sees them', m.models('ada'))
    ok(m.chat('ada', 'coder:1', max_tokens=4)[0] == 200, 'and is answered')
    ok(m.chat('ada', 'writer:1', max_tokens=4)[0] in (403, 404), 'writer:1 is not for her')
    ok([language for _, language, _ in steps] == ['sh'], 'step 3 is a block of commands', steps)
    outputs = {line: '' for line in commands(steps[0][2])}
    # the ledger and the audit log are written within a second
    until(lambda: 'coder:1' in subprocess.run([INGLE, 'cost', '--by', 'model'], env=here.env, capture_output=True, text=True, check=False).stdout, 30)
    for line in outputs:
        outputs[line] = here.run(line)
    find = {'policy who': 'engineers', 'cost --by user': m.keys['ada']['Authorization'].split('-')[1], 'audit show': 'work:eng-coder',
            '--json': '"compliant":true'}
    for words, want in find.items():
        out = next((o for line, o in outputs.items() if words in line), None)
        ok(out is not None and want in out.replace('": ', '":'), f'{words} shows {want if words != "cost --by user" else "her"}', out)


def main():
    if not (os.access(place.SLAPD, os.X_OK) and shutil.which('ldapmodify') and place.NGINX):
        tap.skip('docs/admin.md', 'slapd, ldap-utils or nginx is not installed')
        return tap.end()
    m = None
    try:
        steps = {}
        for heading, language, text in blocks():
            steps.setdefault(heading[0], []).append((heading, language, text))
        ok(sorted(steps) == ['1', '2', '3'], 'the page has three steps', sorted(steps))
        directory, hub = place.Directory(), place.Hub()
        here = Here(hub, directory)
        administrator(here, steps['1'])
        m = machine(here, steps['2'])
        seen(here, m, steps['3'])
        ok(here.typed <= TYPED_MAX, f'{here.typed} commands and two files', here.typed)
        code = m.stop()
        ok(code == 0, 'the service ends', code)
    finally:
        for p in place.running:
            if p.poll() is None:
                p.kill()
                p.wait(20)
        if tap.failures and m:
            print(''.join('# ' + x for x in m.log[-40:]))
        shutil.rmtree(place.work, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
