/* BPE of a tokenizer.json in the form of GGUF files.
 *
 * Over bytes ("gpt2") both forms are lists of merges, and what must fit is the chain of splitters.
 *
 * Over characters GGUF's form ("llama") has no merges: two neighbours join where their joined text is a token, those of
 * the best score first. When does that give the tokens of a list of merges? Let a token's text alone be merged as the
 * list says. What happens between two places of a text depends on what lies between them as long as nothing joins
 * across these places; so two neighbours that make up the token's text arise anywhere if and only if they are the last
 * two when it is alone. Therefore the forms agree if no token's text alone ends as exactly two symbols, and the scores
 * have the order of each token's last merge. ("Exactly one": the two join in both. "Three or more": no two neighbours
 * ever make up the token.) Characters that are no tokens count as one symbol, which no merge knows. */
#include "base/sort.h"
#include "base/utf8.h"
#include "text/token/tj_export.h"

enum { CHARS_MAX = 512 };             /* of a token whose merging is looked at */
#define STEPS_MAX ((uint64_t)1 << 27) /* looks at neighbours, of all tokens together */

static bool by_rank(const void *a, const void *b, const void *ctx)
{
    (void)ctx;
    return ((const ig_merge *)a)->rank < ((const ig_merge *)b)->rank;
}

/* ------------------------------------------------------------------------------------------------ bytes */

/* "left right" */
static ig_status merge_text(ig_maker *m, const ig_merge *merge, ig_str *out)
{
    const ig_str l = m->v->tokens[merge->left], r = m->v->tokens[merge->right];
    char *p = ig_arena_alloc(&m->out->arena, l.len + 1 + r.len, 1);
    if (!p) return ig_tj_no_memory(m->err);
    memcpy(p, l.ptr, l.len);
    p[l.len] = ' ';
    memcpy(p + l.len + 1, r.ptr, r.len);
    *out = (ig_str){p, l.len + 1 + r.len};
    if (l.len == 0 || r.len == 0 || memchr(l.ptr, ' ', l.len) || memchr(r.ptr, ' ', r.len))
        ig_maker_none(m, "a merge has an empty half or one with a blank");
    return IG_OK;
}

static ig_status write_merges(ig_maker *m, ig_merge *merges, ig_str *texts)
{
    const ig_vocab *v = m->v;
    size_t n = 0;
    for (size_t i = 0; i < v->n_merge_slots; i++)
        if (v->merges[i].left >= 0) merges[n++] = v->merges[i];
    ig_sort(merges, n, sizeof *merges, by_rank, NULL);
    for (size_t i = 0; i < n; i++) IG_TRY(merge_text(m, &merges[i], &texts[i]));
    m->out->spec.merges = texts;
    m->out->spec.n_merges = n;
    return IG_OK;
}

static ig_status make_merges(ig_maker *m)
{
    ig_merge *merges = ig_calloc(m->v->n_merges + 1, sizeof *merges);
    ig_str *texts = ig_arena_alloc(&m->out->arena, m->v->n_merges + 1, sizeof *texts);
    ig_status st = merges && texts ? write_merges(m, merges, texts) : ig_tj_no_memory(m->err);
    ig_free(merges);
    return st;
}

static void name_splitters(ig_maker *m)
{
    ig_splitter chain[IG_TJ_STEPS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < m->tj->n_pre; i++) {
        const ig_pre_step *s = &m->tj->pre[i];
        if (i == 0 && s->kind == IG_PRE_PREFIX_SPACE) {
            ig_maker_near(m, "a text gets a space in front");
            continue;
        }
        if (s->kind != IG_PRE_SPLIT || s->behavior != IG_SPLIT_ISOLATED || !s->pattern.match)
            return ig_maker_none(m, "its pre-tokenizer is none that GGUF has a name for");
        chain[n++] = (ig_splitter){s->pattern.match, s->pattern.params};
    }
    bool same = true;
    m->out->spec.pre = ig_pre_name_of(chain, n, m->tj->ignore_merges, m->tj->clean_up, &same);
    if (!m->out->spec.pre.ptr) return ig_maker_none(m, "its pre-tokenizer is none that GGUF has a name for");
    if (!same) ig_maker_near(m, "the pre-tokenizer that GGUF has a name for is a little different");
}

ig_status ig_maker_bytes(ig_maker *m)
{
    m->out->spec.model = IG_STR("gpt2");
    for (size_t i = 0; i < m->tj->n_norm; i++) {
        if (m->tj->norm[i].kind == IG_NORM_FORM)
            ig_maker_near(m, "a text is brought into a Unicode form first");
        else
            ig_maker_none(m, "its normalizer is none that GGUF has");
    }
    name_splitters(m);
    return make_merges(m);
}

/* ------------------------------------------------------------------------------------------------ characters */

static bool is_marker(ig_str s) { return ig_str_is(s, IG_MARKER); }
static bool is_space(const ig_pattern *p) { return ig_str_is(p->text, " ") && !p->regex && !p->match; }

/* Space to marker, with a marker in front or without. *at: normalizers read. */
static bool read_spaces(ig_maker *m, size_t *at)
{
    const ig_norm *s = &m->tj->norm[*at];
    const size_t left = m->tj->n_norm - *at;
    bool prefix = left > 1 && s[0].kind == IG_NORM_PREPEND && is_marker(s[0].content);
    if (left < 1u + prefix || s[prefix].kind != IG_NORM_REPLACE) return false;
    if (!is_space(&s[prefix].pattern) || !is_marker(s[prefix].content)) return false;
    m->out->spec.add_space_prefix = prefix;
    *at += 1u + prefix;
    return true;
}

