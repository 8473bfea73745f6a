#!/bin/sh
# Hugging Face directories and embeddings on the command line: every verb reads a directory as it reads a file, what is
# made of it computes the same, wrong input is told in one sentence. Prints TAP.
# shellcheck disable=SC2317 # functions are called by name
set -u
# shellcheck source=tests/api/tap.sh
. "$(dirname "$0")/tap.sh"
golden=${INGLE_GOLDEN:-/nonexistent}/hf

differ() { ! cmp -s "$1" "$2"; }
silent_about() { ! grep -qF -e "$1" err; }
words() { [ "$(wc -w <out)" -eq "$1" ]; }
some() { [ -s out ]; }

# ---- directories
text='the cat and the dog, 42 times'
echo '[{"role": "user", "content": "hi"}]' >talk.json
for which in llama mistral qwen2 qwen3 qwen3_moe gemma2 gemma3 phi3 minimax_m2 bert; do
    dir=$golden/$which
    if [ ! -d "$dir" ]; then
        n=$((n + 1))
        echo "ok $n - $which # SKIP no reference data in $golden"
        continue
    fi
    case $which in
    bert) model=bert ;;
    mistral | gemma*) model=llama ;;
    phi3) model=no_vocab ;; # others refuse a model of that name without <|endoftext|>
    *) model=gpt2 ;;
    esac
    ids=$(tr -s ' \n' ',' <"$dir/tokens.txt" | sed 's/,$//')
    try 0 "$ingle" show "$dir";                  ok "$which: show" has 'Hugging Face directory'
    try 0 "$ingle" tokenize "$dir" "$text";      ok "$which: tokenize" some
    mv out ids
    try 0 "$ingle" tokenize "$dir" --decode --file ids; ok "$which: and back" has '42 times'
    try 0 "$ingle" quantize "$dir" made.gguf F32; ok "$which: quantize" has F32
    try 0 "$ingle" tokenize made.gguf "$text";   ok "$which: the file has the directory's tokenizer" same out ids
    try 0 "$ingle" template "$dir" --messages talk.json; ok "$which: template" has hi
    mv out talk.txt
    try 0 "$ingle" template made.gguf --messages talk.json; ok "$which: the file has its chat template" same out talk.txt
    if [ "$which" = bert ]; then
        try 1 "$ingle" run "$dir" "$text";       ok "$which: run" says 'use ingle embed'
        try 1 "$ingle" eval "$dir" --tokens "$ids"; ok "$which: eval" says 'use ingle embed'
        try 0 "$ingle" embed "$dir" "$text";     ok "$which: embed" words 64
        try 0 "$ingle" embed "$dir" --tokens "$ids" --pooling none; ok "$which: embed, every token" words $((48 * 64))
        mv out rows
        try 0 "$ingle" embed made.gguf --tokens "$ids" --pooling none; ok "$which: the file gives the same" same out rows
        continue
    fi
    try 0 "$ingle" run "$dir" "$text" --raw --temp 0 -n 8; ok "$which: run" some
    try 0 "$ingle" embed "$dir" "$text";         ok "$which: embed" words 64
    try 0 "$ingle" eval "$dir" --tokens "$ids";  ok "$which: eval" words 48
    mv out next
    try 0 "$ingle" eval made.gguf --tokens "$ids"; ok "$which: the file predicts the same" same out next
    try 0 "$ingle" quantize "$dir" small.gguf Q4_0; ok "$which: quantize to four bits" has Q4_0
    try 0 "$ingle" eval small.gguf --tokens "$ids"; ok "$which: which can be read" words 48
    try 0 "$ingle" show made.gguf --meta tokenizer.ggml.model; ok "$which: other engines find a vocabulary" has "$model"
    [ "$which" = phi3 ] && continue
    try 0 "$ingle" show made.gguf --meta tokenizer.ggml.tokens; ok "$which: with its tokens" some
done

# ---- the tokenizer in GGUF's own form: alone where that says it all, else with tokenizer.json and a word about it
if [ -d "$golden/llama" ]; then
    try 0 "$ingle" quantize "$golden/llama" made.gguf F16; ok 'GGUF has words for the tokenizer' silent_about 'other engines'
    try 1 "$ingle" show made.gguf --meta ingle.tokenizer.json; ok 'tokenizer.json is not needed' silent
    try 0 "$ingle" quantize "$golden/mistral" made.gguf F16; ok 'GGUF lacks words' tells 'other engines will read some texts as other tokens: only the'
    try 0 "$ingle" show made.gguf --meta ingle.tokenizer.json; ok 'tokenizer.json goes along' some
    try 0 "$ingle" quantize made.gguf again.gguf F16; ok 'and again' tells 'other engines will read some texts as other tokens: only the'
    cp -r "$golden/llama" odd
    chmod -R u+w odd
    sed 's/{1,3}/{1,7}/' "$golden/llama/tokenizer.json" >odd/tokenizer.json
    try 0 "$ingle" quantize odd made.gguf F16; ok 'an unknown pre-tokenizer' tells 'will find no vocabulary: its pre-tokenizer is none'
    try 0 "$ingle" show made.gguf --meta tokenizer.ggml.model; ok 'other engines are told so' has no_vocab
    try 0 "$ingle" tokenize made.gguf '12345678'; ok 'ingle reads it' some
    mv out ids
    try 0 "$ingle" tokenize odd '12345678';      ok 'as it reads the directory' same out ids
    sed 's/"type": *"Split"/"type": "Spilt"/' "$golden/llama/tokenizer.json" >odd/tokenizer.json
    try 0 "$ingle" quantize odd made.gguf F16;   ok 'an unreadable tokenizer' tells 'the tokenizer goes along as it is: '
