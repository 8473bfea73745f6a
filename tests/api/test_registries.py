#!/usr/bin/python3
"""Push and pull against real servers: docker-registry (plain, with passwords, with tokens) and OpenStack Swift, which speaks S3.
Each is started on a free port in a folder of its own and ended; where it is not installed its tests are skipped. Prints TAP."""
import base64
import datetime
import hashlib
import hmac
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

INGLE = os.path.join(os.environ['INGLE_BUILD'], 'ingle')
DATA = os.environ['INGLE_DATA']
with open(os.path.join(DATA, 'stories260K.gguf'), 'rb') as f:
    MODEL = f.read()
WORK = tempfile.mkdtemp(prefix='test_registries.')
n_tests = n_failed = 0
children = []


def ok(good, name, why=''):
    global n_tests, n_failed
    n_tests += 1
    n_failed += not good
    why = ' '.join(str(why).split())[-300:]
    print(f'{"" if good else "not "}ok {n_tests} - {name}' + ('' if good else f' # {why}'), flush=True)


def skip(name, why):
    global n_tests
    n_tests += 1
    print(f'ok {n_tests} - {name} # SKIP {why}', flush=True)


def sha(data):
    return hashlib.sha256(data).hexdigest()


ENV = dict(os.environ, HOME=WORK, INGLE_STORE=os.path.join(WORK, 'store'), no_proxy='*')
for variable in list(ENV):
    if variable.startswith(('AWS_', 'DOCKER_', 'REGISTRY_')) or variable in ('INGLE_HOST', 'OLLAMA_HOST', 'INGLE_S3_ENDPOINT'):
        del ENV[variable]


def ingle(*args, **env):
    return subprocess.run([INGLE, *args], env=dict(ENV, **env), capture_output=True, text=True, timeout=120, check=False)


def models(**env):
    return {m['name']: m for m in json.loads(ingle('list', '--json', **env).stdout)['models']}


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def start(command, port, log):
    with open(os.path.join(WORK, log), 'wb') as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, cwd=WORK)
    children.append(child)
    end = time.monotonic() + 40
    while time.monotonic() < end and child.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)) == 0:
                return child
        time.sleep(0.1)
    with open(os.path.join(WORK, log), encoding='utf-8', errors='replace') as f:
        print('# ' + command[0] + ' did not start: ' + f.read()[-500:].replace('\n', ' '))
    return None


# ---------------------------------------------------------------------------------------------------- docker-registry

def registry(name, auth='', port=None):
    port = port or free_port()
    path = os.path.join(WORK, name + '.yml')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(f'version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {WORK}/{name}\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}')
    child = start(['docker-registry', 'serve', path], port, name + '.log')
    return child, f'127.0.0.1:{port}'


def get(host, path, accept='*/*'):
    request = urllib.request.Request(f'http://{host}{path}', headers={'Accept': accept})
    with urllib.request.urlopen(request, timeout=10) as f:
        return f.read()


def test_plain():
    child, host = registry('plain')
    if not child:
        return ok(False, 'docker-registry starts')
    ingle('pull', os.path.join(DATA, 'stories260K.gguf'), 'tiny')
    digest = models()['tiny:latest']['digest']
    for form in ('ollama', 'docker', 'modelpack'):
        to = f'oci://{host}/me/{form}:v1'
        r = ingle('push', 'tiny', to, '--form', form, '--dry-run')
        ok(r.returncode == 0 and 'would be sent' in r.stdout and ingle('pull', to, 'x').returncode == 1, f'{form}: a dry run sends nothing', r.stderr)
        r = ingle('push', 'tiny', to, '--form', form, '--json')
        ok(r.returncode == 0 and json.loads(r.stdout)['sent'] > len(MODEL), f'push as {form}', r.stderr)
        image = get(host, f'/v2/me/{form}/manifests/v1', 'application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json')
        ok(json.loads(r.stdout or '{}').get('digest') == 'sha256:' + sha(image), f'{form}: the registry has what was sent')
        for layer in json.loads(image)['layers']:
            data = get(host, f'/v2/me/{form}/blobs/{layer["digest"]}')
            ok('sha256:' + sha(data) == layer['digest'] and len(data) == layer['size'], f'{form}: {layer["mediaType"]}')
        r = ingle('push', 'tiny', to, '--form', form, '--json')
        ok(r.returncode == 0 and json.loads(r.stdout)['sent'] == 0, f'{form}: what is there is not sent again', r.stderr)
        other = os.path.join(WORK, 'other-' + form)
        r = ingle('pull', to, 'back', INGLE_STORE=other)
        ok(r.returncode == 0 and models(INGLE_STORE=other)['back:latest']['digest'] == digest, f'{form}: the same model comes back', r.stderr)
    r = ingle('pull', f'oci://{host}/me/ollama@sha256:' + '0' * 64)
    ok(r.returncode == 1 and 'has no me/ollama' in r.stderr, 'a digest that is not there', r.stderr)
    r = ingle('push', 'tiny', f'oci://{host}/me/tiny@sha256:' + '0' * 64)
    ok(r.returncode == 1 and 'under a tag' in r.stderr, 'push to a digest', r.stderr)
    texts(host)
    big(child, host)
    child.terminate()
    child.wait()


