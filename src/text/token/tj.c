/* tokenizer.json: the whole of it. Reads the file into a vocabulary and runs a text through its pipeline. */
#include "text/token/tj.h"

enum {
    ADDED_MAX = 1 << 17,
    ADDED_BYTES_MAX = 1024,
    GROWTH_MAX = 16, /* a text may become this many times longer on its way */
    CACHE_FROM = 512 /* bytes of a text that is worth a cache */
};

/* ------------------------------------------------------------------------------------------------ reading */

static ig_status parse(const char *name, ig_str text, ig_arena *arena, const ig_tj_json **out, ig_error *err)
{
    IG_TRY(ig_tj_json_parse(name, text.ptr, text.len, arena, out, err));
    if (ig_tj_json_is(*out, IG_JSON_OBJECT)) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: expected an object", name);
}

static ig_status read_added_one(ig_vocab *v, const ig_tj_json *o, ig_added *a, ig_error *err)
{
    static const char where[] = "added_tokens";
    size_t id = 0;
    IG_TRY(ig_tj_str(o, where, "content", true, &v->tj->arena, &a->text, err));
    IG_TRY(ig_tj_size(o, where, "id", true, v->n - 1, &id, err));
    IG_TRY(ig_tj_bool(o, where, "special", &a->special, err));
    a->normalized = !a->special;
    IG_TRY(ig_tj_bool(o, where, "single_word", &a->single_word, err));
    IG_TRY(ig_tj_bool(o, where, "lstrip", &a->lstrip, err));
    IG_TRY(ig_tj_bool(o, where, "rstrip", &a->rstrip, err));
    IG_TRY(ig_tj_bool(o, where, "normalized", &a->normalized, err));
    if (a->text.len == 0 || a->text.len > ADDED_BYTES_MAX)
        return ig_fail(err, IG_BAD_INPUT, id, "tokenizer.json: added token %zu has %zu bytes, expected 1 to %d", id,
                       a->text.len, ADDED_BYTES_MAX);
    int32_t own = ig_texts_get(v, a->text); /* a text that the model knows keeps the model's id */
    a->id = own >= 0 ? own : (int32_t)id;
    if (own < 0 && v->types[id] != IG_TOKEN_UNUSED && !ig_str_eq(v->tokens[id], a->text))
        return ig_fail(err, IG_BAD_INPUT, id,
                       "tokenizer.json: the added token \"%.*s\" and \"%.*s\" have the same id %zu",
                       IG_STR_ARG(a->text), IG_STR_ARG(v->tokens[id]), id);
    v->tokens[a->id] = a->text;
    v->types[a->id] = a->special ? IG_TOKEN_CONTROL : IG_TOKEN_USER;
    v->tj->is_added[a->id] = 1;
    return IG_OK;
}

/* What is looked for behind the normalizer has been through it, too. */
static ig_status normalize_added(ig_vocab *v, ig_error *err)
{
    ig_tj_work w;
    ig_status st = IG_OK;
    ig_tj_work_init(&w, ADDED_BYTES_MAX);
    for (size_t i = 0; st == IG_OK && i < v->tj->n_added; i++) {
        ig_added *a = &v->tj->added[i];
        ig_str out = a->text;
        if (a->normalized) st = ig_tj_normalize(v->tj, &w, a->text, &out, err);
        const char *copy =
            st == IG_OK && out.ptr != a->text.ptr ? ig_arena_copy(&v->tj->arena, out.ptr, out.len) : out.ptr;
        if (!copy) st = ig_tj_no_memory(err);
        a->pattern = (ig_str){copy, out.len};
    }
    ig_tj_work_fini(&w);
    return st;
}

