#include "table.h"

#include <stdint.h>
#include <string.h>

#include "verbs.h"

#define THREADS                                                                                                        \
    {                                                                                                                  \
        "threads", 0, CLI_COUNT, "N", 1, 1024, NULL,                                                                   \
            "threads to compute with (default: one a usable core, the fast ones)"                                      \
    }
#define CONTEXT(text)                                                                                                  \
    {                                                                                                                  \
        "ctx", 0, CLI_COUNT, "N", 1, 16777216, NULL, text                                                              \
    }
#define KV(standard)                                                                                                   \
    {                                                                                                                  \
        "kv", 0, CLI_CHOICE, "TYPE", 0, 0, "f32|f16|q8_0",                                                             \
            "number type of the key and value cache (default: " standard ")"                                           \
    }
#define JSON                                                                                                           \
    {                                                                                                                  \
        "json", 0, CLI_SWITCH, NULL, 0, 0, NULL, "print one JSON object"                                               \
    }
#define HOST                                                                                                           \
    {                                                                                                                  \
        "host", 0, CLI_TEXT, "ADDRESS", 0, 0, NULL,                                                                    \
            "the service: a URL, HOST:PORT or unix:PATH (default: INGLE_HOST, OLLAMA_HOST, the service of this "       \
            "computer)"                                                                                                \
    }
#define HOST_NAMED                                                                                                     \
    {                                                                                                                  \
        "host", 0, CLI_TEXT, "ADDRESS", 0, 0, NULL,                                                                    \
            "ask this service for MODEL: a URL, HOST:PORT or unix:PATH (default: INGLE_HOST, OLLAMA_HOST; without "    \
            "these, and where MODEL is a file, it is opened here)"                                                     \
    }
#define STORE                                                                                                          \
    {                                                                                                                  \
        "store", 0, CLI_FILE, "DIR", 0, 0, NULL, "folder of the store (default: INGLE_STORE, else the standard place)" \
    }
#define QUIET                                                                                                          \
    {                                                                                                                  \
        "quiet", 'q', CLI_SWITCH, NULL, 0, 0, NULL, "print no progress"                                                \
    }
#define DRY_RUN                                                                                                        \
    {                                                                                                                  \
        "dry-run", 0, CLI_SWITCH, NULL, 0, 0, NULL, "say what would be done and do nothing"                            \
    }
#define NO_CHECK                                                                                                       \
    {                                                                                                                  \
        "no-check", 0, CLI_SWITCH, NULL, 0, 0, NULL, "add the model also where this version cannot load it"            \
    }
#define SPECULATE                                                                                                      \
    {                                                                                                                  \
        "speculate", 0, CLI_CHOICE, "HOW", 0, 0, "off|ngram|head|draft|auto",                                          \
            "guess tokens, which never changes the answer: ngram (where the text repeats itself), head (by the layer " \
            "that some models have for it), draft (by a smaller model), off, auto (by all of them, where it pays; "    \
            "the default)"                                                                                             \
    }
#define DRAFT                                                                                                          \
    {                                                                                                                  \
        "draft", 0, CLI_FILE, "MODEL", 0, 0, NULL,                                                                     \
            "guess tokens with this smaller model of the same vocabulary, too; the answer stays the same"              \
    }
#define LEN(a) (sizeof(a) / sizeof *(a))

#define SAMPLING                                                                                                         \
    {"temp", 0, CLI_REAL, "F", 0, 100, NULL, "temperature; 0 always takes the most probable token (default: 0.8)"},      \
        {"top-k", 0,          CLI_COUNT, "N",                                                                            \
         0,       UINT32_MAX, NULL,      "choose among the N most probable tokens; 0 is off (default: 40)"},             \
        {"top-p",  0,                                                                                                    \
         CLI_REAL, "F",                                                                                                  \
         0,        1,                                                                                                    \
         NULL,     "choose among the most probable tokens that make up F together; 1 is off (default: 0.95)"},           \
        {"min-p", 0, CLI_REAL, "F",                                                                                      \
         0,       1, NULL,     "leave out tokens less probable than F times the best; 0 is off (default: 0.05)"},        \
        {"repeat-penalty",                                                                                               \
         0,                                                                                                              \
         CLI_REAL,                                                                                                       \
         "F",                                                                                                            \
         0.01,                                                                                                           \
         100,                                                                                                            \
         NULL,                                                                                                           \
         "make tokens of the last 64 less likely; 1 is off (default: 1)"},                                               \
        {"frequency-penalty",                                                                                            \
         0,                                                                                                              \
         CLI_REAL,                                                                                                       \
         "F",                                                                                                            \
         -100,                                                                                                           \
         100,                                                                                                            \
         NULL,                                                                                                           \
         "subtract F for every time a token occurred (default: 0)"},                                                     \
        {"presence-penalty", 0, CLI_REAL, "F", -100, 100, NULL, "subtract F when a token occurred at all (default: 0)"}, \
        {"seed",    0,                                                                                                   \
         CLI_COUNT, "N",                                                                                                 \
         0,         18446744073709551615.0,                                                                              \
         NULL,      "the same seed gives the same answer (default: a random one, told by --stats)"},                     \
        {"stop", 0, CLI_LIST, "TEXT", 0, 0, NULL, "end before TEXT would be printed; may be given again"},               \
        {"logit-bias",                                                                                                   \
         0,                                                                                                              \
         CLI_LIST,                                                                                                       \
         "ID=F",                                                                                                         \
         0,                                                                                                              \
         0,                                                                                                              \
         NULL,                                                                                                           \
         "add F to the logit of token ID, -inf forbids it; may be given again"},                                         \
    {                                                                                                                    \
        "sampler-order", 0, CLI_TEXT, "LIST", 0, 0, NULL,                                                                \
            "order of the stages (default: bias;penalties;top_k;top_p;min_p;temperature); a stage not named is off"      \
    }
#define ANSWER                                                                                                         \
    {"json", 0, CLI_SWITCH, NULL, 0, 0, NULL, "the answer is a JSON object"},                                          \
        {"json-schema",                                                                                                \
         0,                                                                                                            \
         CLI_FILE,                                                                                                     \
         "FILE",                                                                                                       \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "the answer is JSON that this JSON Schema allows (draft 2020-12); a schema may stand in place of FILE"},      \
        {"grammar", 0, CLI_FILE, "FILE",                                                                               \
         0,         0, NULL,     "the answer is a text of this GBNF grammar; a grammar may stand in place of FILE"},   \
        {"system", 0, CLI_TEXT, "TEXT", 0, 0, NULL, "what the model is told before the conversation"},                 \
        {"think",                                                                                                      \
         0,                                                                                                            \
         CLI_CHOICE,                                                                                                   \
         "HOW",                                                                                                        \
         0,                                                                                                            \
         0,                                                                                                            \
         "on|off|low|medium|high",                                                                                     \
         "ask a model that can for reasoning before its answer, or for none (default: as its template has it)"},       \
    {                                                                                                                  \
        "hide-thinking", 0, CLI_SWITCH, NULL, 0, 0, NULL, "do not print the reasoning"                                 \
    }

