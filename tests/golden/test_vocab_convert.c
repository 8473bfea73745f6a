/* Tokenizers of Hugging Face in the form of GGUF files: (a) tokenizer.json, (b) what `quantize` makes of it, read by
 * ingle, and (c) the same read by the peer where it is installed (INGLE_PEER, see bench/peer), on the lines of
 * golden/tokenizers and on random Unicode strings. (a) and (b) must be the same ids for every text and every flag;
 * where the form of GGUF alone is read they must be the same if it is said to be. */
#include <unistd.h>

#include "base/utf8.h"
#include "engine/vocab.h"
#include "format/format.h"
#include "ingle.h"
#include "quant/quant.h"
#include "tests/tap.h"

enum { N_RANDOM = 2000, TEXTS_MAX = 4096 };

typedef struct tokenizer {
    const char *dir;
    ingle_vocab_fit fit;
    const char *why;   /* part of the reason */
    const char *model; /* tokenizer.ggml.model */
    const char *pre;   /* tokenizer.ggml.pre, NULL: none */
} tokenizer;

static const tokenizer tokenizers[] = {
    {"llama", INGLE_VOCAB_SAME, "", "gpt2", "llama-bpe"},
    {"mistral", INGLE_VOCAB_NEAR, "beginning", "llama", NULL},
    {"qwen2", INGLE_VOCAB_NEAR, "Unicode form", "gpt2", "qwen2"},
    {"qwen3", INGLE_VOCAB_NEAR, "Unicode form", "gpt2", "qwen2"},
    {"qwen3_moe", INGLE_VOCAB_NEAR, "Unicode form", "gpt2", "qwen2"},
    {"gemma2", INGLE_VOCAB_SAME, "", "llama", NULL},
    {"gemma3", INGLE_VOCAB_SAME, "", "llama", NULL},
    {"phi3", INGLE_VOCAB_NONE, "of this name", NULL, NULL},
    {"minimax_m2", INGLE_VOCAB_NEAR, "overlap", "gpt2", "dbrx"},
    {"bert", INGLE_VOCAB_NEAR, "WordPiece", "bert", NULL},
    {"tokenizers/bpe-byte-gpt2", INGLE_VOCAB_SAME, "", "gpt2", "gpt-2"},
    {"tokenizers/bpe-byte-llama3", INGLE_VOCAB_SAME, "", "gpt2", "llama-bpe"},
    {"tokenizers/bpe-byte-qwen2", INGLE_VOCAB_NEAR, "Unicode form", "gpt2", "qwen2"},
    {"tokenizers/bpe-fallback-gemma", INGLE_VOCAB_NEAR, "list of merges", "llama", NULL},
    {"tokenizers/bpe-fallback-llama2", INGLE_VOCAB_NEAR, "list of merges", "llama", NULL},
    {"tokenizers/bpe-fallback-metaspace", INGLE_VOCAB_NEAR, "beginning", "llama", NULL},
    {"tokenizers/unigram", INGLE_VOCAB_NEAR, "Unicode form", "t5", NULL},
    {"tokenizers/wordlevel", INGLE_VOCAB_NONE, "list of words", NULL, NULL},
    {"tokenizers/wordpiece-bert", INGLE_VOCAB_NEAR, "WordPiece", "bert", NULL},
    {"tokenizers/wordpiece-cased", INGLE_VOCAB_NEAR, "WordPiece", "bert", NULL},
};

/* ------------------------------------------------------------------------------------------------ texts */

typedef struct text {
    char *ptr;
    size_t n;
} text;
static text texts[TEXTS_MAX];
static size_t n_texts, n_lines;
static char work[64];

static void add_text(const char *p, size_t n)
{
    if (n_texts == TEXTS_MAX || memchr(p, 0, n) || !ig_utf8_valid(p, n)) return;
    texts[n_texts].ptr = malloc(n + 1);
    memcpy(texts[n_texts].ptr, p, n);
    texts[n_texts++].n = n;
}

static int hex_digit(char c) { return c >= 'a' ? c - 'a' + 10 : c >= 'A' ? c - 'A' + 10 : c - '0'; }

/* Resolves \\ \n \r \t \xHH in place; returns the length. */
static size_t unescape(char *s)
{
    size_t n = 0;
    for (size_t i = 0; s[i]; i++) {
        char c = s[i];
        if (c == '\\') {
            c = s[++i];
            if (c == 'x') {
                c = (char)(hex_digit(s[i + 1]) * 16 + hex_digit(s[i + 2]));
                i += 2;
            } else
                c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
        }
        s[n++] = c;
    }
    return n;
}

