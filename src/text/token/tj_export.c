/* A tokenizer.json in the form of GGUF files: which of GGUF's four models it is, its tokens, types and flags, and what
 * that form has no word for. What comes out is built and tried before anybody believes it. */
#include "text/token/tj_export.h"

#include <stdio.h>

#include "base/sort.h"
#include "base/utf8.h"

enum { TOKENS_MAX = 1 << 24 };

void ig_maker_near(ig_maker *m, const char *why)
{
    if (m->out->fit != IG_VOCAB_SAME) return;
    m->out->fit = IG_VOCAB_NEAR;
    (void)snprintf(m->out->why, sizeof m->out->why, "%s", why);
}

void ig_maker_none(ig_maker *m, const char *why)
{
    if (m->out->fit == IG_VOCAB_NONE) return;
    m->out->fit = IG_VOCAB_NONE;
    (void)snprintf(m->out->why, sizeof m->out->why, "%s", why);
}

/* ------------------------------------------------------------------------------------------------ tokens */

static ig_status fill_up(ig_maker *m, size_t i)
{
    char name[32];
    const size_t n = (size_t)snprintf(name, sizeof name, "[PAD%zu]", i);
    const char *copy = ig_arena_copy(&m->out->arena, name, n);
    if (!copy) return ig_tj_no_memory(m->err);
    m->tokens[i] = (ig_str){copy, n};
    m->types[i] = IG_TOKEN_UNUSED;
    return IG_OK;
}

static ig_status copy_tokens(ig_maker *m, size_t n_tokens)
{
    const ig_vocab *v = m->v;
    if (n_tokens && n_tokens < v->n) ig_maker_none(m, "it has more tokens than the model");
    if (n_tokens > TOKENS_MAX) ig_maker_none(m, "the model has too many tokens");
    m->n = n_tokens > v->n && n_tokens <= TOKENS_MAX ? n_tokens : v->n;
    m->tokens = ig_arena_alloc(&m->out->arena, m->n, sizeof *m->tokens);
    m->scores = ig_arena_alloc(&m->out->arena, m->n, sizeof *m->scores);
    m->types = ig_arena_alloc(&m->out->arena, m->n, sizeof *m->types);
    if (!m->tokens || !m->scores || !m->types) return ig_tj_no_memory(m->err);
    for (size_t i = 0; i < m->n; i++) {
        if (i >= v->n || (v->types[i] == IG_TOKEN_UNUSED && v->tokens[i].len == 0)) {
            IG_TRY(fill_up(m, i));
            continue;
        }
        m->tokens[i] = v->tokens[i];
        m->types[i] = v->types[i];
    }
    m->out->spec.n_tokens = m->n;
    m->out->spec.tokens = m->tokens;
    m->out->spec.types = m->types;
    return IG_OK;
}

/* Ids in front of a text and behind it, and the others that tokenizer_config.json names. */
static void set_ids(ig_maker *m)
{
    const ig_tj *tj = m->tj;
    ig_vocab_spec *s = &m->out->spec;
    s->bos = m->v->bos;
    s->eos = m->v->eos;
    s->eot = m->v->eot;
    s->unk = m->v->unk;
    s->sep = tj->sep;
    s->pad = tj->pad;
    s->cls = tj->cls;
    s->mask = tj->mask;
    s->eom = -1;
    s->add_bos = tj->n_front == 1;
    s->add_eos = tj->n_back == 1;
    s->add_sep = 0;
    if (tj->n_front == 1 && s->bos < 0) s->bos = tj->front[0];
    if (tj->n_back == 1 && s->eos < 0) s->eos = tj->back[0];
    if (tj->n_front > 1 || tj->n_back > 1) ig_maker_near(m, "several tokens are put around a text");
    if (tj->n_front == 1 && s->bos != tj->front[0])
        ig_maker_near(m, "another token than BOS is put in front of a text");
    if (tj->n_back == 1 && s->eos != tj->back[0]) {
        s->add_eos = 0;
        ig_maker_near(m, "another token than EOS is put behind a text");
    }
}

/* ------------------------------------------------------------------------------------------------ added tokens */