static ig_status read_added(ig_vocab *v, const ig_tj_json *list, ig_error *err)
{
    ig_tj *tj = v->tj;
    size_t n = list ? list->n : 0;
    if (n > ADDED_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: there are %zu added tokens, expected at most %d", n,
                       ADDED_MAX);
    tj->added = ig_calloc(n + 1, sizeof *tj->added);
    if (!tj->added) return ig_tj_no_memory(err);
    for (const ig_tj_json *a = ig_tj_json_first(list); a; a = a->next, tj->n_added++)
        IG_TRY(read_added_one(v, a, &tj->added[tj->n_added], err));
    IG_TRY(normalize_added(v, err));
    IG_TRY(ig_tj_finder_init(&tj->raw, tj->added, n, false, err));
    return ig_tj_finder_init(&tj->normalized, tj->added, n, true, err);
}

static ig_status optional(ig_vocab *v, const ig_tj_json *root, const char *key, ig_tj_component_fn read, ig_error *err)
{
    const ig_tj_json *o = ig_tj_json_get(root, key);
    if (!o || o->type == IG_JSON_NULL) return IG_OK;
    if (o->type == IG_JSON_OBJECT) return read(v, o, err);
    return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: \"%s\" is neither an object nor null", key);
}

/* The id of a special token that the configuration names: "text" or {"content": "text"}. */
static int32_t named_id(const ig_vocab *v, const ig_tj_json *config, const char *key)
{
    const ig_tj_json *o = ig_tj_json_get(config, key);
    ig_str text = ig_tj_json_text(ig_tj_json_is(o, IG_JSON_OBJECT) ? ig_tj_json_get(o, "content") : o);
    for (size_t i = 0; text.ptr && i < v->tj->n_added; i++)
        if (ig_str_eq(v->tj->added[i].text, text)) return v->tj->added[i].id;
    return text.ptr ? ig_texts_get(v, text) : -1;
}

static void find_ends(ig_vocab *v)
{
    bool turn;
    const char *name;
    for (size_t k = 0; (name = ig_end_name(k, &turn)) != NULL; k++) {
        for (size_t i = 0; i < v->tj->n_added; i++) {
            int32_t id = v->tj->added[i].id;
            if (!ig_str_is(v->tj->added[i].text, name)) continue;
            v->ends[id] = 1;
            if (turn && v->eot < 0) v->eot = id;
        }
    }
    if (v->eos >= 0) v->ends[v->eos] = 1;
}

static ig_status read_config(ig_vocab *v, const ig_tj_json *config, ig_error *err)
{
    ig_tj *tj = v->tj;
    IG_TRY(ig_tj_bool(config, "tokenizer_config.json", "clean_up_tokenization_spaces", &tj->clean_up, err));
    v->bos = named_id(v, config, "bos_token");
    v->eos = named_id(v, config, "eos_token");
    tj->sep = named_id(v, config, "sep_token");
    tj->pad = named_id(v, config, "pad_token");
    tj->cls = named_id(v, config, "cls_token");
    tj->mask = named_id(v, config, "mask_token");
    if (!config && tj->n_front) v->bos = tj->front[0];
    if (!config && tj->n_back) v->eos = tj->back[tj->n_back - 1];
    find_ends(v);
    return IG_OK;
}

static ig_status read_all(ig_vocab *v, const ig_tj_json *root, const ig_tj_json *config, ig_error *err)
{
    const ig_tj_json *added;
    IG_TRY(ig_tj_list(root, "the file", "added_tokens", false, &added, err));
    IG_TRY(optional(v, root, "normalizer", ig_tj_read_norm, err));
    IG_TRY(optional(v, root, "pre_tokenizer", ig_tj_read_pre, err));
    IG_TRY(optional(v, root, "decoder", ig_tj_read_dec, err));
    IG_TRY(ig_tj_read_model(v, ig_tj_json_get(root, "model"), added, err));
    IG_TRY(read_added(v, added, err));
    IG_TRY(optional(v, root, "post_processor", ig_tj_read_post, err));
    IG_TRY(ig_tj_index_model(v, err));
    IG_TRY(read_config(v, config, err));
    IG_TRY(ig_tj_make_pieces(v, err));
    v->bytes = sizeof *v + v->n * (sizeof(ig_str) + 3) + v->n_slots * sizeof(ig_text_slot) +
               v->n_merge_slots * sizeof(ig_merge) + ig_tj_bytes(v->tj);
    return IG_OK;
}

