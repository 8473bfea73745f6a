#!/usr/bin/env python3
"""Real directories: OpenLDAP's slapd with TLS, both schemas, 10,000 users in nested groups, limits as Active Directory
has them, several servers, SASL EXTERNAL; GSSAPI with a Kerberos of its own. Prints TAP; skips what is not installed."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ldif  # noqa: E402

INGLE = os.path.join(os.environ.get('INGLE_BUILD', 'build'), 'ingle')
SLAPD = shutil.which('slapd', path='/usr/sbin:/usr/bin')
n = failed = 0
USERS, TEAMS = 10000, 100
work = tempfile.mkdtemp(prefix='ingle-slapd-')
running = []


def ok(passed, name, why=''):
    global n, failed
    n += 1
    failed += not passed
    print(f'{"ok" if passed else "not ok"} {n} - {name}' + ('' if passed else f' # {str(why)[:900]}'), flush=True)
    return passed


def skip(name, why):
    global n
    n += 1
    print(f'ok {n} - {name} # SKIP {why}', flush=True)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def path(*parts):
    return os.path.join(work, *parts)


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


# ---- certificates

def make_ca():
    def openssl(*args):
        r = run('openssl', *args)
        if r.returncode:
            raise RuntimeError(r.stderr)
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path('ca.key'), '-out',
            path('ca.pem'), '-days', '30', '-subj', '/CN=test ca')
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path('other.key'),
            '-out', path('other.pem'), '-days', '30', '-subj', '/CN=other ca')
    # libldap compares the machine's own name where "localhost" was asked
    own = ','.join(f'DNS:{x}' for x in sorted({'localhost', socket.gethostname(), socket.getfqdn()}))
    for name, alternative in (('server', own), ('stranger', 'DNS:elsewhere.example')):
        openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path(name + '.key'), '-out',
                path(name + '.csr'), '-subj', '/CN=' + name)
        with open(path(name + '.ext'), 'w') as f:
            f.write(f'subjectAltName={alternative}\n')
        openssl('x509', '-req', '-in', path(name + '.csr'), '-CA', path('ca.pem'), '-CAkey', path('ca.key'), '-out',
                path(name + '.pem'), '-days', '30', '-extfile', path(name + '.ext'), '-CAcreateserial')


# ---- slapd

class Slapd:
    def __init__(self, name, data, schema='nis', cert='server', extra='', env=None):
        self.folder = path(name)
        os.makedirs(os.path.join(self.folder, 'db'))
        self.port, self.tls_port = free_port(), free_port()
        self.socket = os.path.join(self.folder, 'ldapi')
        self.conf = os.path.join(self.folder, 'slapd.conf')
        self.env = env
        with open(self.conf, 'w') as f:
            f.write(ldif.slapd_conf(self.folder, ['core', 'cosine', schema], overlay='overlay memberof\n',
                                    options='index objectClass,uid,uidNumber,member,memberUid,gidNumber eq\n', more=f'''moduleload memberof
TLSCACertificateFile {path("ca.pem")}
TLSCertificateFile {path(cert + ".pem")}
TLSCertificateKeyFile {path(cert + ".key")}
sizelimit size.soft=500 size.pr=200 size.prtotal=unlimited
{extra}
'''))
        lines = os.path.join(self.folder, 'data.ldif')
        with open(lines, 'w') as f:
            f.write(data)
        r = run('/usr/sbin/slapadd', '-q', '-f', self.conf, '-l', lines)
        if r.returncode:
            raise RuntimeError(r.stderr[-2000:])
        self.start()

    def start(self):
        quoted = self.socket.replace('/', '%2f')
        self.process = subprocess.Popen(
            [SLAPD, '-f', self.conf, '-d', '0', '-h',
             f'ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port} ldapi://{quoted}'],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=dict(os.environ, **(self.env or {})))
        running.append(self.process)
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', self.tls_port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError('slapd does not start')

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    @property
    def ldapi(self):
        return 'ldapi://' + self.socket.replace('/', '%2f')


def user(i):
    return ldif.user(f'u{i}', 20000 + i, 30000 + i % 7)


def dn_user(i):
    return ldif.dn_user(f'u{i}')


def big_ldif():
    """Users in teams, teams in ten divisions, those in one company; a circle; 600 groups of one user."""
    out = [ldif.BASE] + [user(i) for i in range(USERS)]
    for t in range(TEAMS):
        out.append(ldif.group(f'team{t}', [dn_user(i) for i in range(t, USERS, TEAMS)]))
    for d in range(10):
        out.append(ldif.group(f'division{d}', [ldif.dn_group(f'team{t}') for t in range(d, TEAMS, 10)]))
    out.append(ldif.group('company', [ldif.dn_group(f'division{d}') for d in range(10)] + [ldif.dn_group('circle')]))
    out.append(ldif.group('circle', [ldif.dn_group('company')]))
    for g in range(600):
        out.append(ldif.group(f'many{g}', [dn_user(7)]))
    return ''.join(out)


def posix_ldif():
    out = [ldif.BASE] + [user(i) for i in range(50)]
    for g in range(7):
        out.append(ldif.posix_group(f'posix{g}', 30000 + g, [f'u{i}' for i in range(50) if i % 7 != g and i % (g + 2) == 0]))
    return ''.join(out)


# ---- asking

def who(account, ldap, directory='', env=None):
    folder = path('etc')
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'ingle.conf'), 'w') as f:
        f.write(f'[directory]\nproviders = ldap\ndeadline = 20s\n{directory}[ldap]\nbase = dc=example,dc=org\n{ldap}')
    start = time.monotonic()
    r = subprocess.run([INGLE, 'policy', 'who', account, '--config', folder, '--json'], capture_output=True, text=True,
                       timeout=60, env=dict(os.environ, **(env or {})))
    try:
        answer = json.loads(r.stdout)
    except ValueError:
        answer = {'groups': [], 'freshness': '?', 'fault': r.stdout + r.stderr}
    answer['names'] = sorted(g['name'] for g in answer['groups'])
    answer['took'] = time.monotonic() - start
    return answer


def test_big(s):
    plain = f'uri = ldap://127.0.0.1:{s.port}\n'
    want = sorted(['team42', 'division2', 'company', 'circle'])
    a = who('u1042', plain)
    ok(a['names'] == want and a['freshness'] == 'fresh', f'nested groups among {USERS} users ({a["took"] * 1000:.0f} ms)', a)
    a = who('uid:21042', plain)
    ok(a['names'] == want and a.get('account') == 'u1042', 'by uid', a)
    a = who('u7', plain + 'page_size = 150\n')
    ok(len(a['names']) == 604, '604 groups in pages, where unpaged answers are cut', (len(a['names']), a['fault']))
    a = who('u7', plain + 'page_size = 1000\n')
    ok(not a['names'] and a['freshness'] == 'unknown' and 'cut' in a['fault'], 'a page above the server\'s limit', a)
    a = who('u1042', plain + 'nested = rule\n')
    ok(a['names'] == want and 'walked' in a['notes'],
       "slapd answers Active Directory's rule with success and nothing: that does not pass for no groups", a)
    a = who('u1042', plain + 'nested = no\n')
    ok(a['names'] == ['team42'], 'nested = no', a)
    a = who('u1042', plain + 'schema = rfc2307bis\nuser_base = ou=people,dc=example,dc=org\n'
            'group_base = ou=groups,dc=example,dc=org\n')
    ok(a['names'] == want, 'rfc2307bis with bases of its own', a)
    a = who('*)(uid=*', plain)
    ok(a['freshness'] == 'fresh' and not a['exists'], 'an account called *)(uid=*', a)
    a = who('u1042', f'uri = {s.ldapi}\nbind = external\n')
    ok(a['names'] == want, 'ldapi with SASL EXTERNAL', a)


def test_tls(s, stranger):
    want = sorted(['team42', 'division2', 'company', 'circle'])
    secure = f'uri = ldaps://localhost:{s.tls_port}\n'
    a = who('u1042', secure + f'ca_file = {path("ca.pem")}\n')
    ok(a['names'] == want, 'LDAPS, verified', a)
    for name, text in (('an unknown authority', secure + f'ca_file = {path("other.pem")}\n'),
                       ('no authority', secure),
                       ('a certificate of another name', f'uri = ldaps://localhost:{stranger.tls_port}\nca_file = {path("ca.pem")}\n'),
                       ('an address for a name', f'uri = ldaps://127.0.0.1:{s.tls_port}\nca_file = {path("ca.pem")}\n'),
                       ('StartTLS, an unknown authority',
                        f'uri = ldap://localhost:{s.port}\nstart_tls = yes\nca_file = {path("other.pem")}\n')):
        a = who('u1042', text)
        ok(not a['names'] and a['freshness'] == 'unknown', f'{name} is refused: {a["fault"][:100]}', a)
        a = who('u1042', text, env={'LDAPTLS_REQCERT': 'never'})
        ok(not a['names'], 'also where the environment would allow it', a)
    start = f'uri = ldap://localhost:{s.port}\nstart_tls = yes\nca_file = {path("ca.pem")}\n'
    a = who('u1042', start)
    ok(a['names'] == want, 'StartTLS, verified', a)
    for text, good in (('secret\n', True), ('wrong', False), ('', False)):
        with open(path('password'), 'w') as f:
            f.write(text)
        os.chmod(path('password'), 0o600)
        simple = start + f'bind = simple\nbind_dn = cn=admin,dc=example,dc=org\npassword_file = {path("password")}\n'
        a = who('u1042', simple)
        ok((a['names'] == want) == good, f'simple bind with the password "{text.strip()}": {a["fault"][:80]}', a)
    os.chmod(path('password'), 0o644)
    a = who('u1042', simple)
    ok(not a['names'] and 'chmod 600' in a['fault'], 'a password that others may read', a)


def test_posix(s):
    plain = f'uri = ldap://127.0.0.1:{s.port}\nschema = rfc2307\n'
    for i in (0, 12, 30):
        want = sorted({f'posix{g}' for g in range(7) if i % 7 == g or i % (g + 2) == 0})
        a = who(f'u{i}', plain)
        ok(a['names'] == want, f'rfc2307: memberUid and the primary group of u{i}', (a, want))
    a = who('u12', plain.replace('schema = rfc2307\n', ''))
    ok(len(a['names']) > 1, 'the schema is found out', a)


def test_failover(s, other):
    state = path('state.json')
    rules = f'cache = 1s\nnegative_cache = 1s\ngrace = 6s\nstate_file = {state}\n'
    two = f'uri = ldap://127.0.0.1:{s.port} ldap://127.0.0.1:{other.port}\ntimeout = 1s\n'
    a = who('u12', two, rules)
    ok('team12' in a['names'], 'the first of two servers', a)
    s.stop()
    time.sleep(2.1)
    a = who('u12', two, rules)
    ok(a['freshness'] == 'fresh' and 'posix5' in a['names'], 'the second where the first is away', a)
    other.stop()
    time.sleep(2)
    a = who('u12', two, rules)
    ok(a['freshness'] == 'stale' and 'posix5' in a['names'], 'both away: the groups of before, in the grace period', a)
    time.sleep(6)
    a = who('u12', two, rules)
    ok(a['freshness'] == 'unknown' and not a['names'], 'and none after it', a)
    s.start()
    a = who('u12', two, rules)
    ok(a['freshness'] == 'fresh' and 'team12' in a['names'], 'back again', a)


# ---- Kerberos

def make_realm():
    os.makedirs(path('krb'))
    port = free_port()
    with open(path('krb', 'krb5.conf'), 'w') as f:
        f.write(f'[libdefaults]\ndefault_realm = TEST\ndns_lookup_kdc = false\nrdns = false\ndns_canonicalize_hostname = false\n'
                f'[realms]\nTEST = {{\nkdc = 127.0.0.1:{port}\n}}\n[domain_realm]\nlocalhost = TEST\n')
    with open(path('krb', 'kdc.conf'), 'w') as f:
        f.write(f'[kdcdefaults]\nkdc_ports = {port}\nkdc_tcp_ports = {port}\n[realms]\nTEST = {{\n'
                f'database_name = {path("krb", "db")}\nkey_stash_file = {path("krb", "stash")}\n'
                f'acl_file = {path("krb", "acl")}\n}}\n')
    env = {'KRB5_CONFIG': path('krb', 'krb5.conf'), 'KRB5_KDC_PROFILE': path('krb', 'kdc.conf')}
    full = dict(os.environ, **env)
    for command in (['/usr/sbin/kdb5_util', 'create', '-s', '-r', 'TEST', '-P', 'master'],
                    ['/usr/sbin/kadmin.local', '-r', 'TEST', 'addprinc', '-randkey', 'ldap/localhost'],
                    ['/usr/sbin/kadmin.local', '-r', 'TEST', 'addprinc', '-randkey', 'ingle'],
                    ['/usr/sbin/kadmin.local', '-r', 'TEST', 'ktadd', '-k', path('krb', 'ldap.keytab'), 'ldap/localhost'],
                    ['/usr/sbin/kadmin.local', '-r', 'TEST', 'ktadd', '-k', path('krb', 'ingle.keytab'), 'ingle']):
        r = subprocess.run(command, env=full, capture_output=True, text=True, timeout=60)
        if r.returncode:
            raise RuntimeError(r.stderr)
    running.append(subprocess.Popen(['/usr/sbin/krb5kdc', '-n', '-r', 'TEST'], env=full, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL))
    time.sleep(0.5)
    return env


def test_gssapi():
    if not os.access('/usr/sbin/krb5kdc', os.X_OK) or not os.access('/usr/sbin/kadmin.local', os.X_OK):
        skip('GSSAPI', 'krb5-kdc and krb5-admin-server are not installed')
        return
    env = make_realm()
    s = Slapd('gss', ldif.BASE + user(1) + ldif.group('kerberos', [dn_user(1)]), extra='sasl-host localhost\nsasl-realm TEST\n',
              env={**env, 'KRB5_KTNAME': path('krb', 'ldap.keytab')})
    with open(s.conf, 'a') as f:  # only for those who have shown a ticket
        f.write('access to * by users read\n')
    s.stop()
    s.start()
    a = who('u1', f'uri = ldap://localhost:{s.port}\n')
    ok(not a['names'], 'without a ticket nothing is seen', a)
    ticket = {**env, 'KRB5CCNAME': 'FILE:' + path('krb', 'cc')}
    a = who('u1', f'uri = ldap://localhost:{s.port}\nbind = gssapi\n', env=ticket)
    ok(not a['names'] and 'GSSAPI' in a['fault'], f'GSSAPI without a ticket: {a["fault"][:100]}', a)
    r = subprocess.run(['kinit', '-k', '-t', path('krb', 'ingle.keytab'), 'ingle'], env=dict(os.environ, **ticket),
                       capture_output=True, text=True, timeout=60)
    ok(r.returncode == 0, 'a ticket', r.stderr)
    a = who('u1', f'uri = ldap://localhost:{s.port}\nbind = gssapi\n', env=ticket)
    ok(a['names'] == ['kerberos'], 'GSSAPI, signed and sealed', a)
    a = who('u1', f'uri = ldaps://localhost:{s.tls_port}\nca_file = {path("ca.pem")}\nbind = gssapi\n', env=ticket)
    ok(a['names'] == ['kerberos'], 'GSSAPI inside TLS', a)


def main():
    if not SLAPD or not os.path.exists('/etc/ldap/schema/nis.schema'):
        skip('real directories', 'slapd is not installed')
        print(f'1..{n}')
        return 0
    try:
        make_ca()
        start = time.monotonic()
        big = Slapd('big', big_ldif())
        print(f'# {USERS} users loaded in {time.monotonic() - start:.1f} s', flush=True)
        posix = Slapd('posix', posix_ldif(), cert='stranger')
        test_big(big)
        test_tls(big, posix)
        test_posix(posix)
        test_failover(big, posix)
        test_gssapi()
    finally:
        for p in running:
            p.kill()
            p.wait(20)
        shutil.rmtree(work, ignore_errors=True)
    print(f'1..{n}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