#define STEPS_MAX ((uint64_t)1 << 26) /* of a comparison of all added tokens with each other */

/* Repetitions of one character, of which the longest at the leftmost place is found in either order. */
static bool is_run(ig_str s)
{
    uint32_t cp, first = 0;
    for (size_t at = 0, n; at < s.len; at += n) {
        n = ig_utf8_decode(s.ptr + at, s.len - at, &cp);
        if (n == 0 || (at && cp != first)) return false;
        first = cp;
    }
    return true;
}

/* Some token as long as `a` or longer begins with a[from..] and goes on, or it takes too long to know. list [n] in the
 * order of their bytes. */
static bool overlaps(const ig_added *const *list, size_t n, const ig_added *a, size_t from, uint64_t *steps)
{
    const ig_str tail = {a->text.ptr + from, a->text.len - from};
    size_t lo = 0, hi = n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const ig_str t = list[mid]->text;
        const int c = memcmp(t.ptr, tail.ptr, t.len < tail.len ? t.len : tail.len);
        if (c < 0 || (c == 0 && t.len < tail.len))
            lo = mid + 1;
        else
            hi = mid;
    }
    for (*steps += 20; lo < n && ig_str_starts(list[lo]->text, tail); lo++) {
        if (++*steps > STEPS_MAX) return true;
        const ig_str t = list[lo]->text;
        if (list[lo] != a && t.len > tail.len && t.len >= a->text.len && !(is_run(t) && is_run(a->text))) return true;
    }
    return false;
}

static bool by_bytes(const void *a, const void *b, const void *ctx)
{
    const ig_str x = (*(const ig_added *const *)a)->text, y = (*(const ig_added *const *)b)->text;
    const int c = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    (void)ctx;
    return c != 0 ? c < 0 : x.len < y.len;
}

/* GGUF's readers take the longest token of a text first, Hugging Face's the leftmost. */
static ig_status check_order(ig_maker *m)
{
    const size_t n = m->tj->n_added;
    const ig_added **list = ig_calloc(n + 1, sizeof *list);
    uint64_t steps = 0;
    bool bad = false;
    if (!list) return ig_tj_no_memory(m->err);
    for (size_t i = 0; i < n; i++) list[i] = &m->tj->added[i];
    ig_sort(list, n, sizeof *list, by_bytes, NULL);
    for (size_t i = 0; i < n; i++)
        for (size_t from = 1; !bad && from < list[i]->text.len; from++)
            bad = steps > STEPS_MAX || overlaps(list, n, list[i], from, &steps);
    ig_free(list);
    if (bad) ig_maker_near(m, "added tokens overlap");
    return IG_OK;
}

/* A token that is found behind the normalizer: the same as in front of it only where that changes nothing. */
static bool found_alike(const ig_maker *m, const ig_added *a)
{
    if (!a->normalized || m->tj->n_norm == 0) return true;
    return !m->out->spec.add_space_prefix && ig_str_eq(a->text, a->pattern) &&
           !memmem(a->text.ptr, a->text.len, IG_MARKER, 3);
}

static bool is_added(const ig_tj *tj, ig_str text)
{
    for (size_t i = 0; i < tj->n_added; i++)
        if (ig_str_eq(tj->added[i].text, text)) return true;
    return false;
}

static ig_status check_added(ig_maker *m, const char *strips)
{
    if (strips) ig_maker_near(m, "the model's name makes others drop white space beside special tokens");
    for (const char *p = strips; p && *p;) {
        const size_t n = strcspn(p, " ");
        if (ig_texts_get(m->v, (ig_str){p, n}) < 0 && !is_added(m->tj, (ig_str){p, n}))
            ig_maker_none(m, "others refuse a model of this name without tokens that it does not have");
        p += n + (p[n] == ' ');
    }
    for (size_t i = 0; i < m->tj->n_added; i++) {
        const ig_added *a = &m->tj->added[i];
        if (a->lstrip || a->rstrip || a->single_word)
            ig_maker_near(m, "added tokens take the white space beside them, or stand alone");
        else if (!found_alike(m, a))
            ig_maker_near(m, "added tokens are found in the normalized text");
    }
    return check_order(m);
}

