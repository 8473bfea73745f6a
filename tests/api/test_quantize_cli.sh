#!/bin/sh
# ingle quantize from outside: usage, refusals that leave no file behind, results that other verbs read. Prints TAP.
# shellcheck disable=SC2317 # functions are called by name
set -u
# shellcheck source=tests/api/tap.sh
. "$(dirname "$0")/tap.sh"

says() { silent && line && grep -qF -e "$1" err && no_file; }
no_file() { [ ! -e new.gguf ] && [ -z "$(find . -name '*.tmp')" ]; }
quantize() { "$ingle" quantize "$@"; }

# ---- usage
try 2 quantize;                                  ok 'no arguments' says 'ingle quantize --help'
try 2 quantize "$model" new.gguf;                ok 'no type' says 'IN OUT TYPE'
try 2 quantize "$model" new.gguf Q4_K_X;         ok 'unknown type' says '"Q4_K_X"'
try 2 quantize "$model" new.gguf Q4_K_X;         ok 'all types are named' says 'Q4_K_M Q5_K_S'
try 2 quantize "$model" new.gguf Q8_0 --threads 0; ok 'threads 0' says '--threads'
try 1 quantize nothing.gguf new.gguf Q8_0;       ok 'no model' says 'nothing.gguf'
try 1 quantize . new.gguf Q8_0;                  ok 'a folder' says 'directory'
try 1 quantize "$model" no/new.gguf Q8_0;        ok 'no such folder' says 'no/new.gguf'
try 1 quantize "$model" new.gguf Q8_0 --imatrix "$model"; ok 'a model as importance' says 'holds no importance data'
try 1 quantize "$model" new.gguf Q8_0 --imatrix none; ok 'no importance file' says 'none'
head -c 100000 "$model" >cut.gguf
try 1 quantize cut.gguf new.gguf Q8_0;           ok 'a truncated model' says 'cut.gguf'

# ---- what is read is not written
cp "$model" own.gguf
ln -s own.gguf link.gguf
ln own.gguf hard.gguf
for other in own.gguf ./own.gguf link.gguf hard.gguf; do
    try 2 quantize own.gguf $other Q8_0; ok "OUT $other is IN" says 'cannot be written at the same time'
done
try 0 same "$model" own.gguf;                    ok 'IN is as before' true
rm -f own.gguf link.gguf hard.gguf

# ---- results
for type in F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS \
    MXFP4_MOE; do
    try 0 quantize "$model" "$type.gguf" $type;  ok "$type" has "$type"
done
try 0 "$ingle" show Q8_0.gguf;                   ok 'show reads the result' has 'Q8_0'
try 0 "$ingle" show Q8_0.gguf --meta general.quantization_version; ok 'quantisation version' has 2
try 0 "$ingle" show Q5_K_M.gguf --meta general.file_type; ok 'file type' has 17
for type in F32 F16 Q8_0; do
    try 0 "$ingle" run "$type.gguf" 'Once upon a time' --temp 0 -n 20; ok "run reads $type" has 'there was a little girl named'
done
try 0 quantize "$model" q8.gguf q8_0 --threads 1; ok 'a type in small letters, one thread, the same bytes' same q8.gguf Q8_0.gguf
try 0 quantize "$model" q4.gguf Q4_K_M;          ok 'rows that do not fit are told' tells 'do not fit Q4_K, taking Q5_0'
try 0 quantize "$model" q4.gguf Q4_K_M;          ok 'a line a tensor where there is no terminal' tells '] token_embd.weight  64 x 512  F32 -> '
try 0 same q4.gguf Q4_K_M.gguf;                  ok 'the same again, over an older file' true
try 0 quantize "$model" q8.gguf Q8_0 --json;     ok 'JSON' has '"tensors_by_type": {'
try 1 quantize "$model" "$model/x" Q8_0;         ok 'a place that is no folder' silent

seeds=$INGLE_SOURCE/fuzz/corpus/importance
try 1 quantize "$model" new.gguf Q4_0 --imatrix "$seeds/dense"; ok 'importance of another model' says 'is of another model'
try 0 quantize "$model" q4.gguf Q4_0 --imatrix "$seeds/stories_layer_0"; ok 'importance of some tensors' tells '28 of 47 tensors'
try 0 "$ingle" show q4.gguf --meta quantize.imatrix.file; ok 'the importance file is named in the result, without its folder' same out - <<END
stories_layer_0
END

# ---- once more
try 1 quantize Q8_0.gguf new.gguf Q4_0;          ok 'quantised already' says '--requantize'
try 1 quantize Q8_0.gguf new.gguf Q8_0;          ok 'quantised already, the same type' says 'is quantised already'
try 1 quantize Q8_0.gguf new.gguf F32;           ok 'quantised already, to floats' says 'is quantised already'
try 0 quantize Q8_0.gguf new.gguf Q4_0 --requantize; ok '--requantize' has 'Q4_0'
try 0 quantize F16.gguf f32.gguf F32;            ok 'F16 to F32' has 'F32'
try 0 quantize f32.gguf f16.gguf F16;            ok 'and back: the same bytes' same f16.gguf F16.gguf
rm -f new.gguf

# ---- weights that are no numbers: the last four bytes of the F32 file are a weight
head -c $(($(wc -c <F32.gguf) - 4)) F32.gguf >nan.gguf
printf '\000\000\300\177' >>nan.gguf
"$ingle" show nan.gguf --scan >out 2>err || true
if grep -q 'NaN' out err; then
    try 1 quantize nan.gguf new.gguf Q8_0;       ok 'NaN is named' tells 'is no finite number'
    try 1 quantize nan.gguf new.gguf Q8_0;       ok 'and nothing is left' no_file
fi

# ---- interrupted
for signal in INT TERM; do
    "$ingle" quantize "$model" new.gguf Q2_K >out 2>err &
    kill -$signal $! 2>/dev/null
    wait $!
    want=0 got=0
    ok "interrupted by $signal: whole or not there" test -z "$(find . -name '*.tmp')"
done

tap_end
