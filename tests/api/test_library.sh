#!/bin/sh
# The library as a stranger meets it: the example, the installed files, the exported symbols. Prints TAP.
set -u
n=0 failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ok() {
    n=$((n + 1))
    name=$1
    shift
    if "$@" >"$work/out" 2>&1; then echo "ok $n - $name"; else
        echo "not ok $n - $name # $(head -c 300 "$work/out" | tr '\n' ' ')"
        failures=$((failures + 1))
    fi
}
skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}

short() { [ "$(wc -l <"$INGLE_SOURCE/examples/hello.c")" -le 40 ]; }
hello() { "$INGLE_BUILD/tests/hello" "$INGLE_DATA/stories260K.gguf" 'Once upon a time' | grep -q 'little girl'; }
hello_fails() { ! "$INGLE_BUILD/tests/hello" absent.gguf x; }
symbols() { # the shared library shows ingle_ and nothing else
    nm -D --defined-only "$INGLE_BUILD/src/libingle.so" | awk '$2 ~ /[A-TV-Z]/ { print $3 }' >"$work/symbols"
    [ -s "$work/symbols" ] && ! grep -v '^ingle_' "$work/symbols"
}
declared() { # every function of the header is there
    grep -o 'ingle_[a-z_0-9]*(' "$INGLE_SOURCE/include/ingle.h" | tr -d '(' | sort -u >"$work/declared"
    sort -u "$work/symbols" | comm -23 "$work/declared" - | grep . && return 1
    return 0
}
install_all() { DESTDIR=$work/root meson install -C "$INGLE_BUILD" --no-rebuild; }
built_against() { # an outside program with nothing but pkg-config
    pc=$(dirname "$(find "$work/root" -name ingle.pc)")
    # shellcheck disable=SC2046 # flags, split on purpose
    ${CC:-cc} "$INGLE_SOURCE/examples/hello.c" -o "$work/hello" $(PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$work/root \
        pkg-config --cflags --libs ingle) &&
        LD_LIBRARY_PATH=$(dirname "$pc") "$work/hello" "$INGLE_DATA/stories260K.gguf" 'Once upon a time'
}
pages() { [ "$(find "$work/root" -name 'ingle*.1' | wc -l)" -ge 6 ]; }

ok 'hello.c has at most 40 lines' short
ok 'hello answers' hello
ok 'hello reports an absent file' hello_fails
ok 'the library exports the public interface alone' symbols
ok 'and all of it' declared
ok 'install' install_all
ok 'manual pages are installed' pages
if ! nm -D "$INGLE_BUILD/src/libingle.so" | grep -q "__[at]san_init"; then
    ok 'a program builds against the installed files' built_against
else
    skip 'a program builds against the installed files' 'the library is built with a sanitizer'
fi
echo "1..$n"
[ "$failures" -eq 0 ]