/* ------------------------------------------------------------------------------------------------ Unigram */

/* The bytes that ig_charsmap_read got. */
static ig_status copy_charsmap(ig_maker *m)
{
    const ig_charsmap *map = &m->tj->charsmap;
    const size_t trie = map->n_units * 4, n = 4 + trie + map->texts.len;
    uint8_t *p = ig_arena_alloc(&m->out->arena, n, 1);
    if (!p) return ig_tj_no_memory(m->err);
    for (size_t i = 0; i <= map->n_units; i++) {
        const uint32_t x = i ? map->units[i - 1] : (uint32_t)trie;
        for (int b = 0; b < 4; b++) p[4 * i + (size_t)b] = (uint8_t)(x >> 8 * b);
    }
    if (map->texts.len) memcpy(p + 4 + trie, map->texts.ptr, map->texts.len);
    m->out->spec.charsmap = (ig_str){(const char *)p, n};
    return IG_OK;
}

static ig_status read_unigram_norm(ig_maker *m, const ig_norm *s)
{
    switch (s->kind) {
    case IG_NORM_CHARSMAP: return copy_charsmap(m);
    case IG_NORM_STRIP: m->out->spec.remove_extra_whitespaces = 1; return IG_OK;
    case IG_NORM_REPLACE: m->out->spec.remove_extra_whitespaces |= s->pattern.two_spaces; return IG_OK;
    case IG_NORM_FORM: ig_maker_near(m, "a text is brought into a Unicode form first"); return IG_OK;
    default: ig_maker_none(m, "its normalizer is none that GGUF has"); return IG_OK;
    }
}

/* Metaspace, white space split off or not. */
static void read_unigram_pre(ig_maker *m)
{
    bool marks = false;
    for (size_t i = 0; i < m->tj->n_pre; i++) {
        const ig_pre_step *p = &m->tj->pre[i];
        if (p->kind == IG_PRE_METASPACE && ig_str_is(p->text, IG_MARKER)) {
            m->out->spec.add_space_prefix = p->scheme != IG_SCHEME_NEVER;
            marks = true;
        } else if (p->kind == IG_PRE_SPLIT && p->behavior == IG_SPLIT_REMOVED && !marks)
            m->out->spec.remove_extra_whitespaces = 1;
        else
            return ig_maker_none(m, "its pre-tokenizer is none that GGUF has a name for");
    }
    if (!marks) ig_maker_none(m, "its pre-tokenizer is none that GGUF has a name for");
}

