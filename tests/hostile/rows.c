/* Rows of the hostile-file suite: id, stage, expected words, edits. Each row starts from the valid tiny llama model of
 * build.c and breaks one thing. To add a case, add a line.
 * `test_hostile --list` prints the table, `--write DIR` the files. */
#include "rows.h"

#include "format/format.h"

/* Keys */
#define KEY(key, T, value)                                                                                             \
    {                                                                                                                  \
        .op = OP_INT, .at = key, .type = IG_META_##T, .v = (uint64_t)(value)                                           \
    }
#define KEY_IN(p, key, T, value)                                                                                       \
    {                                                                                                                  \
        .op = OP_INT, .at = key, .type = IG_META_##T, .v = (uint64_t)(value), .part = p                                \
    }
#define FLOAT(key, T, value)                                                                                           \
    {                                                                                                                  \
        .op = OP_FLOAT, .at = key, .type = IG_META_##T, .f = value                                                     \
    }
#define TEXT(key, s)                                                                                                   \
    {                                                                                                                  \
        .op = OP_STR, .at = key, .text = s, .len = sizeof(s) - 1                                                       \
    }
#define LONG_TEXT(key, bytes)                                                                                          \
    {                                                                                                                  \
        .op = OP_STR, .at = key, .len = bytes                                                                          \
    }
#define LIST(key, T, count, value)                                                                                     \
    {                                                                                                                  \
        .op = OP_LIST, .at = key, .type = IG_META_##T, .n = count, .v = (uint64_t)(value)                              \
    }
#define LIST_FLOAT(key, T, count, value)                                                                               \
    {                                                                                                                  \
        .op = OP_LIST, .at = key, .type = IG_META_##T, .n = count, .f = value                                          \
    }
#define LIST_TEXT(key, count, s)                                                                                       \
    {                                                                                                                  \
        .op = OP_LIST, .at = key, .type = IG_META_STRING, .n = count, .text = s                                        \
    }
#define SIZE(key, count)                                                                                               \
    {                                                                                                                  \
        .op = OP_SIZE, .at = key, .n = count                                                                           \
    }
#define ITEM(key, idx, s)                                                                                              \
    {                                                                                                                  \
        .op = OP_ITEM, .at = key, .n = idx, .text = s, .len = sizeof(s) - 1                                            \
    }
#define LONG_ITEM(key, idx, bytes)                                                                                     \
    {                                                                                                                  \
        .op = OP_ITEM, .at = key, .n = idx, .len = bytes                                                               \
    }
#define DROP(key)                                                                                                      \
    {                                                                                                                  \
        .op = OP_DROP, .at = key                                                                                       \
    }
#define DROP_IN(p, key)                                                                                                \
    {                                                                                                                  \
        .op = OP_DROP, .at = key, .part = p                                                                            \
    }
#define COPY(key, new_name)                                                                                            \
    {                                                                                                                  \
        .op = OP_COPY, .at = key, .text = new_name                                                                     \
    }
#define RAW_KEY(s)                                                                                                     \
    {                                                                                                                  \
        .op = OP_RAW_KEY, .text = s, .len = sizeof(s) - 1                                                              \
    }
#define LONG_KEY(bytes)                                                                                                \
    {                                                                                                                  \
        .op = OP_RAW_KEY, .len = bytes                                                                                 \
    }
#define ALIGN(bytes)                                                                                                   \
    {                                                                                                                  \
        .op = OP_ALIGN, .v = bytes                                                                                     \
    }
#define FLOOD_KEYS(count)                                                                                              \
    {                                                                                                                  \
        .op = OP_FLOOD_KEYS, .n = count                                                                                \
    }
/* Tensors */
#define SHAPE(t, T, dims, ...)                                                                                         \
    {                                                                                                                  \
        .op = OP_SHAPE, .at = t, .type = T, .n = dims, .ne = { __VA_ARGS__ }                                           \
    }
#define NEW_TENSOR(t, T, dims, ...)                                                                                    \
    {                                                                                                                  \
        .op = OP_NEW_TENSOR, .at = t, .type = T, .n = dims, .ne = { __VA_ARGS__ }                                      \
    }
#define NO_TENSOR(t)                                                                                                   \
    {                                                                                                                  \
        .op = OP_NO_TENSOR, .at = t                                                                                    \
    }
#define NAME(t, s)                                                                                                     \
    {                                                                                                                  \
        .op = OP_NAME, .at = t, .text = s                                                                              \
    }
#define NAME_IN(p, t, s)                                                                                               \
    {                                                                                                                  \
        .op = OP_NAME, .at = t, .text = s, .part = p                                                                   \
    }
#define OFFSET(t, bytes)                                                                                               \
    {                                                                                                                  \
        .op = OP_OFFSET, .at = t, .v = bytes                                                                           \
    }
#define FLOOD_TENSORS(count)                                                                                           \
    {                                                                                                                  \
        .op = OP_FLOOD_TENSORS, .n = count                                                                             \
    }
/* Bases */
#define GPT2                                                                                                           \
    {                                                                                                                  \
        .op = OP_GPT2                                                                                                  \
    }
#define BERT                                                                                                           \
    {                                                                                                                  \
        .op = OP_BERT                                                                                                  \
    }
#define EMPTY                                                                                                          \
    {                                                                                                                  \
        .op = OP_EMPTY                                                                                                 \
    }
#define SPLIT(parts)                                                                                                   \
    {                                                                                                                  \
        .op = OP_SPLIT, .n = parts                                                                                     \
    }
#define OPEN(p)                                                                                                        \
    {                                                                                                                  \
        .op = OP_OPEN, .part = p                                                                                       \
    }
/* Bytes */
#define PUT(label, width, value)                                                                                       \
    {                                                                                                                  \
        .op = OP_PUT, .at = label, .type = width, .v = (uint64_t)(value)                                               \
    }
#define PUT_AT(label, off, width, value)                                                                               \
    {                                                                                                                  \
        .op = OP_PUT, .at = label, .delta = off, .type = width, .v = (uint64_t)(value)                                 \
    }
#define PUT_IN(p, label, width, value)                                                                                 \
    {                                                                                                                  \
        .op = OP_PUT, .at = label, .type = width, .v = (uint64_t)(value), .part = p                                    \
    }
#define CUT(label, off)                                                                                                \
    {                                                                                                                  \
        .op = OP_CUT, .at = label, .delta = off                                                                        \
    }
#define CUT_IN(p, label, off)                                                                                          \
    {                                                                                                                  \
        .op = OP_CUT, .at = label, .delta = off, .part = p                                                             \
    }
#define CUT_TO(bytes)                                                                                                  \
    {                                                                                                                  \
        .op = OP_CUT_TO, .n = bytes                                                                                    \
    }
#define APPEND(bytes)                                                                                                  \
    {                                                                                                                  \
        .op = OP_APPEND, .n = bytes                                                                                    \
    }
#define NO_FILE(p)                                                                                                     \
    {                                                                                                                  \
        .op = OP_NO_FILE, .part = p                                                                                    \
    }
#define SAME_FILE(p)                                                                                                   \
    {                                                                                                                  \
        .op = OP_SAME_FILE, .part = p                                                                                  \
    } /* part p becomes a copy of part 1 */

#define TOKENS    "tokenizer.ggml.tokens"
#define SCORES    "tokenizer.ggml.scores"
#define TYPES     "tokenizer.ggml.token_type"
#define MERGES    "tokenizer.ggml.merges"
#define HEADS     "llama.attention.head_count"
#define HEADS_KV  "llama.attention.head_count_kv"
#define EPS       "llama.attention.layer_norm_rms_epsilon"
#define ROPE_DIMS "llama.rope.dimension_count"
#define ROPE_BASE "llama.rope.freq_base"
#define EMBED     "token_embd.weight"
#define Q         "blk.0.attn_q.weight"
#define NAN32     0x7fc00000u
#define INF32     0x7f800000u
#define NINF32    0xff800000u
#define U64_MAX   UINT64_MAX
#define CUT_SHORT "truncated|remain|follow|outside|more bytes"

