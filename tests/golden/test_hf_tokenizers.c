/* Tokenizers of tokenizer.json against the reference: ids with and without special tokens, decoded text, line by line.
 * Lines that the reference data tells not to count are counted apart. */
#include <jansson.h>

#include "base/utf8.h"
#include "tests/tap.h"
#include "text/token/token.h"

static char root[900];

typedef struct lines {
    char *data;
    char **line; /* NUL-terminated */
    size_t n;
} lines;

static bool read_lines(const char *path, lines *l)
{
    size_t n;
    *l = (lines){.data = tap_read(path, &n)};
    if (!l->data) return false;
    l->line = calloc(n + 1, sizeof *l->line);
    for (char *p = l->data; p < l->data + n;) {
        char *end = memchr(p, '\n', (size_t)(l->data + n - p));
        if (!end) end = l->data + n;
        *end = 0;
        l->line[l->n++] = p;
        p = end + 1;
    }
    return true;
}

static void free_lines(lines *l)
{
    free(l->data);
    free(l->line);
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

static char *id_text(const ig_ids *ids)
{
    char *text = malloc(ids->len * 12 + 1), *p = text;
    *p = 0;
    for (size_t i = 0; i < ids->len; i++) p += sprintf(p, "%s%d", i ? " " : "", ids->ptr[i]);
    return text;
}

static void show(const char *what, const char *text, size_t n, const char *want, const char *have)
{
    if (!getenv("SHOW")) return;
    printf("# %s: text ", what);
    for (size_t i = 0; i < n && i < 200; i++)
        printf(text[i] > 32 && text[i] < 127 ? "%c" : "\\x%02x", (unsigned char)text[i]);
    printf("\n# want %.300s\n# have %.300s\n", want, have);
}

static bool encodes_to(const ig_vocab *v, const char *text, size_t n, unsigned flags, const char *want)
{
    ig_ids ids = {0};
    bool ok = ig_tokenize(v, text, n, flags, &ids, NULL) == IG_OK;
    char *have = id_text(&ids);
    ok = ok && !strcmp(have, want);
    if (!ok) show("encode", text, n, want, have);
    free(have);
    ig_free(ids.ptr);
    return ok;
}

static bool decodes_to(const ig_vocab *v, const char *line, const char *want)
{
    ig_ids ids = {0};
    ig_buf out;
    ig_buf_init(&out, 1 << 26);
    json_t *text = json_loads(want, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    char *copy = strdup(line);
    for (char *p = strtok(copy, " "); p; p = strtok(NULL, " ")) {
        ids.ptr = realloc(ids.ptr, (ids.len + 1) * sizeof *ids.ptr);
        ids.ptr[ids.len++] = atoi(p);
    }
    bool ok = text && ig_detokenize(v, ids.ptr, ids.len, IG_DETOKENIZE_STRIP, &out, NULL) == IG_OK;
    ok = ok && out.len == json_string_length(text) && (!out.len || !memcmp(out.ptr, json_string_value(text), out.len));
    if (!ok && ig_buf_add(&out, "", 1)) show("decode", line, strlen(line), want, out.ptr);
    free(copy);
    free(ids.ptr);
    ig_buf_fini(&out);
    json_decref(text);
    return ok;
}

typedef struct tokenizer {
    const char *name, *skip; /* numbers of lines that do not count, from 1 */
    bool decode;             /* decoded.jsonl was cross-checked */
} tokenizer;

static bool skipped(const tokenizer *t, size_t line)
{
    for (const char *p = t->skip; *p;) {
        char *end;
        if (strtoul(p, &end, 10) == line) return true;
        p = *end ? end + 1 : end;
    }
    return false;
}

static bool read_file(const char *name, const char *file, lines *l)
{
    char path[1200];
    (void)snprintf(path, sizeof path, "%s/hf/tokenizers/%s/%s", root, name, file);
    return read_lines(path, l);
}

static void check(const tokenizer *t, const ig_vocab *v, const char *file, unsigned flags, bool decode)
{
    char path[1200];
    lines text, ids, want;
    (void)snprintf(path, sizeof path, "%s/tokenizers/lines.txt", root);
    bool ok = read_lines(path, &text);
    ok = read_file(t->name, decode ? "ids.txt" : file, &ids) && ok;
    ok = read_file(t->name, file, &want) && ok;
    if (!ok || ids.n != text.n || want.n != text.n)
        return (void)tap_ok(false, "%s/%s has a line for each text", t->name, file);
    size_t same = 0, n = 0, odd_same = 0, odd = 0;
    for (size_t i = 0; i < text.n; i++) {
        size_t len = unescape(text.line[i]);
        bool right =
            decode ? decodes_to(v, ids.line[i], want.line[i]) : encodes_to(v, text.line[i], len, flags, want.line[i]);
        bool counts = !skipped(t, i + 1);
        n += counts;
        same += counts && right;
        odd += !counts;
        odd_same += !counts && right;
        if (!right && getenv("SHOW"))
            printf("# %s/%s line %zu%s\n", t->name, file, i + 1, counts ? "" : " (not counted)");
    }
    tap_ok(same == n && n > 400, "%s/%s: %zu of %zu lines; not counted: %zu of %zu", t->name, file, same, n, odd_same,
           odd);
    free_lines(&text);
    free_lines(&ids);
    free_lines(&want);
}

static ig_vocab *open_vocab(const char *name, ig_error *err)
{
    char path[1200];
    size_t n, n_config;
    ig_vocab *v = NULL;
    (void)snprintf(path, sizeof path, "%s/hf/tokenizers/%s/tokenizer.json", root, name);
    char *json = tap_read(path, &n);
    (void)snprintf(path, sizeof path, "%s/hf/tokenizers/%s/tokenizer_config.json", root, name);
    char *config = tap_read(path, &n_config);
    if (json && config) (void)ig_vocab_from_json(json, n, config, n_config, &v, err);
    free(json);
    free(config);
    return v;
}

/* Small repeatable generator (xorshift). */
static uint64_t next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

static size_t random_text(uint64_t *seed, char *out)
{
    static const uint32_t top[] = {0x80, 0x80, 0x100, 0x800, 0x3000, 0x10000, 0x20000, 0x110000};
    size_t n = 0, count = next(seed) % 60;
    for (size_t i = 0; i < count; i++) {
        uint32_t cp = (uint32_t)(next(seed) % top[next(seed) % 8]);
        if (next(seed) % 6 == 0) cp = (uint8_t)" \n\r\t'0"[next(seed) % 6];
        n += ig_utf8_encode(cp, out + n);
    }
    return n;
}

/* decode(encode(x)) = x; where the tokenizer normalizes, for the texts that it leaves alone: NFC of x is what comes. */
static void check_round(const char *name, const ig_vocab *v, bool normalizes)
{
    uint64_t seed = 0x1234567;
    size_t good = 0, n = 10000;
    for (size_t i = 0; i < n; i++) {
        char text[512];
        ig_ids ids = {0}, again = {0};
        ig_buf out, pieces;
        ig_buf_init(&out, 1 << 20);
        ig_buf_init(&pieces, 1 << 20);
        size_t len = random_text(&seed, text);
        bool ok = ig_tokenize(v, text, len, 0, &ids, NULL) == IG_OK &&
                  ig_detokenize(v, ids.ptr, ids.len, IG_DETOKENIZE_SPECIAL, &out, NULL) == IG_OK;
        for (size_t k = 0; ok && k < ids.len; k++) ok = ig_token_piece(v, ids.ptr[k], true, &pieces);
        ok = ok && pieces.len == out.len && (!out.len || !memcmp(pieces.ptr, out.ptr, out.len));
        if (normalizes) /* what came back is a fixed point */
            ok = ok && ig_tokenize(v, out.ptr, out.len, 0, &again, NULL) == IG_OK && again.len == ids.len &&
                 (!ids.len || !memcmp(again.ptr, ids.ptr, ids.len * sizeof *ids.ptr));
        else
            ok = ok && out.len == len && (!len || !memcmp(out.ptr, text, len));
        good += ok;
        ig_buf_fini(&out);
        ig_buf_fini(&pieces);
        ig_free(ids.ptr);
        ig_free(again.ptr);
    }
    tap_ok(good == n, "%s: %zu of %zu random texts come back%s", name, good, n, normalizes ? " normalized" : "");
}

int main(void)
{
    static const char private_use[] = "116,130,132,427,430,448";
    static const tokenizer all[] = {{"bpe-byte-gpt2", "", true},
                                    {"bpe-byte-llama3", "", true},
                                    {"bpe-byte-qwen2", "", true},
                                    {"bpe-fallback-llama2", "", true},
                                    {"bpe-fallback-metaspace", "", true},
                                    {"bpe-fallback-gemma", "", true},
                                    {"unigram", "", true},
                                    {"wordpiece-bert", private_use, false},
                                    {"wordpiece-cased", "116,130,132,427,430", false},
                                    {"wordlevel", "", true}};
    char probe[1200];
    (void)snprintf(root, sizeof root, "%s", tap_golden());
    (void)snprintf(probe, sizeof probe, "%s/hf/tokenizers/unigram/tokenizer.json", root);
    FILE *f = fopen(probe, "rb");
    if (!f) {
        tap_skip("tokenizer.json", "no reference data in %s", root);
        return tap_done();
    }
    fclose(f);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ig_error err = {0};
        ig_vocab *v = open_vocab(all[i].name, &err);
        if (!tap_ok(v != NULL, "%s opens %s", all[i].name, err.text)) continue;
        check(&all[i], v, "ids.txt", IG_TOKENIZE_PARSE, false);
        check(&all[i], v, "special.ids.txt", IG_TOKENIZE_ADD | IG_TOKENIZE_PARSE, false);
        check(&all[i], v, "decoded.jsonl", 0, true);
        if (!strncmp(all[i].name, "bpe-byte", 8)) check_round(all[i].name, v, strstr(all[i].name, "qwen"));
        ig_vocab_free(v);
    }
    return tap_done();
}
