"""The directory of dc=example,dc=org as LDIF: shared by the tests with a real slapd."""

ROOT = 'dc=example,dc=org'
BASE = f'''dn: {ROOT}
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,{ROOT}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{ROOT}
objectClass: organizationalUnit
ou: groups

'''


def dn_user(name):
    return f'uid={name},ou=people,{ROOT}'


def dn_group(name):
    return f'cn={name},ou=groups,{ROOT}'


def user(name, uid, gid):
    return f'''dn: {dn_user(name)}
objectClass: account
objectClass: posixAccount
uid: {name}
cn: {name}
uidNumber: {uid}
gidNumber: {gid}
homeDirectory: /home/{name}

'''


def group(name, members):
    """groupOfNames; members are DNs, at least one."""
    rows = ''.join(f'member: {m}\n' for m in members)
    return f'dn: {dn_group(name)}\nobjectClass: groupOfNames\ncn: {name}\n{rows}\n'


def posix_group(name, gid, users):
    rows = ''.join(f'memberUid: {u}\n' for u in users)
    return f'dn: {dn_group(name)}\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {gid}\n{rows}\n'


def leave(user_name, group_name):
    """A change for ldapmodify."""
    return f'dn: {dn_group(group_name)}\nchangetype: modify\ndelete: member\nmember: {dn_user(user_name)}\n'


def slapd_conf(folder, schemas, more='', options='', overlay=''):
    """slapd.conf of one database in FOLDER/db; more: lines before it, options: of the database."""
    includes = ''.join(f'include {s if s.startswith("/") else "/etc/ldap/schema/" + s + ".schema"}\n' for s in schemas)
    return f'''{includes}modulepath /usr/lib/ldap
moduleload back_mdb
{more}pidfile {folder}/pid
database mdb
maxsize 1073741824
suffix "{ROOT}"
rootdn "cn=admin,{ROOT}"
rootpw secret
directory {folder}/db
dbnosync
{options}{overlay}'''