const row rows[] = {
    /* ---------------------------------------------------------------- G01 magic and version */
    {"G01-magic-zero", FORMAT, "GGUF+magic", {PUT("magic", 4, 0)}},
    {"G01-magic-lower-case", FORMAT, "GGUF+magic", {PUT("magic", 4, 0x66756767)}},
    {"G01-magic-one-byte-off", FORMAT, "GGUF+magic", {PUT_AT("magic", 3, 1, 'G')}},
    {"G01-magic-swapped", FORMAT, "byte-swapped", {PUT("magic", 4, 0x47475546)}},
    {"G01-magic-ggml", FORMAT, "before GGUF", {PUT("magic", 4, 0x67676d6c)}},
    {"G01-magic-ggjt", FORMAT, "before GGUF", {PUT("magic", 4, 0x67676a74)}},
    {"G01-magic-zip", FORMAT, "GGUF+magic", {PUT("magic", 4, 0x04034b50)}},
    {"G01-magic-safetensors", FORMAT, "GGUF+magic", {PUT("magic", 8, 64)}},
    {"G01-version-0", FORMAT, "version 0+expected 2 or 3", {PUT("version", 4, 0)}},
    {"G01-version-1", FORMAT, "version 1+expected 2 or 3", {PUT("version", 4, 1)}},
    {"G01-version-4", FORMAT, "version 4+expected 2 or 3", {PUT("version", 4, 4)}},
    {"G01-version-max", FORMAT, "version+expected 2 or 3", {PUT("version", 4, UINT32_MAX)}},
    {"G01-version-3-big-endian", FORMAT, "big-endian", {PUT("version", 4, 0x03000000)}},
    {"G01-version-2-big-endian", FORMAT, "big-endian", {PUT("version", 4, 0x02000000)}},
    {"G01-version-1-big-endian", FORMAT, "big-endian", {PUT("version", 4, 0x01000000)}},
    {"G01-empty-file", FORMAT, "empty", {CUT_TO(0)}},
    {"G01-one-byte", FORMAT, "truncated", {CUT_TO(1)}},
    {"G01-only-magic", FORMAT, "truncated+version", {CUT_TO(4)}},

    /* ---------------------------------------------------------------- G02 counts */
    {"G02-tensors-over-limit", FORMAT, "number of tensors+limit", {PUT("n_tensors", 8, 1048577)}},
    {"G02-tensors-2^32", FORMAT, "number of tensors+limit", {PUT("n_tensors", 8, 1ull << 32)}},
    {"G02-tensors-2^63", FORMAT, "number of tensors+limit", {PUT("n_tensors", 8, 1ull << 63)}},
    {"G02-tensors-max", FORMAT, "number of tensors+limit", {PUT("n_tensors", 8, U64_MAX)}},
    {"G02-tensors-wrap-33", FORMAT, "number of tensors+limit", {PUT("n_tensors", 8, U64_MAX / 33 + 1)}},
    {"G02-tensors-more-than-bytes", FORMAT, "number of tensors+follow", {PUT("n_tensors", 8, 1048576)}},
    {"G02-tensors-one-more", FORMAT, "tensor 12", {PUT("n_tensors", 8, 13)}},
    {"G02-keys-over-limit", FORMAT, "number of keys+limit", {PUT("n_keys", 8, 65537)}},
    {"G02-keys-2^32", FORMAT, "number of keys+limit", {PUT("n_keys", 8, 1ull << 32)}},
    {"G02-keys-max", FORMAT, "number of keys+limit", {PUT("n_keys", 8, U64_MAX)}},
    {"G02-keys-wrap-14", FORMAT, "number of keys+limit", {PUT("n_keys", 8, U64_MAX / 14 + 1)}},
    {"G02-keys-more-than-bytes", FORMAT, "number of keys+follow", {PUT("n_keys", 8, 65536)}},
    {"G02-keys-one-more", FORMAT, "key", {PUT("n_keys", 8, 20)}},
    {"G02-keys-65537-present", FORMAT, "number of keys+limit", {FLOOD_KEYS(65537)}},
    {"G02-keys-million-present", FORMAT, "number of keys+limit", {FLOOD_KEYS(1000000)}},
    {"G02-keys-none-but-tensors", FORMAT, "general.architecture+8 dimensions", {PUT("n_keys", 8, 0)}},

    /* ---------------------------------------------------------------- G03 lengths */
    {"G03-key-length-0", FORMAT, "key 1+empty", {PUT("key/general.name/len", 8, 0)}},
    {"G03-key-length-65536", FORMAT, "key 1+limit", {PUT("key/general.name/len", 8, 65536)}},
    {"G03-key-longer-than-file", FORMAT, "key 1+remain", {PUT("key/general.name/len", 8, 60000)}},
    {"G03-key-length-2^31", FORMAT, "key 1+limit", {PUT("key/general.name/len", 8, 1ull << 31)}},
    {"G03-key-length-2^63", FORMAT, "key 1+limit", {PUT("key/general.name/len", 8, 1ull << 63)}},
    {"G03-key-length-max", FORMAT, "key 1+limit", {PUT("key/general.name/len", 8, U64_MAX)}},
    {"G03-key-length-wraps-to-start", FORMAT, "key 1+limit", {PUT("key/general.name/len", 8, U64_MAX - 24)}},
    {"G03-key-65536-bytes-present", FORMAT, "limit", {LONG_KEY(65536)}},
    {"G03-string-longer-than-file", FORMAT, "general.name+remain", {PUT("key/general.name/value", 8, 1u << 20)}},
    {"G03-string-one-too-long-at-end",
     FORMAT,
     "zz+remain",
     {EMPTY, TEXT("zz", "abc"), PUT("key/zz/value", 8, 4), CUT("key/zz/value", 11)}},
    {"G03-string-over-limit", FORMAT, "general.name+limit", {PUT("key/general.name/value", 8, (64u << 20) + 1)}},
    {"G03-string-2^31", FORMAT, "general.name+limit", {PUT("key/general.name/value", 8, 1ull << 31)}},
    {"G03-string-2^32-plus-7", FORMAT, "general.name+limit", {PUT("key/general.name/value", 8, (1ull << 32) + 7)}},
    {"G03-string-2^63", FORMAT, "general.name+limit", {PUT("key/general.name/value", 8, 1ull << 63)}},
    {"G03-string-minus-1", FORMAT, "general.name+limit", {PUT("key/general.name/value", 8, U64_MAX)}},
    {"G03-token-longer-than-file", FORMAT, TOKENS "+remain", {PUT("key/" TOKENS "/items", 8, 1u << 20)}},
    {"G03-token-minus-1", FORMAT, TOKENS "+limit", {PUT("key/" TOKENS "/items", 8, U64_MAX)}},
    {"G03-token-minus-8", FORMAT, TOKENS "+limit", {PUT("key/" TOKENS "/items", 8, U64_MAX - 7)}},
    {"G03-tensor-name-0", FORMAT, "tensor 0+empty", {PUT("tensor/" EMBED "/len", 8, 0)}},
    {"G03-tensor-name-64", FORMAT, "tensor 0+limit", {PUT("tensor/" EMBED "/len", 8, 64)}},
    {"G03-tensor-name-max", FORMAT, "tensor 0+limit", {PUT("tensor/" EMBED "/len", 8, U64_MAX)}},
    {"G03-tensor-name-64-present",
     FORMAT,
     "limit",
     {NAME(EMBED, "n234567890123456789012345678901234567890123456789012345678901234")}},

    /* ---------------------------------------------------------------- G04 names and text */
    {"G04-key-with-nul", FORMAT, "ASCII", {RAW_KEY("a\0b")}},
    {"G04-key-is-nul", FORMAT, "ASCII", {RAW_KEY("\0")}},
    {"G04-key-with-newline", FORMAT, "ASCII", {RAW_KEY("a\nb")}},
    {"G04-key-with-escape", FORMAT, "ASCII", {RAW_KEY("\x1b[2J")}},
    {"G04-key-with-utf8", FORMAT, "ASCII", {RAW_KEY("schl\xc3\xbcssel")}},
    {"G04-key-with-0xff", FORMAT, "ASCII", {RAW_KEY("\xff\xfe")}},
    {"G04-key-empty", FORMAT, "empty", {RAW_KEY("")}},
    {"G04-key-prefix-nul-hides-alignment", FORMAT, "ASCII", {RAW_KEY("general.alignment\0")}},
    {"G04-tensor-name-nul", FORMAT, "tensor 0+NUL", {PUT_AT("tensor/" EMBED "/name", 5, 1, 0)}},
    {"G04-tensor-name-not-utf8", FORMAT, "tensor 0+UTF-8", {PUT_AT("tensor/" EMBED "/name", 5, 1, 0xff)}},
    {"G04-architecture-not-utf8", MODEL, "general.architecture+UTF-8", {TEXT("general.architecture", "\xc3\x28")}},
    {"G04-architecture-embedded-nul", MODEL, "architecture", {TEXT("general.architecture", "llama\0x")}},
    {"G04-model-embedded-nul",
     VOCAB,
     "tokenizer.ggml.model|vocabulary|tokenizer",
     {TEXT("tokenizer.ggml.model", "llama\0x")}},
    {"G04-model-not-utf8", VOCAB, "tokenizer.ggml.model+UTF-8", {TEXT("tokenizer.ggml.model", "\xed\xa0\x80")}},

    /* ---------------------------------------------------------------- G05 duplicates */
    {"G05-key-twice", FORMAT, "general.name+duplicate", {COPY("general.name", "general.name")}},
    {"G05-key-twice-other-type", FORMAT, "general.name+duplicate", {RAW_KEY("general.name")}},
    {"G05-tokens-twice", FORMAT, TOKENS "+duplicate", {COPY(TOKENS, TOKENS)}},
    {"G05-alignment-twice",
     FORMAT,
     "general.alignment+duplicate",
     {ALIGN(32), COPY("general.alignment", "general.alignment")}},
    {"G05-key-twice-among-60000", FORMAT, "duplicate", {FLOOD_KEYS(60000), RAW_KEY("flood.0059999")}},
    {"G05-tensor-twice", FORMAT, EMBED "+duplicate", {NAME("output.weight", EMBED)}},
    {"G05-layer-tensor-twice", FORMAT, Q "+duplicate", {NAME("blk.0.attn_k.weight", Q)}},
    {"G05-tensor-twice-among-20000",
     FORMAT,
     "flood.0000000+duplicate",
     {FLOOD_TENSORS(20000), NAME(EMBED, "flood.0000000")}},

    /* ---------------------------------------------------------------- G06 value types */
    {"G06-type-13", FORMAT, "general.name+type 13", {PUT("key/general.name/type", 4, 13)}},
    {"G06-type-255", FORMAT, "general.name+type 255", {PUT("key/general.name/type", 4, 255)}},
    {"G06-type-2^31", FORMAT, "general.name+type 2147483648", {PUT("key/general.name/type", 4, 1u << 31)}},
    {"G06-type-max", FORMAT, "general.name+type", {PUT("key/general.name/type", 4, UINT32_MAX)}},
    {"G06-element-type-13", FORMAT, SCORES "+element type 13", {PUT("key/" SCORES "/elem", 4, 13)}},
    {"G06-element-type-max", FORMAT, SCORES "+element type", {PUT("key/" SCORES "/elem", 4, UINT32_MAX)}},
    {"G06-array-of-arrays", FORMAT, SCORES "+array of arrays", {PUT("key/" SCORES "/elem", 4, IG_META_ARRAY)}},
    {"G06-array-of-arrays-empty", FORMAT, "nested+array of arrays", {LIST("nested", ARRAY, 0, 0)}},
    {"G06-array-of-arrays-2^60",
     FORMAT,
     "nested+array of arrays",
     {LIST("nested", ARRAY, 0, 0), PUT("key/nested/count", 8, 1ull << 60)}},

    /* ---------------------------------------------------------------- G07 bool */
    {"G07-bool-2", FORMAT, "add_bos_token+expected 0 or 1", {KEY("tokenizer.ggml.add_bos_token", BOOL, 2)}},
    {"G07-bool-255", FORMAT, "add_bos_token+expected 0 or 1", {KEY("tokenizer.ggml.add_bos_token", BOOL, 255)}},
    {"G07-bool-128", FORMAT, "add_bos_token+expected 0 or 1", {KEY("tokenizer.ggml.add_bos_token", BOOL, 128)}},
    {"G07-unknown-key-bool-7", FORMAT, "x.flag+expected 0 or 1", {KEY("x.flag", BOOL, 7)}},
    {"G07-array-first-2", FORMAT, "x.flags+expected 0 or 1", {LIST("x.flags", BOOL, 100, 2)}},
    {"G07-array-last-3",
     FORMAT,
     "x.flags+expected 0 or 1",
     {LIST("x.flags", BOOL, 100, 1), PUT_AT("key/x.flags/items", 99, 1, 3)}},

    /* ---------------------------------------------------------------- G08 types of known keys */
    {"G08-alignment-u64", FORMAT, "general.alignment+u64+u32", {KEY("general.alignment", U64, 32)}},
    {"G08-alignment-i32", FORMAT, "general.alignment+i32+u32", {KEY("general.alignment", I32, 32)}},
    {"G08-alignment-string", FORMAT, "general.alignment+string+u32", {TEXT("general.alignment", "32")}},
    {"G08-alignment-array", FORMAT, "general.alignment+array+u32", {LIST("general.alignment", U32, 1, 32)}},
    {"G08-split-count-string", FORMAT, "split.count+string", {TEXT("split.count", "2")}},
    {"G08-split-no-float", FORMAT, "split.no+f32", {KEY("split.count", U16, 2), FLOAT("split.no", F32, 0)}},
    {"G08-tokens-scalar-string", VOCAB, TOKENS, {TEXT(TOKENS, "abc")}},
    {"G08-tokens-array-u32", VOCAB, TOKENS, {LIST(TOKENS, U32, 272, 0)}},
    {"G08-tokens-array-u8", VOCAB, TOKENS, {LIST(TOKENS, U8, 272, 'a')}},
    {"G08-scores-u8", VOCAB, SCORES, {LIST(SCORES, U8, 272, 0)}},
    {"G08-scores-i32", VOCAB, SCORES, {LIST(SCORES, I32, 272, 0)}},
    {"G08-scores-bool", VOCAB, SCORES, {LIST(SCORES, BOOL, 272, 0)}},
    {"G08-scores-strings", VOCAB, SCORES, {LIST_TEXT(SCORES, 272, "0")}},
    {"G08-scores-scalar", VOCAB, SCORES, {FLOAT(SCORES, F32, 0)}},
    {"G08-types-f32", VOCAB, TYPES, {LIST_FLOAT(TYPES, F32, 272, 1)}},
    {"G08-types-strings", VOCAB, TYPES, {LIST_TEXT(TYPES, 272, "1")}},
    {"G08-types-bool", VOCAB, TYPES, {LIST(TYPES, BOOL, 272, 1)}},
    {"G08-types-scalar", VOCAB, TYPES, {KEY(TYPES, I32, 1)}},
    {"G08-merges-u32", VOCAB, MERGES, {GPT2, LIST(MERGES, U32, 15, 1)}},
    {"G08-merges-scalar", VOCAB, MERGES, {GPT2, TEXT(MERGES, "a a")}},
    {"G08-model-u32", VOCAB, "tokenizer.ggml.model", {KEY("tokenizer.ggml.model", U32, 1)}},
    {"G08-model-array", VOCAB, "tokenizer.ggml.model", {LIST_TEXT("tokenizer.ggml.model", 1, "llama")}},
    {"G08-pre-u32", VOCAB, "tokenizer.ggml.pre", {GPT2, KEY("tokenizer.ggml.pre", U32, 1)}},
    {"G08-bos-string", VOCAB, "bos_token_id", {TEXT("tokenizer.ggml.bos_token_id", "1")}},
    {"G08-bos-float", VOCAB, "bos_token_id", {FLOAT("tokenizer.ggml.bos_token_id", F32, 1)}},
    {"G08-eos-array", VOCAB, "eos_token_id", {LIST("tokenizer.ggml.eos_token_id", U32, 1, 2)}},
    {"G08-add-bos-u8", VOCAB, "add_bos_token", {KEY("tokenizer.ggml.add_bos_token", U8, 1)}},
    {"G08-add-bos-string", VOCAB, "add_bos_token", {TEXT("tokenizer.ggml.add_bos_token", "true")}},
    {"G26-type-adapter", MODEL, "general.type+adapter", {TEXT("general.type", "adapter")}},
    {"G26-type-vocab", MODEL, "general.type+vocab", {TEXT("general.type", "vocab")}},
    {"G26-type-empty", MODEL, "general.type", {TEXT("general.type", "")}},
    {"G08-architecture-u32", MODEL, "general.architecture", {KEY("general.architecture", U32, 0)}},
    {"G08-architecture-array", MODEL, "general.architecture", {LIST_TEXT("general.architecture", 1, "llama")}},
    {"G08-context-string", MODEL, "context_length", {TEXT("llama.context_length", "64")}},
    {"G08-context-f32", MODEL, "context_length", {FLOAT("llama.context_length", F32, 64)}},
    {"G08-context-bool", MODEL, "context_length", {KEY("llama.context_length", BOOL, 1)}},
    {"G08-embedding-array", MODEL, "embedding_length", {LIST("llama.embedding_length", U32, 1, 8)}},
    {"G08-layers-negative", MODEL, "block_count", {KEY("llama.block_count", I32, -1)}},
    {"G08-layers-2^32-plus-1", MODEL, "block_count", {KEY("llama.block_count", U64, (1ull << 32) + 1)}},
    {"G08-heads-string", MODEL, "head_count", {TEXT(HEADS, "2")}},
    {"G08-eps-u32", MODEL, "epsilon", {KEY(EPS, U32, 0x3727c5ac)}},
    {"G08-eps-string", MODEL, "epsilon", {TEXT(EPS, "1e-5")}},
    {"G08-rope-base-i32", MODEL, "freq_base", {KEY(ROPE_BASE, I32, 10000)}},
    {"G08-rope-dims-f32", MODEL, "dimension_count", {FLOAT(ROPE_DIMS, F32, 4)}},

    /* ---------------------------------------------------------------- G09 arrays */
    {"G09-count-2^61-wraps", FORMAT, SCORES "+fit", {PUT("key/" SCORES "/count", 8, (1ull << 62) + 272)}},
    {"G09-count-2^61-u64-wraps",
     FORMAT,
     "x.list+fit",
     {LIST("x.list", U64, 2, 0), PUT("key/x.list/count", 8, (1ull << 61) + 2)}},
    {"G09-count-max", FORMAT, SCORES "+fit", {PUT("key/" SCORES "/count", 8, U64_MAX)}},
    {"G09-count-more-than-file", FORMAT, SCORES "+fit", {PUT("key/" SCORES "/count", 8, 1u << 20)}},
    {"G09-strings-count-max", FORMAT, TOKENS "+fit", {PUT("key/" TOKENS "/count", 8, U64_MAX)}},
    {"G09-strings-count-2^61", FORMAT, TOKENS "+fit", {PUT("key/" TOKENS "/count", 8, (1ull << 61) + 272)}},
    {"G09-strings-count-2^31", FORMAT, TOKENS "+fit", {PUT("key/" TOKENS "/count", 8, 1ull << 31)}},
    {"G09-u8-count-more-than-file",
     FORMAT,
     "x.list+fit",
     {LIST("x.list", U8, 4, 0), PUT("key/x.list/count", 8, 1ull << 40)}},
    {"G09-bool-count-more-than-file",
     FORMAT,
     "x.list+fit",
     {LIST("x.list", BOOL, 4, 0), PUT("key/x.list/count", 8, 1ull << 40)}},
    {"G09-scores-one-less", VOCAB, "scores", {SIZE(SCORES, 271)}},
    {"G09-scores-one-more", VOCAB, "scores", {SIZE(SCORES, 273)}},
    {"G09-scores-none", VOCAB, "scores", {SIZE(SCORES, 0)}},
    {"G09-types-one-less", VOCAB, "token_type", {SIZE(TYPES, 271)}},
    {"G09-types-one-more", VOCAB, "token_type", {SIZE(TYPES, 273)}},
    {"G09-types-none", VOCAB, "token_type", {SIZE(TYPES, 0)}},
    {"G09-tokens-one-less", VOCAB, "tokens|scores|token_type", {SIZE(TOKENS, 271)}},
    {"G09-tokens-none", VOCAB, "tokens|scores|token_type", {SIZE(TOKENS, 0)}},
    {"G09-merge-without-separator", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, "ad")}},
    {"G09-merge-two-separators", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, "a d d")}},
    {"G09-merge-empty", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, "")}},
    {"G09-merge-only-separator", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, " ")}},
    {"G09-merge-left-empty", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, " d")}},
    {"G09-merge-right-empty", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, "a ")}},
    {"G09-merge-left-unknown", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, "qq d")}},
    {"G09-merge-right-unknown", VOCAB, "merge", {GPT2, ITEM(MERGES, 3, "a dd")}},

    /* ---------------------------------------------------------------- G10 dimensions */
    {"G10-no-dimension", FORMAT, EMBED "+0 dimensions", {PUT("tensor/" EMBED "/n_dims", 4, 0)}},
    {"G10-five-dimensions", FORMAT, EMBED "+5 dimensions", {PUT("tensor/" EMBED "/n_dims", 4, 5)}},
    {"G10-2^31-dimensions", FORMAT, EMBED "+dimensions", {PUT("tensor/" EMBED "/n_dims", 4, 1u << 31)}},
    {"G10-max-dimensions", FORMAT, EMBED "+dimensions", {PUT("tensor/" EMBED "/n_dims", 4, UINT32_MAX)}},
    {"G10-columns-0", FORMAT, EMBED "+dimension 0", {PUT("tensor/" EMBED "/ne0", 8, 0)}},
    {"G10-rows-0", FORMAT, EMBED "+dimension 1", {PUT("tensor/" EMBED "/ne1", 8, 0)}},
    {"G10-columns-2^40-plus-1", FORMAT, EMBED "+dimension 0", {PUT("tensor/" EMBED "/ne0", 8, (1ull << 40) + 1)}},
    {"G10-columns-2^63", FORMAT, EMBED "+dimension 0", {PUT("tensor/" EMBED "/ne0", 8, 1ull << 63)}},
    {"G10-rows-minus-1", FORMAT, EMBED "+dimension 1", {PUT("tensor/" EMBED "/ne1", 8, U64_MAX)}},
    {"G10-q8_0-columns-8", FORMAT, EMBED "+multiple of 32", {PUT("tensor/" EMBED "/type", 4, IG_Q8_0)}},
    {"G10-q4_0-columns-8", FORMAT, EMBED "+multiple of 32", {PUT("tensor/" EMBED "/type", 4, IG_Q4_0)}},
    {"G10-q4_k-columns-8", FORMAT, EMBED "+multiple of 256", {PUT("tensor/" EMBED "/type", 4, IG_Q4_K)}},
    {"G10-q6_k-columns-255", FORMAT, EMBED "+multiple of 256", {SHAPE(EMBED, IG_Q6_K, 2, 255, 272)}},
    {"G10-nvfp4-columns-96", FORMAT, EMBED "+multiple of 64", {SHAPE(EMBED, 40, 2, 96, 272)}},
    {"G10-q1_0-columns-64", FORMAT, EMBED "+multiple of 128", {SHAPE(EMBED, 41, 2, 64, 272)}},

    /* ---------------------------------------------------------------- G11 bytes of a tensor */
    {"G11-exabyte", FORMAT, EMBED "+more bytes", {SHAPE(EMBED, IG_F32, 2, 1ull << 40, 1ull << 20)}},
    {"G11-product-wraps-to-0", FORMAT, EMBED "+more bytes", {SHAPE(EMBED, IG_F32, 2, 1ull << 32, 1ull << 32)}},
    {"G11-product-wraps-to-32", FORMAT, EMBED "+more bytes", {SHAPE(EMBED, IG_F32, 3, 1ull << 40, 1ull << 22, 8)}},
    {"G11-product-of-four-wraps",
     FORMAT,
     EMBED "+more bytes",
     {SHAPE(EMBED, IG_F32, 4, 1ull << 40, 1ull << 40, 1ull << 40, 1ull << 40)}},
    {"G11-elements-fit-bytes-wrap", FORMAT, EMBED "+more bytes", {SHAPE(EMBED, IG_F32, 2, 1ull << 40, 1ull << 22)}},
    {"G11-f64-bytes-wrap", FORMAT, EMBED "+more bytes", {SHAPE(EMBED, 28, 2, 1ull << 40, 1ull << 21)}},
    {"G11-q4_k-bytes-wrap",
     FORMAT,
     EMBED "+more bytes",
     {SHAPE(EMBED, IG_Q4_K, 3, 1ull << 40, 1ull << 16, 1ull << 16)}},
    {"G11-third-dimension-wraps", FORMAT, EMBED "+more bytes", {SHAPE(EMBED, IG_F32, 3, 8, 1ull << 40, 1ull << 30)}},
    {"G11-more-than-file", FORMAT, EMBED "+more bytes", {SHAPE(EMBED, IG_F32, 2, 8, 1u << 24)}},
    {"G11-more-than-file-by-one-row",
     FORMAT,
     "blk.0.ffn_down.weight+outside",
     {PUT("tensor/blk.0.ffn_down.weight/ne1", 8, 9)}},

    /* ---------------------------------------------------------------- G12 alignment */
    {"G12-alignment-0", FORMAT, "general.alignment+power of two", {KEY("general.alignment", U32, 0)}},
    {"G12-alignment-1", FORMAT, "general.alignment+power of two", {KEY("general.alignment", U32, 1)}},
    {"G12-alignment-4", FORMAT, "general.alignment+power of two", {KEY("general.alignment", U32, 4)}},
    {"G12-alignment-12", FORMAT, "general.alignment+power of two", {KEY("general.alignment", U32, 12)}},
    {"G12-alignment-33", FORMAT, "general.alignment+power of two", {KEY("general.alignment", U32, 33)}},
    {"G12-alignment-131072", FORMAT, "general.alignment+65536", {KEY("general.alignment", U32, 131072)}},
    {"G12-alignment-2^31", FORMAT, "general.alignment+65536", {KEY("general.alignment", U32, 1u << 31)}},
    {"G12-alignment-max", FORMAT, "general.alignment+65536", {KEY("general.alignment", U32, UINT32_MAX)}},
    {"G12-alignment-other-than-layout",
     FORMAT,
     "multiple of the alignment 65536",
     {KEY("general.alignment", U32, 65536)}},

    /* ---------------------------------------------------------------- G13 offsets */
    {"G13-offset-1", FORMAT, Q "+multiple of the alignment", {PUT("tensor/" Q "/offset", 8, 1)}},
    {"G13-offset-16", FORMAT, Q "+multiple of the alignment", {PUT("tensor/" Q "/offset", 8, 16)}},
    {"G13-offset-past-end", FORMAT, Q "+outside", {PUT("tensor/" Q "/offset", 8, 1u << 20)}},
    {"G13-offset-2^63", FORMAT, Q "+outside", {PUT("tensor/" Q "/offset", 8, 1ull << 63)}},
    {"G13-offset-wraps-into-header", FORMAT, Q "+outside", {PUT("tensor/" Q "/offset", 8, U64_MAX - 1023)}},
    {"G13-offset-minus-32", FORMAT, Q "+outside", {PUT("tensor/" Q "/offset", 8, U64_MAX - 31)}},
    {"G13-same-offset", FORMAT, "overlap+" Q, {PUT("tensor/" Q "/offset", 8, 0)}},
    {"G13-overlap-by-32",
     FORMAT,
     "overlap+output_norm.weight",
     {PUT("tensor/output_norm.weight/offset", 8, 8 * 272 * 4 - 32)}},
    {"G13-inside-another", FORMAT, "overlap+" EMBED, {PUT("tensor/output_norm.weight/offset", 8, 1024)}},
    {"G13-all-at-0", FORMAT, "overlap", {FLOOD_TENSORS(100), PUT("tensor/output.weight/offset", 8, 0)}},
    {"G13-among-20000-reversed",
     FORMAT,
     "overlap+flood.",
     {FLOOD_TENSORS(20000), PUT("tensor/output_norm.weight/offset", 8, 32 * 9000)}},
    {"G13-last-ends-outside",
     FORMAT,
     "blk.0.ffn_down.weight+outside",
     {CUT("tensor/blk.0.ffn_down.weight/data", 16 * 8 * 4 - 1)}},

