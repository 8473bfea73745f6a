#include "build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

static void die(const char *what, const char *name)
{
    (void)fprintf(stderr, "tests/hostile/build.c: %s %s\n", what, name);
    exit(2);
}

static void *grow(void *p, size_t n)
{
    p = realloc(p, n ? n : 1);
    if (!p) die("out of memory", "");
    return p;
}

static void *copy(const void *p, size_t n)
{
    void *c = grow(NULL, n + 1);
    if (n) memcpy(c, p, n);
    ((char *)c)[n] = 0;
    return c;
}

/* ------------------------------------------------------------------------------------------------ keys */

static draft_key *find_key(draft *d, const char *key)
{
    for (size_t i = 0; i < d->n_keys; i++)
        if (!strcmp(d->keys[i].name, key)) return &d->keys[i];
    return NULL;
}

draft_key *draft_key_at(draft *d, const char *key)
{
    draft_key *k = find_key(d, key);
    if (!k) die("no such key:", key);
    return k;
}

draft_key *draft_add_key(draft *d, const char *name, size_t name_len, uint32_t type, uint32_t elem, uint64_t n,
                         const void *bytes, size_t n_bytes)
{
    if (d->n_keys == DRAFT_KEYS_MAX) die("too many keys at", name);
    draft_key *k = &d->keys[d->n_keys++];
    *k = (draft_key){copy(name, name_len), name_len, type, elem, n, copy(bytes, n_bytes), n_bytes};
    return k;
}

/* Gives an existing or new key a value. */
static void set_key(draft *d, const char *key, uint32_t type, uint32_t elem, uint64_t n, const void *bytes,
                    size_t n_bytes)
{
    draft_key *k = find_key(d, key);
    if (!k) {
        draft_add_key(d, key, strlen(key), type, elem, n, bytes, n_bytes);
        return;
    }
    void *value = copy(bytes, n_bytes);
    free(k->bytes);
    k->type = type;
    k->elem = elem;
    k->n = n;
    k->bytes = value;
    k->n_bytes = n_bytes;
}

static size_t number_bytes(uint32_t type, uint64_t v, double f, uint8_t out[8])
{
    float f32 = (float)f;
    if (type == IG_META_F32)
        memcpy(out, &f32, 4);
    else if (type == IG_META_F64)
        memcpy(out, &f, 8);
    else
        memcpy(out, &v, 8);
    return ig_meta_elem_bytes(type);
}

static size_t string_bytes(const char *text, size_t len, uint8_t **out)
{
    *out = grow(NULL, 8 + len);
    uint64_t n = len;
    memcpy(*out, &n, 8);
    if (len) memcpy(*out + 8, text, len);
    return 8 + len;
}

void draft_set_int(draft *d, const char *key, uint32_t type, uint64_t v)
{
    uint8_t bytes[8];
    set_key(d, key, type, type, 1, bytes, number_bytes(type, v, 0, bytes));
}

void draft_set_float(draft *d, const char *key, uint32_t type, double f)
{
    uint8_t bytes[8];
    set_key(d, key, type, type, 1, bytes, number_bytes(type, 0, f, bytes));
}

void draft_set_str(draft *d, const char *key, const char *text, size_t len)
{
    uint8_t *bytes;
    size_t n = string_bytes(text, len, &bytes);
    set_key(d, key, IG_META_STRING, IG_META_STRING, 1, bytes, n);
    free(bytes);
}

void draft_set_array(draft *d, const char *key, uint32_t elem, uint64_t n, uint64_t v, double f, const char *text)
{
    uint8_t number[8], *item = number;
    size_t each = elem == IG_META_STRING ? string_bytes(text ? text : "", text ? strlen(text) : 0, &item)
                                         : number_bytes(elem, v, f, number);
    uint8_t *bytes = grow(NULL, each * n);
    for (uint64_t i = 0; i < n; i++) memcpy(bytes + i * each, item, each);
    set_key(d, key, IG_META_ARRAY, elem, n, bytes, each * n);
    free(bytes);
    if (item != number) free(item);
}

void draft_drop_key(draft *d, const char *key)
{
    draft_key *k = draft_key_at(d, key);
    free(k->name);
    free(k->bytes);
    memmove(k, k + 1, (size_t)(d->keys + --d->n_keys - k) * sizeof *k);
}

void draft_copy_key(draft *d, const char *key, const char *new_name)
{
    draft_key k = *draft_key_at(d, key);
    draft_add_key(d, new_name, strlen(new_name), k.type, k.elem, k.n, k.bytes, k.n_bytes);
}

