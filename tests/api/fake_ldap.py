"""A small LDAP server in a thread: enough of RFC 4511 to be asked by ingle, Active Directory's rule "in chain", ranged
memberOf, and faults that no real server can be made to show. Not a test by itself."""
import socket
import threading
import time

AD = b'1.2.840.113556.1.4.800'
CHAIN = '1.2.840.113556.1.4.1941'
PAGED = b'1.2.840.113556.1.4.319'


def tlv(tag, *parts):
    body = b''.join(parts)
    n = len(body)
    if n < 128:
        return bytes([tag, n]) + body
    size = n.to_bytes((n.bit_length() + 7) // 8, 'big')
    return bytes([tag, 0x80 | len(size)]) + size + body


def integer(n, tag=2):
    return tlv(tag, n.to_bytes(n.bit_length() // 8 + 1, 'big'))


def octets(s, tag=4):
    return tlv(tag, s.encode() if isinstance(s, str) else s)


def parse(data, at=0):
    """One element: tag, body, end."""
    tag, n = data[at], data[at + 1]
    at += 2
    if n & 0x80:
        k = n & 0x7f
        n = int.from_bytes(data[at:at + k], 'big')
        at += k
    return tag, data[at:at + n], at + n


def children(data):
    out, at = [], 0
    while at < len(data):
        tag, body, at = parse(data, at)
        out.append((tag, body))
    return out


def message(msgid, op, controls=b''):
    return tlv(0x30, integer(msgid), op, tlv(0xa0, controls) if controls else b'')


def result(msgid, tag, code=0, text='', referral=None, controls=b''):
    extra = tlv(0xa3, *[octets(r) for r in referral]) if referral else b''
    return message(msgid, tlv(tag, integer(code, 10), octets(''), octets(text), extra), controls)


def entry(msgid, dn, attributes):
    rows = [tlv(0x30, octets(name), tlv(0x31, *[octets(v) for v in values])) for name, values in attributes]
    return message(msgid, tlv(0x64, octets(dn), tlv(0x30, *rows)))


class Fake:
    """entries: {dn: {attribute: [values]}}. Options: ad, chain ('yes', 'nothing', 'all', 'refuse'), ranges (values at
    once), fault(server, connection, msgid, search) -> True when it has dealt with the search."""

    def __init__(self, entries, ad=False, chain='yes', ranges=0, fault=None, page_max=1000):
        self.entries = entries
        self.ad, self.chain, self.ranges, self.fault, self.page_max = ad, chain, ranges, fault, page_max
        self.searches = []
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.port = self.socket.getsockname()[1]
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def uri(self):
        return f'ldap://127.0.0.1:{self.port}'

    def close(self):
        self.open = False
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self.socket.close()

    def accept(self):
        while self.open:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, c):
        data = b''
        try:
            while True:
                got = c.recv(65536)
                if not got:
                    return
                data += got
                while len(data) > 6:
                    try:
                        _, body, end = parse(data)
                    except IndexError:
                        break
                    if end > len(data):
                        break
                    data = data[end:]
                    if not self.answer(c, children(body)):
                        return
        except OSError:
            pass
        finally:
            c.close()

    def answer(self, c, parts):
        msgid = int.from_bytes(parts[0][1], 'big')
        tag, body = parts[1]
        if tag == 0x60:
            c.sendall(result(msgid, 0x61))
        elif tag == 0x42:
            return False
        elif tag == 0x63:
            self.search(c, msgid, children(body), children(parts[2][1]) if len(parts) > 2 else [])
        elif tag == 0x77:
            c.sendall(result(msgid, 0x78, 2))
        return True

    # ---- searching

    def attribute(self, dn, name):
        for key, values in self.entries[dn].items():
            if key.lower() == name.lower():
                return [v.encode() if isinstance(v, str) else v for v in values]
        return []

    def in_chain(self, dn, target):
        seen, queue = set(), [dn]
        while queue:
            at = queue.pop()
            for member in self.attribute(at, 'member'):
                if member.lower() == target.lower():
                    return True
                name = member.decode()
                if name in self.entries and name not in seen:
                    seen.add(name)
                    queue.append(name)
        return False

    def fits(self, dn, tag, body):
        if tag == 0xa0:
            return all(self.fits(dn, t, b) for t, b in children(body))
        if tag == 0xa1:
            return any(self.fits(dn, t, b) for t, b in children(body))
        if tag == 0xa2:
            return not self.fits(dn, *children(body)[0])
        if tag == 0xa3:
            name, value = children(body)
            return value[1].lower() in [v.lower() for v in self.attribute(dn, name[1].decode())]
        if tag == 0x87:
            return body.lower() == b'objectclass' or bool(self.attribute(dn, body.decode()))
        if tag == 0xa9:
            terms = dict(children(body))
            if terms.get(0x81, b'').decode() != CHAIN or self.chain == 'nothing':
                return False
            return self.chain == 'all' or self.in_chain(dn, terms[0x83])
        return False

    def shown(self, dn, wanted):
        out = []
        for name in wanted:
            plain, _, option = name.partition(';')
            values = self.attribute(dn, plain)
            if not values or plain == '1.1':
                continue
            start = int(option.split('=')[1].split('-')[0]) if option.startswith('range=') else 0
            if self.ranges and plain.lower() == 'memberof' and (option or len(values) > self.ranges):
                end = start + self.ranges
                last = '*' if end >= len(values) else str(end - 1)
                out.append((f'{plain};range={start}-{last}', values[start:end]))
            else:
                out.append((plain, values))
        return out

    def search(self, c, msgid, parts, controls):
        base, scope = parts[0][1].decode(), parts[1][1][0]
        wanted = [v.decode() for _, v in children(parts[7][1])]
        search = {'base': base, 'scope': scope, 'filter': parts[6], 'wanted': wanted, 'controls': controls}
        self.searches.append(search)
        if base == '' and scope == 0:
            rows = [('supportedCapabilities', [AD])] if self.ad else []
            c.sendall(entry(msgid, '', rows) + result(msgid, 0x65))
            return
        if self.fault and self.fault(self, c, msgid, search):
            return
        if self.chain == 'refuse' and b'1941' in parts[6][1]:
            c.sendall(result(msgid, 0x65, 18, 'no such rule'))
            return
        found = [dn for dn in self.entries
                 if (dn.lower() == base.lower() if scope == 0 else dn.lower().endswith(base.lower()))
                 and self.fits(dn, *parts[6])]
        if scope == 0 and base not in self.entries:
            c.sendall(result(msgid, 0x65, 32))
            return
        self.send_page(c, msgid, found, wanted, controls)

    def send_page(self, c, msgid, found, wanted, controls):
        back, size, start = b'', self.page_max, 0
        for _, body in controls:
            row = children(body)
            if row[0][1] == PAGED:
                value = children(parse(row[-1][1])[1])
                size = min(size, int.from_bytes(value[0][1], 'big'))
                start = int(value[1][1] or b'0')
                cookie = str(start + size) if start + size < len(found) else ''
                back = tlv(0x30, octets(PAGED), octets(tlv(0x30, integer(0), octets(cookie))))
        out = b''.join(entry(msgid, dn, self.shown(dn, wanted)) for dn in found[start:start + size])
        c.sendall(out + result(msgid, 0x65, controls=back))


# ---- faults: each gets (server, connection, msgid, search) and is asked at every search but the root's

def truncated(s, c, m, q):
    c.sendall(entry(m, 'uid=ada,dc=x', [('uid', ['ada'])])[:20])
    c.shutdown(socket.SHUT_RDWR)
    return True


def huge(s, c, m, q):
    c.sendall(b'\x30\x84\x40\x00\x00\x00' + b'\x02\x01' + bytes([m]) + b'\x64' + b'a' * 100000)
    return True


def garbage(s, c, m, q):
    c.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n' * 20)
    return True


def negative_length(s, c, m, q):
    c.sendall(b'\x30\x8f' + b'\xff' * 30)
    return True


def silent(s, c, m, q):
    return True


def drip(s, c, m, q):
    for b in entry(m, 'uid=ada,dc=x', [('uid', ['ada' * 400])]):
        c.sendall(bytes([b]))
        time.sleep(0.02)
    return True


def referral(s, c, m, q):
    c.sendall(result(m, 0x65, 10, referral=[s.uri + '/dc=x']))
    return True


def success_referral(s, c, m, q):
    c.sendall(result(m, 0x65, 0, referral=[s.uri + '/dc=x']))
    return True


def references(s, c, m, q):
    for _ in range(5000):
        c.sendall(message(m, tlv(0x73, octets(s.uri + '/dc=x'))))
    return True


def endless(s, c, m, q):
    i = 0
    while True:
        i += 1
        c.sendall(b''.join(entry(m, f'uid=u{i}x{k},dc=x', [('cn', ['g'])]) for k in range(100)))


def cut(s, c, m, q):
    c.sendall(entry(m, 'uid=ada,dc=x', [('uid', ['ada'])]) + result(m, 0x65, 4))
    return True


def other_id(s, c, m, q):
    c.sendall(result(m + 1000, 0x65))
    return True


def odd_answer(s, c, m, q):
    c.sendall(result(m, 0x6f))
    return True


def busy(s, c, m, q):
    c.sendall(result(m, 0x65, 51, 'busy'))
    return True


def many_attributes(s, c, m, q):
    c.sendall(entry(m, 'uid=ada,dc=x', [(f'a{i}', ['v']) for i in range(3000)]) + result(m, 0x65))
    return True


def broken_dn(s, c, m, q):
    c.sendall(entry(m, b'\xff\xfe', [('uid', ['ada'])]) + result(m, 0x65))
    return True


def is_groups(q):
    return q['wanted'] in (['cn'], ['sAMAccountName'])


def endless_pages(s, c, m, q):
    if not is_groups(q):
        return False
    page = tlv(0x30, octets(PAGED), octets(tlv(0x30, integer(0), octets('more'))))
    c.sendall(result(m, 0x65, controls=page))
    return True


def broken_page(s, c, m, q):
    if not is_groups(q):
        return False
    c.sendall(result(m, 0x65, controls=tlv(0x30, octets(PAGED), octets(b'\x30\x01'))))
    return True


def outside(s, c, m, q):
    if not is_groups(q):
        return False
    c.sendall(entry(m, 'cn=admins,dc=elsewhere', [('cn', ['admins'])]) + result(m, 0x65))
    return True


def groups_then_close(s, c, m, q):
    if not is_groups(q):
        return False
    c.sendall(entry(m, 'cn=eng,ou=groups,dc=x', [('cn', ['eng'])]))
    c.shutdown(socket.SHUT_RDWR)
    return True


def ranges(*answers):
    """Answers to the questions for memberOf, one after the other: (attribute, number of values)."""
    turn = []

    def fault(s, c, m, q):
        if not any(w.lower().startswith('memberof') for w in q['wanted']):
            return False
        name, n = answers[min(len(turn), len(answers) - 1)]
        turn.append(1)
        rows = [('sAMAccountName', ['ada'])]
        if name:
            rows.append((name, [f'cn=g{len(turn)}x{i},ou=groups,dc=x' for i in range(n)]))
        c.sendall(entry(m, 'uid=ada,ou=people,dc=x', rows) + result(m, 0x65))
        return True
    return fault
