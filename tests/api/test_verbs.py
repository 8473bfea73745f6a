#!/usr/bin/env python3
"""Every verb that changes something knows --dry-run, changes nothing with it, and may be given twice: the second time it ends
with 0 and leaves the same state. A verb that this table does not know fails it. Prints TAP."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import CHAT, DATA, INGLE, STORY, Service, Tap, until  # noqa: E402

work = tempfile.mkdtemp(prefix='ingle-verbs-')
tap = Tap()
ok = tap.ok
OTHER = os.path.join(DATA, 'stories260K.q8_0.gguf')
READS = {'run', 'chat', 'show', 'tokenize', 'template', 'eval', 'embed', 'bench', 'grammar', 'ps', 'status', 'doctor', 'list', 'policy',
         'df', 'audit', 'reply', 'completion', 'help', 'version'}
FILES = {'quantize', 'imatrix'}  # one file from others, where it is told to
CHANGES = {'pin', 'unpin', 'stop', 'pull', 'rm', 'cp', 'push', 'export', 'import', 'verify', 'key', 'gc', 'catalogue', 'cost'}
ENV = {k: v for k, v in os.environ.items() if k not in ('INGLE_HOST', 'OLLAMA_HOST')}
ENV.update(HOME=work, INGLE_STORE=os.path.join(work, 'store'), INGLE_CONFIG=os.path.join(work, 'etc'), INGLE_KEYS=os.path.join(work, 'keys.json'))


def ingle(*args, **env):
    r = subprocess.run([INGLE, *args], env=dict(ENV, **env), cwd=work, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                       check=False)
    return r.returncode, r.stdout + r.stderr


def look(folder=None):
    """Names, modes and content of everything."""
    out = {}
    for at, folders, names in os.walk(folder or work):
        for name in folders + names:
            path = os.path.join(at, name)
            if os.path.islink(path) or os.path.isdir(path):
                out[path] = os.readlink(path) if os.path.islink(path) else 'folder'
            elif os.path.isfile(path):
                with open(path, 'rb') as f:
                    out[path] = (os.stat(path).st_mode, hashlib.sha256(f.read()).hexdigest())
    return out


def differ(a, b):
    return sorted(os.path.relpath(k, work) for k in a.keys() | b.keys() if a.get(k) != b.get(k))


def verb(name, *args, again=None, changes=True, moves=(), **env):
    """again: arguments of the second time. moves: what may differ between two runs that did the same (seals, times)."""
    before = look()
    code, out = ingle(*args, '--dry-run', **env)
    ok(code == 0 and out.strip(), f'{name}: a dry run says what would be done', (code, out))
    ok(not differ(before, look()), f'{name}: and does nothing', differ(before, look()))
    code, out = ingle(*args, **env)
    once = look()
    ok(code == 0, f'{name}: the first time', (code, out))
    if changes:
        ok(differ(before, once), f'{name}: changes something')
    code, out = ingle(*(again or args), **env)
    twice = [x for x in differ(once, look()) if not any(re.search(m, x) for m in moves)]
    ok(code == 0 and not twice, f'{name}: the second time is the same', (code, out, twice))


def test_known():
    code, out = ingle('completion', 'bash')
    verbs = set(re.search(r'compgen -W "([a-z ]+)"', out).group(1).split()) if 'compgen -W "' in out else set()
    if not verbs:
        verbs = set(re.findall(r'^  ([a-z]+) ', ingle('help')[1], re.M))
    ok(len(verbs) > 20, 'the verbs are listed', out[:300])
    known = READS | FILES | CHANGES | {'serve'}
    ok(verbs <= known, 'each verb is one that is known to change something or not', verbs - known)
    for name in sorted(CHANGES & verbs):
        ok('--dry-run' in ingle('help', name)[1], f'{name} knows --dry-run')


def ollama_store():
    """A store of Ollama with one model."""
    root = os.path.join(work, 'ollama')
    with open(STORY, 'rb') as f:
        data = f.read()
    digest = hashlib.sha256(data).hexdigest()
    config = b'{}'
    os.makedirs(os.path.join(root, 'blobs'))
    for content in (data, config):
        with open(os.path.join(root, 'blobs', 'sha256-' + hashlib.sha256(content).hexdigest()), 'wb') as f:
            f.write(content)
    where = os.path.join(root, 'manifests', 'registry.ollama.ai', 'library', 'old')
    os.makedirs(where)
    with open(os.path.join(where, 'latest'), 'w') as f:
        json.dump({'schemaVersion': 2, 'config': {'mediaType': 'application/vnd.docker.container.image.v1+json', 'size': len(config),
                                                  'digest': 'sha256:' + hashlib.sha256(config).hexdigest()},
                   'layers': [{'mediaType': 'application/vnd.ollama.image.model', 'digest': 'sha256:' + digest, 'size': len(data)}]}, f)
    return root


def test_store():
    added = (r'names/',)  # "added": when it came
    code, out = ingle('pull', STORY, 'new', '--dry-run')
    ok(code == 0 and not os.path.exists(ENV['INGLE_STORE']), 'pull: a dry run makes no store', out)
    ingle('pull', STORY, 'story', '-q')
    verb('pull', 'pull', OTHER, 'small', moves=added)
    verb('cp', 'cp', 'small', 'team/other', moves=added)
    verb('import', 'import', ollama_store(), moves=added)
    verb('export', 'export', 'small', 'out/')
    blob = os.path.join(work, 'store', 'blobs', 'ab', 'ab' + '0' * 62)
    os.makedirs(os.path.dirname(blob), exist_ok=True)
    with open(blob, 'wb') as f:
        f.write(b'nobody names this')
    verb('gc', 'gc', '--all')
    with open(os.path.join(work, 'store', 'names', 'small=latest.json')) as f:
        bad = json.load(f)['model']['files'][0]['digest'].removeprefix('sha256:')
    before, path = look(), os.path.join(work, 'store', 'blobs', bad[:2], bad)
    with open(path, 'rb') as f:
        sound = f.read()
    os.chmod(path, 0o600)
    with open(path, 'wb') as f:
        f.write(sound[:-1] + b'x')
    damaged = look()
    code, out = ingle('verify', '--quarantine', '--dry-run')
    ok(code == 3 and not differ(damaged, look()), 'verify --quarantine: a dry run tells and moves nothing', (code, out))
    code, out = ingle('verify', '--quarantine')
    once = look()
    code, out = ingle('verify', '--quarantine')
    ok(code == 3 and not differ(once, look()), 'verify --quarantine: the second time moves nothing', (code, out, differ(once, look())))
    ingle('pull', OTHER, 'small', '-q')
    ok(before.keys() <= look().keys(), 'and the file comes back')
    verb('rm', 'rm', 'team/other', again=('rm', '--absent', 'team/other'))
    code, out = ingle('rm', 'team/other')
    ok(code == 1, 'rm without --absent says that there is none', (code, out))


def test_keys():
    verb('key add', 'key', 'add', 'ci', '--user', 'build', '--absent')
    verb('key revoke', 'key', 'revoke', 'ci')


def test_catalogue():
    def cat(*args, **more):
        verb('catalogue ' + args[0], 'catalogue', *args, **more)
    cat('init', 'cat')
    cat('add', 'cat', 'small', '--license', 'MIT', '--origin', OTHER)
    cat('assign', 'cat', 'small', '--group', 'eng', '--id', 'r1')
    cat('deny', 'cat', '--with-license', 'CC-BY-NC-*', '--id', 'r2')
    cat('delegate', 'cat', 'team', '--path', 'team/*')
    cat('sign', 'cat')
    cat('publish', 'cat', 'published')
    ingle('catalogue', 'init', 'elsewhere')
    key = [n for n in os.listdir(os.path.join(work, 'elsewhere.keys')) if 'timestamp' in n][0]
    shutil.copy(os.path.join(work, 'elsewhere.keys', key), os.path.join(work, 'cat.keys', 'next.pem'))
    cat('rotate', 'cat', 'timestamp', '--key', os.path.join('cat.keys', 'next.pem'))
    cat('drop', 'cat', 'small')
    code, out = ingle('catalogue', 'drop', 'cat', 'no-such-model', '--dry-run')
    ok(code == 0 and 'unchanged' in out, 'catalogue drop of what is not there', (code, out))
    ingle('catalogue', 'add', 'cat', 'small', '--license', 'MIT', '--origin', OTHER)
    ingle('catalogue', 'assign', 'cat', 'small', '--required', '--id', 'r1')
    ingle('catalogue', 'sign', 'cat')
    ok(ingle('catalogue', 'publish', 'cat', 'published')[0] == 0, 'catalogue publish again')
    root = os.path.join(work, 'published', 'metadata', '1.root.json')
    store = os.path.join(work, 'client')
    other = {'INGLE_STORE': store}
    ingle('pull', STORY, 'x', '-q', **other)
    verb('catalogue sync', 'catalogue', 'sync', os.path.join(work, 'published'), '--root', root, moves=(r'active\.json',), **other)
    verb('catalogue pull', 'catalogue', 'pull', 'small', moves=(r'names/',), **other)


def test_service():
    store = os.path.join(work, 'served')
    s = Service('chat=' + CHAT, args=['--ctx', '512'], store=store, env={'INGLE_CONFIG': ENV['INGLE_CONFIG']})
    host = ('--host', f'127.0.0.1:{s.port}')

    def pins():
        return {k: v for k, v in look(store).items() if 'pin' in os.path.basename(k)}, [
            (m['model'], m['pinned']) for m in s.get('/ingle/status')[1]['models']]
    for name in ('pin', 'unpin', 'stop'):
        before = pins()
        code, out = ingle(name, 'chat', '--dry-run', *host)
        ok(code == 0 and 'would be' in out and pins() == before, f'{name}: a dry run does nothing', (code, out, pins()))
        code, out = ingle(name, 'chat', *host)
        ok(code == 0 and until(lambda: pins() != before, 30), f'{name}: the first time', (code, out, pins()))
        until(lambda: name != 'stop' or not pins()[1], 30)
        once = pins()
        code, out = ingle(name, 'chat', *host)
        ok(code == 0 and pins() == once, f'{name}: the second time is the same', (code, out, pins()))
    code, out = ingle('pin', 'no-such', '--dry-run', *host)
    ok(code == 1 and 'no-such' in out, 'a dry run finds what is not there', (code, out))
    s.post('/v1/completions', {'model': 'chat', 'prompt': 'x', 'max_tokens': 1})
    ledger = os.path.join(store, 'state', 'ledger.db')
    s.process.terminate()
    s.process.wait(60)
    shutil.copy(ledger, os.path.join(work, 'ledger.db'))
    user = f'uid:{os.getuid()}'
    before = ingle('cost', '--ledger', 'ledger.db', '--by', 'user', '--json')[1]
    code, out = ingle('cost', '--ledger', 'ledger.db', '--forget', user, '--dry-run')
    ok(code == 0 and ingle('cost', '--ledger', 'ledger.db', '--by', 'user', '--json')[1] == before and user in before,
       'cost --forget: a dry run forgets nobody', (code, out, before))
    for time in ('first', 'second'):
        code, out = ingle('cost', '--ledger', 'ledger.db', '--forget', user)
        after = ingle('cost', '--ledger', 'ledger.db', '--by', 'user', '--json')[1]
        ok(code == 0 and user not in after, f'cost --forget: the {time} time', (code, out, after))
    s.stop()


def main():
    os.makedirs(os.path.join(work, 'etc'))
    try:
        test_known()
        test_store()
        test_keys()
        test_catalogue()
        test_service()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
