/* Tokenizers against the reference: every line both ways, long texts by digest, and one small vocabulary under every
 * pre-tokenizer. All ids are exact. */
#include <openssl/sha.h>

#include "base/utf8.h"
#include "engine/vocab.h"
#include "tests/tap.h"

static char root[900];

typedef struct lines {
    char *data;
    char **line; /* NUL-terminated */
    size_t *len, n;
} lines;

static bool read_lines(const char *name, lines *l)
{
    char path[1024];
    size_t n;
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    *l = (lines){.data = tap_read(path, &n)};
    if (!l->data) return false;
    l->line = calloc(n + 1, sizeof *l->line);
    l->len = calloc(n + 1, sizeof *l->len);
    for (char *p = l->data; p < l->data + n;) {
        char *end = memchr(p, '\n', (size_t)(l->data + n - p));
        if (!end) end = l->data + n;
        *end = 0;
        l->line[l->n] = p;
        l->len[l->n++] = (size_t)(end - p);
        p = end + 1;
    }
    return true;
}

static void free_lines(lines *l)
{
    free(l->data);
    free(l->line);
    free(l->len);
}

static int hex_digit(char c) { return c >= 'a' ? c - 'a' + 10 : c >= 'A' ? c - 'A' + 10 : c - '0'; }

/* Resolves \\ \n \r \t \xHH in place; returns the length. */
static size_t unescape(char *s)
{
    size_t n = 0;
    for (size_t i = 0; s[i]; i++) {
        if (s[i] != '\\') {
            s[n++] = s[i];
            continue;
        }
        char c = s[++i];
        if (c == 'x') {
            s[n++] = (char)(hex_digit(s[i + 1]) * 16 + hex_digit(s[i + 2]));
            i += 2;
        } else
            s[n++] = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
    }
    return n;
}

/* Ids joined by spaces. */
static char *id_text(const ig_ids *ids)
{
    char *text = malloc(ids->len * 12 + 1), *p = text;
    *p = 0;
    for (size_t i = 0; i < ids->len; i++) p += sprintf(p, "%s%d", i ? " " : "", ids->ptr[i]);
    return text;
}

static bool encodes_to(const ig_vocab *v, const char *text, size_t n, unsigned flags, const char *want)
{
    ig_ids ids = {0};
    ig_error err = {0};
    bool ok = ig_tokenize(v, text, n, flags, &ids, &err) == IG_OK;
    char *have = id_text(&ids);
    ok = ok && !strcmp(have, want);
    if (!ok && getenv("SHOW")) {
        printf("# text ");
        for (size_t i = 0; i < n && i < 200; i++)
            printf(text[i] > 32 && text[i] < 127 ? "%c" : "\\x%02x", (unsigned char)text[i]);
        printf("\n# want  %.300s\n# have  %.300s\n", want, have);
    }
    free(have);
    ig_free(ids.ptr);
    return ok;
}

static void check_ids(const ig_vocab *v, const char *name, const char *suffix, unsigned flags)
{
    char file[128];
    lines text, ids;
    (void)snprintf(file, sizeof file, "%s%s", name, suffix);
    if (!read_lines("lines.txt", &text) || !read_lines(file, &ids)) return (void)tap_ok(false, "%s can be read", file);
    size_t same = 0;
    for (size_t i = 0; i < text.n && i < ids.n; i++) {
        size_t n = unescape(text.line[i]);
        same += encodes_to(v, text.line[i], n, flags, ids.line[i]);
    }
    tap_ok(same == text.n && ids.n == text.n, "%s: %zu of %zu lines", file, same, text.n);
    free_lines(&text);
    free_lines(&ids);
}

static void digest(const char *data, size_t n, char out[65])
{
    unsigned char d[32];
    SHA256((const unsigned char *)data, n, d);
    for (int i = 0; i < 32; i++) (void)sprintf(out + 2 * i, "%02x", d[i]);
}