/* ---------------------------------------------------------------- G14 tensor types */
#define BAD_TYPE(id)                                                                                                   \
    {                                                                                                                  \
        "G14-type-" #id, FORMAT, Q "+type " #id "+unknown, removed", { PUT("tensor/" Q "/type", 4, id) }               \
    }
    BAD_TYPE(4),
    BAD_TYPE(5),
    BAD_TYPE(9),
    BAD_TYPE(15),
    BAD_TYPE(31),
    BAD_TYPE(32),
    BAD_TYPE(33),
    BAD_TYPE(36),
    BAD_TYPE(37),
    BAD_TYPE(38),
    BAD_TYPE(43),
    BAD_TYPE(63),
    BAD_TYPE(64),
    BAD_TYPE(255),
    BAD_TYPE(65536),
    BAD_TYPE(2147483647),
    BAD_TYPE(-1),
    BAD_TYPE(-2147483647),

/* ---------------------------------------------------------------- G15 tensors of the architecture */
#define MISSING(t)                                                                                                     \
    {                                                                                                                  \
        "G15-missing-" t, MODEL, t, { NO_TENSOR(t) }                                                                   \
    }
    MISSING(EMBED),
    MISSING("output_norm.weight"),
    MISSING("blk.0.attn_norm.weight"),
    MISSING(Q),
    MISSING("blk.0.attn_k.weight"),
    MISSING("blk.0.attn_v.weight"),
    MISSING("blk.0.attn_output.weight"),
    MISSING("blk.0.ffn_norm.weight"),
    MISSING("blk.0.ffn_gate.weight"),
    MISSING("blk.0.ffn_up.weight"),
    MISSING("blk.0.ffn_down.weight"),