/* Where string idx of an array starts. */
static size_t string_at(const draft_key *k, uint64_t idx)
{
    size_t at = 0;
    for (uint64_t i = 0, len; i < idx && at < k->n_bytes; i++, at += 8 + len) memcpy(&len, k->bytes + at, 8);
    return at;
}

void draft_set_string_item(draft *d, const char *key, uint64_t idx, const char *text, size_t len)
{
    draft_key *k = draft_key_at(d, key);
    uint8_t *item;
    size_t first = string_at(k, idx), behind = string_at(k, idx + 1), n = string_bytes(text, len, &item);
    uint8_t *bytes = grow(NULL, k->n_bytes - (behind - first) + n);
    memcpy(bytes, k->bytes, first);
    memcpy(bytes + first, item, n);
    memcpy(bytes + first + n, k->bytes + behind, k->n_bytes - behind);
    k->n_bytes = k->n_bytes - (behind - first) + n;
    free(k->bytes);
    free(item);
    k->bytes = bytes;
}

void draft_resize_array(draft *d, const char *key, uint64_t n)
{
    draft_key *k = draft_key_at(d, key);
    uint64_t old = k->n;
    k->n = n;
    if (k->elem != IG_META_STRING) {
        size_t size = ig_meta_elem_bytes(k->elem) * n;
        k->bytes = grow(k->bytes, size);
        if (size > k->n_bytes) memset(k->bytes + k->n_bytes, 0, size - k->n_bytes);
        k->n_bytes = size;
        return;
    }
    if (n < old) k->n_bytes = string_at(k, n);
    for (; old < n; old++) {
        char text[32];
        uint8_t *item;
        size_t size =
            string_bytes(text, (size_t)snprintf(text, sizeof text, "new%llu", (unsigned long long)old), &item);
        k->bytes = grow(k->bytes, k->n_bytes + size);
        memcpy(k->bytes + k->n_bytes, item, size);
        k->n_bytes += size;
        free(item);
    }
}

/* ------------------------------------------------------------------------------------------------ tensors */

draft_tensor *draft_tensor_at(draft *d, const char *name)
{
    for (size_t i = 0; i < d->n_tensors; i++)
        if (!strcmp(d->tensors[i].name, name)) return &d->tensors[i];
    die("no such tensor:", name);
    return NULL;
}

void draft_shape(draft_tensor *t, uint32_t type, uint32_t n_dims, const uint64_t ne[4])
{
    uint64_t bytes;
    t->type = type;
    t->n_dims = n_dims;
    for (uint32_t i = 0; i < 4; i++) t->ne[i] = i < n_dims ? ne[i] : 1;
    if (ig_dtype_row_bytes(type, t->ne[0], &bytes) && ig_mul_u64(bytes, t->ne[1], &bytes) &&
        ig_mul_u64(bytes, t->ne[2], &bytes) && ig_mul_u64(bytes, t->ne[3], &bytes) && bytes < 1 << 20)
        t->data_bytes = bytes;
}

draft_tensor *draft_add_tensor(draft *d, const char *name, uint32_t type, uint32_t n_dims, const uint64_t ne[4])
{
    if (d->n_tensors == DRAFT_TENSORS_MAX) die("too many tensors at", name);
    draft_tensor *t = &d->tensors[d->n_tensors++];
    *t = (draft_tensor){0};
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    draft_shape(t, type, n_dims, ne);
    return t;
}

void draft_drop_tensor(draft *d, const char *name)
{
    draft_tensor *t = draft_tensor_at(d, name);
    memmove(t, t + 1, (size_t)(d->tensors + --d->n_tensors - t) * sizeof *t);
}

/* ------------------------------------------------------------------------------------------------ the valid model */

void draft_empty(draft *d) { *d = (draft){.version = 3, .alignment = 32}; }

void draft_fini(draft *d)
{
    while (d->n_keys) draft_drop_key(d, d->keys[0].name);
    *d = (draft){0};
}

static void str(draft *d, const char *key, const char *text) { draft_set_str(d, key, text, strlen(text)); }

static void matrix(draft *d, const char *name, uint64_t n_in, uint64_t n_out)
{
    draft_add_tensor(d, name, IG_F32, n_out ? 2 : 1, (const uint64_t[4]){n_in, n_out, 1, 1});
}

static void token(draft *d, uint64_t idx, const char *text)
{
    draft_set_string_item(d, "tokenizer.ggml.tokens", idx, text, strlen(text));
}

