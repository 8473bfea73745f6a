#!/usr/bin/env python3
"""Directory answers that are hostile, broken, slow or untrue, from a server written for it: nothing crashes or hangs, half
an answer is never taken for a whole one, and Active Directory's rule is believed only where it proves true."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fake_ldap as fake  # noqa: E402
from fake_ldap import Fake  # noqa: E402

INGLE = os.path.join(os.environ.get('INGLE_BUILD', 'build'), 'ingle')
n = failed = 0
work = tempfile.mkdtemp(prefix='ingle-ldap-')


def ok(passed, name, why=''):
    global n, failed
    n += 1
    failed += not passed
    print(f'{"ok" if passed else "not ok"} {n} - {name}' + ('' if passed else f' # {why}'), flush=True)


def who(user, ldap, directory='', timeout='5s', deadline='30s'):
    """The JSON of `ingle policy who`, the exit code and the seconds it took. A machine may stall for a second or two."""
    folder = os.path.join(work, 'etc')
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'ingle.conf'), 'w') as f:
        f.write(f'[directory]\nproviders = ldap\ndeadline = {deadline}\n{directory}[ldap]\nbase = dc=x\ntimeout = {timeout}\n{ldap}')
    start = time.monotonic()
    p = subprocess.run([INGLE, 'policy', 'who', user, '--config', folder, '--json'], capture_output=True, timeout=60)
    took = time.monotonic() - start
    try:
        return json.loads(p.stdout), p.returncode, took
    except ValueError:
        return {'fault': f'no JSON: {p.stdout[-200:]} {p.stderr[-2000:]}', 'freshness': '?', 'groups': []}, p.returncode, took


def names(answer):
    return sorted(g['name'] for g in answer['groups'])


def person(uid='ada', **more):
    return {'objectClass': ['posixAccount', 'user'], 'uid': [uid], 'sAMAccountName': [uid], 'uidNumber': ['5000'], **more}


def group(cn, *members, **more):
    return {'objectClass': ['groupOfNames', 'group'], 'cn': [cn], 'sAMAccountName': [cn], 'member': list(members), **more}


ADA = 'uid=ada,ou=people,dc=x'
ENG = 'cn=eng,ou=groups,dc=x'
STAFF = 'cn=staff,ou=groups,dc=x'
ALL = 'cn=all,ou=groups,dc=x'
OTHER = 'cn=other,ou=groups,dc=x'
SMALL = {ADA: person(), ENG: group('eng', ADA), STAFF: group('staff', ENG), ALL: group('all', STAFF), OTHER: group('other')}


def test_faults():
    for fault in (fake.truncated, fake.huge, fake.garbage, fake.negative_length, fake.silent, fake.drip, fake.referral,
                  fake.success_referral, fake.references, fake.endless, fake.cut, fake.other_id, fake.odd_answer, fake.busy,
                  fake.many_attributes, fake.broken_dn, fake.endless_pages, fake.broken_page, fake.outside,
                  fake.groups_then_close):
        server = Fake(SMALL, fault=fault)
        a, code, took = who('ada', f'uri = {server.uri}\n', timeout='700ms', deadline='3s')
        good = code == 1 and a['freshness'] == 'unknown' and not a['groups'] and a['fault'] and took < 20
        ok(good, f'{fault.__name__}: {a["fault"][:90]} ({took:.1f} s)', f'{a} {code}')
        server.close()


def test_ranges():
    lies = {
        'a range of another size': [('memberOf;range=0-9', 3)],
        'a range that begins elsewhere': [('memberOf;range=5-9', 5)],
        'a range that comes again': [('memberOf;range=0-1', 2), ('memberOf;range=0-1', 2)],
        'a range that never ends': [('memberOf;range=0-1', 2), ('memberOf;range=2-3', 2), ('memberOf;range=4-5', 2),
                                    ('memberOf;range=4-5', 2)],
        'a range that is promised only': [('memberOf;range=0-1', 2), (None, 0)],
        'a range of nothing': [('memberOf;range=0-1', 0)],
        'a range backwards': [('memberOf;range=9-1', 2)],
        'a range beyond numbers': [('memberOf;range=0-99999999999', 2)],
        'a range of text': [('memberOf;range=a-b', 2)],
    }
    for name, answers in lies.items():
        server = Fake(SMALL, ad=True, fault=fake.ranges(*answers))
        a, code, took = who('ada', f'uri = {server.uri}\n')
        ok(code == 1 and a['freshness'] == 'unknown' and not a['groups'] and took < 60, f'{name}: {a["fault"][:90]}', str(a))
        server.close()
    many = [f'cn=m{i},ou=groups,dc=x' for i in range(47)]
    entries = {ADA: person(memberOf=many)}
    entries.update({dn: group(dn[3:].split(',')[0]) for dn in many})
    server = Fake(entries, ad=True, ranges=10)
    a, code, took = who('ada', f'uri = {server.uri}\n')
    ok(code == 0 and len(a['groups']) == 47, 'memberOf of 47 values in ranges of 10', f'{len(a["groups"])} {a["fault"]}')
    server.close()


def test_chain():
    for chain, note in (('yes', False), ('nothing', True), ('all', True), ('refuse', True)):
        server = Fake(SMALL, ad=True, chain=chain)
        a, code, _ = who('ada', f'uri = {server.uri}\n')
        ok(code == 0 and names(a) == ['all', 'eng', 'staff'] and bool(a['notes']) == note,
           f'Active Directory whose rule says {chain}: {a["notes"][:80]}', str(a))
        asked = sum(b'1941' in q['filter'][1] for q in server.searches)
        ok(asked > 0, f'the rule was asked ({asked} times)')
        server.close()
    server = Fake(SMALL)
    a, code, _ = who('ada', f'uri = {server.uri}\n')
    ok(code == 0 and names(a) == ['all', 'eng', 'staff'] and not any(b'1941' in q['filter'][1] for q in server.searches),
       'no Active Directory: the rule is not asked', str(a))
    a, code, _ = who('ada', f'uri = {server.uri}\nnested = no\n')
    ok(names(a) == ['eng'], 'nested = no', str(a))
    server.close()
    loop = dict(SMALL)
    loop[ENG] = group('eng', ADA, ALL)
    server = Fake(loop)
    a, code, took = who('ada', f'uri = {server.uri}\n')
    ok(code == 0 and names(a) == ['all', 'eng', 'staff'] and took < 20, 'groups in a circle', str(a))
    server.close()
    chain = {ADA: person(), 'cn=d0,ou=groups,dc=x': group('d0', ADA)}
    for i in range(1, 40):
        chain[f'cn=d{i},ou=groups,dc=x'] = group(f'd{i}', f'cn=d{i - 1},ou=groups,dc=x')
    server = Fake(chain)
    a, code, _ = who('ada', f'uri = {server.uri}\n')
    ok(code == 1 and not a['groups'] and 'deeper than 32' in a['fault'], 'forty levels', str(a))
    server.close()


def test_active_directory():
    sid = bytes([1, 5, 0, 0, 0, 0, 0, 5]) + b''.join(x.to_bytes(4, 'little') for x in (21, 1, 2, 3, 1104))
    users = sid[:-4] + (513).to_bytes(4, 'little')
    entries = {
        ADA: person(objectSid=[sid], primaryGroupID=['513'], userAccountControl=['512'], memberOf=[ENG, 'cn=x,dc=far']),
        'uid=bob,ou=people,dc=x': person('bob', userAccountControl=['514']),
        'cn=Domain Users,ou=groups,dc=x': group('Domain Users', objectSid=[users]),
        ENG: group('eng', ADA),
    }
    server = Fake(entries, ad=True, page_max=1)
    a, code, _ = who('ada', f'uri = {server.uri}\nschema = ad\n')
    ok(code == 0 and names(a) == ['Domain Users', 'eng'] and not a['disabled'],
       'the primary group, pages of one entry, a group of elsewhere left out', str(a))
    a, code, _ = who('bob', f'uri = {server.uri}\nschema = ad\n')
    ok(a['disabled'] and a['exists'], 'a disabled account', str(a))
    a, code, _ = who('nobody-here', f'uri = {server.uri}\nschema = ad\n')
    ok(code == 0 and not a['exists'] and not a['groups'], 'an account that is not there', str(a))
    server.close()


def test_names():
    for name in ('*)(uid=*', '*', 'a\\b', 'a(b)', 'ada)(|(uid=*', 'ä*'):
        server = Fake({ADA: person(), f'uid=x,ou=people,dc=x': person(name), ENG: group('eng', ADA),
                       STAFF: group('staff', 'uid=x,ou=people,dc=x')})
        a, code, _ = who(name, f'uri = {server.uri}\n')
        ok(code == 0 and names(a) == ['staff'], f'the account {name}', str(a))
        server.close()
    server = Fake({ADA: person(), 'uid=ada,ou=old,dc=x': person()})
    a, code, _ = who('ada', f'uri = {server.uri}\n')
    ok(code == 1 and 'two entries' in a['fault'], 'two entries for one account', str(a))
    a, code, _ = who('ada', f'uri = {server.uri}\nuser_base = ou=old,dc=x\n')
    ok(code == 0 and a['exists'], 'user_base narrows', str(a))
    server.close()
    odd = {ADA: person(), 'cn=a\\,b,ou=groups,dc=x': group('a,b', ADA), 'cn=nul,ou=groups,dc=x': group('eng\0x', ADA)}
    server = Fake(odd)
    a, code, _ = who('ada', f'uri = {server.uri}\n')
    ok(code == 0 and names(a) == ['a,b', 'nul'], 'a comma in a name; a NUL is no way to be "eng"', str(a))
    server.close()


def test_failover():
    dead = Fake(SMALL)
    dead.close()
    slow, good = Fake(SMALL, fault=fake.silent), Fake(SMALL)
    half = Fake(SMALL, fault=fake.groups_then_close)
    a, code, took = who('ada', f'uri = {dead.uri} {slow.uri}\nuri = {half.uri} {good.uri}\n', timeout='2s')
    ok(code == 0 and names(a) == ['all', 'eng', 'staff'] and took < 20, f'the fourth server answers ({took:.1f} s)', str(a))
    a, code, _ = who('ada', f'uri = {dead.uri}\n')
    ok(code == 1 and a['freshness'] == 'unknown' and 'contact' in a['fault'], a['fault'][:90], str(a))
    a, code, took = who('ada', f'uri = {slow.uri} {slow.uri} {slow.uri} {slow.uri} {slow.uri} {slow.uri}\n', timeout='10s', deadline='3s')
    ok(code == 1 and took < 20, f'six slow servers end at the deadline ({took:.1f} s)', str(a))


def test_grace():
    server = Fake(SMALL)
    state = os.path.join(work, 'state.json')
    rules = f'cache = 1s\nnegative_cache = 1s\nstate_file = {state}\n'
    a, code, _ = who('ada', f'uri = {server.uri}\n', rules + 'grace = 1h\n')
    ok(code == 0 and a['freshness'] == 'fresh' and os.stat(state).st_mode & 0o777 == 0o600, 'asked and kept', str(a))
    dead = Fake(SMALL)
    dead.close()
    age = json.load(open(state))
    for p in age['people']:
        p['fetched'] -= 1000
    json.dump(age, open(state, 'w'))
    a, code, _ = who('ada', f'uri = {dead.uri}\n', rules + 'grace = 1h\n')
    ok(code == 0 and a['freshness'] == 'stale' and names(a) == ['all', 'eng', 'staff'] and 'contact' in a['fault'],
       'offline after a restart: stale within the grace period', str(a))
    a, code, _ = who('ada', f'uri = {dead.uri}\n', rules + 'grace = 900s\n')
    ok(code == 1 and a['freshness'] == 'unknown' and not a['groups'], 'and unknown after it', str(a))
    a, code, _ = who('ada', f'uri = {dead.uri}\n', rules + 'grace = 0s\n')
    ok(code == 1 and a['freshness'] == 'unknown', 'no grace at all', str(a))
    server.entries = {ADA: person()}
    a, code, _ = who('ada', f'uri = {server.uri}\n', rules + 'grace = 1h\n')
    ok(code == 0 and a['freshness'] == 'fresh' and not a['groups'], 'a group that was lost is lost when the server says so', str(a))
    for text in ('', '{', '[]', '{"version":1,"people":[{"key":"=ada"}]}',
                 '{"version":1,"people":[{"key":"=ada","account":"ada","uid":1,"fetched":99999999999,"groups":[["eng",""]]}]}',
                 '{"version":1,"people":[{"key":"=ada","account":"ada","uid":-1,"fetched":1,"groups":[["eng"]]}]}'):
        with open(state, 'w') as f:
            f.write(text)
        os.chmod(state, 0o600)
        a, code, _ = who('ada', f'uri = {dead.uri}\n', rules + 'grace = 1h\n')
        ok(code == 1 and not a['groups'], f'a damaged state file is none: {text[:40]}', str(a))
    with open(state, 'w') as f:
        json.dump(age, f)
    os.chmod(state, 0o666)
    a, code, _ = who('ada', f'uri = {dead.uri}\n', rules + 'grace = 1h\n')
    ok(code == 1 and not a['groups'], 'a state file that others may write is none', str(a))


def main():
    try:
        for test in (test_faults, test_ranges, test_chain, test_active_directory, test_names, test_failover, test_grace):
            test()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f'1..{n}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