#define BAD_SHAPE(t, ...)                                                                                              \
    {                                                                                                                  \
        "G15-shape-" t, MODEL, t, { SHAPE(t, IG_F32, __VA_ARGS__) }                                                    \
    }
    BAD_SHAPE(EMBED, 2, 16, 272),
    BAD_SHAPE("output_norm.weight", 1, 9),
    BAD_SHAPE("output.weight", 2, 8, 271),
    BAD_SHAPE("blk.0.attn_norm.weight", 1, 7),
    BAD_SHAPE(Q, 2, 8, 16),
    BAD_SHAPE("blk.0.attn_k.weight", 2, 8, 8),
    BAD_SHAPE("blk.0.attn_v.weight", 2, 4, 8),
    BAD_SHAPE("blk.0.attn_output.weight", 3, 8, 8, 2),
    BAD_SHAPE("blk.0.ffn_norm.weight", 2, 8, 2),
    BAD_SHAPE("blk.0.ffn_gate.weight", 2, 16, 8),
    BAD_SHAPE("blk.0.ffn_up.weight", 2, 8, 15),
    BAD_SHAPE("blk.0.ffn_down.weight", 4, 16, 8, 1, 2),
    {"G15-vector-as-number", MODEL, "output_norm.weight", {SHAPE("output_norm.weight", IG_F32, 1, 1)}},
    {"G15-norm-as-i32", MODEL, "output_norm.weight", {SHAPE("output_norm.weight", 26, 1, 8)}},
    {"G15-matrix-as-i8", MODEL, Q, {SHAPE(Q, 24, 2, 8, 8)}},
    {"G15-extra-tensor", MODEL, "surprise.weight", {NEW_TENSOR("surprise.weight", IG_F32, 1, 8)}},
    {"G15-tensor-of-layer-1", MODEL, "blk.1.attn_q.weight", {NEW_TENSOR("blk.1.attn_q.weight", IG_F32, 2, 8, 8)}},
    {"G15-layer-number-2^32", MODEL, "blk.4294967296", {NEW_TENSOR("blk.4294967296.attn_q.weight", IG_F32, 2, 8, 8)}},
    {"G15-expert-tensor-in-dense-model",
     MODEL,
     "ffn_gate_exps",
     {NEW_TENSOR("blk.0.ffn_gate_exps.weight", IG_F32, 3, 8, 16, 4)}},
    {"G15-two-layers-one-present", MODEL, "blk.1.", {KEY("llama.block_count", U32, 2)}},
    {"G15-bias-of-wrong-size", MODEL, "blk.0.attn_q.bias", {NEW_TENSOR("blk.0.attn_q.bias", IG_F32, 1, 4)}},