fi

# ---- a template beside the others goes first
if [ -d "$golden/llama" ]; then
    mkdir own
    cp "$golden/llama"/* own
    chmod -R u+w own
    echo 'own: {{ messages[0].content }}' >own/chat_template.jinja
    try 0 "$ingle" template own --messages talk.json; ok 'chat_template.jinja' has 'own: hi'
    echo 'own: {{ messages[0].content' >own/chat_template.jinja
    try 1 "$ingle" template own --messages talk.json; ok 'a broken one' says 'line 1'
    rm own/chat_template.jinja
    echo '{' >own/tokenizer_config.json
    try 1 "$ingle" template own --messages talk.json; ok 'a broken tokenizer_config.json' says 'tokenizer_config.json'
    rm own/tokenizer_config.json own/tokenizer.json
    try 1 "$ingle" run own hi;                   ok 'no tokenizer' silent
    try 0 "$ingle" eval own --tokens 1,2,3;      ok 'no tokenizer: ids still work' words 3
    rm own/model.safetensors
    try 1 "$ingle" eval own --tokens 1,2,3;      ok 'no weights' says 'safetensors'
fi
mkdir empty
try 1 "$ingle" run empty hi;                     ok 'an empty directory' says 'config.json'

# ---- scores of reranking models, which the test of architectures writes
if "$INGLE_BUILD/tests/test_archs" --write "$work" >/dev/null; then
    try 0 "$ingle" embed bert-rerank.gguf --tokens 2,40,41,3; ok 'a score' words 1
    mv out score
    try 0 "$ingle" embed bert-rerank.gguf --tokens 2,40,41,3 --pooling rank; ok 'the same by name' same out score
    try 0 "$ingle" embed bert-rerank.gguf --tokens 2,40,41,3 --json; ok 'as JSON' has '"embedding": ['
    try 0 "$ingle" embed bert-rerank.gguf --tokens 2,40,41,3 --tokens 2,50,3; ok 'two texts' words 2
    try 0 "$ingle" embed qwen3-rerank.gguf --tokens 2,40,41,3; ok 'two classes' words 2
    cat=$("$ingle" tokenize bert-rerank.gguf 'the cat' | tr ' ' ',') of=$("$ingle" tokenize bert-rerank.gguf 'of' | tr ' ' ',')
    try 0 "$ingle" embed bert-rerank.gguf --tokens "2,$cat,3,$of,3"; mv out score; ok 'an encoder reads a pair' true
    try 0 "$ingle" embed bert-rerank.gguf --query 'the cat' 'of'; ok '--query makes it' same out score
    try 0 "$ingle" embed bert-rerank.gguf --query 'the cat' 'of' 'and'; ok 'two documents' words 2
    pair=$("$ingle" tokenize qwen3-rerank.gguf --special '<|bos|>q: the, d:and it<|eos|>' | tr ' ' ',')
    try 0 "$ingle" embed qwen3-rerank.gguf --tokens "$pair"; mv out score; ok 'a decoder reads a prompt' true
    try 0 "$ingle" embed qwen3-rerank.gguf --query the 'and it'; ok '--query fills it in' same out score
    pair=$("$ingle" tokenize qwen3-rerank.gguf --special '<|bos|>q: the, d:<|eos|><|eos|>' | tr ' ' ',')
    try 0 "$ingle" embed qwen3-rerank.gguf --tokens "$pair"; mv out score; ok 'a prompt with an end in the document' true
    try 0 "$ingle" embed qwen3-rerank.gguf --query the '<|eos|>'; ok 'which a document cannot bring in' differ out score
    try 1 "$ingle" embed olmo.gguf --query the it; ok '--query without classifier' says 'needs a reranking model'
    try 2 "$ingle" embed bert-rerank.gguf --query the --tokens 2; ok '--query and ids' says 'a whole text already'
    try 1 "$ingle" embed bert-rerank.gguf --tokens 2,40,41,3 --pooling mean; ok 'no vectors' says 'pooling rank'
    try 1 "$ingle" embed bert-rerank.gguf --tokens 2,40,41,3 --normalize; ok 'not normalised' says 'scores'
    try 1 "$ingle" embed olmo.gguf --tokens 2,40,41,3 --pooling rank; ok 'no scores' says 'no classifier'
    try 1 "$ingle" embed olmo.gguf --tokens 2,400; ok 'an id too large' says '400'
    try 2 "$ingle" embed olmo.gguf --tokens ''; ok 'no ids' says '--tokens got'
    try 2 "$ingle" embed olmo.gguf --tokens 2 a text; ok 'ids and a text' says 'more than one'
    try 2 "$ingle" embed olmo.gguf --tokens 2 --pooling max; ok 'another pooling' says 'mean|cls|last|none|rank'
fi

tap_end
