# Shared by the tests of the command line (sourced by sh): a scratch folder, tries and lines of TAP. The test ends with
# `tap_end`, and sets `want`, `got` through `try` alone.
# shellcheck shell=sh disable=SC2034,SC2154,SC2317 # used by the tests; functions are called by name
ingle=$INGLE_BUILD/ingle
model=$INGLE_DATA/stories260K.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n=0 failures=0

# try CODE COMMAND...: runs, keeps out and err; the test that follows looks at them.
try() {
    want=$1
    shift
    "$@" >out 2>err </dev/null
    got=$?
    said="$(head -c 300 err | tr '\n' ' ')"
}

# ok NAME CONDITION...: one line of TAP; the exit code of the last try must have been right, too.
ok() {
    name=$1
    shift
    n=$((n + 1))
    if [ "$got" -ne "$want" ]; then
        echo "not ok $n - $name # exit $got, expected $want: $said"
        failures=$((failures + 1))
    elif "$@"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name # $*; stdout: $(head -c 200 out | tr '\n' ' ') stderr: $said"
        failures=$((failures + 1))
    fi
}

tap_end() {
    echo "1..$n"
    [ "$failures" -eq 0 ]
}

silent() { [ ! -s out ]; }                         # nothing on stdout
line() { [ "$(wc -l <err)" -eq 1 ]; }              # one line on stderr
says() { silent && line && grep -qF -e "$1" err; } # and that line names it
has() { grep -qF -e "$1" out; }
tells() { grep -qF -e "$1" err; }
same() { cmp -s "$1" "$2"; }
