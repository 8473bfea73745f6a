#!/bin/sh
# All clients against the dialects and a scripted worker, no daemon: TAP, one line a client.
set -u
here=$(cd "$(dirname "$0")" && pwd)
answer=${INGLE_BUILD:?}/tests/answer
if ! command -v node >/dev/null || [ ! -d "$here/node_modules" ]; then
    printf "ok 1 - clients # SKIP no packages: npm ci --prefix tests/clients\n1..1\n"
    exit 0
fi
log=$(mktemp)
node "$here/mock.mjs" "$answer" 0 2>"$log" &
server=$!
trap 'kill $server 2>/dev/null; rm -f "$log"' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do
    grep -q http "$log" && break
    sleep 0.3
done
address=$(head -n 1 "$log")
n=0
for client in raw openai ollama anthropic ai langchain; do
    n=$((n + 1))
    if out=$(INGLE_TEST_MODEL=tiny INGLE_TEST_THINK_MODEL=tiny node "$here/$client.mjs" "$address" 2>&1); then
        echo "ok $n - $client: $(echo "$out" | grep -c '^ok') cases"
    else
        echo "not ok $n - $client"
        echo "$out" | grep -v '^ok' | sed 's/^/# /'
    fi
done
echo "1..$n"