/* ---------------------------------------------------------------- G16 hyper-parameters */
#define MISSING_KEY(rule, key)                                                                                         \
    {                                                                                                                  \
        rule "-missing-" key, MODEL, key, { DROP(key) }                                                                \
    }
    MISSING_KEY("G16", "general.architecture"),
    MISSING_KEY("G16", "llama.context_length"),
    MISSING_KEY("G16", "llama.embedding_length"),
    MISSING_KEY("G16", "llama.block_count"),
    MISSING_KEY("G16", "llama.feed_forward_length"),
    MISSING_KEY("G16", HEADS),
    MISSING_KEY("G16", EPS),
    {"G16-architecture-unknown", MODEL, "architecture+nosuchmodel", {TEXT("general.architecture", "nosuchmodel")}},
    {"G16-architecture-empty", MODEL, "architecture", {TEXT("general.architecture", "")}},
    {"G16-architecture-format-string", MODEL, "architecture", {TEXT("general.architecture", "%s%n%s%n")}},
    {"G16-architecture-1-MiB", MODEL, "architecture", {LONG_TEXT("general.architecture", 1 << 20)}},
    {"G16-context-0", MODEL, "context_length", {KEY("llama.context_length", U32, 0)}},
    {"G16-context-2^24-plus-1", MODEL, "context_length", {KEY("llama.context_length", U32, (1u << 24) + 1)}},
    {"G16-context-max", MODEL, "context_length", {KEY("llama.context_length", U32, UINT32_MAX)}},
    {"G16-embedding-0", MODEL, "embedding_length", {KEY("llama.embedding_length", U32, 0)}},
    {"G16-embedding-max", MODEL, "embedding_length", {KEY("llama.embedding_length", U32, UINT32_MAX)}},
    {"G16-embedding-7", MODEL, "embedding_length|head_count", {KEY("llama.embedding_length", U32, 7)}},
    {"G16-layers-0", MODEL, "block_count", {KEY("llama.block_count", U32, 0)}},
    {"G16-layers-1025", MODEL, "block_count", {KEY("llama.block_count", U32, 1025)}},
    {"G16-layers-max", MODEL, "block_count", {KEY("llama.block_count", U32, UINT32_MAX)}},
    {"G16-feed-forward-0", MODEL, "feed_forward_length", {KEY("llama.feed_forward_length", U32, 0)}},
    {"G16-feed-forward-max", MODEL, "feed_forward_length", {KEY("llama.feed_forward_length", U32, UINT32_MAX)}},
    {"G16-heads-0", MODEL, "head_count", {KEY(HEADS, U32, 0)}},
    {"G16-heads-3", MODEL, "head_count", {KEY(HEADS, U32, 3)}},
    {"G16-heads-16-of-8", MODEL, "head_count", {KEY(HEADS, U32, 16)}},
    {"G16-heads-max", MODEL, "head_count", {KEY(HEADS, U32, UINT32_MAX)}},
    {"G16-kv-heads-0", MODEL, "head_count_kv", {KEY(HEADS_KV, U32, 0)}},
    {"G16-kv-heads-3", MODEL, "head_count_kv", {KEY(HEADS_KV, U32, 3)}},
    {"G16-kv-heads-4-of-2", MODEL, "head_count_kv", {KEY(HEADS_KV, U32, 4)}},
    {"G16-kv-heads-absent", MODEL, "blk.0.attn_k.weight", {DROP(HEADS_KV)}},
    {"G16-kv-heads-max", MODEL, "head_count_kv", {KEY(HEADS_KV, U32, UINT32_MAX)}},
    {"G16-head-size-1025", MODEL, "key_length", {KEY("llama.attention.key_length", U32, 1025)}},
    {"G16-head-size-0", MODEL, "key_length", {KEY("llama.attention.key_length", U32, 0)}},
    {"G16-value-size-max", MODEL, "value_length", {KEY("llama.attention.value_length", U32, UINT32_MAX)}},
    {"G16-rope-dims-3", MODEL, "dimension_count", {KEY(ROPE_DIMS, U32, 3)}},
    {"G16-rope-dims-6-of-4", MODEL, "dimension_count", {KEY(ROPE_DIMS, U32, 6)}},
    {"G16-rope-dims-max", MODEL, "dimension_count", {KEY(ROPE_DIMS, U32, UINT32_MAX)}},
    {"G16-eps-0", MODEL, "epsilon", {FLOAT(EPS, F32, 0)}},
    {"G16-eps-negative", MODEL, "epsilon", {FLOAT(EPS, F32, -1e-5)}},
    {"G16-eps-f64-not-f32", MODEL, "epsilon", {FLOAT(EPS, F64, 1e300)}},
    {"G16-rope-base-0", MODEL, "freq_base", {FLOAT(ROPE_BASE, F32, 0)}},
    {"G16-rope-base-negative", MODEL, "freq_base", {FLOAT(ROPE_BASE, F32, -10000)}},
    {"G16-experts-4097",
     MODEL,
     "experts",
     {KEY("llama.expert_count", U32, 4097), KEY("llama.expert_used_count", U32, 2)}},
    {"G16-experts-used-more",
     MODEL,
     "experts",
     {KEY("llama.expert_count", U32, 4), KEY("llama.expert_used_count", U32, 5)}},
    {"G16-experts-used-0",
     MODEL,
     "experts",
     {KEY("llama.expert_count", U32, 4), KEY("llama.expert_used_count", U32, 0)}},
    {"G16-experts-none-but-used",
     MODEL,
     "experts",
     {KEY("llama.expert_count", U32, 0), KEY("llama.expert_used_count", U32, 2)}},
    {"G16-experts-max",
     MODEL,
     "experts",
     {KEY("llama.expert_count", U32, UINT32_MAX), KEY("llama.expert_used_count", U32, UINT32_MAX)}},

    /* ---------------------------------------------------------------- G17 finite floats */
    {"G17-eps-nan", FORMAT, EPS "+finite", {PUT("key/" EPS "/value", 4, NAN32)}},
    {"G17-eps-inf", FORMAT, EPS "+finite", {PUT("key/" EPS "/value", 4, INF32)}},
    {"G17-rope-base-minus-inf", FORMAT, ROPE_BASE "+finite", {PUT("key/" ROPE_BASE "/value", 4, NINF32)}},
    {"G17-rope-base-signalling-nan", FORMAT, ROPE_BASE "+finite", {PUT("key/" ROPE_BASE "/value", 4, 0x7f800001)}},
    {"G17-f64-nan",
     FORMAT,
     "x.number+finite",
     {FLOAT("x.number", F64, 0), PUT("key/x.number/value", 8, 0x7ff8000000000000)}},
    {"G17-f64-inf",
     FORMAT,
     "x.number+finite",
     {FLOAT("x.number", F64, 0), PUT("key/x.number/value", 8, 0x7ff0000000000000)}},
    {"G17-f64-array-last-nan",
     FORMAT,
     "x.numbers+finite",
     {LIST_FLOAT("x.numbers", F64, 3, 1), PUT_AT("key/x.numbers/items", 16, 8, 0xfff8000000000000)}},