static void read_lines(void)
{
    char path[1200];
    size_t n;
    snprintf(path, sizeof path, "%s/tokenizers/lines.txt", tap_golden());
    char *data = tap_read(path, &n);
    for (char *p = data, *line; p && (line = strsep(&p, "\n")) && (*line || p);) add_text(line, unescape(line));
    free(data);
    n_lines = n_texts;
}

static uint64_t state = 20260101;
static uint32_t draw(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % n);
}

/* Characters of one part of Unicode, mixed with spaces, ASCII and words; any assigned or unassigned scalar value. */
static void add_random(void)
{
    static const uint32_t parts[][2] = {{0x20, 0x7F},       {0x20, 0x7F},     {0x9, 0x21},      {0xA0, 0x250},
                                        {0x300, 0x530},     {0x590, 0x1200},  {0x1E00, 0x2100}, {0x2100, 0x3100},
                                        {0x3100, 0xA000},   {0xAC00, 0xD7A4}, {0xE000, 0xFFFE}, {0x1F000, 0x1FB00},
                                        {0x10000, 0x110000}};
    static const char *const words[] = {"the ", "and",  " of",   "ing ",  "\n\n", "  ",   "'s", "'LL",    "2024",
                                        "<s>",  "</s>", "[CLS]", "<unk>", "\t",   "\r\n", "▁",  "can't ", " x"};
    char out[512];
    size_t n = 0;
    uint32_t len = 1 + draw(40), part = draw(13);
    for (uint32_t i = 0; i < len && n < sizeof out - 16; i++) {
        const uint32_t kind = draw(10);
        if (kind == 0) {
            const char *w = words[draw(sizeof words / sizeof *words)];
            memcpy(out + n, w, strlen(w));
            n += strlen(w);
            continue;
        }
        if (kind == 1) part = draw(13);
        uint32_t cp = kind == 2 ? ' ' : parts[part][0] + draw(parts[part][1] - parts[part][0]);
        n += ig_utf8_encode(cp, out + n);
    }
    add_text(out, n);
}

/* ------------------------------------------------------------------------------------------------ comparing */

static bool same(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    return n_a == n_b && (n_a == 0 || !memcmp(a, b, n_a * sizeof *a));
}

static void show(const char *what, size_t i, unsigned flags, const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    if (!getenv("SHOW")) return;
    printf("# %s: text %zu flags %u: ", what, i, flags);
    for (size_t k = 0; k < texts[i].n && k < 160; k++)
        printf(texts[i].ptr[k] >= 32 && texts[i].ptr[k] < 127 ? "%c" : "\\x%02x", (unsigned char)texts[i].ptr[k]);
    printf("\n#   want");
    for (size_t k = 0; k < n_a && k < 60; k++) printf(" %d", a[k]);
    printf("\n#   have");
    for (size_t k = 0; k < n_b && k < 60; k++) printf(" %d", b[k]);
    printf("\n");
}

/* Texts that two vocabularies read differently under some flags. */
static size_t differences(const char *what, const ig_vocab *a, const ig_vocab *b)
{
    size_t n = 0;
    for (size_t i = 0; i < n_texts; i++) {
        bool equal = true;
        for (unsigned flags = 0; flags < 4; flags++) {
            ig_ids x = {0}, y = {0};
            bool ok = ig_tokenize(a, texts[i].ptr, texts[i].n, flags, &x, NULL) == IG_OK &&
                      ig_tokenize(b, texts[i].ptr, texts[i].n, flags, &y, NULL) == IG_OK &&
                      same(x.ptr, x.len, y.ptr, y.len);
            if (!ok && equal) show(what, i, flags, x.ptr, x.len, y.ptr, y.len);
            equal = equal && ok;
            ig_free(x.ptr);
            ig_free(y.ptr);
        }
        n += !equal;
    }
    return n;
}

/* ------------------------------------------------------------------------------------------------ the peer */

/* INGLE_PEER, or where bench/peer/setup puts it; NULL where there is none. */
static const char *peer(void)
{
    static char path[1024];
    const char *named = getenv("INGLE_PEER"), *source = getenv("INGLE_SOURCE");
    snprintf(path, sizeof path, "%s/build/peer/peer", source ? source : ".");
    return named && *named ? named : access(path, X_OK) == 0 ? path : NULL;
}