def texts(host):
    """Everything that a manifest holds, there and back."""
    names = os.path.join(WORK, 'store', 'names')
    with open(os.path.join(names, 'tiny=latest.json'), encoding='utf-8') as f:
        m = json.load(f)
    m['name'] = 'full:latest'
    m['model'].update(template='{% for m in messages %}{{ m.content }}{% endfor %}', system='be kind', license='MIT', base='a/b',
                      parameters={'temperature': 0.5}, messages=[{'role': 'user', 'content': 'hi'}])
    m['digest'] = 'sha256:' + sha(json.dumps(m['model'], sort_keys=True, separators=(',', ':')).encode())
    with open(os.path.join(names, 'full=latest.json'), 'w', encoding='utf-8') as f:
        json.dump(m, f)
    for form in ('ollama', 'docker', 'modelpack'):
        r = ingle('push', 'full', f'oci://{host}/full/{form}', '--form', form)
        back = ingle('pull', f'oci://{host}/full/{form}', 'back-' + form)
        ok(r.returncode == 0 and back.returncode == 0 and models()[f'back-{form}:latest']['digest'] == m['digest'],
           f'{form}: with template, system prompt, parameters, messages, licence and base', r.stderr + back.stderr)


def big(child, host):
    """Several pieces; the registry goes away in the middle and comes back."""
    path = os.path.join(WORK, 'big.gguf')
    block = hashlib.sha256(b'x').digest() * 32768
    with open(path, 'wb') as f:
        for i in range(100):
            f.write(bytes([i]) + block[1:])
    r = ingle('pull', path, 'big', '--no-check')
    ok(r.returncode == 0, 'a model of 100 MiB', r.stderr)
    pushing = subprocess.Popen([INGLE, 'push', 'big', f'oci://{host}/me/big:v1', '--json'], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    uploads = os.path.join(WORK, 'plain', 'docker/registry/v2/repositories/me/big/_uploads')
    end = time.monotonic() + 20

    def there():
        return sum(os.path.getsize(os.path.join(at, n)) for at, _, names in os.walk(uploads) for n in names if n == 'data')

    while time.monotonic() < end and there() < 33 << 20:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    again, _ = registry('plain', port=int(host.split(':')[1]))
    out, err = pushing.communicate(timeout=100)
    ok(pushing.returncode == 0 and 'once more' in err, 'the registry dies during a push and comes back', err)
    ok(json.loads(out or '{}').get('sent', 0) >= 100 << 20, 'all of it was sent', out)
    r = ingle('pull', f'oci://{host}/me/big:v1', 'big2', '--no-check', INGLE_STORE=os.path.join(WORK, 'big-store'))
    ok(r.returncode == 0, 'and comes back whole, over several connections', r.stderr)
    again.terminate()
    again.wait()


def test_passwords():
    import crypt  # pylint: disable=import-outside-toplevel,deprecated-module # Debian 12 has it
    with open(os.path.join(WORK, 'htpasswd'), 'w', encoding='utf-8') as f:
        f.write('me:' + crypt.crypt('secret', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=1 << 5)).replace('$2b$', '$2y$') + '\n')
    child, host = registry('basic', f'auth:\n  htpasswd:\n    realm: here\n    path: {WORK}/htpasswd\n')
    if not child:
        return ok(False, 'docker-registry starts with passwords')
    r = ingle('push', 'tiny', f'oci://{host}/me/tiny:v1')
    ok(r.returncode == 1 and 'docker login' in r.stderr, 'without a password', r.stderr)
    auth_file = os.path.join(WORK, 'auth.json')
    for word, good in (('wrong', False), ('secret', True)):
        with open(auth_file, 'w', encoding='utf-8') as f:
            json.dump({'auths': {host: {'auth': base64.b64encode(b'me:' + word.encode()).decode()}}}, f)
        os.chmod(auth_file, 0o600)
        r = ingle('push', 'tiny', f'oci://{host}/me/tiny:v1', REGISTRY_AUTH_FILE=auth_file)
        ok((r.returncode == 0) == good, f'push with a {"good" if good else "wrong"} password', r.stderr)
    r = ingle('pull', f'oci://{host}/me/tiny:v1', 'b', REGISTRY_AUTH_FILE=auth_file, INGLE_STORE=os.path.join(WORK, 'basic-store'))
    ok(r.returncode == 0, 'pull with a password', r.stderr)
    child.terminate()
    child.wait()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=')