static const cli_flag run_flags[] = {
    {"max-tokens", 'n', CLI_COUNT, "N", 1, UINT32_MAX, NULL,
     "stop after N tokens (default: when the model ends or the context is full)"},
    {"raw", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "feed the prompt as it is: no chat template, no special tokens added, text such as <s> read as the control token"},
    SAMPLING,
    ANSWER,
    {"tools", 0, CLI_FILE, "FILE", 0, 0, NULL, "tools that the model may call, a JSON list as OpenAI writes it"},
    {"tool-choice", 0, CLI_TEXT, "HOW", 0, 0, NULL,
     "auto, required, or the name of the tool that must be called (default: auto)"},
    {"json-output", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "print the answer as a message in JSON, with its reasoning and calls"},
    {"chat", 0, CLI_SWITCH, NULL, 0, 0, NULL, "use ChatML where the model brings no chat template"},
    HOST,
    {"local", 0, CLI_SWITCH, NULL, 0, 0, NULL, "open the model in this process, also where a service runs"},
    CONTEXT("tokens that prompt and answer may have together (default: what the model was trained on, at most 4096)"),
    THREADS,
    KV("f16"),
    {"batch", 0, CLI_COUNT, "N", 1, 65536, NULL, "tokens of the prompt taken in one step (default: 256)"},
    SPECULATE,
    DRAFT,
    {"context-shift", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "when the context is full drop its older half and go on, instead of ending"},
    {"logprobs", 0, CLI_COUNT, "N", 0, 1000, NULL,
     "after the text print on stderr every token's log probability and the N best alternatives"},
    {"stats", 0, CLI_SWITCH, NULL, 0, 0, NULL, "print times, speeds, memory and seed on stderr"},
    {"verbose", 0, CLI_SWITCH, NULL, 0, 0, NULL, "say on stderr what runs where"},
    STORE,
};

static const cli_flag chat_flags[] = {
    {"max-tokens", 'n', CLI_COUNT, "N", 1, UINT32_MAX, NULL,
     "end an answer after N tokens (default: when the model ends or the context is full)"},
    SAMPLING,
    ANSWER,
    {"load", 0, CLI_FILE, "FILE", 0, 0, NULL, "go on with a conversation that /save wrote"},
    HOST,
    {"local", 0, CLI_SWITCH, NULL, 0, 0, NULL, "open the model in this process, also where a service runs"},
    CONTEXT("tokens that the conversation may have (default: what the model was trained on, at most 4096)"),
    THREADS,
    KV("f16"),
    {"batch", 0, CLI_COUNT, "N", 1, 65536, NULL, "tokens of the prompt taken in one step (default: 256)"},
    SPECULATE,
    DRAFT,
    {"stats", 0, CLI_SWITCH, NULL, 0, 0, NULL, "print times and speeds after every answer on stderr"},
};

static const cli_flag show_flags[] = {
    CONTEXT("context to compute the memory for (default: the one the model was trained on)"),
    KV("f16"),
    {"tensors", 0, CLI_SWITCH, NULL, 0, 0, NULL, "list every tensor"},
    {"scan", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "read every weight and tell where NaN or infinity stands; exit 3 when it does"},
    {"meta", 0, CLI_TEXT, "KEY", 0, 0, NULL, "print only the value of KEY, an array one element a line"},
    JSON,
    STORE,
    HOST,
};

static const cli_flag tokenize_flags[] = {
    {"file", 0, CLI_FILE, "FILE", 0, 0, NULL, "read FILE, byte for byte"},
    {"special", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "add the vocabulary's special tokens and read text such as <s> as one; with --decode write them out"},
    {"decode", 0, CLI_SWITCH, NULL, 0, 0, NULL, "the input is ids, print their text"},
    STORE,
    HOST_NAMED,
};

static const cli_flag template_flags[] = {
    {"messages", 0, CLI_FILE, "FILE", 0, 0, NULL, "the conversation as JSON (default: standard input)"},
    {"bos", 0, CLI_TEXT, "TEXT", 0, 0, NULL, "value of bos_token (default: what FILE says, else the model's)"},
    {"eos", 0, CLI_TEXT, "TEXT", 0, 0, NULL, "value of eos_token (default: what FILE says, else the model's)"},
    {"now", 0, CLI_TEXT, "TIME", 0, 0, NULL,
     "local time that strftime_now() tells, as 2026-03-07T15:04:05 (default: the entry \"now\" of FILE; without either "
     "the "
     "function is not defined)"},
    STORE,
    HOST_NAMED,
};

static const cli_flag eval_flags[] = {
    {"tokens", 0, CLI_TEXT, "IDS", 0, 0, NULL, "token ids separated by commas"},
    {"logits", 0, CLI_FILE, "FILE", 0, 0, NULL,
     "write the logits of every position, raw little-endian float32 [n, vocab]"},
    {"greedy", 0, CLI_COUNT, "N", 1, 16777216, NULL, "print the N most probable ids that follow, each fed in turn"},
    {"text", 0, CLI_FILE, "FILE", 0, 0, NULL, "measure the perplexity of FILE"},
    {"window", 0, CLI_COUNT, "N", 4, 16777216, NULL,
     "with --text: tokens of one window (default: 512, at most the trained context)"},
    {"encoder-tokens", 0, CLI_TEXT, "IDS", 0, 0, NULL,
     "encoder-decoder models: ids that the encoder reads; --tokens are the decoder's then"},
    {"dense", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "models with sparse attention: attend to every position instead of the chosen ones"},
    {"chunk", 0, CLI_COUNT, "N", 1, 65536, NULL, "tokens taken in one step (default: 256)"},
    CONTEXT("context (default: 256, or the tokens rounded up to a multiple of 256, at most the trained one)"),
    THREADS,
    KV("f32"),
    JSON,
    STORE,
};

static const cli_flag embed_flags[] = {
    {"tokens", 0, CLI_LIST, "IDS", 0, 0, NULL, "token ids separated by commas instead of a text; may be given again"},
    {"file", 0, CLI_FILE, "FILE", 0, 0, NULL, "read FILE, byte for byte"},
    {"lines", 0, CLI_SWITCH, NULL, 0, 0, NULL, "every line of the file or of standard input is a text"},
    {"query", 0, CLI_TEXT, "TEXT", 0, 0, NULL,
     "reranking models: the question; every text is a document and gets the score of the two"},
    {"pooling", 0, CLI_CHOICE, "KIND", 0, 0, "mean|cls|last|none|rank",
     "from tokens to one vector; none prints one for every token; rank: the scores of a reranking model (default: as "
     "the "
     "model says)"},
    {"normalize", 0, CLI_SWITCH, NULL, 0, 0, NULL, "scale every vector to length 1"},
    THREADS,
    KV("f32"),
    JSON,
    STORE,
    HOST_NAMED,
};

static const cli_flag imatrix_flags[] = {
    {"text", 0, CLI_FILE, "FILE", 0, 0, NULL, "the text to read, of the kind that the model will meet"},
    {"out", 'o', CLI_FILE, "FILE", 0, 0, NULL, "file to write (default: imatrix.gguf)"},
    {"window", 0, CLI_COUNT, "N", 4, 16777216, NULL,
     "tokens of one window (default: 512, at most the trained context)"},
    {"windows", 0, CLI_COUNT, "N", 1, 16777216, NULL, "stop after N windows (default: the whole text)"},
    THREADS,
    STORE,
};