static void token_type(draft *d, uint64_t idx, int32_t type)
{
    memcpy(draft_key_at(d, "tokenizer.ggml.token_type")->bytes + 4 * idx, &type, 4);
}

static void new_vocab(draft *d, const char *model)
{
    str(d, "tokenizer.ggml.model", model);
    draft_set_array(d, "tokenizer.ggml.tokens", IG_META_STRING, DRAFT_VOCAB, 0, 0, "");
    draft_set_array(d, "tokenizer.ggml.scores", IG_META_F32, DRAFT_VOCAB, 0, 0, NULL);
    draft_set_array(d, "tokenizer.ggml.token_type", IG_META_I32, DRAFT_VOCAB, 1, 0, NULL);
}

/* 0 <unk>, 1 <s>, 2 </s>, 3..258 bytes, 259 the space marker, 260 marker + "a", 261.. letters */
static void use_llama(draft *d)
{
    new_vocab(d, "llama");
    for (uint64_t i = 0; i < DRAFT_VOCAB; i++) {
        char text[16];
        if (i >= 3 && i < 259)
            (void)snprintf(text, sizeof text, "<0x%02X>", (unsigned)(i - 3));
        else
            (void)snprintf(text, sizeof text, "%c", (char)('a' + (i - 261) % 26));
        token(d, i,
              i == 0     ? "<unk>"
              : i == 1   ? "<s>"
              : i == 2   ? "</s>"
              : i == 259 ? "\xe2\x96\x81"
              : i == 260 ? "\xe2\x96\x81"
                           "a"
                         : text);
        token_type(d, i, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    }
    draft_set_int(d, "tokenizer.ggml.bos_token_id", IG_META_U32, 1);
    draft_set_int(d, "tokenizer.ggml.eos_token_id", IG_META_U32, 2);
    draft_set_int(d, "tokenizer.ggml.unknown_token_id", IG_META_U32, 0);
    draft_set_int(d, "tokenizer.ggml.add_bos_token", IG_META_BOOL, 1);
}

/* GPT-2's stand-in character for a byte: printable bytes themselves, the others U+0100 and up. */
static void byte_symbol(unsigned byte, char out[4])
{
    unsigned cp = 0, next = 256;
    for (unsigned b = 0; b <= byte; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        cp = plain ? b : next++;
    }
    if (cp < 0x80)
        (void)snprintf(out, 4, "%c", (char)cp);
    else
        (void)snprintf(out, 4, "%c%c", (char)(0xc0 | cp >> 6), (char)(0x80 | (cp & 63)));
}

/* 0..255 bytes; 256..270 "aa", "ab" ... made by 15 merges "a a", "a b" ...; 271 control */
void draft_use_gpt2(draft *d)
{
    new_vocab(d, "gpt2");
    str(d, "tokenizer.ggml.pre", "gpt-2");
    draft_drop_key(d, "tokenizer.ggml.scores");
    draft_drop_key(d, "tokenizer.ggml.unknown_token_id");
    draft_set_array(d, "tokenizer.ggml.merges", IG_META_STRING, 15, 0, 0, "a a");
    for (unsigned i = 0; i < 271; i++) {
        char text[8];
        if (i < 256)
            byte_symbol(i, text);
        else
            (void)snprintf(text, sizeof text, "a%c", (char)('a' + i - 256));
        token(d, i, text);
        token_type(d, i, 1);
        if (i < 256) continue;
        (void)snprintf(text, sizeof text, "a %c", (char)('a' + i - 256));
        draft_set_string_item(d, "tokenizer.ggml.merges", i - 256, text, 3);
    }
    token(d, 271, "<|endoftext|>");
    token_type(d, 271, 3);
    draft_set_int(d, "tokenizer.ggml.bos_token_id", IG_META_U32, 271);
    draft_set_int(d, "tokenizer.ggml.eos_token_id", IG_META_U32, 271);
}

/* 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK], then word starts (with the space marker) and continuations */
void draft_use_bert(draft *d)
{
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    static const char *const ids[] = {"padding", "unknown", "cls", "seperator", "mask"};
    new_vocab(d, "bert");
    draft_drop_key(d, "tokenizer.ggml.eos_token_id");
    for (unsigned i = 0; i < DRAFT_VOCAB; i++) {
        char text[16], key[64];
        (void)snprintf(text, sizeof text, i % 2 ? "\xe2\x96\x81%c%u" : "%c%u", (char)('a' + i % 26), i);
        token(d, i, i < 5 ? special[i] : text);
        token_type(d, i, i < 5 ? 3 : 1);
        if (i >= 5) continue;
        (void)snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", ids[i]);
        draft_set_int(d, key, IG_META_U32, i);
    }
    draft_set_int(d, "tokenizer.ggml.bos_token_id", IG_META_U32, 2);
}

void draft_init(draft *d)
{
    draft_empty(d);
    str(d, "general.architecture", "llama");
    str(d, "general.name", "hostile");
    draft_set_int(d, "llama.context_length", IG_META_U32, 64);
    draft_set_int(d, "llama.embedding_length", IG_META_U32, DRAFT_EMBD);
    draft_set_int(d, "llama.block_count", IG_META_U32, 1);
    draft_set_int(d, "llama.feed_forward_length", IG_META_U32, DRAFT_FF);
    draft_set_int(d, "llama.attention.head_count", IG_META_U32, 2);
    draft_set_int(d, "llama.attention.head_count_kv", IG_META_U32, 1);
    draft_set_float(d, "llama.attention.layer_norm_rms_epsilon", IG_META_F32, 1e-5);
    draft_set_int(d, "llama.rope.dimension_count", IG_META_U32, 4);
    draft_set_float(d, "llama.rope.freq_base", IG_META_F32, 10000);
    use_llama(d);
    matrix(d, "token_embd.weight", DRAFT_EMBD, DRAFT_VOCAB);
    matrix(d, "output_norm.weight", DRAFT_EMBD, 0);
    matrix(d, "output.weight", DRAFT_EMBD, DRAFT_VOCAB);
    matrix(d, "blk.0.attn_norm.weight", DRAFT_EMBD, 0);
    matrix(d, "blk.0.attn_q.weight", DRAFT_EMBD, 8);
    matrix(d, "blk.0.attn_k.weight", DRAFT_EMBD, 4);
    matrix(d, "blk.0.attn_v.weight", DRAFT_EMBD, 4);
    matrix(d, "blk.0.attn_output.weight", 8, DRAFT_EMBD);
    matrix(d, "blk.0.ffn_norm.weight", DRAFT_EMBD, 0);
    matrix(d, "blk.0.ffn_gate.weight", DRAFT_EMBD, DRAFT_FF);
    matrix(d, "blk.0.ffn_up.weight", DRAFT_EMBD, DRAFT_FF);
    matrix(d, "blk.0.ffn_down.weight", DRAFT_FF, DRAFT_EMBD);
}

/* ------------------------------------------------------------------------------------------------ writing */

void image_resize(image *img, size_t size)
{
    if (size > img->cap) {
        img->cap = size * 2;
        img->bytes = grow(img->bytes, img->cap);
    }
    if (size > img->size) memset(img->bytes + img->size, 0xEE, size - img->size);
    img->size = size;
}

static void add(image *img, const void *p, size_t n)
{
    size_t at = img->size;
    image_resize(img, at + n);
    if (n) memcpy(img->bytes + at, p, n);
}

static void add_u32(image *img, uint32_t v) { add(img, &v, 4); }
static void add_u64(image *img, uint64_t v) { add(img, &v, 8); }

static void label(image *img, const char *kind, const char *name, const char *field)
{
    if (img->n_labels == img->labels_cap) {
        img->labels_cap = img->labels_cap ? img->labels_cap * 2 : 256;
        img->labels = grow(img->labels, img->labels_cap * sizeof *img->labels);
    }
    struct image_label *l = &img->labels[img->n_labels++];
    (void)snprintf(l->name, sizeof l->name, "%s%s%.100s%s%s", kind, *name ? "/" : "", name, *field ? "/" : "", field);
    l->at = img->size;
}

static void write_key(image *img, const draft_key *k)
{
    label(img, "key", k->name, "len");
    add_u64(img, k->name_len);
    label(img, "key", k->name, "name");
    add(img, k->name, k->name_len);
    label(img, "key", k->name, "type");
    add_u32(img, k->type);
    label(img, "key", k->name, "value");
    if (k->type == IG_META_ARRAY) {
        label(img, "key", k->name, "elem");
        add_u32(img, k->elem);
        label(img, "key", k->name, "count");
        add_u64(img, k->n);
        label(img, "key", k->name, "items");
    }
    add(img, k->bytes, k->n_bytes);
}

static void write_tensor(image *img, const draft_tensor *t, uint64_t offset)
{
    label(img, "tensor", t->name, "len");
    add_u64(img, strlen(t->name));
    label(img, "tensor", t->name, "name");
    add(img, t->name, strlen(t->name));
    label(img, "tensor", t->name, "n_dims");
    add_u32(img, t->n_dims);
    for (uint32_t i = 0; i < t->n_dims && i < 4; i++) {
        label(img, "tensor", t->name, (const char *[]){"ne0", "ne1", "ne2", "ne3"}[i]);
        add_u64(img, t->ne[i]);
    }
    label(img, "tensor", t->name, "type");
    add_u32(img, t->type);
    label(img, "tensor", t->name, "offset");
    add_u64(img, offset);
}

static uint64_t padded(uint64_t n, uint32_t alignment) { return (n + alignment - 1) / alignment * alignment; }

static void write_floods(image *img, const draft *d, uint64_t data_end)
{
    char name[32];
    for (size_t i = d->n_flood_tensors; i-- > 0;) {
        uint64_t ne[4] = {1, 1, 1, 1};
        draft_tensor t = {.n_dims = 1, .type = IG_F32};
        memcpy(t.ne, ne, sizeof ne);
        (void)snprintf(t.name, sizeof t.name, "flood.%07zu", i);
        add_u64(img, (uint64_t)snprintf(name, sizeof name, "%s", t.name));
        add(img, name, strlen(name));
        add_u32(img, 1);
        add_u64(img, 1);
        add_u32(img, IG_F32);
        add_u64(img, data_end + i * d->alignment);
    }
}

/* Deterministic small weights; the bytes never matter for these tests. */
static void write_data(image *img, const draft *d, const uint64_t *offsets)
{
    image_resize(img, padded(img->size, d->alignment));
    label(img, "data", "", "");
    size_t base = img->size;
    for (size_t i = 0; i < d->n_tensors; i++) {
        const draft_tensor *t = &d->tensors[i];
        if (offsets[i] > 1 << 26) continue;
        size_t first = base + (size_t)offsets[i];
        if (first + t->data_bytes > img->size) image_resize(img, first + (size_t)t->data_bytes);
        for (size_t b = 0; b + 4 <= t->data_bytes; b += 4) {
            float v = (float)((b * 37 + i * 11) % 256) / 512.0f;
            memcpy(img->bytes + first + b, &v, 4);
        }
        label(img, "tensor", t->name, "data");
        img->labels[img->n_labels - 1].at = first;
    }
    image_resize(img, base + (size_t)padded(img->size - base, d->alignment));
}

void draft_write(const draft *d, image *img)
{
    uint64_t offsets[DRAFT_TENSORS_MAX], end = 0;
    *img = (image){0};
    for (size_t i = 0; i < d->n_tensors; i++) {
        const draft_tensor *t = &d->tensors[i];
        offsets[i] = t->offset_fixed ? t->offset : padded(end, d->alignment);
        if (!t->offset_fixed) end = offsets[i] + t->data_bytes;
    }
    end = padded(end, d->alignment);
    label(img, "magic", "", "");
    add(img, "GGUF", 4);
    label(img, "version", "", "");
    add_u32(img, d->version);
    label(img, "n_tensors", "", "");
    add_u64(img, d->n_tensors + d->n_flood_tensors);
    label(img, "n_keys", "", "");
    add_u64(img, d->n_keys + d->n_flood_keys);
    for (size_t i = 0; i < d->n_keys; i++) write_key(img, &d->keys[i]);
    for (size_t i = 0; i < d->n_flood_keys; i++) {
        char name[32];
        add_u64(img, (uint64_t)snprintf(name, sizeof name, "flood.%07zu", i));
        add(img, name, strlen(name));
        add_u32(img, IG_META_U8);
        add(img, "\1", 1);
    }
    for (size_t i = 0; i < d->n_tensors; i++) write_tensor(img, &d->tensors[i], offsets[i]);
    write_floods(img, d, end);
    write_data(img, d, offsets);
    if (d->n_flood_tensors) image_resize(img, image_at(img, "data") + (size_t)end + d->n_flood_tensors * d->alignment);
    label(img, "end", "", "");
}

size_t image_at(const image *img, const char *name)
{
    for (size_t i = 0; i < img->n_labels; i++)
        if (!strcmp(img->labels[i].name, name)) return img->labels[i].at;
    die("no such label:", name);
    return 0;
}

void image_put(image *img, const char *name, int64_t delta, unsigned width, uint64_t v)
{
    size_t at = (size_t)((int64_t)image_at(img, name) + delta);
    if (at + width > img->size) die("label outside the file:", name);
    memcpy(img->bytes + at, &v, width);
}

void image_fini(image *img)
{
    free(img->bytes);
    free(img->labels);
    *img = (image){0};
}
