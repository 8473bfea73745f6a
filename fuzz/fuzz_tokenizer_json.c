/* tokenizer.json: the bytes up to the first NUL are the file, the next byte the flags, the rest a text. Whatever the
 * file says, ids lie in the vocabulary and go back to text, and the same text gives the same ids. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/token/token.h"

/* GGUF's form of the vocabulary: one that is said to be the same is the same. Every eighth, for it is tried out. */
static void check_form(const ig_vocab *v, const char *text, size_t n)
{
    ig_vocab_export x;
    ig_vocab *made = NULL;
    ig_error err;
    if (ig_vocab_export_new(v, 0, NULL, &x, &err) != IG_OK) return;
    if (x.fit != IG_VOCAB_NONE && ig_vocab_new(&x.spec, &made, &err) != IG_OK) abort();
    for (unsigned flags = 0; x.fit == IG_VOCAB_SAME && ig_utf8_valid(text, n) && flags < 4; flags++) {
        ig_ids a = {0}, b = {0};
        if (ig_tokenize(v, text, n, flags, &a, &err) != IG_OK || ig_tokenize(made, text, n, flags, &b, &err) != IG_OK)
            abort();
        if (a.len != b.len || (a.len && memcmp(a.ptr, b.ptr, a.len * sizeof *a.ptr))) abort();
        ig_free(a.ptr);
        ig_free(b.ptr);
    }
    ig_vocab_free(made);
    ig_vocab_export_fini(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 4096 };

static void check_ids(const ig_vocab *v, const ig_ids *ids)
{
    ig_buf text;
    ig_error err;
    for (size_t i = 0; i < ids->len; i++)
        if (ids->ptr[i] < 0 || (size_t)ids->ptr[i] >= ig_vocab_size(v)) abort();
    for (unsigned flags = 0; flags < 4; flags++) {
        ig_buf_init(&text, 1 << 26);
        ig_status st = ig_detokenize(v, ids->ptr, ids->len, flags, &text, &err);
        if (st != IG_OK && st != IG_TOO_LARGE && st != IG_NO_MEMORY) abort();
        ig_buf_fini(&text);
    }
    ig_buf_init(&text, 1 << 26);
    for (size_t i = 0; i < ids->len; i++) (void)ig_token_piece(v, ids->ptr[i], i & 1, &text);
    ig_buf_fini(&text);
}

static void run(const ig_vocab *v, const uint8_t *data, size_t size)
{
    ig_ids ids = {0}, again = {0};
    ig_error err;
    unsigned flags = size ? data[0] & 3u : 0;
    size_t n = size > 1 ? size - 1 : 0;
    char *text = malloc(n ? n : 1); /* exact size: an overread is seen */
    if (n) memcpy(text, data + 1, n);
    ig_status st = ig_tokenize(v, text, n, flags, &ids, &err);
    if (st == IG_OK) {
        check_ids(v, &ids);
        if (ig_tokenize(v, text, n, flags, &again, &err) == IG_OK &&
            (again.len != ids.len || (ids.len && memcmp(ids.ptr, again.ptr, ids.len * sizeof *ids.ptr))))
            abort();
    } else if (st != IG_TOO_LARGE && st != IG_NO_MEMORY)
        abort();
    free(text);
    ig_free(ids.ptr);
    ig_free(again.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    ig_vocab *v = NULL;
    ig_error err;
    char *json = calloc(n ? n : 1, 1);
    if (n) memcpy(json, data, n);
    ig_status st = ig_vocab_from_json(json, n, NULL, 0, &v, &err);
    free(json);
    if (st != IG_OK) {
        if (v || !err.text[0]) abort();
        return 0;
    }
    size_t rest = end ? size - n - 1 : 0;
    run(v, end ? end + 1 : data, rest < TEXT_MAX ? rest : TEXT_MAX);
    if (n % 8 == 0) check_form(v, end ? (const char *)end + 1 : "", rest < TEXT_MAX ? rest : TEXT_MAX);
    ig_vocab_free(v);
    return 0;
}