static const cli_flag bench_flags[] = {
    {"prompt", 0, CLI_COUNT, "N", 1, 16777216, NULL,
     "tokens of the prompt (default: 512, or half the trained context)"},
    {"generate", 0, CLI_COUNT, "N", 1, 16777216, NULL,
     "tokens to generate (default: 128, or a quarter of the trained context)"},
    {"depth", 0, CLI_COUNT, "N", 0, 16777216, NULL, "tokens already in the context (default: 0)"},
    {"streams", 0, CLI_COUNT, "N", 1, 1024, NULL, "sequences generated together (default: 1)"},
    {"batch", 0, CLI_COUNT, "N", 1, 65536, NULL, "tokens of the prompt taken in one step (default: 256)"},
    {"runs", 0, CLI_COUNT, "N", 1, 100, NULL, "runs that the medians are of (default: 3)"},
    THREADS,
    KV("f16"),
    JSON,
    STORE,
    HOST_NAMED,
    {"made-up", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "make the keys and values of --depth up instead of reading a text, so that any depth is there at once"},
    SPECULATE,
    DRAFT,
};

static const cli_flag quantize_flags[] = {
    {"imatrix", 0, CLI_FILE, "FILE", 0, 0, NULL,
     "importance data of the model: weights that matter more are kept more exactly"},
    {"requantize", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "convert tensors that are quantised already, too (each time something is lost)"},
    THREADS,
    JSON,
};

static const cli_flag grammar_flags[] = {
    {"json-schema", 0, CLI_FILE, "FILE", 0, 0, NULL, "the JSON Schema (draft 2020-12) to check against"},
    {"grammar", 0, CLI_FILE, "FILE", 0, 0, NULL, "the GBNF grammar to check against"},
    {"file", 0, CLI_FILE, "F", 0, 0, NULL, "the text, byte for byte (default: standard input)"},
};

static const cli_flag serve_flags[] = {
    {"model", 'm', CLI_LIST, "[NAME=]PATH", 0, 0, NULL, "offer the model file PATH, as NAME; may be given again"},
    {"default", 0, CLI_TEXT, "NAME", 0, 0, NULL,
     "the model that answers where a program names none (default: the only one there is)"},
    {"state", 0, CLI_FILE, "DIR", 0, 0, NULL,
     "folder for everything that lasts; made where it is missing (default: ~/.local/share/ingle; for root "
     "/var/lib/ingle)"},
    {"store", 0, CLI_FILE, "DIR", 0, 0, NULL, "folder of the store (default: INGLE_STORE, else that of --state)"},
    {"listen", 'l', CLI_LIST, "ADDRESS", 0, 0, NULL,
     "listen at tcp:HOST:PORT or unix:PATH instead of the standard places; may be given again"},
    {"host", 0, CLI_LIST, "NAME", 0, 0, NULL, "answer requests that call this machine NAME, too; may be given again"},
    {"origin", 0, CLI_LIST, "URL", 0, 0, NULL, "let pages of this origin ask; may be given again"},
    {"require-keys", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "ask everybody over TCP for a key (ingle key add), also on this computer"},
    {"tls-cert", 0, CLI_FILE, "FILE", 0, 0, NULL, "certificate chain (PEM); TCP addresses then speak TLS"},
    {"tls-key", 0, CLI_FILE, "FILE", 0, 0, NULL, "private key of --tls-cert (PEM)"},
    {"memory", 0, CLI_REAL, "GIB", 0.01, 1e6, NULL,
     "GiB that all models may use together (default: three quarters of what is available)"},
    {"keep-alive", 0, CLI_TEXT, "TIME", 0, 0, NULL,
     "how long an unused model stays, such as 5m or 1h; -1 for ever (default: 5m)"},
    CONTEXT("tokens of one conversation (default: what the model was trained on, at most 32768, and what fits)"),
    {"parallel", 0, CLI_COUNT, "N", 1, 1024, NULL, "conversations that one model answers at once (default: 4)"},
    {"queue", 0, CLI_COUNT, "N", 1, 1000000, NULL, "requests that may wait, all together (default: 512)"},
    THREADS,
    KV("f16"),
    SPECULATE,
    {"spill", 0, CLI_REAL, "GIB", 0, 1e6, NULL,
     "GiB of disk, in the store's folder, where each model keeps conversations that lost their place, and all of them "
     "while it is not loaded (default: none)"},
    {"ledger", 0, CLI_FILE, "FILE", 0, 0, NULL,
     "book tokens, time and energy in FILE; none: nowhere (default: state/ledger.db in the store)"},
    {"audit", 0, CLI_FILE, "DIR", 0, 0, NULL,
     "write the audit log in DIR; none: nowhere (default: state/audit in the store)"},
    {"audit-required", 0, CLI_SWITCH, NULL, 0, 0, NULL, "refuse requests while the audit log cannot be written"},
    {"audit-journal", 0, CLI_SWITCH, NULL, 0, 0, NULL, "send audit records to syslog, too"},
    {"quiet", 'q', CLI_SWITCH, NULL, 0, 0, NULL, "say nothing on stderr"},
};

static const cli_flag ps_flags[] = {
    HOST,
    JSON,
};

static const cli_flag status_flags[] = {
    HOST,
    {"compliance", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "what catalogues want here, and what is; exit code 3 when it is not"},
    JSON,
};

static const cli_flag stop_flags[] = {
    HOST,
    DRY_RUN,
};

static const cli_flag audit_flags[] = {
    {"dir", 0, CLI_FILE, "DIR", 0, 0, NULL, "folder of the log (default: state/audit in the store)"},
    STORE,
    {"key", 0, CLI_FILE, "FILE", 0, 0, NULL, "public key to trust, kept elsewhere (default: audit.pub in the folder)"},
    {"head", 0, CLI_FILE, "FILE", 0, 0, NULL, "a copy of audit.head kept elsewhere: the log must contain it"},
    {"partial", 0, CLI_SWITCH, NULL, 0, 0, NULL, "older files were moved away on purpose"},
    {"since", 0, CLI_TEXT, "DAY", 0, 0, NULL, "from this day on, such as 2026-01-31 (UTC)"},
    {"until", 0, CLI_TEXT, "DAY", 0, 0, NULL, "up to this day"},
    {"user", 0, CLI_TEXT, "NAME", 0, 0, NULL, "of this user alone"},
    {"last", 'n', CLI_COUNT, "N", 1, 1000000000, NULL, "show the last N records (default: 20)"},
    {"json", 0, CLI_SWITCH, NULL, 0, 0, NULL, "verify: one JSON object; show: records as they stand, one a line"},
};

static const cli_flag cost_flags[] = {
    {"by", 0, CLI_CHOICE, "WHAT", 0, 0, "user|group|model|day|app", "a line for each (default: one for all)"},
    {"since", 0, CLI_TEXT, "DAY", 0, 0, NULL, "from this day on, such as 2026-01-31 (UTC)"},
    {"until", 0, CLI_TEXT, "DAY", 0, 0, NULL, "up to this day"},
    {"user", 0, CLI_TEXT, "NAME", 0, 0, NULL, "of this user alone"},
    {"model", 0, CLI_TEXT, "NAME", 0, 0, NULL, "of this model alone"},
    {"prices", 0, CLI_FILE, "FILE", 0, 0, NULL, "table of prices (default: state/prices.conf in the store)"},
    {"ledger", 0, CLI_FILE, "FILE", 0, 0, NULL, "the ledger (default: state/ledger.db in the store)"},
    STORE,
    JSON,
    {"csv", 0, CLI_SWITCH, NULL, 0, 0, NULL, "print CSV"},
    {"focus", 0, CLI_SWITCH, NULL, 0, 0, NULL,
     "print CSV with the columns of FOCUS, a line a day, user, app and model"},
    {"otlp", 0, CLI_SWITCH, NULL, 0, 0, NULL, "print OpenTelemetry metrics as OTLP/JSON"},
    {"check", 0, CLI_SWITCH, NULL, 0, 0, NULL, "read the whole ledger and tell whether it is sound"},
    {"forget", 0, CLI_TEXT, "USER", 0, 0, NULL, "take this user's name out of the ledger for good"},
    DRY_RUN,
};

