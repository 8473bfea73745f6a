/* tokenizer.json: the bytes up to the first NUL are the file, the next byte the flags, the rest a text. Whatever the
 * file says, ids lie in the vocabulary and go back to text, and the same text gives the same ids. */
#include <stdlib.h>
#include <string.h>

#include "text/token/token.h"

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
    ig_vocab_free(v);
    return 0;
}
