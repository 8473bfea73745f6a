/* Tokenizer, ids to text: byte 0 selects vocabulary and flags, the rest are ids of two bytes, also out of range. */
#include "fuzz/token_vocabs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tiny specs[4];
    static ig_vocab *vocabs[4];
    static ig_buf out;
    if (!vocabs[0]) {
        tiny_spm(&specs[0]);
        tiny_wpm(&specs[1]);
        tiny_bpe(&specs[2], IG_STR("gpt-2")); /* cleans spaces */
        tiny_bpe(&specs[3], IG_STR("qwen2"));
        for (int i = 0; i < 4; i++) vocabs[i] = tiny_vocab(&specs[i]);
        ig_buf_init(&out, 1 << 24);
    }
    if (size < 1) return 0;
    const ig_vocab *v = vocabs[data[0] & 3];
    size_t n = (size - 1) / 2;
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    bool valid = true;
    for (size_t i = 0; i < n; i++) {
        int16_t id;
        memcpy(&id, data + 1 + 2 * i, 2);
        ids[i] = id;
        valid = valid && id >= 0 && (size_t)id < ig_vocab_size(v);
    }
    out.len = 0;
    ig_error err;
    ig_status st = ig_detokenize(v, ids, n, data[0] >> 2 & 3, &out, &err);
    if (st != (valid ? IG_OK : IG_BAD_INPUT)) abort();
    if (out.len > n * 24) abort();
    free(ids);
    return 0;
}