/* ---------------------------------------------------------------- G18 token ids */
#define BAD_ID(name)                                                                                                   \
    {"G18-" name "-272-of-272", VOCAB, name, {KEY("tokenizer.ggml." name, U32, 272)}},                                 \
        {"G18-" name "-max", VOCAB, name, {KEY("tokenizer.ggml." name, U32, UINT32_MAX)}},                             \
    {                                                                                                                  \
        "G18-" name "-minus-1", VOCAB, name, { KEY("tokenizer.ggml." name, I32, -1) }                                  \
    }
    BAD_ID("bos_token_id"),
    BAD_ID("eos_token_id"),
    BAD_ID("eot_token_id"),
    BAD_ID("eom_token_id"),
    BAD_ID("unknown_token_id"),
    BAD_ID("padding_token_id"),
    BAD_ID("mask_token_id"),
    BAD_ID("separator_token_id"),
    BAD_ID("seperator_token_id"),
    BAD_ID("cls_token_id"),
    BAD_ID("fim_pre_token_id"),
    BAD_ID("fim_suf_token_id"),
    BAD_ID("fim_mid_token_id"),
    BAD_ID("fim_pad_token_id"),
    BAD_ID("fim_rep_token_id"),
    BAD_ID("fim_sep_token_id"),
    {"G18-more-tokens-than-embedding-rows",
     MODEL,
     "token_embd.weight|vocab",
     {SHAPE(EMBED, IG_F32, 2, 8, 271), SHAPE("output.weight", IG_F32, 2, 8, 271)}},
    {"G18-embedding-of-one-row",
     MODEL,
     "token_embd.weight|vocab",
     {SHAPE(EMBED, IG_F32, 2, 8, 1), SHAPE("output.weight", IG_F32, 2, 8, 1)}},
    {"G18-output-rows-less", MODEL, "output.weight", {SHAPE("output.weight", IG_F32, 2, 8, 270)}},
    {"G18-output-rows-more", MODEL, "output.weight", {SHAPE("output.weight", IG_F32, 2, 8, 300)}},
    {"G18-vocab-size-key-other", MODEL, "vocab_size", {KEY("llama.vocab_size", U32, 1000)}},

    /* ---------------------------------------------------------------- G19 token strings */
    {"G19-token-65537-bytes", VOCAB, "token", {LONG_ITEM(TOKENS, 265, 65537)}},
    {"G19-token-1-MiB", VOCAB, "token", {LONG_ITEM(TOKENS, 265, 1 << 20)}},
    {"G19-byte-token-not-hex", VOCAB, "token", {ITEM(TOKENS, 10, "<0xZZ>")}},
    {"G19-byte-token-one-digit", VOCAB, "token", {ITEM(TOKENS, 10, "<0x1>")}},
    {"G19-byte-token-three-digits", VOCAB, "token", {ITEM(TOKENS, 10, "<0x100>")}},
    {"G19-byte-token-plain-text", VOCAB, "token", {ITEM(TOKENS, 10, "x")}},
    {"G19-byte-token-empty", VOCAB, "token", {ITEM(TOKENS, 10, "")}},
    {"G19-duplicate-token", VOCAB, LOADS, {ITEM(TOKENS, 262, "a")}},

    /* ---------------------------------------------------------------- G20 split models */
    {"G20-part-missing", FORMAT, "part 2 of 3+missing", {SPLIT(3), NO_FILE(1)}},
    {"G20-last-part-missing", FORMAT, "part 3 of 3+missing", {SPLIT(3), NO_FILE(2)}},
    {"G20-opened-part-2", FORMAT, "part 2 of 3+first part+00001-of-00003", {SPLIT(3), OPEN(1)}},
    {"G20-opened-part-3", FORMAT, "part 3 of 3+first part+00001-of-00003", {SPLIT(3), OPEN(2)}},
    {"G20-part-repeated", FORMAT, "split.no+expected 1", {SPLIT(3), SAME_FILE(1)}},
    {"G20-wrong-number-in-part-2", FORMAT, "split.no+expected 1", {SPLIT(3), KEY_IN(1, "split.no", U16, 2)}},
    {"G20-number-past-count", FORMAT, "split.no", {SPLIT(3), KEY("split.no", U16, 3)}},
    {"G20-number-negative", FORMAT, "split.no", {SPLIT(3), KEY("split.no", I32, -1)}},
    {"G20-count-1001", FORMAT, "split.count+limit", {SPLIT(2), KEY("split.count", U16, 1001)}},
    {"G20-count-max", FORMAT, "split.count+limit", {SPLIT(2), KEY("split.count", U32, UINT32_MAX)}},
    {"G20-count-other-in-part-2", FORMAT, "split.count+expected 3", {SPLIT(3), KEY_IN(1, "split.count", U16, 4)}},
    {"G20-count-other-than-name", FORMAT, "-of-00002", {SPLIT(3), KEY("split.count", U16, 2)}},
    {"G20-count-2-single-name",
     FORMAT,
     "name",
     {KEY("split.count", U16, 2), KEY("split.no", U16, 0), KEY("split.tensors.count", I32, 12)}},
    {"G20-number-1-of-1", FORMAT, "split.no+expected 0", {KEY("split.count", U16, 1), KEY("split.no", U16, 1)}},
    {"G20-tensors-too-few",
     FORMAT,
     "split.tensors.count",
     {SPLIT(3), KEY("split.tensors.count", I32, 11), KEY_IN(1, "split.tensors.count", I32, 11),
      KEY_IN(2, "split.tensors.count", I32, 11)}},
    {"G20-tensors-too-many",
     FORMAT,
     "split.tensors.count",
     {SPLIT(3), KEY("split.tensors.count", I32, 13), KEY_IN(1, "split.tensors.count", I32, 13),
      KEY_IN(2, "split.tensors.count", I32, 13)}},
    {"G20-tensors-2^31", FORMAT, "split.tensors.count", {SPLIT(3), KEY("split.tensors.count", I32, 0x7fffffff)}},
    {"G20-tensors-differ",
     FORMAT,
     "split.tensors.count+expected 12",
     {SPLIT(3), KEY_IN(2, "split.tensors.count", I32, 13)}},
    {"G20-number-absent", FORMAT, "split.no+missing", {SPLIT(3), DROP("split.no")}},
    {"G20-tensor-count-absent", FORMAT, "split.tensors.count+missing", {SPLIT(3), DROP("split.tensors.count")}},
    {"G20-keys-absent-in-part-3", FORMAT, "split.", {SPLIT(3), DROP_IN(2, "split.count"), DROP_IN(2, "split.no")}},
    {"G20-tensor-in-two-parts", FORMAT, "duplicate+" EMBED, {SPLIT(2), NAME_IN(1, "blk.0.ffn_up.weight", EMBED)}},
    {"G20-part-2-truncated", FORMAT, "00002-of-00003+outside", {SPLIT(3), CUT_IN(1, "end", -1)}},
    {"G20-part-2-no-gguf", FORMAT, "00002-of-00003+magic", {SPLIT(3), PUT_IN(1, "magic", 4, 0)}},
    {"G20-part-3-type-removed",
     FORMAT,
     "blk.0.ffn_up.weight+type 4",
     {SPLIT(3), PUT_IN(2, "tensor/blk.0.ffn_up.weight/type", 4, 4)}},