static bool write_texts(const char *path)
{
    FILE *f = fopen(path, "wb");
    for (size_t i = 0; f && i < n_texts; i++) {
        fwrite(texts[i].ptr, 1, texts[i].n, f);
        fputc(0, f);
    }
    return f && fclose(f) == 0;
}

/* Texts that the peer reads differently from v, both adding and finding special tokens or neither; SIZE_MAX: it fails.
 */
static size_t peer_differences(const char *model, const ig_vocab *v, const char *name)
{
    size_t n = 0;
    char command[2400], *line = NULL;
    size_t cap = 0;
    for (unsigned flags = 0; flags < 4; flags += 3) {
        snprintf(command, sizeof command, "'%s' texts '%s' %s/texts %u 2>%s/peer.err", peer(), model, work, flags / 3,
                 work);
        FILE *p = popen(command, "r");
        size_t i = 0;
        for (; p && i < n_texts && getline(&line, &cap, p) > 0; i++) {
            ig_ids have = {0}, want = {0};
            for (char *at = line, *end; strtol(at, &end, 10), end != at; at = end) {
                have.ptr = realloc(have.ptr, (have.len + 1) * sizeof *have.ptr);
                have.ptr[have.len++] = (int32_t)strtol(at, NULL, 10);
            }
            bool ok = ig_tokenize(v, texts[i].ptr, texts[i].n, flags, &want, NULL) == IG_OK &&
                      same(want.ptr, want.len, have.ptr, have.len);
            if (!ok) show(name, i, flags, want.ptr, want.len, have.ptr, have.len);
            n += !ok;
            free(have.ptr);
            ig_free(want.ptr);
        }
        if (!p || pclose(p) != 0 || i != n_texts) n = SIZE_MAX;
        if (n == SIZE_MAX) break;
    }
    free(line);
    return n;
}

/* ------------------------------------------------------------------------------------------------ one tokenizer */

static ig_vocab *read_json(const char *dir)
{
    char path[1400];
    size_t n, n_config;
    ig_vocab *v = NULL;
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    char *json = tap_read(path, &n);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    char *config = tap_read(path, &n_config);
    if (json) (void)ig_vocab_from_json(json, n, config, n_config, &v, NULL);
    free(json);
    free(config);
    return v;
}

static bool text_is(const ig_format *f, const char *key, const char *want)
{
    ig_str have = {NULL, 0};
    (void)ig_format_str(f, key, false, &have, NULL);
    return want ? ig_str_is(have, want) : !have.ptr;
}

/* The keys of the form, and an architecture, without which the peer reads no file. */
static bool write_file(const char *path, const ingle_vocab_form *form)
{
    ig_format *f;
    ig_gguf_writer *w;
    if (ig_format_open_memory("the form", form->data, form->n, &f, NULL) != IG_OK) return false;
    bool ok = ig_gguf_writer_new(path, &w, NULL) == IG_OK;
    if (ok) {
        ig_gguf_put_str(w, "general.architecture", IG_STR("llama"));
        for (size_t i = 0; i < ig_format_n_meta(f); i++) ig_gguf_put_meta(w, ig_format_meta_at(f, i));
        ok = ig_gguf_begin_data(w, NULL) == IG_OK && ig_gguf_commit(w, NULL) == IG_OK;
        ig_gguf_writer_free(w);
    }
    ig_format_close(f);
    return ok;
}

/* The form alone, read by ingle and by the peer. */
static void check_form(const tokenizer *t, const ingle_vocab_form *form, const ig_vocab *json, const char *file)
{
    ig_format *f = NULL;
    ig_vocab *v = NULL;
    ig_error err = {0};
    ig_status st = ig_format_open_memory("the form", form->data, form->n, &f, &err);
    if (st == IG_OK) st = ig_vocab_from_format(f, &v, &err);
    if (!tap_ok(st == IG_OK && v, "%s: GGUF's form is read %s", t->dir, st == IG_OK ? "" : err.text))
        return ig_format_close(f);
    tap_ok(text_is(f, "tokenizer.ggml.model", t->model) && text_is(f, "tokenizer.ggml.pre", t->pre),
           "%s: the model is %s, the pre-tokenizer %s", t->dir, t->model, t->pre ? t->pre : "none");
    const size_t n = differences(t->dir, json, v);
    tap_ok(t->fit == INGLE_VOCAB_NEAR || n == 0, "%s: GGUF's form alone: %zu of %zu texts differ", t->dir, n, n_texts);
    if (!peer()) {
        tap_skip("the peer", "INGLE_PEER names no program; to install one type: bench/peer/setup");
    } else {
        const size_t from_form = peer_differences(file, v, "the peer, against ingle's reading of the same keys");
        const size_t from_json = peer_differences(file, json, "the peer, against tokenizer.json");
        tap_ok(from_form != SIZE_MAX && (t->fit != INGLE_VOCAB_SAME || from_json == 0),
               "%s: the peer differs in %zd of %zu readings from tokenizer.json, in %zd from ingle's of its file",
               t->dir, (ssize_t)from_json, 2 * n_texts, (ssize_t)from_form);
    }
    ig_vocab_free(v);
    ig_format_close(f);
}