class Tokens(http.server.BaseHTTPRequestHandler):
    """A server of tokens as docker describes it; tokens live two seconds, so that a push outlives them."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        self.server.asked.append((query, self.headers.get('Authorization')))
        kind, name, actions = query.get('scope', ['::'])[0].split(':', 2)
        now = int(time.time())
        head = {'typ': 'JWT', 'alg': 'RS256', 'x5c': [self.server.certificate]}
        claims = {'iss': 'test', 'sub': '', 'aud': 'here', 'exp': now + 2, 'nbf': now - 10, 'iat': now, 'jti': str(now),
                  'access': [{'type': kind, 'name': name, 'actions': actions.split(',')}]}
        text = b64(json.dumps(head).encode()) + b'.' + b64(json.dumps(claims).encode())
        r = subprocess.run(['openssl', 'dgst', '-sha256', '-sign', WORK + '/key.pem'], input=text, capture_output=True, check=True)
        body = json.dumps({'token': (text + b'.' + b64(r.stdout)).decode()}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_tokens():
    made = shutil.which('openssl') and subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', WORK + '/key.pem', '-out', WORK + '/cert.pem', '-days', '2',
         '-subj', '/CN=test'], capture_output=True, check=False).returncode == 0
    if not made:
        return skip('tokens', 'there is no openssl to sign them')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Tokens)
    server.asked = []
    with open(WORK + '/cert.pem', encoding='ascii') as f:
        server.certificate = ''.join(f.read().split('-----')[2].split())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    child, host = registry('tokens', 'auth:\n  token:\n    realm: http://127.0.0.1:%d/token\n    service: here\n    issuer: test\n    rootcertbundle: %s/cert.pem\n'
                           % (server.server_port, WORK))
    if not child:
        return ok(False, 'docker-registry starts with tokens')
    r = ingle('push', 'tiny', f'oci://{host}/me/tiny:v1')
    ok(r.returncode == 0 and server.asked and server.asked[0][0]['scope'] == ['repository:me/tiny:pull,push'], 'push with a token', r.stderr)
    r = ingle('push', 'big', f'oci://{host}/me/big:v1')
    ok(r.returncode == 0, 'push that may outlive its token', r.stderr)
    server.asked.clear()
    r = ingle('pull', f'oci://{host}/me/tiny:v1', 'b', INGLE_STORE=os.path.join(WORK, 'token-store'))
    ok(r.returncode == 0 and server.asked[0][0]['scope'] == ['repository:me/tiny:pull'], 'pull with a token', r.stderr)
    ok(all(authorization is None for _, authorization in server.asked), 'nothing but the question goes to the server of tokens')
    child.terminate()
    child.wait()
    server.shutdown()


def ask(port, path, body):
    request = urllib.request.Request(f'http://127.0.0.1:{port}{path}', data=json.dumps(body).encode(), headers={'Content-Type': 'application/json'})
    try:
        with urllib.request.urlopen(request, timeout=60) as f:
            return f.status, f.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def test_service():
    """A client of the service pushes and pulls; its garbage goes by itself."""
    child, host = registry('service')
    if not child:
        return ok(False, 'docker-registry starts for the service')
    store = os.path.join(WORK, 'service-store')
    ingle('pull', os.path.join(DATA, 'stories260K.gguf'), 'tiny', INGLE_STORE=store)
    old = os.path.join(store, 'blobs', 'ab', 'ab' + '0' * 62)
    os.makedirs(os.path.dirname(old), exist_ok=True)
    for hosts in ('', host):
        with open(old, 'wb') as f:
            f.write(b'old')
        os.utime(old, (1, 1))
        port = free_port()
        service = subprocess.Popen([INGLE, 'serve', '--listen', f'tcp:127.0.0.1:{port}'], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   env=dict(ENV, INGLE_STORE=store, INGLE_PULL_HOSTS=hosts, INGLE_GC_S='1'))
        children.append(service)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}/api/version', timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        status, text = ask(port, '/api/push', {'model': 'tiny', 'destination': f'oci://{host}/me/served:v1', 'stream': False})
        ok((status == 200) == bool(hosts) and (hosts or 'INGLE_PULL_HOSTS' in text), f'/api/push to {"a host that is named" if hosts else "a private host"}', text)
        end = time.monotonic() + 10
        while time.monotonic() < end and os.path.exists(old):
            time.sleep(0.05)
        ok(not os.path.exists(old), 'the service collects garbage at its start')
        if hosts:
            status, text = ask(port, '/api/push', {'model': 'tiny'})
            ok(status == 400 and 'names no registry' in text, 'push without a place', text)
            status, text = ask(port, '/api/pull', {'model': f'oci://{host}/me/served:v1', 'destination': 'back'})
            ok(status == 200 and '"success"' in text and 'back:latest' in models(INGLE_STORE=store), '/api/pull brings it back', text)
            with open(old, 'wb') as f:
                f.write(b'old')
            os.utime(old, (1, 1))
            end = time.monotonic() + 10
            while time.monotonic() < end and os.path.exists(old):
                time.sleep(0.05)
            ok(not os.path.exists(old), 'and again later')
        service.terminate()
        _, text = service.communicate(timeout=30)
        ok(service.returncode == 0, 'the service ends in order', text)
    child.terminate()
    child.wait()


# ---------------------------------------------------------------------------------------------------- catalogues

def make_catalogue(name, origin):
    """A catalogue of one model, signed and not published yet."""
    steps = [('init', name), ('add', name, 'tiny', '--as', 'offered:1', '--license', 'MIT', '--origin', origin),
             ('assign', name, 'offered:1', '--required', '--id', 'all'), ('sign', name)]
    for step in steps:
        r = ingle('catalogue', step[0], os.path.join(WORK, name), *step[2:])
        if r.returncode:
            return ok(False, f'{name}: {step}', r.stderr)
    return True


def publish(name, to, **env):
    return ingle('catalogue', 'publish', os.path.join(WORK, name), to, **env)


def follow(name, to, **env):
    """A service that follows the catalogue where it is published; returns (state of the model, report)."""
    etc, store = (os.path.join(WORK, f'{name}-{x}') for x in ('etc', 'served'))
    port = free_port()
    os.makedirs(os.path.join(etc, 'conf.d'), exist_ok=True)
    with open(os.path.join(etc, 'conf.d', 'a.conf'), 'w', encoding='utf-8') as f:
        f.write(f'[catalogue {name}]\nsource = {to}\nroot = {WORK}/{name}.root.json\nbattery = yes\nmetered = yes\n')
    service = subprocess.Popen([INGLE, 'serve', '--store', store, '--listen', f'tcp:127.0.0.1:{port}'], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, env=dict(ENV, INGLE_CONFIG=etc, **env))
    children.append(service)
    end = time.monotonic() + 60
    r = None
    while time.monotonic() < end and (r is None or r.returncode == 1):
        r = ingle('catalogue', 'sync', '--wait', '--host', f'127.0.0.1:{port}')
        time.sleep(0.1)
    report = ingle('status', '--compliance', '--json', '--host', f'127.0.0.1:{port}').stdout
    service.terminate()
    _, text = service.communicate(timeout=60)
    rows = json.loads(report or '{}').get('models', [])
    return [m['state'] for m in rows], report + text


def check_kills(name, to, store, **env):
    """Publishing is killed at some moment: who syncs sees the old or the new, and the next try ends it."""
    bad, killed = [], 0
    for i in range(8):
        ingle('catalogue', 'assign', os.path.join(WORK, name), 'offered:1', '--user', f'kill{i}', '--id', f'kill{i}')
        ingle('catalogue', 'sign', os.path.join(WORK, name))
        p = subprocess.Popen([INGLE, 'catalogue', 'publish', os.path.join(WORK, name), to], env=dict(ENV, **env), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        time.sleep(0.02 * i)
        p.kill()
        killed += p.wait(30) == -signal.SIGKILL
        r = ingle('catalogue', 'sync', '--store', store, **env)
        bad += [r.stderr] if r.returncode else []
        r = publish(name, to, **env)
        s = ingle('catalogue', 'sync', '--store', store, **env)
        there = f'"kill{i}"' in ingle('catalogue', 'show', '--json', '--store', store).stdout
        bad += [r.stderr + s.stderr + str(there)] if r.returncode or s.returncode or not there else []
    ok(not bad and killed, f'{name}: publishing killed {killed} times: the old or the new is seen, and the next try ends it', bad)


def check_catalogue(name, to, damage, **env):
    """Publishes, follows, changes, goes back in time, and damages what lies there."""
    r = publish(name, to, **env)
    ok(r.returncode == 0, f'{name}: a catalogue is published', r.stderr)
    root = shutil.copy(os.path.join(WORK, name, 'published', 'metadata', '1.root.json'), os.path.join(WORK, name + '.root.json'))
    store = os.path.join(WORK, name + '-store')
    r = ingle('catalogue', 'sync', to, '--root', root, '--store', store, **env)
    ok(r.returncode == 0 and 'offered:1' in r.stdout, f'{name}: it is synced', r.stderr + r.stdout)
    states, said = follow(name, to, **env)
    ok(states == ['present'], f'{name}: a service follows it and fetches what is required', said)
    old = shutil.copytree(os.path.join(WORK, name), os.path.join(WORK, name + '-old'))
    shutil.copytree(os.path.join(WORK, name + '.keys'), old + '.keys')
    ingle('catalogue', 'assign', os.path.join(WORK, name), 'offered:1', '--group', 'more', '--id', 'more')
    ingle('catalogue', 'sign', os.path.join(WORK, name))
    r = publish(name, to, **env)
    again = publish(name, to, **env)
    ok(r.returncode == 0 and again.returncode == 0, f'{name}: another version, and once more', r.stderr + again.stderr)
    r = ingle('catalogue', 'sync', '--store', store, '--json', **env)
    ok(r.returncode == 0 and '"more"' in ingle('catalogue', 'show', '--json', '--store', store).stdout, f'{name}: it is followed', r.stderr)
    check_kills(name, to, store, **env)
    r = ingle('catalogue', 'publish', old, to, **env)
    ok(r.returncode == 1 and 'an old copy' in r.stderr, f'{name}: an old copy is not put over it', r.stderr)
    damage()
    r = ingle('catalogue', 'sync', to, '--store', store, **env)
    ok(r.returncode == 1 and 'last good state' in r.stderr, f'{name}: what was altered is refused', r.stderr)


def test_catalogue_registry():
    child, host = registry('catalogues')
    if not child:
        return ok(False, 'docker-registry starts for catalogues')
    r = ingle('push', 'tiny', f'oci://{host}/me/tiny:v1')
    to = f'oci://{host}/company/catalogue:main'
    if r.returncode or not make_catalogue('byoci', f'oci://{host}/me/tiny:v1'):
        return ok(False, 'a catalogue is made', r.stderr)
    r = publish('byoci', f'oci://{host}/company/catalogue@sha256:' + '0' * 64)
    ok(r.returncode == 1 and 'under a tag' in r.stderr, 'byoci: not under a digest', r.stderr)
    r = publish('byoci', 'ftp://x/y')
    ok(r.returncode == 1 and 'no place' in r.stderr and 's3://' in r.stderr, 'another place is refused', r.stderr)

    def damage():
        """The tag names an image that is no catalogue."""
        ingle('push', 'tiny', to)
    check_catalogue('byoci', to, damage)
    child.terminate()
    child.wait()


def test_catalogue_s3(s3, env):
    env = {k: v for k, v in env.items() if k != 'INGLE_STORE'}
    if not make_catalogue('bys3', 's3://models/a/tiny.gguf'):
        return None
    r = publish('bys3', 's3://models/catalogue', **dict(env, AWS_SECRET_ACCESS_KEY='wrong'))
    ok(r.returncode == 1 and '403' in r.stderr, 'bys3: a wrong secret', r.stderr)

    def damage():
        with open(os.path.join(WORK, 'bys3', 'published', 'metadata', 'timestamp.json'), encoding='utf-8') as f:
            text = f.read().replace('"version":', '"version":9')
        ok(s3.ask('PUT', '/models/catalogue/metadata/timestamp.json', text.encode()) == 200, 'bys3: a forged timestamp')
    return check_catalogue('bys3', 's3://models/catalogue', damage, **env)


# ---------------------------------------------------------------------------------------------------- Swift

class S3:
    """A small client of its own, to put things there."""

    def __init__(self, port):
        self.host = f'127.0.0.1:{port}'

    def ask(self, method, path, body=b'', **more):
        now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
        headers = dict({'host': self.host, 'x-amz-date': now, 'x-amz-content-sha256': sha(body)}, **{k.replace('_', '-'): v for k, v in more.items()})
        names = sorted(headers)
        path = urllib.parse.quote(path)
        canonical = '\n'.join([method, path, ''] + [f'{n}:{headers[n]}' for n in names] + ['', ';'.join(names), sha(body)])
        scope = f'{now[:8]}/us-east-1/s3/aws4_request'
        text = '\n'.join(['AWS4-HMAC-SHA256', now, scope, sha(canonical.encode())])
        key = b'AWS4testing'
        for part in scope.split('/'):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        headers['Authorization'] = f'AWS4-HMAC-SHA256 Credential=test:tester/{scope}, SignedHeaders={";".join(names)}, Signature={signature}'
        del headers['host']
        request = urllib.request.Request(f'http://{self.host}{path}', data=body if method == 'PUT' else None, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as f:
                return f.status
        except (urllib.error.HTTPError, OSError) as e:
            return getattr(e, 'code', 0)


def start_swift():
    user = subprocess.run(['id', '-un'], capture_output=True, text=True, check=True).stdout.strip()
    ports = {kind: free_port() for kind in ('account', 'container', 'object', 'proxy')}
    os.makedirs(WORK + '/dev/d1')
    try:
        os.setxattr(WORK + '/dev', 'user.test', b'x')
    except OSError:
        return None, 'the disk keeps no extended attributes'
    if not os.access('/etc/swift/swift.conf', os.R_OK):
        return None, '/etc/swift/swift.conf cannot be read'
    common = f'bind_ip = 127.0.0.1\nuser = {user}\nswift_dir = {WORK}\nworkers = 0\nlog_level = WARNING\n'
    for kind in ('account', 'container', 'object'):
        for step in (['create', '4', '1', '1'], ['add', f'r1z1-127.0.0.1:{ports[kind]}/d1', '1'], ['rebalance']):
            subprocess.run(['swift-ring-builder', f'{WORK}/{kind}.builder', *step], capture_output=True, check=False)
        with open(f'{WORK}/{kind}.conf', 'w', encoding='ascii') as f:
            f.write(f'[DEFAULT]\nbind_port = {ports[kind]}\n{common}devices = {WORK}/dev\nmount_check = false\n[pipeline:main]\n'
                    f'pipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n')
    with open(f'{WORK}/proxy.conf', 'w', encoding='ascii') as f:
        f.write(f'[DEFAULT]\nbind_port = {ports["proxy"]}\n{common}[pipeline:main]\npipeline = catch_errors cache s3api tempauth proxy-server\n'
                '[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n'
                '[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n'
                '[filter:s3api]\nuse = egg:swift#s3api\nlocation = us-east-1\nmax_bucket_listing = 3\n'
                f'[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:{free_port()}\n[filter:catch_errors]\nuse = egg:swift#catch_errors\n')
    for kind, port in ports.items():
        if not start([f'swift-{kind}-server', f'{WORK}/{kind}.conf'], port, kind + '.log'):
            return None, f'swift-{kind}-server did not start'
    client, end = S3(ports['proxy']), time.monotonic() + 40
    while time.monotonic() < end:
        if client.ask('PUT', '/models') == 200:
            return client, ''
        time.sleep(0.5)
    return None, 'swift does not answer'


def test_s3():
    if not shutil.which('swift-proxy-server') or not shutil.which('swift-object-server'):
        return skip('S3', 'swift-proxy and its like are not installed')
    s3, why = start_swift()
    if not s3:
        return skip('S3', why)
    env = dict(INGLE_S3_ENDPOINT='http://' + s3.host, AWS_ACCESS_KEY_ID='test:tester', AWS_SECRET_ACCESS_KEY='testing', INGLE_STORE=WORK + '/s3-store')
    put = [s3.ask('PUT', '/models/a/tiny.gguf', MODEL, x_amz_meta_sha256=sha(MODEL)), s3.ask('PUT', '/models/plain.gguf', MODEL),
           s3.ask('PUT', '/models/lie.gguf', MODEL, x_amz_meta_sha256='0' * 64), s3.ask('PUT', '/models/odd/ä + b&c=~d.gguf', MODEL)]
    put += [s3.ask('PUT', f'/models/many/{i:02} <&> file.txt', b'x') for i in range(8)] + [s3.ask('PUT', '/models/many/z.gguf', MODEL)]
    ok(set(put) == {200}, 'objects are there', put)
    r = ingle('pull', 's3://models/a/tiny.gguf', 'one', **env)
    ok(r.returncode == 0 and models(**env)['one:latest']['files'][0]['digest'] == 'sha256:' + sha(MODEL), 'an object', r.stderr)
    r = ingle('pull', 's3://models/plain.gguf#sha256=' + sha(MODEL), 'two', **env)
    ok(r.returncode == 0, 'an object with its digest behind it', r.stderr)
    r = ingle('pull', 's3://models/a', 'three', **env)
    ok(r.returncode == 0, 'what lies below a prefix', r.stderr)
    r = ingle('pull', 's3://models/many/', 'four', **env)
    ok(r.returncode == 0 and r.stderr.count('/models/?') >= 1, 'a prefix of several pages (z.gguf is on the last) and strange names', r.stderr)
    r = ingle('pull', 's3://models/odd/ä + b&c=~d.gguf', 'five', **env)
    ok(r.returncode == 0, 'a key with signs that are escaped', r.stderr)
    r = ingle('pull', 's3://models/lie.gguf', 'six', **env)
    ok(r.returncode == 1 and 'expected 000000000000' in r.stderr, 'content other than its metadata says', r.stderr)
    r = ingle('pull', 's3://models/no.gguf', **env)
    ok(r.returncode == 1 and 'has no no.gguf' in r.stderr, 'an object that is not there', r.stderr)
    r = ingle('pull', 's3://models/none', **env)
    ok(r.returncode == 1 and 'nothing below' in r.stderr, 'a prefix without objects', r.stderr)
    r = ingle('pull', 's3://nowhere/x', **env)
    ok(r.returncode == 1 and 'no bucket nowhere' in r.stderr, 'a bucket that is not there', r.stderr)
    r = ingle('pull', 's3://models/a/tiny.gguf', 'w', **dict(env, AWS_SECRET_ACCESS_KEY='wrong'))
    ok(r.returncode == 1 and '403' in r.stderr, 'a wrong secret', r.stderr)
    r = ingle('pull', 's3://models/a/tiny.gguf', 'w', INGLE_S3_ENDPOINT=env['INGLE_S3_ENDPOINT'])
    ok(r.returncode == 1 and 'AWS_ACCESS_KEY_ID' in r.stderr, 'without a key', r.stderr)
    credentials = os.path.join(WORK, 'credentials')
    with open(credentials, 'w', encoding='ascii') as f:
        f.write('[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n[work]\naws_access_key_id=test:tester\naws_secret_access_key = testing\n')
    for mode, good in ((0o644, False), (0o600, True)):
        os.chmod(credentials, mode)
        r = ingle('pull', 's3://models/a/tiny.gguf', 'f', INGLE_S3_ENDPOINT=env['INGLE_S3_ENDPOINT'], AWS_SHARED_CREDENTIALS_FILE=credentials,
                  AWS_PROFILE='work', INGLE_STORE=WORK + '/s3-file')
        ok((r.returncode == 0) == good and (good or 'chmod 600' in r.stderr), f'keys from a file of mode {mode:o}', r.stderr)
    if 'tiny:latest' not in models():
        ingle('pull', os.path.join(DATA, 'stories260K.gguf'), 'tiny')
    return test_catalogue_s3(s3, env)


def main():
    try:
        if shutil.which('docker-registry'):
            for test in (test_plain, test_passwords, test_tokens, test_service, test_catalogue_registry):
                test()
        else:
            skip('registries', 'docker-registry is not installed')
        test_s3()
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        shutil.rmtree(WORK, ignore_errors=True)
    print(f'1..{n_tests}')
    return 1 if n_failed else 0


if __name__ == '__main__':
    sys.exit(main())