static void check_texts(const ig_vocab *v, const char *name)
{
    char file[1100];
    lines want;
    size_t same = 0;
    (void)snprintf(file, sizeof file, "%s.texts.txt", name);
    if (!read_lines(file, &want)) return (void)tap_ok(false, "%s can be read", file);
    for (size_t i = 0; i < want.n; i++) {
        char path[1100], text_name[128], sha[65], have[65];
        size_t count, n;
        if (sscanf(want.line[i], "%127s %zu %64s", text_name, &count, sha) != 3) continue;
        (void)snprintf(path, sizeof path, "%s/texts/%s", root, text_name);
        char *data = tap_read(path, &n);
        ig_ids ids = {0};
        if (data && ig_tokenize(v, data, n, 0, &ids, NULL) == IG_OK) {
            char *text = id_text(&ids);
            size_t len = strlen(text);
            text[len] = '\n';
            digest(text, len + 1, have);
            bool ok = ids.len == count && !strcmp(have, sha);
            same += ok;
            if (!ok) printf("# %s %s: %zu ids, expected %zu\n", name, text_name, ids.len, count);
            free(text);
        }
        ig_free(ids.ptr);
        free(data);
    }
    tap_ok(same == want.n && same > 0, "%s: %zu of %zu long texts", name, same, want.n);
    free_lines(&want);
}

static char *hex_of(const char *p, size_t n)
{
    char *out = malloc(2 * n + 1);
    for (size_t i = 0; i < n; i++) (void)sprintf(out + 2 * i, "%02x", (unsigned char)p[i]);
    out[2 * n] = 0;
    return out;
}

/* mode 0: detokenize with special tokens, 1: without and stripped, 2: pieces one after the other. */
static bool decodes_to(const ig_vocab *v, char *ids_line, int mode, const char *want)
{
    ig_ids ids = {0};
    ig_buf out;
    ig_buf_init(&out, 1 << 26);
    for (char *p = strtok(ids_line, " "); p; p = strtok(NULL, " ")) {
        ids.ptr = realloc(ids.ptr, (ids.len + 1) * sizeof *ids.ptr);
        ids.ptr[ids.len++] = atoi(p);
    }
    bool ok = true;
    if (mode == 2)
        for (size_t i = 0; i < ids.len; i++) ok = ok && ig_token_piece(v, ids.ptr[i], true, &out);
    else
        ok =
            ig_detokenize(v, ids.ptr, ids.len, mode ? IG_DETOKENIZE_STRIP : IG_DETOKENIZE_SPECIAL, &out, NULL) == IG_OK;
    char *have = hex_of(out.ptr, out.len);
    ok = ok && !strcmp(have, want);
    if (!ok && getenv("SHOW")) printf("# want  %.300s\n# have  %.300s\n", want, have);
    free(have);
    free(ids.ptr);
    ig_buf_fini(&out);
    return ok;
}

static void check_decode(const ig_vocab *v, const char *name)
{
    static const char *const suffix[] = {".decode.hex", ".decode.nospecial.hex", ".pieces.hex"};
    for (int mode = 0; mode < 3; mode++) {
        char file[128];
        lines ids, want;
        (void)snprintf(file, sizeof file, "%s.decode.txt", name);
        bool ok = read_lines(file, &ids);
        (void)snprintf(file, sizeof file, "%s%s", name, suffix[mode]);
        if (!ok || !read_lines(file, &want)) {
            tap_ok(false, "%s can be read", file);
            continue;
        }
        size_t same = 0;
        for (size_t i = 0; i < ids.n && i < want.n; i++) same += decodes_to(v, ids.line[i], mode, want.line[i]);
        tap_ok(same == ids.n && ids.n == want.n, "%s: %zu of %zu sequences", file, same, ids.n);
        free_lines(&ids);
        free_lines(&want);
    }
}

static void check_pieces(const ig_vocab *v, const char *name)
{
    char file[128], have[65];
    lines want;
    ig_buf all, piece;
    ig_buf_init(&all, 1 << 28);
    ig_buf_init(&piece, 1 << 20);
    (void)snprintf(file, sizeof file, "%s.pieces.sha256", name);
    if (!read_lines(file, &want)) return (void)tap_ok(false, "%s can be read", file);
    for (size_t id = 0; id < ig_vocab_size(v); id++) {
        piece.len = 0;
        (void)ig_token_piece(v, (int32_t)id, true, &piece);
        char *hex = hex_of(piece.ptr, piece.len);
        (void)ig_buf_printf(&all, "%s\n", hex);
        free(hex);
    }
    digest(all.ptr, all.len, have);
    tap_ok(want.n > 0 && !strncmp(want.line[0], have, 64), "%s: pieces of all %zu ids", name, ig_vocab_size(v));
    ig_buf_fini(&all);
    ig_buf_fini(&piece);
    free_lines(&want);
}

/* Broken UTF-8: our bytes are kept where the reference writes U+FFFD, so agreement is counted and only a crash fails.
 */
