#!/bin/sh
# Makes this machine follow a catalogue: install.sh ROOT.json URL. May be repeated. DESTDIR: another root, for trying it out.
set -eu
[ $# -eq 2 ] || { echo "usage: install.sh ROOT.json URL" >&2; exit 2; }
etc=${DESTDIR:-}/etc/ingle
install -d -m 755 "$etc/conf.d"
install -m 644 "$1" "$etc/work.root.json"
cat >"$etc/conf.d/50-work.conf" <<END
[catalogue work]
source = $2
root = ${DESTDIR:-}/etc/ingle/work.root.json
interval = 1h
END
chmod 644 "$etc/conf.d/50-work.conf"
INGLE_CONFIG=$etc ingle policy check
[ -n "${DESTDIR:-}" ] || systemctl reload-or-restart ingle