static ig_status new_vocab(ig_vocab **out, ig_error *err)
{
    ig_vocab *v = ig_calloc(1, sizeof *v);
    ig_tj *tj = ig_calloc(1, sizeof *tj);
    if (!v || !tj) {
        ig_free(v);
        ig_free(tj);
        return ig_tj_no_memory(err);
    }
    v->kind = IG_VOCAB_TJ;
    v->tj = tj;
    v->bos = v->eos = v->eot = v->eom = v->unk = v->sep = v->cls = v->strip_left = -1;
    *out = v;
    return IG_OK;
}

ig_status ig_vocab_from_json(const char *json, size_t n, const char *config, size_t n_config, ig_vocab **out,
                             ig_error *err)
{
    const ig_tj_json *root = NULL, *settings = NULL;
    ig_arena arena = {0};
    ig_vocab *v = NULL;
    *out = NULL;
    ig_status st = parse("tokenizer.json", (ig_str){json, n}, &arena, &root, err);
    if (st == IG_OK && config) st = parse("tokenizer_config.json", (ig_str){config, n_config}, &arena, &settings, err);
    if (st == IG_OK) st = new_vocab(&v, err);
    if (st == IG_OK) st = read_all(v, root, settings, err);
    ig_arena_fini(&arena);
    if (st == IG_OK)
        *out = v;
    else
        ig_vocab_free(v);
    return st;
}

size_t ig_tj_bytes(const ig_tj *tj)
{
    return sizeof *tj + tj->arena.used_bytes + ig_tj_trie_bytes(&tj->trie) + tj->pieces.cap +
           tj->n_added * (sizeof *tj->added + 2 * sizeof(void *));
}

void ig_tj_free(ig_tj *tj)
{
    if (!tj) return;
    for (size_t i = 0; i < IG_TJ_STEPS_MAX; i++) {
        ig_tj_regex_free(tj->norm[i].pattern.regex);
        ig_tj_regex_free(tj->pre[i].pattern.regex);
        ig_tj_regex_free(tj->dec[i].pattern.regex);
    }
    ig_tj_trie_fini(&tj->trie);
    ig_buf_fini(&tj->pieces);
    ig_free(tj->piece_end);
    ig_free(tj->scores);
    ig_free(tj->is_added);
    ig_free(tj->added);
    ig_free(tj->raw.list);
    ig_free(tj->normalized.list);
    ig_arena_fini(&tj->arena);
    ig_free(tj);
}

/* ------------------------------------------------------------------------------------------------ running */

void ig_tj_work_init(ig_tj_work *w, size_t n)
{
    size_t most = n < (UINT32_MAX - 65536) / GROWTH_MAX ? n * GROWTH_MAX + 65536 : UINT32_MAX - 1;
    *w = (ig_tj_work){0};
    for (int i = 0; i < 2; i++) {
        ig_buf_init(&w->norm[i], most);
        ig_buf_init(&w->text[i], most);
    }
    ig_buf_init(&w->work.text, SIZE_MAX / 2);
    ig_buf_init(&w->wide, SIZE_MAX / 2);
    ig_buf_init(&w->sorted, SIZE_MAX / 2);
}

void ig_tj_work_fini(ig_tj_work *w)
{
    ig_work_fini(&w->work);
    ig_tj_regex_work_fini(&w->regex);
    for (int i = 0; i < 2; i++) {
        ig_buf_fini(&w->norm[i]);
        ig_buf_fini(&w->text[i]);
        ig_free(w->pieces[i].ptr);
    }
    ig_buf_fini(&w->wide);
    ig_buf_fini(&w->sorted);
    ig_free(w->chars.cp);
    ig_free(w->chars.cls);
    ig_free(w->chars.at);
    ig_free(w->lattice);
    ig_free(w->cache);
}

bool ig_tj_room(void *p, size_t *cap, size_t n, size_t size)
{
    void **owned = p;
    if (n <= *cap) return true;
    ig_free(*owned);
    *owned = ig_calloc(n, size);
    *cap = *owned ? n : 0;
    return *owned != NULL;
}