/* The whole file that quantize makes. */
static void check_file(const tokenizer *t, const ingle_vocab_form *form, const ig_vocab *json, const char *dir,
                       const char *out)
{
    ig_format *f = NULL;
    ig_vocab *v = NULL;
    ig_error err = {0};
    ig_quantize_report report;
    ig_quantize_options o = {.in = dir,
                             .out = out,
                             .type = "F16",
                             .n_threads = 1,
                             .vocabulary = form->data,
                             .n_vocabulary = form->n,
                             .drop_json = form->fit == INGLE_VOCAB_SAME};
    ig_status st = ig_quantize_file(&o, &report, &err);
    if (st == IG_OK) st = ig_format_open(out, &f, &err);
    if (st == IG_OK) st = ig_vocab_from_format(f, &v, &err);
    tap_ok(st == IG_OK && v && differences(t->dir, json, v) == 0, "%s: the file reads every text as the directory %s",
           t->dir, st == IG_OK ? "" : err.text);
    const bool along = f && ig_format_meta(f, "ingle.tokenizer.json");
    tap_ok(f && along == (t->fit != INGLE_VOCAB_SAME) &&
               text_is(f, "tokenizer.ggml.model", t->fit == INGLE_VOCAB_NONE ? "no_vocab" : t->model),
           "%s: tokenizer.json %s", t->dir, along ? "goes along" : "is not needed");
    ig_vocab_free(v);
    ig_format_close(f);
}

static void check(const tokenizer *t)
{
    char dir[1200], out[100];
    ingle_model *model = NULL;
    ingle_vocab_form form = {0};
    ingle_error err = {0};
    const ingle_model_options only = {.size = sizeof only, .vocab_only = true};
    snprintf(dir, sizeof dir, "%s/hf/%s", tap_golden(), t->dir);
    snprintf(out, sizeof out, "%s/out.gguf", work);
    ig_vocab *json = read_json(dir);
    if (!json) return tap_skip(t->dir, "no reference data in %s", tap_golden());
    ingle_status st = ingle_model_open(dir, &only, &model, &err);
    if (st == INGLE_OK) st = ingle_vocab_convert(model, &form, &err);
    tap_ok(st == INGLE_OK && form.fit == t->fit && strstr(form.why, t->why) &&
               !form.data == (t->fit == INGLE_VOCAB_NONE),
           "%s: %s %s%s", t->dir,
           form.fit == INGLE_VOCAB_SAME   ? "the same"
           : form.fit == INGLE_VOCAB_NEAR ? "nearly the same:"
                                          : "no form:",
           form.why, err.text);
    const bool whole = strncmp(t->dir, "tokenizers/", 11) != 0;
    if (whole) check_file(t, &form, json, dir, out);
    if (form.data && (whole || write_file(out, &form))) check_form(t, &form, json, out);
    remove(out);
    ingle_vocab_form_free(&form);
    ingle_model_close(model);
    ig_vocab_free(json);
}

int main(void)
{
    char path[100];
    snprintf(work, sizeof work, "/tmp/ingle-vocab-XXXXXX");
    if (!mkdtemp(work)) return 1;
    read_lines();
    while (n_texts < n_lines + N_RANDOM && n_texts < TEXTS_MAX) add_random();
    snprintf(path, sizeof path, "%s/texts", work);
    if (!write_texts(path)) return 1;
    printf("# %zu lines, %zu random strings\n", n_lines, n_texts - n_lines);
    for (size_t i = 0; i < sizeof tokenizers / sizeof *tokenizers; i++) check(&tokenizers[i]);
    for (size_t i = 0; i < n_texts; i++) free(texts[i].ptr);
    remove(path);
    snprintf(path, sizeof path, "%s/peer.err", work);
    remove(path);
    rmdir(work);
    return tap_done();
}