static ig_status make_unigram(ig_maker *m)
{
    const ig_tj *tj = m->tj;
    ig_vocab_spec *s = &m->out->spec;
    s->model = IG_STR("t5");
    s->scores = m->scores;
    s->add_space_prefix = s->remove_extra_whitespaces = 0;
    for (size_t i = 0; i < m->v->n; i++) m->scores[i] = (float)tj->scores[i];
    for (int b = 0; tj->byte_fallback && b < 256; b++)
        if (tj->hex_id[b] >= 0) m->types[tj->hex_id[b]] = IG_TOKEN_BYTE;
    for (size_t i = 0; i < tj->n_norm; i++) IG_TRY(read_unigram_norm(m, &tj->norm[i]));
    read_unigram_pre(m);
    ig_maker_near(m, "white space and unknown characters are read otherwise in GGUF's form of Unigram");
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ WordPiece */

/* A token of GGUF has the marker in front where a word begins, and no ## where it goes on. What goes on with a marker
 * would begin a word there: it is left out. */
static ig_status mark_word(ig_maker *m, size_t i)
{
    const ig_str t = m->tokens[i], prefix = m->tj->subword_prefix;
    if (ig_str_starts(t, prefix) && t.len > prefix.len) {
        m->tokens[i] = (ig_str){t.ptr + prefix.len, t.len - prefix.len};
        return ig_str_starts(m->tokens[i], IG_STR(IG_MARKER)) ? fill_up(m, i) : IG_OK;
    }
    char *p = ig_arena_alloc(&m->out->arena, t.len + 3, 1);
    if (!p) return ig_tj_no_memory(m->err);
    memcpy(p, IG_MARKER, 3);
    if (t.len) memcpy(p + 3, t.ptr, t.len);
    m->tokens[i] = (ig_str){p, t.len + 3};
    return IG_OK;
}

static ig_status make_wordpiece(ig_maker *m)
{
    const ig_tj *tj = m->tj;
    ig_vocab_spec *s = &m->out->spec;
    bool bert = false;
    s->model = IG_STR("bert");
    s->keep_case = s->keep_accents = true;
    for (size_t i = 0; i < tj->n_norm; i++) {
        bert = bert || tj->norm[i].kind == IG_NORM_BERT;
        if (tj->norm[i].kind == IG_NORM_LOWERCASE) s->keep_case = false;
        if (tj->norm[i].kind == IG_NORM_STRIP_MARKS) s->keep_accents = false;
    }
    if (!bert || !tj->subword_prefix.len) ig_maker_none(m, "it is WordPiece without the normalizer of BERT");
    for (size_t i = 0; i < m->v->n; i++)
        if (m->types[i] == IG_TOKEN_NORMAL) IG_TRY(mark_word(m, i));
    if (tj->n_front == 1) s->bos = s->cls = tj->front[0];
    if (tj->n_back == 1) s->sep = tj->back[0];
    s->add_eos = 0;
    s->add_sep = tj->n_back == 1;
    ig_maker_near(m, "rare characters and long words are read otherwise in GGUF's form of WordPiece");
    return IG_OK;
}

/* Readers of GGUF hold C strings and refuse a vocabulary with a text in it twice. */
static ig_status make_unique(ig_maker *m)
{
    ig_map seen = {0};
    ig_status st = ig_map_init(&seen, m->n) ? IG_OK : ig_tj_no_memory(m->err);
    for (size_t i = 0; st == IG_OK && i < m->n; i++) {
        const ig_str t = m->tokens[i];
        if (!memchr(t.ptr, 0, t.len) && ig_map_add(&seen, t, (uint32_t)i, NULL)) continue;
        ig_maker_near(m, "the text of a token holds a NUL, or is that of another in GGUF's form");
        st = fill_up(m, i);
        if (st == IG_OK && !ig_map_add(&seen, m->tokens[i], (uint32_t)i, NULL))
            ig_maker_none(m, "several tokens have one text");
    }
    ig_map_fini(&seen);
    return st;
}

/* ------------------------------------------------------------------------------------------------ trying */

enum { TRIES = 256, TRY_PARTS = 12, TRY_BYTES = 4096 };

static uint32_t draw(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % n);
}

/* A random text: tokens, characters of all kinds, spaces. */
static bool make_text(const ig_vocab *v, uint64_t *state, ig_buf *out)
{
    out->len = 0;
    const uint32_t n = 1 + draw(state, TRY_PARTS);
    for (uint32_t i = 0; i < n && out->len < TRY_BYTES && !out->failed; i++) {
        static const uint32_t tops[] = {0x80, 0x80, 0x250, 0x3000, 0xD800, 0x20000};
        const uint32_t kind = draw(state, 8);
        char utf8[4];
        if (kind < 2) {
            (void)ig_token_piece(v, (int32_t)draw(state, (uint32_t)v->n), true, out);
        } else if (kind == 2) {
            (void)ig_buf_add(out, "  \n \t", 1 + draw(state, 5));
        } else if (kind == 3 && v->tj->n_added) {
            const ig_str t = v->tj->added[draw(state, (uint32_t)v->tj->n_added)].text;
            (void)ig_buf_add(out, t.ptr, t.len);
        } else
            for (uint32_t k = draw(state, 8); k; k--)
                (void)ig_buf_add(out, utf8, ig_utf8_encode(draw(state, tops[draw(state, 6)]), utf8));
    }
    if (!ig_utf8_valid(out->ptr, out->len)) out->len = 0; /* pieces of characters: broken bytes are read in many ways */
    return !out->failed;
}

