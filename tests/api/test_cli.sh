#!/bin/sh
# The command line from outside: right and wrong input, exit codes, messages, no partial output. Prints TAP.
# shellcheck disable=SC2317 # functions are called by name
set -u
# shellcheck source=tests/api/tap.sh
. "$(dirname "$0")/tap.sh"

says2() { says "$1" && grep -qF -e "$2" err; }
prints() { [ "$(cat out)" = "$1" ]; }
quiet() { [ ! -s err ]; }

# ---- usage: exit 2, one sentence that names the word and what to type
try 2 "$ingle";                                    ok 'no verb' silent
try 2 "$ingle" rnu;                                ok 'unknown verb' says2 '"rnu"' 'did you mean run'
try 2 "$ingle" run;                                ok 'no model' says 'ingle run --help'
try 2 "$ingle" run a b c;                          ok 'too many arguments' says 'MODEL [PROMPT]'
try 2 "$ingle" run "$model" x --tmp 1;             ok 'unknown flag' says2 '--tmp' '--temp'
try 2 "$ingle" run "$model" x --temp;              ok 'flag without value' says2 '--temp' 'number from 0'
try 2 "$ingle" run "$model" x --raw=1;             ok 'switch with value' says '--raw takes no value'
for bad in 'temp abc' 'temp 1x' 'temp nan' 'temp inf' 'temp -1' 'temp 0x1' 'top-p 1.1' 'min-p -0.1' 'top-k 1.5' 'top-k -1' \
    'threads 0' 'threads 1025' 'seed 18446744073709551616' 'seed -1' 'seed +1' 'ctx 0' 'kv f17' 'kv f16|f32' 'batch 0' \
    'logit-bias 5' 'logit-bias 5=x' 'logit-bias 5=nan' 'logit-bias =1' 'logit-bias 5=inf' 'stop ' 'max-tokens 0' \
    'repeat-penalty 0' 'logprobs x'; do
    flag=${bad%% *} value=${bad#* }
    try 2 "$ingle" run "$model" x "--$flag" "$value"; ok "run --$flag '$value'" says2 "--$flag" 'ingle run --help'
done
try 2 "$ingle" run "$model" x -n 5x;               ok 'run -n 5x' says '5x'
try 2 "$ingle" eval "$model";                      ok 'eval without work' says '--tokens'
try 2 "$ingle" eval "$model" --tokens 1 --text x;  ok 'eval with both' says 'one of them'
try 2 "$ingle" eval "$model" --tokens 1,a;         ok 'eval --tokens 1,a' says '--tokens'
try 2 "$ingle" eval "$model" --tokens ,;           ok 'eval --tokens ,' says '--tokens'
try 2 "$ingle" eval "$model" --text x --greedy 3;  ok 'eval --text --greedy' says '--greedy'
try 2 "$ingle" eval "$model" --tokens 1 --window 8; ok 'eval --tokens --window' says '--window'
try 2 "$ingle" tokenize "$model" x --file y;       ok 'tokenize TEXT and --file' says '--file'
try 2 "$ingle" completion tcsh;                    ok 'completion of another shell' says 'bash'
try 2 "$ingle" help nothing;                       ok 'help of no verb' says '"nothing"'
try 2 "$ingle" run "$model" 'my secret words' more more; ok 'a prompt is never repeated' \
    sh -c '! grep -q secret err'

# ---- what cannot be met: exit 1, one sentence, nothing on stdout
for verb in 'run absent.gguf hi' 'show absent.gguf' 'tokenize absent.gguf hi' 'eval absent.gguf --tokens 1' 'bench absent.gguf'; do
    # shellcheck disable=SC2086 # words, split on purpose
    try 1 "$ingle" $verb;                          ok "absent file: ${verb%% *}" says 'absent.gguf'
done
printf 'not a model' >noise.gguf
: >empty.gguf
head -c 4000 "$model" >cut.gguf
for verb in run show tokenize bench; do
    for file in noise empty cut; do
        # shellcheck disable=SC2046 # no word at all where there is no prompt
        try 1 "$ingle" $verb $file.gguf $([ $verb = run ] || [ $verb = tokenize ] && echo hi)
        ok "$file file: $verb" says "$file.gguf"
    done
done
try 1 "$ingle" show .;                             ok 'a directory' says 'directory'
try 1 "$ingle" eval "$model" --tokens 1,512 --logits o.f32; ok 'unknown id' says '512'
try 0 ls;                                          ok 'and no file is left' sh -c '! grep -q o.f32 out'
try 1 "$ingle" eval "$model" --tokens 1,2 --logits no/such/o; ok 'logits into no folder' says 'no/such/o'
try 1 "$ingle" eval "$model" --tokens 1,2 --logits /dev/null; ok 'logits into a device' says '/dev/null'
try 1 "$ingle" eval "$model" --tokens "$(seq -s, 1 300)" --ctx 256; ok 'eval over the context' says2 '300' '256'
try 1 "$ingle" eval "$model" --tokens "$(seq -s, 1 511),1,2" ; ok 'eval over the trained context' says2 '513' '512'
try 1 "$ingle" eval "$model" --tokens 1,2 --ctx 513; ok 'eval --ctx over the trained context' says2 '513' '512'
printf 'short' >short.txt
try 1 "$ingle" eval "$model" --text short.txt --window 64; ok 'too short for a window' says '64'
try 1 "$ingle" eval "$model" --text absent.txt;    ok 'absent text' says 'absent.txt'
try 1 "$ingle" run "$model" "$(head -c 3000 "$INGLE_DATA/tales.txt")"; ok 'prompt over the context' says '512'
try 1 "$ingle" run "$model" hi --ctx 4096;         ok 'context over the trained one' says2 '4096' '512'
try 1 "$ingle" run "$model" hi --sampler-order top_q; ok 'unknown stage' says 'top_q'
try 1 "$ingle" run "$model" hi --logit-bias 99999=1; ok 'bias of no token' says '99999'
try 1 "$ingle" tokenize "$model" --decode '1 abc'; ok 'decode a word' says 'word 2'
try 1 "$ingle" tokenize "$model" --decode '1 512'; ok 'decode an unknown id' says '512'
try 1 "$ingle" show "$model" --meta no.key;        ok 'absent key' says 'no.key'

# ---- a full disk is seen
for args in 'help' 'run --help' 'completion bash' "show $model" "tokenize $model hi" "eval $model --tokens 1" \
    "run $model --temp 0 -n 5 hi"; do
    # shellcheck disable=SC2086 # words, split on purpose
    "$ingle" $args >/dev/full 2>err </dev/null
    got=$? want=1 said=$(cat err)
    : >out
    ok "full disk: ${args%% /*}" tells 'No space left'
done

# ---- right input
try 0 "$ingle" version;                            ok 'version' has 'ingle 0.'
try 0 "$ingle" --version;                          ok '--version' has 'ingle 0.'
try 0 "$ingle" help;                               ok 'help' has 'tokenize'
for verb in run chat show tokenize template eval bench completion help version; do
    try 0 "$ingle" $verb --help;                   ok "$verb --help" has "Usage: ingle $verb"
    cp out help.out
    try 0 "$ingle" help $verb;                     ok "help $verb says the same" same out help.out
    try 0 "$ingle" help --man $verb;               ok "manual of $verb" has '.TH INGLE-'
done
try 0 "$ingle" completion bash;                    ok 'bash completion' bash -n out
cp out completion
bash -c '. ./completion; COMP_WORDS=(ingle run --te); COMP_CWORD=2; _ingle; echo "${COMPREPLY[@]}"' >out 2>err
got=$? want=0;                                     ok 'bash completes a flag' prints '--temp'

# The greedy story: the prompt and what run prints, without the file's last newline.
awk '/^## / { on = $2 == "stories260K"; next } on && text && NF { print } on && /^text:/ { text = 1 }' \
    "$INGLE_DATA/story.txt" >story
try 0 "$ingle" run "$model" 'Once upon a time' --temp 0 -n 200
{ printf 'Once upon a time'; cat out; echo; } >whole
ok 'the greedy story' same whole story
ok 'nothing on stderr' quiet
cp out first
for flags in '--threads 1' '--threads 3 --batch 3' '--kv f32' '--ctx 300'; do
    # shellcheck disable=SC2086 # words, split on purpose
    try 0 "$ingle" run "$model" 'Once upon a time' --temp 0 -n 200 $flags; ok "the same with $flags" same out first
done
got=0 want=0
printf 'Once upon a time' | "$ingle" run "$model" --temp 0 -n 200 >out 2>err || got=1
ok 'the prompt from a pipe' same out first
echo 'Once upon a time' | "$ingle" run "$model" --temp 0 -n 200 >out 2>err || got=1
ok 'and from echo' same out first
try 0 "$ingle" run "$model" 'Once upon a time' --seed 7 -n 60; cp out seven
try 0 "$ingle" run "$model" 'Once upon a time' --seed 7 -n 60 --threads 1; ok 'a seed means something' same out seven
try 0 "$ingle" run "$model" 'Once upon a time' --seed 8 -n 60; ok 'another seed, another answer' sh -c '! cmp -s out seven'
try 0 "$ingle" run "$model" 'Once upon a time' --temp 0 -n 200 --stop 'named Lily'
ok 'a stop string never leaks' prints ', there was a little girl '
try 0 "$ingle" run "$model" 'Once upon a time' --temp 0; ok 'at the end of the context it says so' tells '512'
try 0 "$ingle" run "$model" 'Once upon a time' --temp 0 -n 700 --context-shift; ok 'context shift goes on' quiet
try 0 "$ingle" run "$model" 'Once upon a time' --temp 0 -n 9 --stats; ok 'stats name the seed' tells 'seed'
try 0 "$ingle" run "$model" 'Once upon a time' --temp 0 -n 3 --logprobs 2; ok 'three lines of log probabilities' \
    sh -c '[ "$(wc -l <err)" -eq 3 ]'
try 0 "$ingle" run "$model" '' -n 3 --temp 0;      ok 'an empty prompt' [ -s out ]
try 0 "$ingle" run "$model" -n 3 --temp 0 -- '--x'; ok 'after -- all is text' [ -s out ]
"$ingle" run "$model" 'Once upon a time' --temp 0 2>err | head -c 1 >out
ok 'a reader that leaves is no error' quiet

try 0 "$ingle" tokenize "$model" 'Once upon a time'; ok 'tokenize' prints '403 407 261 378'
try 0 "$ingle" tokenize "$model" 'Once upon a time' --special; ok 'tokenize --special' prints '1 403 407 261 378'
try 0 "$ingle" tokenize "$model" --decode '1,403 407 261 378'; ok 'decode' prints ' Once upon a time'
try 0 "$ingle" tokenize "$model" --file "$INGLE_DATA/tales.txt"; ok 'ids on one line' [ "$(wc -l <out)" -eq 1 ]
try 0 "$ingle" tokenize "$model" --decode --file out; ok 'there and back' true
mkdir -p tok && cat >tok/tokenizer.json <<'END'
{"added_tokens": [{"id": 3, "content": "<s>", "special": true}], "pre_tokenizer": {"type": "Whitespace"},
 "post_processor": {"type": "BertProcessing", "cls": ["<s>", 3], "sep": ["?", 0]},
 "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "Hello": 1, "world": 2}}}
END
try 0 "$ingle" tokenize tok 'Hello, world<s>';     ok 'a folder with a tokenizer.json' prints '1 0 2 3'
try 0 "$ingle" tokenize tok --special 'Hello';     ok 'and its special tokens' prints '3 1 0'
try 0 "$ingle" tokenize tok --decode '3 1 2';      ok 'and back' prints 'Hello world'
echo '{"clean_up_tokenization_spaces": 7}' >tok/tokenizer_config.json
try 1 "$ingle" tokenize tok 'Hello';               ok 'a wrong configuration is named' tells 'clean_up_tokenization_spaces'
rm tok/tokenizer_config.json
sed -i 's/WordLevel/WordMagic/' tok/tokenizer.json
try 1 "$ingle" tokenize tok 'Hello';               ok 'an unknown model is named' tells 'WordMagic'
try 0 "$ingle" show "$model";                      ok 'show' has 'llama'
try 0 "$ingle" show "$model" --json --tensors;     ok 'show --json' python3 -c \
    'import json; j = json.load(open("out")); assert j["architecture"] == "llama" and j["memory"]["fits"] and j["tensors"]'
try 0 "$ingle" show "$model" --meta llama.block_count; ok 'show --meta' prints 5
try 0 "$ingle" eval "$model" --tokens "$(cat "$INGLE_DATA/logits.tokens.txt")" --logits logits.f32
ok 'eval --logits' [ "$(wc -c <logits.f32)" -eq 45056 ]
ok 'prints nothing' silent
try 0 ls;                                          ok 'and leaves no temporary file' sh -c '! grep -q tmp out'
cp logits.f32 all.f32
try 0 "$ingle" eval "$model" --tokens "$(cat "$INGLE_DATA/logits.tokens.txt")" --logits logits.f32 --chunk 5 --threads 3
ok 'chunks and threads change no bit' same logits.f32 all.f32
try 0 "$ingle" eval "$model" --tokens 1,403,407,261,378 --greedy 5; ok 'eval --greedy' prints '432 383 286 261 376'
try 0 "$ingle" eval "$model" --tokens 1,403,407,261; ok 'eval prints the next ids' [ "$(wc -w <out)" -eq 4 ]
try 0 "$ingle" eval "$model" --text "$INGLE_DATA/tales.txt" --window 128 --json; ok 'perplexity' python3 -c \
    'import json; j = json.load(open("out")); assert (j["tokens"], j["scored"]) == (8287, 4032) and abs(j["ppl"] / 2.9939 - 1) < 0.005'
try 0 "$ingle" bench "$model" --prompt 32 --generate 8 --streams 2 --json; ok 'bench --json' python3 -c \
    'import json; j = json.load(open("out")); assert j["prompt_tps"] > 0 and j["generate_tps"] > 0 and "bandwidth_share" in j'

# ---- template: exactly the text, or a sentence and nothing
printf '%s' '{"messages": [{"role": "user", "content": "h\u00e9\n"}], "items": {"items": 1, "b": 2}, "now": "2026-03-07T15:04:05",
"id": "x", "expect": "y"}' >chat.json
printf '%s' '[{"role": "user", "content": "hi"}]' >list.json
tpl() { printf '%s' "$1" >t.jinja; }
rendered() { printf '%b' "$1" >expected && same out expected && quiet; }
tpl '{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}
{{ items["items"] }}{{ items.b }}{{ id is defined }}{{ tools is none }}{{ strftime_now("%d %b %Y") }}
'
try 0 "$ingle" template t.jinja --messages chat.json --bos '<s>'
ok 'template: exactly the text' rendered '<s>user: h\0303\0251\n12FalseTrue07 Mar 2026'
tpl '{{ messages[0].content }}{{ eos_token }}{{ strftime_now is defined }}|
{{ add_generation_prompt }}
'
try 0 "$ingle" template t.jinja --messages list.json --eos E
ok 'template: a list of messages' rendered 'hiEFalse|\nTrue'
try 0 "$ingle" template t.jinja --messages list.json --eos E --now 2026-03-07T15:04:05
ok 'template: --now' rendered 'hiETrue|\nTrue'
got=0 want=0; "$ingle" template t.jinja --eos E <list.json >out 2>err || got=$?
ok 'template: conversation on standard input' rendered 'hiEFalse|\nTrue'
try 0 "$ingle" template "$model" --messages list.json
ok 'template: a model without one gets ChatML' [ "$(cat out; echo .)" = "$(printf '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n.')" ]
tpl '{{ raise_exception("Only user and
assistant, not " ~ messages[0].role) }}'
try 1 "$ingle" template t.jinja --messages list.json
printf 'ingle: Only user and\nassistant, not user\n' >expected
ok 'template: its own message, whole' same err expected
tpl 'x
{{ messages[0].nothing.at_all }}'
try 1 "$ingle" template t.jinja --messages list.json; ok 'template: an undefined value' says2 'line 2' "no attribute 'nothing'"
tpl '{{ 1 | nosuch }}'
try 1 "$ingle" template t.jinja --messages list.json; ok 'template: an unknown filter' says2 'line 1' 'nosuch'
tpl '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}'
try 1 "$ingle" template t.jinja --messages list.json; ok 'template: too many steps' says 'too many steps'
echo '{"messages": [' >broken.json
try 1 "$ingle" template t.jinja --messages broken.json; ok 'template: broken JSON' says 'JSON line'
try 1 "$ingle" template absent.jinja --messages list.json; ok 'template: no template' says 'absent.jinja'
try 1 "$ingle" template t.jinja --messages absent.json; ok 'template: no conversation' says 'absent.json'
for bad in yesterday 2026-13-01T00:00:00 2026-01-01 '2026-01-01T00:00:00Z'; do
    try 2 "$ingle" template t.jinja --messages list.json --now "$bad"; ok "template --now $bad" says '--now'
done
# ---- grammar check: 0 matches, 3 does not, 1 cannot be enforced
printf '{"type":"array","items":{"type":"integer","maximum":9}}' >schema.json
printf '{"properties":{"a":{"uniqueItems":true}}}' >unique.json
printf 'root ::= "a" ("b" root)?\n' >rule.gbnf
printf '[1, 9]' >right.json
printf '[1, 10]' >wrong.json
printf 'aba' >right.txt
try 0 "$ingle" grammar check --json-schema schema.json --file right.json;  ok 'a text matches a schema' quiet
try 3 "$ingle" grammar check --json-schema schema.json --file wrong.json;  ok 'a text does not' says 'byte 6 cannot follow'
try 3 "$ingle" grammar check --json-schema schema.json;                    ok 'an empty text does not' says 'ends too early'
try 1 "$ingle" grammar check --json-schema unique.json --file right.json;  ok 'a schema that cannot be enforced' says '#/properties/a/uniqueItems'
try 1 "$ingle" grammar check --json-schema none.json --file right.json;    ok 'no such schema' says 'none.json'
try 0 "$ingle" grammar check --grammar rule.gbnf --file right.txt;         ok 'a text matches a grammar' quiet
try 1 "$ingle" grammar check --grammar right.txt --file right.txt;         ok 'no grammar' says 'line 1'
try 2 "$ingle" grammar check --file right.txt;                             ok 'neither schema nor grammar' says '--json-schema'
try 2 "$ingle" grammar chekc --grammar rule.gbnf;                          ok 'only check' says 'check'

# ---- reply: an answer as a message
printf '[{"name":"f","parameters":{"type":"object"}}]' >tools.json
printf '<tool_call></tool_call><think></think>' >chat.jinja
printf '<think>Hm</think>Yes\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>' >answer.txt
try 0 "$ingle" reply chat.jinja --tools tools.json --file answer.txt;      ok 'a call is read' has '"arguments": "{\"a\": 1}"'
try 0 "$ingle" reply chat.jinja --file answer.txt;                         ok 'reasoning is read' has '"reasoning_content": "Hm"'
try 0 "$ingle" reply "$model" --file answer.txt;                           ok 'a model without a template' has '"family": "generic"'
try 1 "$ingle" reply chat.jinja --tools answer.txt --file answer.txt;      ok 'tools that are no JSON' says 'the tools are no JSON'
try 1 "$ingle" reply none.jinja --file answer.txt;                         ok 'no such template' says 'none.jinja'

# ---- run: answers held to a form, chat templates
chat=$INGLE_DATA/serve/chat.gguf
printf '{"type":"object","properties":{"a":{"enum":[1,2]},"b":{"type":"boolean"}},"required":["a","b"],"additionalProperties":false}' >ab.json
for seed in 1 2 3; do
    try 0 "$ingle" run "$chat" hi --json-schema ab.json --seed $seed --temp 2
    ok "run --json-schema, seed $seed" sh -c '"$0" grammar check --json-schema ab.json --file out && [ ! -s err ]' "$ingle"
done
try 0 "$ingle" run "$chat" hi --json-schema '{"const": [1, "x"]}' --temp 0; ok 'a schema in place of a file' \
    sh -c 'tr -d " " <out | grep -qFx "[1,\"x\"]"'
try 0 "$ingle" run "$chat" hi --grammar rule.gbnf --logit-bias 97=-1;    ok 'run --grammar' \
    sh -c '"$0" grammar check --grammar rule.gbnf --file out' "$ingle"
try 0 "$ingle" run "$chat" hi --grammar 'root ::= "yes" | "no"';         ok 'a grammar in place of a file' grep -qEx 'yes|no' out
try 1 "$ingle" run "$chat" hi --json -n 3 --think off --temp 0;              ok 'an answer that is cut off is an error' \
    tells 'not complete after 3 tokens'
ok 'and begins as JSON' sh -c 'head -c 1 out | grep -qF "{"'
try 1 "$ingle" run "$chat" hi --grammar 'root ::= "abc"' --stop b;       ok 'also by --stop' tells '--stop'
try 1 "$ingle" run "$chat" hi --json-schema unique.json;                 ok 'run: a schema that cannot be enforced' says '#/properties/a/uniqueItems'
try 1 "$ingle" run "$chat" hi --json-schema none.json;                   ok 'run: no such schema' says 'none.json'
try 1 "$ingle" run "$chat" hi --grammar 'x ::= "a"';                   ok 'run: no grammar' says 'root'
try 2 "$ingle" run "$chat" hi --json --grammar rule.gbnf;                ok 'run: two forms' says2 '--json' '--grammar'
try 2 "$ingle" run "$chat" hi --raw --system x;                          ok 'run: --raw with --system' says2 '--raw' '--system'
try 2 "$ingle" run "$chat" hi --think perhaps;                           ok 'run: --think' says2 '--think' 'low'
try 1 "$ingle" run "$model" hi --system x;                               ok 'run: --system without a template' says2 '--system' '--chat'
printf '[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"enum":["Rome"]}},"required":["city"],"additionalProperties":false}}}]' >calls.json
try 0 "$ingle" run "$chat" hi --tools calls.json --tool-choice weather --seed 1; ok 'run --tools: a call is a line of JSON' \
    prints '{"name":"weather","arguments":{"city":"Rome"}}'
try 0 "$ingle" run "$chat" hi --tools calls.json --tool-choice weather --seed 1 --json-output
ok 'run --json-output: a message' grep -qE '"arguments": "\{\\"city\\": ?\\"Rome\\" ?\}"' out
try 1 "$ingle" run "$chat" hi --tools calls.json --tool-choice other;    ok 'run: no such tool' says 'other'
try 1 "$ingle" run "$model" hi --tools calls.json;                       ok 'run: a model that knows no tools' tells 'no tools'
try 2 "$ingle" run "$chat" hi --tool-choice weather;                     ok 'run: --tool-choice alone' says2 '--tool-choice' '--tools'
try 2 "$ingle" run "$chat" hi --tools calls.json --json;                 ok 'run: --tools with a form' says2 '--tools' '--json'
# The template is applied: the same answer as for its rendering, fed as it is. Not so for --raw.
printf '[{"role":"system","content":"Be brief."},{"role":"user","content":"hi"}]' >turn.json
"$ingle" template "$chat" --messages turn.json >turn.txt
"$ingle" run "$chat" --raw --seed 1 -n 20 <turn.txt >rendered 2>err
try 0 "$ingle" run "$chat" hi --system 'Be brief.' --seed 1 -n 20;       ok 'run speaks the chat template' same out rendered
try 0 "$ingle" run "$chat" hi --raw --seed 1 -n 20;                      ok 'and --raw does not' sh -c '! cmp -s out rendered'
try 0 "$ingle" run "$model" 'Once upon a time' --chat --temp 0 -n 20;    ok 'run --chat: ChatML without a template' [ -s out ]
try 0 "$ingle" run "$chat" hi --think off --grammar 'root ::= "<think>why</think>\n\nyes"'
ok 'reasoning is no part of a piped answer' prints 'yes'
printf 'a\377' >broken.txt
"$ingle" run "$chat" --seed 1 -n 3 <broken.txt >out 2>err; got=$? want=1;  ok 'run: broken UTF-8' says 'UTF-8'
"$ingle" run "$chat" --raw --seed 1 -n 3 <broken.txt >out 2>err; got=$? want=0; ok 'which --raw takes' quiet

# ---- Ctrl-C ends the answer
"$ingle" run "$model" 'Once upon a time' --temp 0.9 --seed 1 --context-shift >out 2>err </dev/null &
pid=$!
sleep 1
kill -INT $pid
wait $pid
got=$? want=130;                                   ok 'Ctrl-C' [ -s out ]
tap_end