/* The pre-tokenizer behind: nothing; one that splits at spaces, of which there are none; or Metaspace. */
static bool read_pre(ig_maker *m, bool spaces_gone)
{
    const ig_pre_step *s = &m->tj->pre[0];
    if (m->tj->n_pre == 0) return spaces_gone;
    if (m->tj->n_pre > 1) return false;
    if (s->kind == IG_PRE_SPLIT) return spaces_gone && is_space(&s->pattern);
    if (s->kind != IG_PRE_METASPACE || !is_marker(s->text)) return false;
    if (spaces_gone && s->scheme != IG_SCHEME_NEVER && m->out->spec.add_space_prefix) return false;
    if (s->scheme != IG_SCHEME_NEVER) {
        m->out->spec.add_space_prefix = true;
        ig_maker_near(m, s->scheme == IG_SCHEME_FIRST ? "only the beginning of a text gets a space in front"
                                                      : "a text that begins with a space gets no other in front");
    }
    if (s->split && !m->tj->cut_words) ig_maker_near(m, "words are merged apart from each other");
    return true;
}

static void read_steps(ig_maker *m)
{
    size_t at = 0;
    for (; at < m->tj->n_norm && m->tj->norm[at].kind == IG_NORM_FORM; at++)
        ig_maker_near(m, "a text is brought into a Unicode form first");
    m->out->spec.add_space_prefix = false;
    const bool spaces_gone = at < m->tj->n_norm && read_spaces(m, &at);
    if (at < m->tj->n_norm)
        ig_maker_none(m, "its normalizer is none that GGUF has");
    else if (!read_pre(m, spaces_gone))
        ig_maker_none(m, "its pre-tokenizer is none that GGUF has a name for");
}

typedef struct alone { /* the text of one token on its way */
    int32_t ids[CHARS_MAX];
    size_t n;
    uint32_t last_rank; /* of the last merge */
    uint64_t steps;     /* of all tokens so far */
} alone;

static bool start_alone(const ig_vocab *v, ig_str text, alone *a)
{
    a->n = 0;
    a->last_rank = UINT32_MAX;
    for (size_t at = 0; at < text.len; a->n++) {
        uint32_t cp;
        size_t len = ig_utf8_decode(text.ptr + at, text.len - at, &cp);
        if (len == 0 || a->n == CHARS_MAX) return false;
        a->ids[a->n] = ig_vocab_find(v, text.ptr + at, len);
        at += len;
    }
    return true;
}

static void merge_alone(const ig_vocab *v, alone *a)
{
    for (;;) {
        const ig_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < a->n; i++) {
            const ig_merge *x = ig_vocab_merge(v, a->ids[i], a->ids[i + 1]);
            if (!x || (best && x->rank >= best->rank)) continue;
            best = x;
            at = i;
        }
        a->steps += a->n;
        if (!best || a->steps > STEPS_MAX) return;
        a->ids[at] = best->result;
        a->last_rank = best->rank;
        a->n--;
        memmove(&a->ids[at + 1], &a->ids[at + 2], (a->n - at - 1) * sizeof *a->ids);
    }
}

static bool merges_bytes(const ig_maker *m)
{
    for (size_t i = 0; i < m->v->n_merge_slots; i++) {
        const ig_merge *x = &m->v->merges[i];
        if (x->left >= 0 && (m->types[x->left] == IG_TOKEN_BYTE || m->types[x->right] == IG_TOKEN_BYTE)) return true;
    }
    return false;
}

/* Sets the score of a token; false where scores cannot say what the merges do. */
static bool score_token(ig_maker *m, size_t i, alone *a)
{
    m->scores[i] = -(float)(m->v->n_merges + 1);
    if (m->types[i] == IG_TOKEN_CONTROL || m->types[i] == IG_TOKEN_UNKNOWN) return true;
    if (memchr(m->tokens[i].ptr, 0, m->tokens[i].len) || !start_alone(m->v, m->tokens[i], a)) return false;
    if (a->n < 2) return true;
    merge_alone(m->v, a);
    if (a->n == 1) m->scores[i] = -(float)a->last_rank;
    return a->n != 2;
}

static void score_all(ig_maker *m)
{
    alone a = {.n = 0};
    bool same = !merges_bytes(m) && m->v->n_merges < 1 << 24;
    for (size_t i = 0; i < m->n; i++) same = score_token(m, i, &a) && same && a.steps <= STEPS_MAX;
    if (!same) ig_maker_near(m, "its list of merges says more than scores of tokens can");
}

ig_status ig_maker_chars(ig_maker *m)
{
    const ig_tj *tj = m->tj;
    m->out->spec.model = IG_STR("llama");
    m->out->spec.scores = m->scores;
    bool bytes = tj->byte_fallback;
    for (int b = 0; b < 256; b++) bytes = bytes && tj->hex_id[b] >= 0;
    if (!bytes || tj->subword_prefix.len || tj->word_suffix.len || tj->ignore_merges) {
        ig_maker_none(m, "it is BPE over characters without a token for every byte, or with marks in words");
        return IG_OK;
    }
    for (int b = 0; b < 256; b++)
        if (!tj->is_added[tj->hex_id[b]]) m->types[tj->hex_id[b]] = IG_TOKEN_BYTE;
    read_steps(m);
    score_all(m);
    return IG_OK;
}
