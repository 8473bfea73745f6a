#!/usr/bin/env python3
"""The examples for administrators are run, not only read: the Ansible playbook against a service in a scratch folder (twice, and
as a dry run), the script for machines without configuration management, and all units. Prints TAP."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import DATA, INGLE, STORY, Tap, until  # noqa: E402

SOURCE = os.environ['INGLE_SOURCE']
EXAMPLES = os.path.join(SOURCE, 'examples', 'workplace')
OTHER = os.path.join(DATA, 'stories260K.q8_0.gguf')
work = tempfile.mkdtemp(prefix='ingle-examples-')
tap = Tap()
ok = tap.ok


def path(*parts):
    return os.path.join(work, *parts)


def run(*args, cwd=None, **env):
    r = subprocess.run(args, cwd=cwd or work, env=dict(ENV, **env), capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
                       check=False)
    return r.returncode, r.stdout + r.stderr


ENV = {k: v for k, v in os.environ.items() if not k.startswith(('INGLE_', 'ANSIBLE_'))}
ENV.update(PATH=os.path.dirname(INGLE) + ':' + os.environ['PATH'], HOME=work, INGLE_METERED='no', LC_ALL='C.UTF-8', ANSIBLE_NOCOLOR='1',
           ANSIBLE_LOCALHOST_WARNING='false', ANSIBLE_RETRY_FILES_ENABLED='false', ANSIBLE_LOCAL_TEMP=path('tmp'), no_proxy='*')


class Catalogue:
    """One model that everybody must have; published to a folder."""

    def __init__(self):
        self.add('all:1', STORY)
        self.cat('assign', 'models', 'all:1', '--required', '--id', 'r-all')
        self.publish()

    def cat(self, *args):
        code, out = run(INGLE, 'catalogue', *args, INGLE_STORE=path('admin'))
        if code:
            raise RuntimeError(out)

    def add(self, name, file):
        run(INGLE, 'pull', file, name, '-q', INGLE_STORE=path('admin'))
        if not os.path.isdir(path('models')):
            self.cat('init', 'models')
        self.cat('add', 'models', name, '--license', 'MIT', '--origin', file)

    def publish(self):
        self.cat('sign', 'models')
        self.cat('publish', 'models', path('www'))


class Machine:
    def __init__(self):
        os.makedirs(path('etc'))
        self.log = []
        self.process = subprocess.Popen([INGLE, 'serve', '--store', path('store'), '--listen', 'tcp:127.0.0.1:0'], stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, text=True, cwd=work, env=dict(ENV, INGLE_CONFIG=path('etc')))
        for line in self.process.stderr:
            self.log.append(line)
            m = re.search(r'http://127\.0\.0\.1:(\d+)', line)
            if m:
                self.host = '127.0.0.1:' + m.group(1)
                break
        else:
            raise RuntimeError(''.join(self.log))
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def play(m, *more, hub=None, wait=15):
    """The playbook on this computer; its recap as numbers."""
    values = {'ingle_become': False, 'ingle_etc': path('etc'), 'ingle_owner': os.getuid(), 'ingle_group': os.getgid(),
              'ingle_reload': f'kill -HUP {m.process.pid}', 'ingle_hub': hub or path('www'), 'ingle_disk': '1G', 'ingle_wait_s': wait,
              'ingle_ldap_uri': 'ldap://127.0.0.1:1', 'ansible_python_interpreter': '/usr/bin/python3'}
    code, out = run('ansible-playbook', '-i', 'localhost,', '-c', 'local', '--skip-tags', 'system', '-e', json.dumps(values), *more, 'ingle.yml',
                    cwd=path('ansible'), INGLE_HOST=m.host)
    recap = {k: int(v) for k, v in re.findall(r'(\w+)=(\d+)', out[out.rfind('PLAY RECAP'):])}
    return code, recap, out


def test_ansible(catalogue):
    shutil.copytree(os.path.join(EXAMPLES, 'ansible'), path('ansible'))
    os.makedirs(path('ansible', 'files'))
    shutil.copy(path('www', 'metadata', '1.root.json'), path('ansible', 'files', 'work.root.json'))
    code, out = run('ansible-playbook', '--syntax-check', '-i', 'localhost,', 'ingle.yml', cwd=path('ansible'))
    ok(code == 0, 'the playbook is one', out)
    with open(os.path.join(EXAMPLES, 'ansible', 'ingle.yml')) as f:
        tagged = re.findall(r'- name: (.*)\n      ansible\.builtin\.(package|systemd):(?:.*\n)*?      tags: system', f.read())
    ok(len(tagged) == 2, 'what a try leaves out is the package and the start of the unit alone', tagged)
    m = Machine()
    try:
        code, recap, out = play(m, '--check')
        ok(code == 0 and recap.get('changed', 0) > 0 and not os.listdir(path('etc')), '--check says what would change, and does nothing', out[-1500:])
        code, recap, out = play(m)
        ok(code == 0 and recap['failed'] == 0 and recap['changed'] == 4, 'a run lays three files down and reloads the service', (recap, out[-1500:]))
        code, out = run(INGLE, 'status', '--compliance', '--json', INGLE_HOST=m.host)
        rows = json.loads(out)['models'] if code == 0 else out
        ok(code == 0 and rows[0]['state'] == 'present', 'and what the catalogue requires is here', rows)
        code, recap, out = play(m)
        ok(code == 0 and recap['failed'] == 0 and recap['changed'] == 0 and recap['ok'] > 5, 'the second run changes nothing', (recap, out[-1500:]))
        code, recap, out = play(m, '--check')
        ok(code == 0 and recap['failed'] == 0 and recap['changed'] == 0, 'nor would a third', (recap, out[-1500:]))
        catalogue.add('other:1', OTHER)
        catalogue.cat('assign', 'models', 'other:1', '--required', '--id', 'r-other')
        catalogue.publish()
        os.rename(path('www'), path('www.away'))
        code, recap, out = play(m, wait=1)
        ok(code == 0 and recap['changed'] == 0, 'a hub that is away is no failure while everything is here', (code, recap, out[-1500:]))
        os.rename(path('www.away'), path('www'))
        code, recap, out = play(m, '-e', 'ingle_disk=1000', wait=1)
        ok(code != 0 and 'r-other' in out and 'waiting' in out and recap['failed'] == 1, 'what is missing fails the run, with the reason', out[-1500:])
        code, recap, out = play(m)
        ok(code == 0 and recap['failed'] == 0, 'with room it comes', (recap, out[-1500:]))
        code, recap, out = play(m, '-e', 'ingle_ldap_base=', wait=1)
        ok(code != 0 and '60-directory.conf' in out, 'a file with a fault stops the run before the reload', out[-1500:])
    finally:
        code = m.stop()
        ok(code == 0, 'the service ends', (code, ''.join(m.log)[-1500:]))


def look(folder):
    return {os.path.join(at, n): (os.stat(os.path.join(at, n)).st_mtime_ns, os.stat(os.path.join(at, n)).st_mode) for at, _, names in os.walk(folder)
            for n in names}


def test_script():
    script, root = os.path.join(EXAMPLES, 'systemd', 'install.sh'), path('www', 'metadata', '1.root.json')
    code, out = run('sh', script, root, path('www'), DESTDIR=path('dest'))
    once = look(path('dest'))
    ok(code == 0 and len(once) == 2 and {m & 0o777 for _, m in once.values()} == {0o644}, 'install.sh lays two files down', (code, out, once))
    code, out = run('sh', script, root, path('www'), DESTDIR=path('dest'))
    ok(code == 0 and out.strip().endswith('unchanged') and look(path('dest')) == once, 'the second time it changes nothing', out)
    code, out = run('sh', script, root, path('elsewhere'), DESTDIR=path('dest'))
    changed = [k for k, v in look(path('dest')).items() if once[k] != v]
    ok(code == 0 and [os.path.basename(k) for k in changed] == ['50-work.conf'], 'another address changes one file', (out, changed))
    code, out = run('sh', script, root)
    ok(code == 2 and 'usage' in out, 'without an address it says how it is called', out)
    code, out = run('sh', script, path('nothing.json'), path('www'), DESTDIR=path('dest2'))
    ok(code != 0 and not os.path.exists(path('dest2', 'etc', 'ingle', 'conf.d', '50-work.conf')), 'without a root nothing is followed', out)


def test_units():
    """With the paths of this build in place of /usr/bin."""
    if not shutil.which('systemd-analyze'):
        tap.skip('units', 'there is no systemd-analyze')
        return
    os.makedirs(path('runtime'), 0o700)
    system = (os.path.join(EXAMPLES, 'systemd'), os.path.join(SOURCE, 'packaging', 'systemd'))
    for who, folders, least in (('system', system, 4), ('user', (os.path.join(SOURCE, 'packaging', 'systemd', 'user'),), 2)):
        os.makedirs(path('units', who))
        units = []
        for folder in folders:
            for name in os.listdir(folder):
                if name.endswith(('.service', '.timer', '.socket')):
                    with open(os.path.join(folder, name)) as f, open(path('units', who, name), 'w') as out:
                        out.write(f.read().replace('/usr/bin/ingle', INGLE))
                    units.append(path('units', who, name))
        code, out = run('systemd-analyze', '--' + who, 'verify', '--man=no', *sorted(units), XDG_RUNTIME_DIR=path('runtime'))
        lines = [x for x in out.splitlines() if any(os.path.basename(u) in x for u in units)]
        ok(code == 0 and not lines and len(units) >= least, f'{len(units)} units of the {who} are sound', (code, out))
    code, out = run('systemd-analyze', 'calendar', 'weekly')
    ok(code == 0, 'the timer has a time', out)


def main():
    try:
        catalogue = Catalogue()
        test_script()
        test_units()
        if shutil.which('ansible-playbook'):
            test_ansible(catalogue)
        else:
            tap.skip('the playbook', 'there is no ansible-playbook; type: apt install ansible-core')
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
