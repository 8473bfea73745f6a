/* Three tiny vocabularies for the tokenizer's fuzz targets and unit tests: byte-level BPE (all bytes and some merges),
 * SentencePiece and WordPiece. Built once; strings are literals or static. */
#ifndef IG_FUZZ_TOKEN_VOCABS_H
#define IG_FUZZ_TOKEN_VOCABS_H

#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/token/pre.h"
#include "text/token/token.h"
#include "text/token/token_priv.h"

enum { TINY_MAX = 700 };

typedef struct tiny {
    char text[TINY_MAX][24];
    ig_str tokens[TINY_MAX], merges[64];
    float scores[TINY_MAX];
    int32_t types[TINY_MAX];
    ig_vocab_spec spec;
} tiny;

static inline void tiny_add(tiny *t, const char *text, int32_t type, float score)
{
    size_t i = t->spec.n_tokens++;
    (void)snprintf(t->text[i], sizeof t->text[i], "%s", text);
    t->tokens[i] = ig_str_from(t->text[i]);
    t->types[i] = type;
    t->scores[i] = score;
}

static inline void tiny_start(tiny *t, const char *model)
{
    memset(t, 0, sizeof *t);
    t->spec = (ig_vocab_spec){.model = ig_str_from(model),
                              .tokens = t->tokens,
                              .scores = t->scores,
                              .types = t->types,
                              .merges = t->merges,
                              .bos = -1,
                              .eos = -1,
                              .eot = -1,
                              .eom = -1,
                              .unk = -1,
                              .sep = -1,
                              .pad = -1,
                              .cls = -1,
                              .mask = -1,
                              .add_bos = -1,
                              .add_eos = -1,
                              .add_sep = -1,
                              .add_space_prefix = -1,
                              .remove_extra_whitespaces = -1};
}

/* Byte-level: ids 0..255 are the bytes in GPT-2's alphabet, then merges, then a control and a user token. */
static inline void tiny_bpe(tiny *t, ig_str pre)
{
    static const char *const merges[] = {"h e",
                                         "l l",
                                         "he ll",
                                         "hell o",
                                         "\xC4\xA0 w",
                                         "a a",
                                         "aa aa",
                                         "1 2",
                                         "12 3",
                                         "_ _",
                                         "__ __",
                                         "\xC4\xA0 \xC4\xA0",
                                         "\xC4\xA0\xC4\xA0 \xC4\xA0\xC4\xA0",
                                         "\xC4\x8A \xC4\x8A"};
    tiny_start(t, "gpt2");
    t->spec.pre = pre;
    for (int b = 0; b < 256; b++) {
        char text[5] = {0};
        (void)ig_utf8_encode(ig_byte_to_char((uint8_t)b), text);
        tiny_add(t, text, IG_TOKEN_NORMAL, 0);
    }
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        char text[24];
        size_t n = 0;
        for (const char *p = merges[i]; *p; p++)
            if (*p != ' ') text[n++] = *p;
        text[n] = 0;
        tiny_add(t, text, IG_TOKEN_NORMAL, 0);
        t->merges[t->spec.n_merges++] = ig_str_from(merges[i]);
    }
    t->spec.bos = (int64_t)t->spec.n_tokens;
    tiny_add(t, "<|begin|>", IG_TOKEN_CONTROL, 0);
    t->spec.eos = (int64_t)t->spec.n_tokens;
    tiny_add(t, "<|endoftext|>", IG_TOKEN_CONTROL, 0);
    tiny_add(t, "<tool>", IG_TOKEN_USER, 0);
}

/* SentencePiece: <unk> <s> </s>, 256 byte tokens, some pieces by falling score. */
static inline void tiny_spm(tiny *t)
{
    static const char *const pieces[] = {
        "\xE2\x96\x81",      "a",  "b",    "h",        "e", "l", "o", "he", "ll", "hell", "hello", "\xE2\x96\x81h",
        "\xE2\x96\x81hello", "aa", "aaaa", "\xC3\xA9", "_", "__"};
    tiny_start(t, "llama");
    tiny_add(t, "<unk>", IG_TOKEN_UNKNOWN, 0);
    tiny_add(t, "<s>", IG_TOKEN_CONTROL, 0);
    tiny_add(t, "</s>", IG_TOKEN_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        char text[8];
        (void)snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        tiny_add(t, text, IG_TOKEN_BYTE, 0);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) tiny_add(t, pieces[i], IG_TOKEN_NORMAL, -(float)i);
    tiny_add(t, "<tool>", IG_TOKEN_USER, 0);
    t->spec.unk = 0;
    t->spec.bos = 1;
    t->spec.eos = 2;
}

static inline void tiny_wpm(tiny *t)
{
    static const char *const pieces[] = {"\xE2\x96\x81hello",
                                         "\xE2\x96\x81he",
                                         "llo",
                                         "\xE2\x96\x81"
                                         "a",
                                         "a",
                                         "b",
                                         "\xE2\x96\x81,",
                                         "\xE2\x96\x81\xE4\xB8\x80",
                                         "\xE2\x96\x81"
                                         "1",
                                         "1"};
    tiny_start(t, "bert");
    tiny_add(t, "[PAD]", IG_TOKEN_CONTROL, 0);
    tiny_add(t, "[UNK]", IG_TOKEN_UNKNOWN, 0);
    tiny_add(t, "[CLS]", IG_TOKEN_CONTROL, 0);
    tiny_add(t, "[SEP]", IG_TOKEN_CONTROL, 0);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) tiny_add(t, pieces[i], IG_TOKEN_NORMAL, 0);
    t->spec.unk = 1;
    t->spec.cls = 2;
    t->spec.sep = 3;
}

static inline ig_vocab *tiny_vocab(const tiny *t)
{
    ig_vocab *v;
    ig_error err;
    if (ig_vocab_new(&t->spec, &v, &err) == IG_OK) return v;
    fprintf(stderr, "%s\n", err.text);
    abort();
}

#endif