static ig_status same_ids(const ig_vocab *a, const ig_vocab *b, const ig_buf *text, unsigned flags, bool *same,
                          ig_error *err)
{
    ig_ids x = {0}, y = {0};
    ig_status st = ig_tokenize(a, text->ptr, text->len, flags, &x, err);
    if (st == IG_OK) st = ig_tokenize(b, text->ptr, text->len, flags, &y, err);
    *same = st == IG_OK && x.len == y.len && (x.len == 0 || !memcmp(x.ptr, y.ptr, x.len * sizeof *x.ptr));
    ig_free(x.ptr);
    ig_free(y.ptr);
    return st;
}

static ig_status try_texts(ig_maker *m, const ig_vocab *made)
{
    uint64_t state = 1;
    bool same = true;
    ig_status st = IG_OK;
    ig_buf text;
    ig_buf_init(&text, 1 << 20);
    for (unsigned i = 0; st == IG_OK && same && i < TRIES; i++) {
        if (!make_text(m->v, &state, &text))
            st = ig_tj_no_memory(m->err);
        else
            st = same_ids(m->v, made, &text, i % 4, &same, m->err);
    }
    ig_buf_fini(&text);
    if (st == IG_OK && !same) ig_maker_near(m, "random texts become other tokens");
    return st;
}

static ig_status try_all(ig_maker *m)
{
    ig_vocab *made;
    ig_error e;
    ig_status st = ig_vocab_new(&m->out->spec, &made, &e);
    if (st == IG_NO_MEMORY) return ig_tj_no_memory(m->err);
    if (st != IG_OK) {
        ig_maker_none(m, e.text);
        return IG_OK;
    }
    for (size_t i = 0; i < m->v->n; i++)
        if ((made->types[i] == IG_TOKEN_CONTROL) != (m->types[i] == IG_TOKEN_CONTROL))
            ig_maker_near(m, "a token of a well-known name is no special one");
    if (m->out->fit == IG_VOCAB_SAME) st = try_texts(m, made);
    ig_vocab_free(made);
    return st;
}

/* ------------------------------------------------------------------------------------------------ all of it */

static ig_status make_model(ig_maker *m)
{
    switch (m->tj->model) {
    case IG_TJ_BPE: return m->tj->byte_level ? ig_maker_bytes(m) : ig_maker_chars(m);
    case IG_TJ_UNIGRAM: return make_unigram(m);
    case IG_TJ_WORDPIECE: return make_wordpiece(m);
    case IG_TJ_WORDLEVEL: break;
    }
    ig_maker_none(m, "it is a list of words, which GGUF has no form for");
    return IG_OK;
}

static ig_status make_all(ig_maker *m, size_t n_tokens, const char *strips)
{
    IG_TRY(copy_tokens(m, n_tokens));
    const bool chars = m->tj->model == IG_TJ_UNIGRAM || (m->tj->model == IG_TJ_BPE && !m->tj->byte_level);
    if (chars && m->v->unk >= 0 && m->types[m->v->unk] == IG_TOKEN_CONTROL) m->types[m->v->unk] = IG_TOKEN_UNKNOWN;
    m->out->spec.add_space_prefix = m->out->spec.remove_extra_whitespaces = -1;
    set_ids(m);
    IG_TRY(make_model(m));
    IG_TRY(make_unique(m));
    IG_TRY(check_added(m, strips));
    return m->out->fit == IG_VOCAB_NONE ? IG_OK : try_all(m);
}

ig_status ig_vocab_export_new(const ig_vocab *v, size_t n_tokens, const char *strips, ig_vocab_export *out,
                              ig_error *err)
{
    ig_maker m = {.v = v, .tj = v->tj, .out = out, .err = err};
    *out = (ig_vocab_export){.fit = IG_VOCAB_SAME};
    if (!ig_vocab_is_json(v)) return ig_fail(err, IG_BUG, 0, "the vocabulary is none of a tokenizer.json");
    ig_status st = make_all(&m, n_tokens, strips);
    if (st != IG_OK) ig_vocab_export_fini(out);
    if (out->fit == IG_VOCAB_NONE) out->spec = (ig_vocab_spec){0};
    return st;
}

void ig_vocab_export_fini(ig_vocab_export *out)
{
    ig_arena_fini(&out->arena);
    *out = (ig_vocab_export){0};
}