static void check_invalid(const ig_vocab *v, const char *name)
{
    char file[1100], path[1100];
    lines want;
    size_t n, same = 0, i = 0;
    (void)snprintf(file, sizeof file, "%s.invalid.ids", name);
    (void)snprintf(path, sizeof path, "%s/invalid.bin", root);
    char *data = tap_read(path, &n);
    if (!data || !read_lines(file, &want)) return (void)tap_ok(false, "%s can be read", file);
    for (size_t at = 0; at + 4 <= n && i < want.n; i++) {
        uint32_t len;
        memcpy(&len, data + at, 4);
        same += encodes_to(v, data + at + 4, len, 0, want.line[i]);
        at += 4 + len;
    }
    tap_ok(i == want.n, "%s: %zu of %zu broken texts agree with the reference", name, same, i);
    free_lines(&want);
    free(data);
}

/* A random character: of any plane, but often of those that tokenizers treat apart. */
static uint32_t random_char(uint64_t *state)
{
    static const uint32_t some[] = {' ',    ' ',     '\n',    '\t',   '\r',   0xa0,   0x2028,       0x3000, '\'',
                                    '.',    ',',     '1',     '9',    'a',    'Z',    's',          0x301,  0x200d,
                                    0xfe0f, 0x1f468, 0x1f3fd, 0xac00, 0x4e16, 0xfffd, 0x110000 - 1, 0};
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint32_t r = (uint32_t)(*state >> 33), kind = r % 8, v = r / 8;
    if (kind < 3) return some[v % (sizeof some / sizeof *some)];
    uint32_t cp = kind < 5 ? 0x20 + v % 0x60 : kind == 5 ? v % 0x800 : kind == 6 ? v % 0x10000 : v % 0x110000;
    return cp >= 0xd800 && cp < 0xe000 ? cp - 0xd800 + 0x600 : cp;
}

/* The bytes that are no token of their own: a few vocabularies lack some, and drop them. */
static void find_absent_bytes(const ig_vocab *v, bool absent[256])
{
    ig_buf piece;
    ig_buf_init(&piece, 1 << 16);
    memset(absent, true, 256);
    for (size_t id = 0; id < ig_vocab_size(v); id++) {
        piece.len = 0;
        ig_token_piece(v, (int32_t)id, false, &piece);
        if (piece.len == 1) absent[(unsigned char)piece.ptr[0]] = false;
    }
    ig_buf_fini(&piece);
}

/* Pieces in a row, which is how an answer is written; a decoder that cleans up spaces before marks would change them.
 */
static bool comes_back(const ig_vocab *v, const ig_buf *text, const bool absent[256], ig_ids *ids, ig_buf *back)
{
    ids->len = back->len = 0;
    bool ok = ig_tokenize(v, text->ptr ? text->ptr : "", text->len, 0, ids, NULL) == IG_OK;
    for (size_t i = 0; ok && i < ids->len; i++) ok = ig_token_piece(v, ids->ptr[i], false, back);
    size_t at = 0;
    for (size_t i = 0; ok && i < text->len; i++) {
        if (at < back->len && back->ptr[at] == text->ptr[i])
            at++;
        else
            ok = absent[(unsigned char)text->ptr[i]];
    }
    return ok && at == back->len;
}

/* What the tokenizer cuts up comes back as it was. */
static void check_round_trips(const ig_vocab *v, const char *name)
{
    enum { STRINGS = 10000, CHARS_MAX = 48 };
    uint64_t state = 20240607;
    int bad = 0, n_absent = 0;
    bool absent[256];
    ig_buf text, back;
    ig_ids ids = {0};
    ig_buf_init(&text, 1 << 16);
    ig_buf_init(&back, 1 << 16);
    find_absent_bytes(v, absent);
    for (int i = 0; i < 256; i++)
        n_absent += absent[i] && i != 0xc0 && i != 0xc1 && i < 0xf5; /* the rest is no UTF-8 */
    for (int i = 0; i < STRINGS; i++) {
        text.len = 0;
        for (uint32_t k = random_char(&state) % (CHARS_MAX + 1); k; k--) {
            char c[4];
            ig_buf_add(&text, c, ig_utf8_encode(random_char(&state), c));
        }
        bad += !comes_back(v, &text, absent, &ids, &back);
    }
    tap_ok(!bad, "%s: of %d random strings %d do not come back; bytes without a token: %d", name, STRINGS, bad,
           n_absent);
    ig_free(ids.ptr);
    ig_buf_fini(&text);
    ig_buf_fini(&back);
}

