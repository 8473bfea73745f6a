/* Tokenizer, text to ids: byte 0 selects the vocabulary (SentencePiece, WordPiece, or byte-level under one of the
 * pre-tokenizers), byte 1 the flags, the rest is the text. Ids must be in range; byte-level text must come back. */
#include "fuzz/token_vocabs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PRES_MAX = 120 };
static tiny specs[2 + PRES_MAX];
static ig_vocab *vocabs[2 + PRES_MAX];
static size_t n_vocabs;

static void build(void)
{
    tiny_spm(&specs[0]);
    tiny_wpm(&specs[1]);
    for (n_vocabs = 2; n_vocabs < 2 + PRES_MAX; n_vocabs++) {
        ig_str pre = ig_pre_name_at(n_vocabs - 2);
        if (!pre.ptr) break;
        tiny_bpe(&specs[n_vocabs], pre);
    }
    for (size_t i = 0; i < n_vocabs; i++) vocabs[i] = tiny_vocab(&specs[i]);
}

static void check_back(const ig_vocab *v, const ig_ids *ids, const char *text, size_t n)
{
    static ig_buf back;
    if (!back.max_bytes) ig_buf_init(&back, 1 << 24);
    back.len = 0;
    for (size_t i = 0; i < ids->len; i++) (void)ig_token_piece(v, ids->ptr[i], true, &back);
    if (back.len != n || (n && memcmp(back.ptr, text, n))) abort();
}

/* With all veils a text has the tokens that it has when control tokens are not looked for. */
static void check_veils(const ig_vocab *v, const char *text, size_t n)
{
    static ig_buf marked;
    static ig_ids veiled, plain;
    if (!marked.max_bytes) ig_buf_init(&marked, 1 << 24);
    marked.len = 0;
    veiled.len = plain.len = 0;
    size_t *at = calloc(n + 1, sizeof *at), n_at = 0, k = 0;
    if (!ig_vocab_veil(v, (ig_str){text, n}, IG_STR("\xEF\xB7\x90"), NULL, NULL, &marked)) abort();
    if (n && memmem(text, n, "\xEF\xB7\x90", 3)) return free(at);
    for (size_t i = 0; i < marked.len;) {
        if (marked.len - i >= 3 && !memcmp(marked.ptr + i, "\xEF\xB7\x90", 3))
            at[n_at++] = k, i += 3;
        else
            i++, k++;
    }
    if (k != n) abort();
    if (ig_tokenize_veiled(v, text, n, IG_TOKENIZE_PARSE, (ig_veils){at, n_at}, &veiled, NULL) != IG_OK) abort();
    if (ig_tokenize(v, text, n, 0, &plain, NULL) != IG_OK) abort();
    if (veiled.len != plain.len || (plain.len && memcmp(veiled.ptr, plain.ptr, plain.len * sizeof *plain.ptr))) abort();
    free(at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ig_ids ids;
    if (!n_vocabs) build();
    if (size < 2) return 0;
    size_t which = data[0] % n_vocabs, n = size - 2;
    const ig_vocab *v = vocabs[which];
    char *text = malloc(n ? n : 1); /* exact size: an overread is seen */
    if (n) memcpy(text, data + 2, n);
    ids.len = 0;
    if (ig_tokenize(v, text, n, data[1] & 3, &ids, NULL) != IG_OK) abort();
    for (size_t i = 0; i < ids.len; i++)
        if (ids.ptr[i] < 0 || (size_t)ids.ptr[i] >= ig_vocab_size(v)) abort();
    if (which >= 2 && !v->flags.raw_utf8 && !(data[1] & 1)) check_back(v, &ids, text, n);
    check_veils(v, text, n);
    free(text);
    return 0;
}