static const cli_flag pull_flags[] = {
    HOST,
    STORE,
    {"insecure", 0, CLI_SWITCH, NULL, 0, 0, NULL, "allow addresses without https on other machines"},
    {"rate", 0, CLI_COUNT, "KIB", 1, 4294967295.0, NULL, "load at most KIB KiB a second"},
    {"connections", 0, CLI_COUNT, "N", 1, 16, NULL, "load large files over N connections (default: 4)"},
    NO_CHECK,
    DRY_RUN,
    QUIET,
    JSON,
};

static const cli_flag push_flags[] = {
    HOST,
    STORE,
    {"form", 0, CLI_TEXT, "FORM", 0, 0, NULL, "form of the image: ollama, docker or modelpack"},
    {"insecure", 0, CLI_SWITCH, NULL, 0, 0, NULL, "allow registries without https on other machines"},
    DRY_RUN,
    QUIET,
    JSON,
};

static const cli_flag export_flags[] = {
    STORE,
    {"force", 'f', CLI_SWITCH, NULL, 0, 0, NULL, "replace files that are there"},
    DRY_RUN,
    QUIET,
};

static const cli_flag import_flags[] = {
    STORE,
    {"model", 0, CLI_TEXT, "NAME", 0, 0, NULL, "import this model alone"},
    {"copy", 0, CLI_SWITCH, NULL, 0, 0, NULL, "copy files rather than refer to where they lie"},
    NO_CHECK,
    DRY_RUN,
    QUIET,
    JSON,
};

static const cli_flag list_flags[] = {
    HOST,
    STORE,
    {"quiet", 'q', CLI_SWITCH, NULL, 0, 0, NULL, "print names alone"},
    JSON,
};

static const cli_flag cp_flags[] = {
    HOST,
    STORE,
    DRY_RUN,
};

static const cli_flag rm_flags[] = {
    HOST,
    STORE,
    {"absent", 0, CLI_SWITCH, NULL, 0, 0, NULL, "a model that is not there is as wanted (exit code 0)"},
    DRY_RUN,
};

static const cli_flag verify_flags[] = {
    STORE,
    {"quarantine", 0, CLI_SWITCH, NULL, 0, 0, NULL, "move damaged files aside, so that pull loads them anew"},
    DRY_RUN,
    JSON,
};

static const cli_flag policy_flags[] = {
    {"config", 0, CLI_FILE, "DIR", 0, 0, NULL, "folder of the configuration (default: INGLE_CONFIG, else /etc/ingle)"},
    {"action", 0, CLI_CHOICE, "WORD", 0, 0, "use|pull|create|pin|manage", "explain: what is to be done (default: use)"},
    {"group", 0, CLI_LIST, "NAME", 0, 0, NULL,
     "explain: the user has this group, and the directory is not asked; may be given again"},
    {"label", 0, CLI_TEXT, "TEXT", 0, 0, NULL, "explain: privacy label of the request"},
    {"source", 0, CLI_TEXT, "ADDRESS", 0, 0, NULL, "explain: where a model is pulled from"},
    {"ctx", 0, CLI_COUNT, "N", 1, UINT32_MAX, NULL, "explain: context asked for"},
    {"tokens", 0, CLI_COUNT, "N", 0, 1e15, NULL, "explain: tokens used today"},
    {"all", 0, CLI_SWITCH, NULL, 0, 0, NULL, "explain: also the rules that are about something else"},
    STORE,
    JSON,
};

static const cli_flag key_flags[] = {
    {"user", 0, CLI_TEXT, "NAME", 0, 0, NULL, "add: the account that the key acts for"},
    {"group", 0, CLI_LIST, "NAME", 0, 0, NULL,
     "add: a group that the key has, instead of its user's; may be given again"},
    {"action", 0, CLI_LIST, "WORD", 0, 0, NULL, "add: use (default), pull, create, pin or manage; may be given again"},
    {"model", 0, CLI_LIST, "PATTERN", 0, 0, NULL, "add: only for such models; may be given again"},
    {"expires", 0, CLI_TEXT, "TIME", 0, 0, NULL, "add: good for so long, such as 90d, 12h or 1y (default: for ever)"},
    {"file", 0, CLI_FILE, "FILE", 0, 0, NULL,
     "file of the keys (default: keys_file of the configuration, else the standard place)"},
    {"absent", 0, CLI_SWITCH, NULL, 0, 0, NULL, "add: where there is a key of that name, change nothing (exit code 0)"},
    {"dry-run", 0, CLI_SWITCH, NULL, 0, 0, NULL, "add, revoke: say what would be done and write nothing"},
    JSON,
};

static const cli_flag gc_flags[] = {
    STORE,
    {"dry-run", 0, CLI_SWITCH, NULL, 0, 0, NULL, "print what would be removed and remove nothing"},
    {"all", 0, CLI_SWITCH, NULL, 0, 0, NULL, "also what is younger than an hour, and every unfinished download"},
    JSON,
};

static const cli_flag df_flags[] = {
    STORE,
    JSON,
};

