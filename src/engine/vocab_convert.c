/* A vocabulary of a tokenizer.json as the metadata of a GGUF file (layout: src/format/gguf.c). */
#include <stdio.h>

#include "engine/api.h"
#include "engine/vocab.h"

#define FORM_BYTES_MAX ((size_t)1 << 30)

typedef struct form_writer {
    ig_buf out; /* a failure shows in out.failed */
    uint64_t n_keys;
} form_writer;

static void put(form_writer *f, const void *p, size_t n)
{
    if (n) (void)ig_buf_add(&f->out, p, n);
}

static void put_u32(form_writer *f, uint32_t x) { put(f, &x, sizeof x); }

static void put_text(form_writer *f, ig_str s)
{
    const uint64_t n = s.len;
    put(f, &n, sizeof n);
    put(f, s.ptr, s.len);
}

static void put_key(form_writer *f, const char *key, ig_meta_type type)
{
    char name[96];
    (void)snprintf(name, sizeof name, "tokenizer.ggml.%s", key);
    put_text(f, ig_str_from(name));
    put_u32(f, (uint32_t)type);
    f->n_keys++;
}

static void put_array(form_writer *f, const char *key, ig_meta_type elem, uint64_t n)
{
    put_key(f, key, IG_META_ARRAY);
    put_u32(f, (uint32_t)elem);
    put(f, &n, sizeof n);
}

static void put_texts(form_writer *f, const char *key, const ig_str *texts, size_t n)
{
    put_array(f, key, IG_META_STRING, n);
    for (size_t i = 0; i < n; i++) put_text(f, texts[i]);
}

static void put_flag(form_writer *f, const char *key, int value)
{
    if (value < 0) return;
    put_key(f, key, IG_META_BOOL);
    put(f, value ? "\1" : "\0", 1);
}

static void put_string(form_writer *f, const char *key, ig_str value)
{
    if (!value.len) return;
    put_key(f, key, IG_META_STRING);
    put_text(f, value);
}

static void put_ids(form_writer *f, const ig_vocab_spec *s)
{
    const struct {
        const char *key;
        int64_t id;
    } ids[] = {{"bos_token_id", s->bos},       {"eos_token_id", s->eos},     {"eot_token_id", s->eot},
               {"unknown_token_id", s->unk},   {"padding_token_id", s->pad}, {"cls_token_id", s->cls},
               {"seperator_token_id", s->sep}, /* as everybody spells it */
               {"mask_token_id", s->mask}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].id < 0) continue;
        put_key(f, ids[i].key, IG_META_U32);
        put_u32(f, (uint32_t)ids[i].id);
    }
}

static void put_spec(form_writer *f, const ig_vocab_spec *s)
{
    put_string(f, "model", s->model);
    put_string(f, "pre", s->pre);
    put_texts(f, "tokens", s->tokens, s->n_tokens);
    put_array(f, "token_type", IG_META_I32, s->n_tokens);
    put(f, s->types, s->n_tokens * sizeof *s->types);
    if (s->scores) {
        put_array(f, "scores", IG_META_F32, s->n_tokens);
        put(f, s->scores, s->n_tokens * sizeof *s->scores);
    }
    if (s->merges) put_texts(f, "merges", s->merges, s->n_merges);
    if (s->charsmap.len) {
        put_array(f, "precompiled_charsmap", IG_META_U8, s->charsmap.len);
        put(f, s->charsmap.ptr, s->charsmap.len);
    }
    put_ids(f, s);
    put_flag(f, "add_bos_token", s->add_bos);
    put_flag(f, "add_eos_token", s->add_eos);
    put_flag(f, "add_sep_token", s->add_sep);
    put_flag(f, "add_space_prefix", s->add_space_prefix);
    put_flag(f, "remove_extra_whitespaces", s->remove_extra_whitespaces);
    if (!ig_str_is(s->model, "bert")) return;
    put_flag(f, "normalizer.lowercase", !s->keep_case);
    put_flag(f, "normalizer.strip_accents", !s->keep_accents);
}

/* Magic, version, no tensors, and the number of keys, which is known at the end. */
static bool write_form(form_writer *f, const ig_vocab_spec *s)
{
    const uint64_t none[2] = {0};
    ig_buf_init(&f->out, FORM_BYTES_MAX);
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put(f, none, sizeof none);
    put_spec(f, s);
    if (f->out.failed) return false;
    memcpy(f->out.ptr + 16, &f->n_keys, sizeof f->n_keys);
    return true;
}

static ig_status convert(const ingle_model *model, ingle_vocab_form *out, ig_error *err)
{
    static const ingle_vocab_fit fits[] = {
        [IG_VOCAB_NONE] = INGLE_VOCAB_NONE, [IG_VOCAB_NEAR] = INGLE_VOCAB_NEAR, [IG_VOCAB_SAME] = INGLE_VOCAB_SAME};
    const ig_tensor *embedding = ig_format_tensor(model->file, "token_embd.weight");
    ig_vocab_export x;
    form_writer f = {0};
    IG_TRY(ig_vocab_export_new(model->vocab, embedding ? (size_t)embedding->ne[1] : 0, ig_vocab_strips(model->file), &x,
                               err));
    out->fit = fits[x.fit];
    (void)snprintf(out->why, sizeof out->why, "%s", x.why);
    ig_status st = IG_OK;
    if (x.fit != IG_VOCAB_NONE && !write_form(&f, &x.spec))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the vocabulary");
    if (st == IG_OK) {
        out->data = f.out.ptr;
        out->n = f.out.len;
        f.out.ptr = NULL;
    }
    ig_buf_fini(&f.out);
    ig_vocab_export_fini(&x);
    return st;
}

ingle_status ingle_vocab_convert(const ingle_model *model, ingle_vocab_form *out, ingle_error *err)
{
    ig_error e;
    *out = (ingle_vocab_form){.fit = INGLE_VOCAB_SAME};
    ig_status st = ig_need_vocab(model, &e);
    if (st == IG_OK && ig_vocab_is_json(model->vocab)) st = convert(model, out, &e);
    return ig_pass(st, &e, err);
}

void ingle_vocab_form_free(ingle_vocab_form *form)
{
    ig_free(form->data);
    *form = (ingle_vocab_form){0};
}