/* ---------------------------------------------------------------- G21 shorter than declared */
#define CUT_AT(label, off)                                                                                             \
    {                                                                                                                  \
        "G21-cut-" label "+" #off, FORMAT, CUT_SHORT, { CUT(label, off) }                                              \
    }
    CUT_AT("version", 1),
    CUT_AT("n_tensors", 0),
    CUT_AT("n_tensors", 7),
    CUT_AT("n_keys", 0),
    CUT_AT("n_keys", 4),
    CUT_AT("key/general.architecture/len", 0),
    CUT_AT("key/general.architecture/len", 3),
    CUT_AT("key/general.architecture/name", 5),
    CUT_AT("key/general.architecture/type", 0),
    CUT_AT("key/general.architecture/value", 0),
    CUT_AT("key/general.architecture/value", 9),
    CUT_AT("key/llama.context_length/value", 0),
    CUT_AT("key/llama.context_length/value", 3),
    CUT_AT("key/tokenizer.ggml.tokens/elem", 2),
    CUT_AT("key/tokenizer.ggml.tokens/count", 0),
    CUT_AT("key/tokenizer.ggml.tokens/count", 7),
    CUT_AT("key/tokenizer.ggml.tokens/items", 0),
    CUT_AT("key/tokenizer.ggml.tokens/items", 100),
    CUT_AT("key/tokenizer.ggml.scores/items", 0),
    CUT_AT("key/tokenizer.ggml.scores/items", 1087),
    CUT_AT("key/tokenizer.ggml.add_bos_token/value", 0),
    CUT_AT("tensor/token_embd.weight/len", 0),
    CUT_AT("tensor/token_embd.weight/len", 7),
    CUT_AT("tensor/token_embd.weight/name", 3),
    CUT_AT("tensor/token_embd.weight/n_dims", 2),
    CUT_AT("tensor/token_embd.weight/ne0", 0),
    CUT_AT("tensor/token_embd.weight/ne1", 5),
    CUT_AT("tensor/token_embd.weight/type", 0),
    CUT_AT("tensor/token_embd.weight/offset", 4),
    CUT_AT("tensor/blk.0.ffn_down.weight/offset", 7),
    CUT_AT("data", 0),
    CUT_AT("data", 1),
    CUT_AT("tensor/output.weight/data", 0),
    CUT_AT("tensor/blk.0.ffn_down.weight/data", 0),
    CUT_AT("end", -1),

    /* ---------------------------------------------------------------- G22, G25 size and time */
    {"G22-size-one-page-less", FORMAT, CUT_SHORT, {CUT("end", -4096)}},
    {"G22-only-zeros-after-header", FORMAT, "magic", {EMPTY, APPEND(8192), PUT("magic", 4, 0)}},
    {"G22-header-alone", FORMAT, CUT_SHORT, {CUT("data", -32)}},
    {"G25-60000-keys-then-garbage", FORMAT, "tensor 0", {FLOOD_KEYS(60000), PUT("tensor/" EMBED "/len", 8, 0)}},
    {"G25-20000-tensors-last-bad", FORMAT, "outside", {FLOOD_TENSORS(20000), CUT("end", -33)}},
    {"G25-500000-tokens-last-too-long",
     FORMAT,
     "x.words",
     {LIST_TEXT("x.words", 500000, "abcdefgh"), PUT_AT("key/x.words/items", 499999 * 16, 8, 1ull << 40)}},
    {"G25-4-MiB-of-bools-last-bad",
     FORMAT,
     "x.flags",
     {LIST("x.flags", BOOL, 4u << 20, 1), PUT_AT("key/x.flags/items", (4 << 20) - 1, 1, 2)}},
    {"G25-million-floats-last-nan",
     FORMAT,
     "x.numbers",
     {LIST_FLOAT("x.numbers", F32, 1000000, 1), PUT_AT("key/x.numbers/items", 3999996, 4, NAN32)}},

    /* ---------------------------------------------------------------- T vocabulary */
    {"T03-merge-product-unknown", VOCAB, EITHER, {GPT2, ITEM(MERGES, 3, "a ~")}},
    {"T03-self-merge", VOCAB, LOADS, {GPT2, ITEM(MERGES, 3, "a a"), ITEM(MERGES, 0, "a b"), ITEM(MERGES, 1, "a d")}},
    {"T03-all-merges-equal", VOCAB, EITHER, {GPT2, LIST_TEXT(MERGES, 1000, "a a")}},
    {"T03-200000-merges", VOCAB, EITHER, {GPT2, LIST_TEXT(MERGES, 200000, "a a")}},
    {"T03-merge-of-nothing", VOCAB, "merge", {GPT2, LIST_TEXT(MERGES, 15, "")}},
    {"T03-merges-absent", VOCAB, "merges", {GPT2, DROP(MERGES)}},
    {"T03-merge-70000-bytes", VOCAB, "merge", {GPT2, LONG_ITEM(MERGES, 0, 70000)}},
    {"T04-user-token-empty", VOCAB, "token", {ITEM(TOKENS, 265, ""), PUT_AT("key/" TYPES "/items", 265 * 4, 4, 4)}},
    {"T04-user-tokens-prefix-of-each-other",
     VOCAB,
     LOADS,
     {ITEM(TOKENS, 265, "<|x|>"), ITEM(TOKENS, 266, "<|x|>y"), PUT_AT("key/" TYPES "/items", 265 * 4, 4, 4),
      PUT_AT("key/" TYPES "/items", 266 * 4, 4, 4)}},
    {"T04-user-tokens-equal",
     VOCAB,
     EITHER,
     {ITEM(TOKENS, 265, "<|x|>"), ITEM(TOKENS, 266, "<|x|>"), PUT_AT("key/" TYPES "/items", 265 * 4, 4, 4),
      PUT_AT("key/" TYPES "/items", 266 * 4, 4, 4)}},
    {"T04-control-token-empty", VOCAB, EITHER, {ITEM(TOKENS, 1, "")}},
    {"T05-type-negative", VOCAB, "token_type|type", {PUT_AT("key/" TYPES "/items", 265 * 4, 4, -1)}},
    {"T05-type-0", VOCAB, EITHER, {PUT_AT("key/" TYPES "/items", 265 * 4, 4, 0)}},
    {"T05-type-7", VOCAB, "token_type|type", {PUT_AT("key/" TYPES "/items", 265 * 4, 4, 7)}},
    {"T05-type-max", VOCAB, "token_type|type", {PUT_AT("key/" TYPES "/items", 265 * 4, 4, INT32_MAX)}},
    {"T05-bos-2^31", VOCAB, "bos_token_id", {KEY("tokenizer.ggml.bos_token_id", U32, 1u << 31)}},
    {"T05-bos-2^32-plus-1", VOCAB, "bos_token_id", {KEY("tokenizer.ggml.bos_token_id", U64, (1ull << 32) + 1)}},
    {"T05-eos-i64-minus-2^32", VOCAB, "eos_token_id", {KEY("tokenizer.ggml.eos_token_id", I64, -(1ll << 32))}},
    {"T06-score-nan", FORMAT, SCORES "+finite", {PUT_AT("key/" SCORES "/items", 4 * 5, 4, NAN32)}},
    {"T06-score-inf", FORMAT, SCORES "+finite", {PUT_AT("key/" SCORES "/items", 4 * 5, 4, INF32)}},
    {"T06-last-score-minus-inf", FORMAT, SCORES "+finite", {PUT_AT("key/" SCORES "/items", 4 * 271, 4, NINF32)}},
    {"T12-model-unknown", VOCAB, "tokenizer+nosuchmodel", {TEXT("tokenizer.ggml.model", "nosuchmodel")}},
    {"T12-model-empty", VOCAB, "tokenizer", {TEXT("tokenizer.ggml.model", "")}},
    {"T12-model-upper-case", VOCAB, "tokenizer+LLAMA", {TEXT("tokenizer.ggml.model", "LLAMA")}},
    {"T12-model-format-string", VOCAB, "tokenizer", {TEXT("tokenizer.ggml.model", "%s%n%s%n")}},
    {"T12-model-1-MiB", VOCAB, "tokenizer", {LONG_TEXT("tokenizer.ggml.model", 1 << 20)}},
    {"T12-pre-unknown", VOCAB, "pre+nosuchpre", {GPT2, TEXT("tokenizer.ggml.pre", "nosuchpre")}},
    {"T12-tokens-absent", VOCAB, TOKENS, {DROP(TOKENS)}},
    {"T12-bert-without-unknown", VOCAB, EITHER, {BERT, DROP("tokenizer.ggml.unknown_token_id")}},

    /* ---------------------------------------------------------------- odd, but legal */
    {"L01-the-model-itself", MODEL, LOADS, {{0}}},
    {"L02-version-2", MODEL, LOADS, {PUT("version", 4, 2)}},
    {"L03-trailing-bytes", MODEL, LOADS, {APPEND(1000)}},
    {"L04-trailing-megabyte", MODEL, LOADS, {APPEND(1 << 20)}},
    {"L05-alignment-8", FORMAT, LOADS, {ALIGN(8)}},
    {"L06-alignment-64", MODEL, LOADS, {ALIGN(64)}},
    {"L07-alignment-65536", MODEL, LOADS, {ALIGN(65536)}},
    {"L08-unknown-keys",
     MODEL,
     LOADS,
     {KEY("x.a", U8, 255), KEY("x.b", I64, -1), TEXT("x.c", "\xff\xfe not UTF-8"), LIST("x.d", U16, 9, 9)}},
    {"L09-empty-string-array", MODEL, LOADS, {LIST_TEXT("x.none", 0, "")}},
    {"L10-empty-number-array", MODEL, LOADS, {LIST("x.none", U64, 0, 0)}},
    {"L11-empty-bool-array", MODEL, LOADS, {LIST("x.none", BOOL, 0, 0)}},
    {"L12-empty-text", MODEL, LOADS, {TEXT("general.name", "")}},
    {"L13-key-of-65535-bytes", MODEL, LOADS, {LONG_KEY(65535)}},
    {"L14-text-of-1-MiB", MODEL, LOADS, {LONG_TEXT("x.text", 1 << 20)}},
    {"L15-text-with-nul", MODEL, LOADS, {TEXT("general.description", "a\0b")}},
    {"L16-keys-65000", MODEL, LOADS, {FLOOD_KEYS(65000)}},
    {"L17-tensors-20000-reversed", FORMAT, LOADS, {FLOOD_TENSORS(20000)}},
    {"L18-gap-between-tensors", MODEL, LOADS, {OFFSET("output_norm.weight", 65536)}},
    {"L19-tensors-in-other-order", MODEL, LOADS, {OFFSET(EMBED, 1u << 16), OFFSET("output.weight", 1u << 17)}},
    {"L20-no-tensors", VOCAB, LOADS, {PUT("n_tensors", 8, 0)}},
    {"L21-no-tensors-cut-at-header", VOCAB, LOADS, {PUT("n_tensors", 8, 0), CUT("tensor/" EMBED "/len", 0)}},
    {"L22-no-output-matrix", MODEL, LOADS, {NO_TENSOR("output.weight")}},
    {"L24-integers-of-other-width",
     MODEL,
     LOADS,
     {KEY("llama.context_length", U64, 64), KEY("llama.block_count", U8, 1), KEY(HEADS, I16, 2)}},
    {"L25-eps-as-f64", MODEL, LOADS, {FLOAT(EPS, F64, 1e-5)}},
    {"L26-no-rope-keys", MODEL, LOADS, {DROP(ROPE_DIMS), DROP(ROPE_BASE)}},
    {"L27-key-with-spaces", MODEL, LOADS, {RAW_KEY("a key, with spaces & signs")}},
    {"L28-more-embedding-rows-than-tokens",
     MODEL,
     LOADS,
     {SHAPE(EMBED, IG_F32, 2, 8, 300), SHAPE("output.weight", IG_F32, 2, 8, 300)}},
    {"L29-f16-weights", MODEL, LOADS, {SHAPE(Q, IG_F16, 2, 8, 8), SHAPE(EMBED, IG_BF16, 2, 8, 272)}},
    {"L30-tensor-types-without-kernels",
     FORMAT,
     LOADS,
     {NEW_TENSOR("a", 35, 2, 256, 3), NEW_TENSOR("b", 39, 1, 32), NEW_TENSOR("c", 28, 4, 1, 2, 3, 4),
      NEW_TENSOR("d", 41, 1, 128)}},
    {"L31-tensor-name-of-63-bytes",
     FORMAT,
     LOADS,
     {NAME(Q, "n23456789012345678901234567890123456789012345678901234567890123")}},
    {"L32-split-in-3", MODEL, LOADS, {SPLIT(3)}},
    {"L33-split-in-12", MODEL, LOADS, {SPLIT(12)}},
    {"L34-split-joined-count-0", MODEL, LOADS, {KEY("split.count", U16, 0)}},
    {"L35-split-count-1", MODEL, LOADS, {KEY("split.count", U16, 1), KEY("split.no", U16, 0)}},
    {"L36-gpt2-vocabulary", MODEL, LOADS, {GPT2}},
    {"L37-bert-vocabulary", VOCAB, LOADS, {BERT}},
    {"L38-no-scores", VOCAB, EITHER, {DROP(SCORES)}},
    {"L39-no-token-types", VOCAB, EITHER, {DROP(TYPES)}},
    {"L40-tokens-not-utf8", VOCAB, EITHER, {ITEM(TOKENS, 265, "\xff\0\xfe")}},
    {"L41-key-named-like-a-tensor", MODEL, LOADS, {RAW_KEY(EMBED)}},
    {"L42-dims-4-written-out", MODEL, LOADS, {SHAPE(Q, IG_F32, 4, 8, 8, 1, 1)}},
    {"L43-empty-file-of-version-3", FORMAT, LOADS, {EMPTY}},
};
const size_t n_rows = sizeof rows / sizeof *rows;