typedef struct encoder {
    const ig_vocab *v;
    ig_tj_work w;
    ig_ids *out;
    bool parse;
    const char *base; /* the whole text, where veils count from */
    ig_veils veils;
} encoder;

/* Normalized text without added tokens; `first`: it begins the input. */
static ig_status encode_plain(encoder *e, ig_str text, bool first, ig_error *err)
{
    ig_str cut;
    if (text.len == 0) return IG_OK;
    IG_TRY(ig_tj_cut(e->v->tj, &e->w, text, first, &cut, err));
    const ig_pieces *p = &e->w.pieces[0];
    for (size_t i = 0; i < p->n; i++)
        if (!ig_tj_encode_piece(e->v, &e->w, cut.ptr + p->ptr[i].at, p->ptr[i].end - p->ptr[i].at, e->out))
            return ig_tj_no_memory(err);
    return IG_OK;
}

static ig_status encode_stretch(encoder *e, ig_str text, bool first, ig_error *err)
{
    const ig_finder *f = &e->v->tj->normalized;
    size_t from = 0, at, end;
    if (text.len == 0) return IG_OK;
    /* Behind the normalizer offsets are others: a veil counts for the whole stretch. */
    size_t start = (size_t)(text.ptr - e->base);
    bool parse = e->parse && ig_veil_limit(e->veils, start) >= text.len;
    IG_TRY(ig_tj_normalize(e->v->tj, &e->w, text, &text, err));
    for (const ig_added *a; (a = ig_tj_find_added(f, text.ptr, text.len, from, parse, (ig_veils){NULL, 0}, &at, &end));
         from = end) {
        IG_TRY(encode_plain(e, (ig_str){text.ptr + from, at - from}, first && from == 0, err));
        if (!ig_ids_add(e->out, a->id)) return ig_tj_no_memory(err);
    }
    return encode_plain(e, (ig_str){text.ptr + from, text.len - from}, first && from == 0, err);
}

static ig_status encode_text(encoder *e, const char *text, size_t n, ig_error *err)
{
    const ig_finder *f = &e->v->tj->raw;
    size_t from = 0, at, end;
    for (const ig_added *a; (a = ig_tj_find_added(f, text, n, from, e->parse, e->veils, &at, &end)); from = end) {
        IG_TRY(encode_stretch(e, (ig_str){text + from, at - from}, from == 0, err));
        if (!ig_ids_add(e->out, a->id)) return ig_tj_no_memory(err);
    }
    return encode_stretch(e, (ig_str){text + from, n - from}, from == 0, err);
}

static bool add_ids(ig_ids *out, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!ig_ids_add(out, ids[i])) return false;
    return true;
}

ig_status ig_tj_encode(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_veils veils, ig_ids *out,
                       ig_error *err)
{
    const ig_tj *tj = v->tj;
    encoder e = {.v = v, .out = out, .parse = flags & IG_TOKENIZE_PARSE, .base = text, .veils = veils};
    bool add = flags & IG_TOKENIZE_ADD;
    ig_tj_work_init(&e.w, n);
    bool ok = n < CACHE_FROM || ig_tj_cache_init(&e.w);
    ok = ok && (!add || add_ids(out, tj->front, tj->n_front));
    ig_status st = ok ? encode_text(&e, text, n, err) : ig_tj_no_memory(err);
    bool grown = e.w.norm[0].failed || e.w.norm[1].failed || e.w.text[0].failed || e.w.text[1].failed;
    if (st == IG_NO_MEMORY && grown)
        st = ig_fail(err, IG_TOO_LARGE, 0,
                     "the tokenizer makes a text of %zu bytes more than %d times longer, or memory is short", n,
                     GROWTH_MAX);
    if (st == IG_OK && add && !add_ids(out, tj->back, tj->n_back)) st = ig_tj_no_memory(err);
    ig_tj_work_fini(&e.w);
    return st;
}