static bool is_byte_level(const ig_format *f)
{
    ig_str model = IG_STR("");
    return ig_format_str(f, "tokenizer.ggml.model", false, &model, NULL) == IG_OK && ig_str_is(model, "gpt2");
}

static bool open_vocab(const char *name, ig_format **f, ig_vocab **v, ig_error *err)
{
    char path[1100];
    *f = NULL;
    *v = NULL;
    (void)snprintf(path, sizeof path, "%s/%s.gguf", root, name);
    return ig_format_open(path, f, err) == IG_OK && ig_vocab_from_format(*f, v, err) == IG_OK && *v;
}

static void check_vocab(const char *name)
{
    ig_format *f;
    ig_vocab *v;
    ig_error err = {0};
    if (tap_ok(open_vocab(name, &f, &v, &err), "%s opens %s", name, err.text)) {
        check_ids(v, name, ".ids", 0);
        check_ids(v, name, ".special.ids", IG_TOKENIZE_ADD | IG_TOKENIZE_PARSE);
        check_texts(v, name);
        check_decode(v, name);
        check_pieces(v, name);
        check_invalid(v, name);
        if (is_byte_level(f)) check_round_trips(v, name);
    }
    ig_vocab_free(v);
    ig_format_close(f);
}

/* A copy of a GGUF file in memory with tokenizer.ggml.pre set to `pre`: the key's old string value is cut out. */
static char *with_pre(const char *file, const char *pre, size_t *n)
{
    static const char key[] = "tokenizer.ggml.pre";
    char path[1100];
    (void)snprintf(path, sizeof path, "%s/%s", root, file);
    size_t n_old;
    char *old = tap_read(path, &n_old), *at = old ? memmem(old, n_old, key, sizeof key - 1) : NULL;
    if (!at) return free(old), NULL;
    char *value = at + sizeof key - 1 + 4; /* behind the value's type */
    uint64_t len, new_len = strlen(pre);
    memcpy(&len, value, 8);
    *n = n_old - len + new_len;
    char *out = malloc(*n + 64);
    size_t head = (size_t)(value - old);
    memcpy(out, old, head);
    memcpy(out + head, &new_len, 8);
    memcpy(out + head + 8, pre, new_len);
    memcpy(out + head + 8 + new_len, value + 8 + len, n_old - head - 8 - len);
    free(old);
    return out;
}

static void check_pre(const char *group, const char *file, const char *pre)
{
    ig_format *f = NULL;
    ig_vocab *v = NULL;
    ig_error err = {0};
    char full[256], ids[256], vocab[256];
    size_t n;
    (void)snprintf(vocab, sizeof vocab, "pre/%s", file);
    char *data = with_pre(vocab, strcmp(pre, "default") ? pre : "default", &n);
    (void)snprintf(full, sizeof full, "pre %s", pre);
    if (!data || ig_format_open_memory(full, (uint8_t *)data, n, &f, &err) || ig_vocab_from_format(f, &v, &err) || !v)
        tap_ok(false, "%s opens: %s", full, err.text);
    else {
        (void)snprintf(ids, sizeof ids, "pre/%s", group);
        printf("# %s\n", full);
        check_ids(v, ids, ".ids", 0);
    }
    ig_vocab_free(v);
    ig_format_close(f);
    free(data);
}

static void check_matrix(void)
{
    lines groups;
    if (!read_lines("pre/groups.txt", &groups)) return (void)tap_ok(false, "pre/groups.txt can be read");
    for (size_t i = 0; i < groups.n; i++) {
        char *save, *group = strtok_r(groups.line[i], " ", &save), *file = strtok_r(NULL, ": ", &save);
        for (char *pre; group && file && (pre = strtok_r(NULL, " ", &save));) check_pre(group, file, pre);
    }
    free_lines(&groups);
}

int main(void)
{
    static const char *const names[] = {"llama-spm", "llama-bpe", "qwen2",    "gpt-2", "deepseek-coder", "deepseek-llm",
                                        "falcon",    "starcoder", "bert-bge", "phi-3", "baichuan"};
    char probe[1100];
    (void)snprintf(root, sizeof root, "%s/tokenizers", tap_golden());
    (void)snprintf(probe, sizeof probe, "%s/lines.txt", root);
    FILE *f = fopen(probe, "rb");
    if (!f) {
        tap_skip("tokenizers", "no reference data in %s", root);
        return tap_done();
    }
    fclose(f);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_vocab(names[i]);
    check_matrix();
    return tap_done();
}