static const cli_flag catalogue_flags[] = {
    STORE,
    {"host", 0, CLI_TEXT, "ADDRESS", 0, 0, NULL,
     "sync: the service that follows the catalogue (default: the one here)"},
    {"wait", 0, CLI_SWITCH, NULL, 0, 0, NULL, "sync through the service: wait for the downloads, too"},
    {"root", 0, CLI_FILE, "FILE", 0, 0, NULL, "the root that is trusted (sync, verify)"},
    {"name", 0, CLI_TEXT, "NAME", 0, 0, NULL, "which catalogue of this machine (default: default)"},
    {"insecure", 0, CLI_SWITCH, NULL, 0, 0, NULL, "allow addresses without https on other machines"},
    {"all", 0, CLI_SWITCH, NULL, 0, 0, NULL, "sync: list what is denied, too"},
    {"keys", 0, CLI_FILE, "DIR", 0, 0, NULL, "folder of private keys (default: the catalogue's folder and .keys)"},
    {"passphrase-file", 0, CLI_FILE, "FILE", 0, 0, NULL,
     "passphrase of the private keys, mode 600 (default: INGLE_CATALOGUE_PASSPHRASE)"},
    {"default", 0, CLI_CHOICE, "STATE", 0, 0, "denied|available",
     "init, assign: what no rule names is (default: denied)"},
    {"as", 0, CLI_TEXT, "NAME", 0, 0, NULL, "add: name in the catalogue (default: as in the store)"},
    {"license", 0, CLI_TEXT, "ID", 0, 0, NULL, "add: SPDX id of the licence"},
    {"publisher", 0, CLI_TEXT, "NAME", 0, 0, NULL, "add: who published the model"},
    {"signature", 0, CLI_FILE, "FILE", 0, 0, NULL,
     "add: the model's OpenSSF Model Signing bundle; it is refused where that does not hold"},
    {"signer", 0, CLI_FILE, "FILE", 0, 0, NULL, "add: public key (PEM) that must have made it"},
    {"base", 0, CLI_TEXT, "NAME", 0, 0, NULL, "add: the model that it was made of"},
    {"origin", 0, CLI_LIST, "SOURCE", 0, 0, NULL,
     "add: where it is pulled from, as ingle pull has it; may be given again (default: where the store got it)"},
    {"label", 0, CLI_LIST, "LABEL", 0, 0, NULL, "add: a privacy label that it may see; may be given again"},
    {"adapter", 0, CLI_LIST, "NAME", 0, 0, NULL, "add: an adapter that goes with it; may be given again"},
    {"context", 0, CLI_COUNT, "N", 1, UINT32_MAX, NULL, "add: tokens that a conversation may have"},
    {"output", 0, CLI_COUNT, "N", 1, UINT32_MAX, NULL, "add: tokens that an answer may have"},
    {"day-tokens", 0, CLI_COUNT, "N", 1, UINT32_MAX, NULL, "add: tokens that a user may have in a day"},
    {"parameters", 0, CLI_TEXT, "JSON", 0, 0, NULL, "add: default parameters, an object"},
    {"template", 0, CLI_FILE, "FILE", 0, 0, NULL, "add: chat template instead of the model's own"},
    {"system", 0, CLI_TEXT, "TEXT", 0, 0, NULL, "add: system prompt"},
    {"role", 0, CLI_TEXT, "ROLE", 0, 0, NULL, "add: the delegated role that answers for it"},
    {"user", 0, CLI_LIST, "NAME", 0, 0, NULL, "assign, deny: a user, or #UID; sync, pull: instead of who asks"},
    {"group", 0, CLI_LIST, "NAME", 0, 0, NULL, "assign, deny: a group; may be given again"},
    {"machine", 0, CLI_LIST, "NAME", 0, 0, NULL, "assign, deny: a machine, * and ? are wildcards; may be given again"},
    {"model", 0, CLI_LIST, "PATTERN", 0, 0, NULL, "assign, deny: models of a rule of the whole catalogue"},
    {"with-license", 0, CLI_LIST, "ID", 0, 0, NULL, "assign, deny: licences of a rule of the whole catalogue"},
    {"with-publisher", 0, CLI_LIST, "NAME", 0, 0, NULL, "assign, deny: publishers of a rule of the whole catalogue"},
    {"required", 0, CLI_SWITCH, NULL, 0, 0, NULL, "assign: machines fetch it before anyone asks"},
    {"id", 0, CLI_TEXT, "ID", 0, 0, NULL, "assign, deny: id of the rule; one of that id is replaced"},
    {"remove", 0, CLI_TEXT, "ID", 0, 0, NULL, "assign, deny: take the rule of that id away"},
    {"path", 0, CLI_LIST, "PATTERN", 0, 0, NULL, "delegate: paths that the role answers for, such as team/*"},
    {"terminating", 0, CLI_SWITCH, NULL, 0, 0, NULL, "delegate: nobody after this role answers for its paths"},
    {"key", 0, CLI_LIST, "FILE", 0, 0, NULL,
     "delegate, rotate, bundle: a key (PEM, public or private); may be given again"},
    {"threshold", 0, CLI_COUNT, "N", 1, 128, NULL, "delegate, rotate: how many keys must sign"},
    {"dry-run", 0, CLI_SWITCH, NULL, 0, 0, NULL, "say what would be done and write nothing"},
    QUIET,
    JSON,
};

static const cli_flag reply_flags[] = {
    {"tools", 0, CLI_FILE, "FILE", 0, 0, NULL, "the tools of the request, a JSON list as OpenAI writes it"},
    {"prompt", 0, CLI_TEXT, "S", 0, 0, NULL, "the end of the prompt, where it matters: \"<think>\" was open"},
    {"file", 0, CLI_FILE, "F", 0, 0, NULL, "the answer, byte for byte (default: standard input)"},
};

static const cli_flag help_flags[] = {
    {"man", 0, CLI_SWITCH, NULL, 0, 0, NULL, "print the manual page as roff"},
};

const cli_verb cli_verbs[] = {
    {"run", "MODEL [PROMPT]", "answer a prompt with a model file",
     "Opens the model file MODEL in this process, feeds PROMPT and prints the text that the model adds, as it comes. "
     "Without "
     "PROMPT the prompt is read from standard input; one newline at its end is dropped, unless --raw is given. On a "
     "terminal without a prompt it is ingle chat.\n\n"
     "A model that brings a chat template gets PROMPT as the message of a user; one without gets it as the beginning "
     "of "
     "a text. --raw feeds it as it is in both cases, --chat uses ChatML where there is no template.\n\n"
     "With --json, --json-schema or --grammar no token can be chosen that breaks the form; reasoning before the answer "
     "stays free. An answer that --max-tokens, --stop or the context cuts off is an error. Reasoning is printed on a "
     "terminal alone.\n\n"
     "With --tools the model is told of them, and whatever it calls fits the schema of its tool. Calls are printed "
     "behind "
     "the text, a line of JSON each with name and arguments.\n\n"
     "Nothing but the answer goes to standard output. When the context is full the answer ends and a line on standard "
     "error "
     "says so.",
     "ingle run model.gguf \"Once upon a time\"\n"
     "ingle run model.gguf --temp 0 -n 100 <question.txt\n"
     "ingle run model.gguf --seed 7 --stop \"\\n\\n\" --stats \"A list of fruit:\"\n"
     "ingle run model.gguf --json-schema person.schema.json \"Ada Lovelace was born in 1815. Who is it?\"\n"
     "ingle run model.gguf --tools tools.json --tool-choice required \"How warm is it in Rome?\"",
     run_flags, LEN(run_flags), 1, 2, "@file", cli_run},
    {"chat", "MODEL", "talk with a model at the terminal",
     "Answers line by line, with the model's chat template. A model of the store is the service's where one runs, a "
     "file is opened in this process. Lines that "
     "begin with / are commands, /help lists them. Text between two lines that begin and end with \"\"\" is one "
     "message, "
     "and so are lines that end with a backslash. Ctrl-C stops the answer, Ctrl-D or /bye leaves. Where standard input "
     "is no terminal every line is a message, too.\n\n"
     "Nothing of a conversation is ever dropped silently: when the context is full it says so, and /clear begins anew.",
     "ingle chat model.gguf\n"
     "ingle chat model.gguf --system \"Answer in one sentence.\" --temp 0\n"
     "ingle chat model.gguf --load yesterday.json",
     chat_flags, LEN(chat_flags), 1, 1, "@file", cli_chat},
    {"show", "MODEL", "describe a model file",
     "Prints what the model file MODEL holds, its metadata and the memory that a context needs, and whether that fits "
     "into "
     "this machine's free memory. A NAME that is no file is asked of the service where one runs (--host).",
     "ingle show model.gguf --ctx 8192\n"
     "ingle show model.gguf --json\n"
     "ingle show model.gguf --meta tokenizer.chat_template",
     show_flags, LEN(show_flags), 1, 1, "@file", cli_show},
    {"tokenize", "MODEL [TEXT]", "turn text into token ids and back",
     "Prints the token ids of TEXT, of --file FILE or of standard input on one line. The bytes are taken as they are. "
     "Works "
     "for files that hold a vocabulary and no weights, and for directories that hold a tokenizer.json. There, special "
     "tokens in the text are always read as such. With --host or INGLE_HOST a MODEL that is no file here is one of the "
     "service.",
     "ingle tokenize model.gguf \"Hello world\"\n"
     "ingle tokenize model.gguf --file page.txt --special\n"
     "ingle tokenize folder-with-tokenizer-json \"Hello world\"\n"
     "ingle tokenize model.gguf --decode \"403 407 261\"\n"
     "ingle tokenize qwen3 \"Hello world\" --host 127.0.0.1:11434",
     tokenize_flags, LEN(tokenize_flags), 1, 2, "@file", cli_tokenize},
    {"template", "MODEL|FILE.jinja", "turn a conversation into a prompt",
     "Renders the chat template of a model file, or the one in FILE.jinja, with the conversation of --messages, and "
     "prints "
     "exactly the text that a model would be fed. Templates are understood as Hugging Face transformers runs them. A "
     "model "
     "without a template gets ChatML: <|im_start|>, role, newline, content, <|im_end|>, newline.\n\n"
     "The conversation is a JSON object whose entries are the variables of the template: messages, tools, documents, "
     "add_generation_prompt, enable_thinking and so on; or only the list of messages, then with add_generation_prompt. "
     "tools and documents are none where they are absent, nothing else is defined that is not given. The entries id, "
     "kind, "
     "feature, template, source, tier, note, expect, expect_error, error_kind, must, allow_output, max_seconds and "
     "max_mib "
     "are left out.\n\n"
     "When the template refuses the conversation its message goes to standard error; an error of another kind names "
     "the "
     "line of the template. Nothing is printed then.",
     "ingle template model.gguf --messages chat.json\n"
     "ingle template chat.jinja --messages chat.json --bos \"<s>\" --now 2026-03-07T15:04:05",
     template_flags, LEN(template_flags), 1, 1, "@file", cli_template},
    {"eval", "MODEL", "compute logits or perplexity",
     "With --tokens: runs the ids through the model and writes the logits (--logits), prints the greedy continuation "
     "(--greedy), or else prints the most probable next id of every position. Works for files without a vocabulary.\n\n"
     "With --text: perplexity. The text is tokenized with BOS and read in windows that do not overlap; a rest "
     "shorter than a window is left out. Each window starts with an empty context, and the tokens of its second half "
     "are scored: "
     "of N tokens, positions N/2 to N-2 predict the token after them.",
     "ingle eval model.gguf --tokens 1,403,407 --logits out.f32\n"
     "ingle eval model.gguf --text book.txt --window 128",
     eval_flags, LEN(eval_flags), 1, 1, "@file", cli_eval},
    {"embed", "MODEL [TEXT...]", "turn texts into vectors",
     "Prints the embedding of every TEXT, of --file FILE or of standard input, one line of numbers each. Encoder "
     "models "
     "read a text at once; of decoders the last token's state is taken, unless the model says otherwise. A text's "
     "vector "
     "does not depend on the texts beside it.\n\n"
     "A reranking model (a file with a classifier) prints scores instead: how well a document answers a question, one "
     "number a class of the file. --query gives the question, every TEXT is a document then.\n\n"
     "With --host or INGLE_HOST a MODEL that is no file here is one of the service; the numbers are the same.\n\n"
     "With --json: {\"embedding\": [...]}, for several texts and for --pooling none {\"embeddings\": [[...], ...]}.",
     "ingle embed model.gguf \"a cat on a mat\" --normalize\n"
     "ingle embed model.gguf --file pages.txt --lines --json\n"
     "ingle embed reranker.gguf --query \"what do cats eat\" --file pages.txt --lines",
     embed_flags, LEN(embed_flags), 1, CLI_ARGS_MAX, "@file", cli_embed},
    {"bench", "MODEL", "measure speed",
     "Measures prompt and generation speed: a short run to warm up, then three, and the median of each number. With "
     "--depth so many tokens stand before the prompt; they are fed once. The share of bandwidth is what generation "
     "reads of weights, keys and values per second, compared with the speed at which all threads together read a "
     "buffer of 512 MiB.\n\n"
     "With --speculate or --draft the prompt repeats itself, the likeliest tokens are generated, and how many of them "
     "were guessed is told.\n\n"
     "With --host or INGLE_HOST a MODEL that is no file here is one of the service: its speeds are told as one request "
     "at a time sees them, and the time that a request takes beside them (queue, HTTP).\n\n"
     "With --json: prompt_tps, generate_tps and depth_tps in tokens a second, load_ms, peak_rss_bytes, "
     "bandwidth_share, bytes_per_token, drafted and accepted with guesses, and what was measured.",
     "ingle bench model.gguf\n"
     "ingle bench model.gguf --threads 4 --streams 8 --json\n"
     "ingle bench model.gguf --depth 131072 --made-up --prompt 8\n"
     "ingle bench large.gguf --draft small.gguf",
     bench_flags, LEN(bench_flags), 1, 1, "@file", cli_bench},
    {"quantize", "IN OUT TYPE", "make a model file smaller",
     "Reads the model IN and writes the file OUT with its matrices in TYPE: F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K "
     "Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS MXFP4_MOE. Metadata is carried over; of a "
     "Hugging Face directory the tokenizer becomes GGUF's, so that other programs can use "
     "the file, and where that cannot say all, a line on standard error tells what. Types "
     "that end in S, M or L, and Q2_K and the IQ types, are mixtures: tensors that matter more get more bits. Norms, "
     "routers and other small tensors stay F32. MXFP4_MOE takes MXFP4 for experts and Q8_0 for all else.\n\n"
     "The model is read and written in a stream, so it may be larger than memory. OUT appears only when it is whole; "
     "an "
     "older OUT is replaced. Where the rows of a tensor do not fit the blocks of its type, another type is taken and a "
     "line on standard error says so.",
     "ingle quantize model-f16.gguf model-q4.gguf Q4_K_M\n"
     "ingle quantize model-f16.gguf model-iq4.gguf IQ4_XS --imatrix model.imatrix.gguf",
     quantize_flags, LEN(quantize_flags), 3, 3, "@file", cli_quantize},
    {"imatrix", "MODEL", "measure which weights matter",
     "Runs the text of --text through the model in windows that do not overlap and writes for every matrix how large "
     "the "
     "activations are that meet each of its columns. ingle quantize --imatrix uses the file to spend precision where "
     "it "
     "counts. The model should be the unquantised one.",
     "ingle imatrix model-f16.gguf --text sample.txt -o model.imatrix.gguf", imatrix_flags, LEN(imatrix_flags), 1, 1,
     "@file", cli_imatrix},
    {"grammar", "check", "check a text against a grammar or a JSON schema",
     "Compiles the grammar or the schema and matches the text with it as a constrained decoder would. The exit code is "
     "0 when the "
     "whole text matches, 3 when it does not, and 1 when the grammar is wrong or cannot be enforced, with the reason: "
     "for a "
     "schema the JSON pointer of the keyword.\n\n"
     "A schema accepts every notation of a valid value, with free white space; what a model generates is narrower.",
     "ingle grammar check --json-schema answer.schema.json --file answer.json\n"
     "ingle grammar check --grammar list.gbnf <answer.txt",
     grammar_flags, LEN(grammar_flags), 1, 1, "check", cli_grammar},
    {"serve", "", "serve models to all programs of this computer",
     "Listens at http://127.0.0.1:11434 and at a unix socket and speaks the dialects of OpenAI, Ollama, Anthropic and "
     "llama-server. Models are loaded when they are asked for, each in a process of its own without network and "
     "files, and let go when they are not used or when another needs the room.\n\n"
     "An address beyond this computer needs --tls-cert and a key (ingle key add). SIGTERM and Ctrl-C stop the service "
     "after the "
     "answers under way, at most 20 s later; a second signal stops it at once.",
     "ingle serve --model tiny=model.gguf\n"
     "ingle serve --model model.gguf --listen tcp:127.0.0.1:8080 --keep-alive 1h",
     serve_flags, LEN(serve_flags), 0, 0, "", cli_serve},
    {"ps", "", "show the models that are loaded",
     "Asks the running service which models are loaded, how much memory each may use, how many answers it computes and "
     "how many requests wait, and until when it stays.",
     "ingle ps", ps_flags, LEN(ps_flags), 0, 0, "", cli_ps},
    {"status", "", "show what the service does",
     "Asks the running service for its addresses, memory, requests and models.\n\n"
     "With --compliance: what should be on this machine by the catalogues that the service follows, what is, since "
     "when, and why not; exit code 3 when something that is required is not there, or a catalogue has expired or was "
     "never reached. Needs the right to manage.",
     "ingle status --json\ningle status --compliance --json", status_flags, LEN(status_flags), 0, 0, "", cli_status},
    {"doctor", "", "find what is wrong and say what to type",
     "Looks at the service, the store, disk, memory, processor, sandbox and limits, a line each. Exit code 3 when "
     "something "
     "keeps ingle from working.",
     "ingle doctor", ps_flags, LEN(ps_flags), 0, 0, "", cli_doctor},
    {"pin", "MODEL", "keep a model loaded",
     "Loads MODEL and keeps it: it is never let go for another, also when it is not used, and is loaded again when the "
     "service starts. Models that find no room beside pinned ones are refused, with the numbers. Needs the right to "
     "pin.",
     "ingle pin tiny", stop_flags, LEN(stop_flags), 1, 1, "", cli_pin},
    {"unpin", "MODEL", "let a pinned model go when it is not used",
     "MODEL stays loaded until it has not been used for a while, or another needs its room.", "ingle unpin tiny",
     stop_flags, LEN(stop_flags), 1, 1, "", cli_unpin},
    {"stop", "MODEL", "unload a model", "Lets the service unload MODEL as soon as its present answers are done.",
     "ingle stop tiny", stop_flags, LEN(stop_flags), 1, 1, "", cli_stop},
    {"pull", "SOURCE [NAME]", "add a model to the store",
     "Loads a model and adds it to the store under NAME, or a name made of the source. SOURCE is one of\n\n"
     "a path: a GGUF file (of a split one any part) or a directory with safetensors;\n\n"
     "https://HOST/PATH.gguf, perhaps with #sha256=DIGEST behind it;\n\n"
     "hf://ORG/REPO[@REV][:FILE or QUANT] of the Hugging Face hub. Without QUANT the one GGUF file that is there, "
     "else Q4_K_M. HF_TOKEN and HF_ENDPOINT are honoured, and what the hub's own cache holds is not loaded again;\n\n"
     "oci://HOST/REPOSITORY[:TAG][@DIGEST]: an image in any registry, as docker, the CNCF's ModelPack or Ollama make "
     "them; passwords are those of docker login;\n\n"
     "s3://BUCKET/KEY.gguf or s3://BUCKET/PREFIX, with AWS_ACCESS_KEY_ID and its like, or ~/.aws/credentials; "
     "INGLE_S3_ENDPOINT for other servers than Amazon's;\n\n"
     "NAME:TAG of the Ollama registry.\n\n"
     "A pull that was interrupted goes on where it stopped. Every file is verified, and the model is opened once "
     "before its name appears; what cannot be loaded is refused with the reason.",
     "ingle pull hf://Qwen/Qwen3-0.6B-GGUF:Q8_0 qwen3:0.6b\n"
     "ingle pull ./model.gguf my-model\n"
     "ingle pull qwen3:0.6b",
     pull_flags, LEN(pull_flags), 1, 2, "@file", cli_pull},
    {"list", "", "list the models of the store",
     "Prints name, the first digits of the digest, size and age of every model in the store.",
     "ingle list\n"
     "ingle list --json",
     list_flags, LEN(list_flags), 0, 0, "", cli_list},
    {"rm", "NAME...", "remove models from the store",
     "Takes the names away, and the files that no other model names and no process uses.", "ingle rm my-model",
     rm_flags, LEN(rm_flags), 1, CLI_ARGS_MAX, "", cli_rm},
    {"cp", "FROM TO", "give a model another name",
     "Adds the name TO for the model FROM. Nothing is copied but the name.", "ingle cp qwen3:0.6b team/helper",
     cp_flags, LEN(cp_flags), 2, 2, "", cli_cp},
    {"push", "NAME oci://HOST/REPOSITORY[:TAG]", "put a model into a registry",
     "Sends a model of the store to a registry as an image. Files that the registry has are not sent again, and what "
     "was "
     "interrupted goes on. The form is ollama for GGUF files (it carries template, system prompt and parameters too) "
     "and "
     "modelpack for others. Passwords are those of docker login.",
     "ingle push qwen3:0.6b oci://registry.example.com/team/qwen3:0.6b\n"
     "ingle push my-model oci://127.0.0.1:5000/my-model --form docker",
     push_flags, LEN(push_flags), 2, 2, "", cli_push},
    {"export", "NAME FILE|DIR", "copy a model out of the store",
     "Writes the model's GGUF file to FILE, or all its files into DIR (a folder, or a path that ends in /), with its "
     "manifest as ingle.json. Files that are there are kept unless --force is given.",
     "ingle export qwen3:0.6b qwen3.gguf\n"
     "ingle export my-model models/my-model/",
     export_flags, LEN(export_flags), 2, 2, "@file", cli_export},
    {"import", "[DIR]", "take over the models of Ollama or of the hub's cache",
     "Adds the models of the Ollama store in DIR (default: OLLAMA_MODELS, else where Ollama puts it), or of the cache "
     "of "
     "the Hugging Face hub in DIR (the folder with models--ORG--REPO; of each what refs/main names). Files are not "
     "copied "
     "where that can be avoided: blocks are shared where the file system can, else a file that only this user can "
     "change "
     "is linked, else the store refers to the file where it lies. Every file is verified. What is in DIR is only "
     "read.",
     "ingle import\n"
     "ingle import /usr/share/ollama/.ollama/models --model llama3.2:1b\n"
     "ingle import ~/.cache/huggingface/hub",
     import_flags, LEN(import_flags), 0, 1, "@file", cli_import},
    {"verify", "[NAME]", "compare files of the store with their digests",
     "Reads every file of the model NAME, or of all models. Exit code 3 when something is damaged.",
     "ingle verify\n"
     "ingle verify qwen3:0.6b --quarantine",
     verify_flags, LEN(verify_flags), 0, 1, "", cli_verify},
    {"policy", "check|explain|test|who ...", "tell who may do what",
     "policy check reads the configuration and tells what is wrong with it; a service keeps its old policy where this "
     "fails.\n\n"
     "policy explain USER MODEL prints the decision, the limits and what every rule said. USER is an account, uid:N or "
     "nobody.\n\n"
     "policy test FILE compares decisions with an admin's table, one expectation a line: allow|refuse WHO ACTION MODEL "
     "[KEY=VALUE]..., as docs/policy.md describes. Exit code 3 when one is not met.\n\n"
     "policy who USER asks the directory and prints groups, their age, and why they are no newer.",
     "ingle policy check\n"
     "ingle policy explain ada qwen3:8b\n"
     "ingle policy explain ada qwen3:8b --group engineers --json\n"
     "ingle policy test /etc/ingle/expected.txt",
     policy_flags, LEN(policy_flags), 1, 3, "check|explain|test|who", cli_policy},
    {"key", "add|list|show|revoke ...", "make and revoke API keys",
     "key add NAME prints a new key, once: programs send it as `Authorization: Bearer KEY`. The file keeps its hash, "
     "its "
     "user, groups, actions, models and end.\n\n"
     "key list prints all keys with their last use, key show NAME one of them as JSON, key revoke NAME ends one.",
     "ingle key add ci --user build --model 'qwen3*' --expires 90d\n"
     "ingle key revoke ci",
     key_flags, LEN(key_flags), 1, 2, "add|list|show|revoke", cli_key},
    {"gc", "", "remove what no model needs",
     "Removes files that no model names and no process uses, an hour after they came, unfinished downloads after a "
     "week, "
     "and leftovers of processes that were killed.",
     "ingle gc --dry-run\n"
     "ingle gc",
     gc_flags, LEN(gc_flags), 0, 0, "", cli_gc},
    {"df", "", "tell what the store takes", "Prints what the models and the files of the store take on the disk.",
     "ingle df", df_flags, LEN(df_flags), 0, 0, "", cli_df},
    {"catalogue", "ACTION [ARGUMENTS]", "offer models to people, signed",
     "Makes and reads catalogues: lists of models with the groups, users and machines that they are for, signed as The "
     "Update Framework 1.0 has it. docs/catalogue.md explains them.\n\n"
     "init DIR makes a folder for the draft and one for the keys.\n\n"
     "add DIR NAME puts a model of the store into the draft; drop DIR NAME takes it out.\n\n"
     "assign DIR [NAME] and deny DIR [NAME] add a rule for the model, or for the whole catalogue.\n\n"
     "delegate DIR ROLE lets another role answer for some paths.\n\n"
     "sign DIR signs what has changed with the keys at hand; exit code 3 while signatures are missing.\n\n"
     "publish DIR [OUT] writes DIR/published, and the same to OUT: a folder of a file share or a web server, "
     "s3://BUCKET/PREFIX, or oci://HOST/REPOSITORY:TAG.\n\n"
     "rotate DIR ROLE gives a role new keys: root, targets, snapshot, timestamp or a delegated one.\n\n"
     "verify URL reads a published catalogue as a client would; exit code 3 when it must not be trusted.\n\n"
     "diff DIR compares the draft with what is published, diff A B two catalogues; exit code 3 when they differ.\n\n"
     "show [DIR|URL] prints a catalogue (default: the one of this machine).\n\n"
     "sync [URL] brings the catalogue of this machine up to date and lists what is assigned to who asks. Without URL a "
     "running service that follows catalogues does it, and fetches what is missing; exit code 3 when something that is "
     "required is not there. With --dry-run the catalogue at URL is verified and listed, and nothing is kept.\n\n"
     "pull [NAME...] pulls models of the catalogue (default: those that are required of who asks).\n\n"
     "bundle NAME FILE.sig --key PUBLIC.pem verifies the OpenSSF Model Signing bundle of a model of the store.",
     "ingle catalogue init models && ingle catalogue add models qwen3:8b --license Apache-2.0\n"
     "ingle catalogue assign models qwen3:8b --group engineering --required\n"
     "ingle catalogue sign models && ingle catalogue publish models /srv/www/models\n"
     "ingle catalogue sync https://models.example.org --root root.json && ingle catalogue pull",
     catalogue_flags, LEN(catalogue_flags), 1, CLI_ARGS_MAX,
     "init|add|drop|assign|deny|delegate|sign|publish|rotate|verify|diff|show|sync|pull|bundle", cli_catalogue},
    {"audit", "verify|export|show", "check or read the audit log",
     "verify walks the whole log: every record holds the hash of the one before it, and seals sign the chain. Exit "
     "code "
     "3 when anything was altered, left out, put in another order or cut off. With --head also what was cut off "
     "together with the seals is seen.\n\n"
     "export prints the records, one JSON object a line; show prints the last ones for people. Both say on standard "
     "error what verify would find.",
     "ingle audit verify --head /mnt/elsewhere/audit.head\n"
     "ingle audit show --user uid:1000 --last 5\n"
     "ingle audit export --since 2026-11-01 >november.jsonl",
     audit_flags, LEN(audit_flags), 1, 1, "verify|export|show", cli_audit},
    {"cost", "", "tell what was used, and what it would have cost",
     "Prints requests, tokens (in, of these cached, out), seconds and, where the machine has a meter, joules from the "
     "ledger that ingle serve keeps. With a table of prices it adds what the same tokens would have cost at the "
     "providers of the table (docs/accounting.md has its form).",
     "ingle cost --by user --since 2026-11-01\n"
     "ingle cost --by model --prices prices.conf --csv\n"
     "ingle cost --otlp >metrics.json",
     cost_flags, LEN(cost_flags), 0, 0, "", cli_cost},
    {"reply", "MODEL|FILE.jinja", "read a model's answer into a message",
     "Cuts an answer into text, reasoning and tool calls by the markers that the chat template of the model, or the "
     "one "
     "in FILE.jinja, writes, and prints a JSON object: family (of markers), message (role, reasoning_content, content, "
     "tool_calls as OpenAI has them), unparsed (something began like a call and is none; it is in the content), "
     "truncated_call (the answer ends inside a call).",
     "ingle reply model.gguf --tools tools.json <answer.txt\n"
     "ingle reply chat.jinja --tools tools.json --prompt \"<think>\" --file answer.txt",
     reply_flags, LEN(reply_flags), 1, 1, "@file", cli_reply},
    {"completion", "bash|zsh|fish", "print a shell completion script",
     "Prints a script that completes verbs, flags and files in the shell named. Installed packages bring it along.",
     "source <(ingle completion bash)", NULL, 0, 1, 1, "bash|zsh|fish", cli_completion},
    {"help", "[VERB]", "explain a verb", "Prints the same as ingle VERB --help.", "ingle help run", help_flags,
     LEN(help_flags), 0, 1, "@verb", cli_help},
    {"version", "", "print the version", "Prints the version of ingle.", "ingle version", NULL, 0, 0, 0, "",
     cli_version},
};
const size_t n_cli_verbs = LEN(cli_verbs);

const cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < n_cli_verbs; i++)
        if (!strcmp(cli_verbs[i].name, name)) return &cli_verbs[i];
    return NULL;
}

/* Edits (insert, delete, replace) from a to b; words longer than 31 bytes count as far away. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], n_a = strlen(a), n_b = strlen(b);
    if (n_a >= LEN(row) || n_b >= LEN(row)) return SIZE_MAX;
    for (size_t j = 0; j <= n_b; j++) row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n_b];
}

const char *cli_nearest_verb(const char *word)
{
    const char *best = NULL;
    size_t least = 3;
    for (size_t i = 0; i < n_cli_verbs; i++) {
        size_t d = distance(word, cli_verbs[i].name);
        if (d < least && d < strlen(cli_verbs[i].name)) least = d, best = cli_verbs[i].name;
    }
    return best;
}

const cli_flag *cli_nearest_flag(const cli_verb *verb, const char *name)
{
    const cli_flag *best = NULL;
    size_t least = 4;
    for (size_t i = 0; i < verb->n_flags; i++) {
        size_t d = distance(name, verb->flags[i].name);
        if (d < least && d < strlen(verb->flags[i].name)) least = d, best = &verb->flags[i];
    }
    return best;
}
