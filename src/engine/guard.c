/* Keeps what strangers wrote in a conversation from becoming control tokens.
 *
 * Before a template sees the conversation, a character that no text of it has (a noncharacter of Unicode) is put into
 * every text of it that reads like a control token, behind the first character. Whatever the template does with its
 * values, the marks stand in its output where such texts stand. There they are taken out again, and their places are
 * veils: no control token is found over them, all else is tokenized as if they had never been. What an assistant said
 * may hold the markers of calls and reasoning, which templates look for in it. */
#include "engine/api.h"
#include "text/reply/reply.h"

enum { TEXT_BYTES_MAX = 256 << 20, MARKS = 32 };
static const char first_mark[] = "\xEF\xB7\x90"; /* U+FDD0 */

typedef struct guard {
    const ig_vocab *v;
    const ig_reply_family *family;
    ig_str mark;
    bool assistant;
    uint32_t used; /* marks that stand in the texts */
    ig_buf text;
} guard;

static ig_str note_marks(void *ctx, ig_str text)
{
    guard *g = ctx;
    const char *at = text.ptr, *end = text.ptr + text.len;
    while (text.len && (at = memmem(at, (size_t)(end - at), first_mark, 2))) {
        unsigned which = at + 2 < end ? (unsigned)(uint8_t)at[2] - 0x90 : MARKS;
        if (which < MARKS) g->used |= 1u << which;
        at += 2;
    }
    return text;
}

static bool is_own(const void *ctx, ig_str token) { return ig_reply_is_marker(ctx, token); }

static ig_str veil(void *ctx, ig_str text)
{
    guard *g = ctx;
    g->text.len = 0;
    if (!ig_vocab_veil(g->v, text, g->mark, g->assistant ? is_own : NULL, g->family, &g->text))
        return (ig_str){NULL, 0};
    return g->text.len ? (ig_str){g->text.ptr, g->text.len} : (ig_str){"", 0};
}

static ig_status no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a conversation"); }

static ig_status veil_messages(guard *g, ig_arena *arena, ig_tval list, ig_tval *out, ig_error *err)
{
    ig_tval m, role;
    ig_str text;
    size_t n = 0;
    while (ig_tv_at(list, n, &m)) n++;
    ig_tval *items = ig_calloc(n + 1, sizeof *items);
    bool ok = items != NULL;
    for (size_t i = 0; ok && ig_tv_at(list, i, &m); i++) {
        g->assistant =
            ig_tv_get(m, IG_STR("role"), &role) && ig_tv_as_text(role, &text) && ig_str_is(text, "assistant");
        items[i] = ig_tv_map(arena, m, veil, g);
        ok = items[i].kind != 0;
    }
    g->assistant = false;
    *out = ok ? ig_tv_list(arena, items, n) : (ig_tval){0};
    ig_free(items);
    return out->kind ? IG_OK : no_memory(err);
}

static ig_status veil_all(guard *g, ig_arena *arena, ig_tval *vars, ig_error *err)
{
    static const char *const own[] = {"bos_token", "eos_token"};
    ig_tval v, out = ig_tv_map(arena, *vars, veil, g);
    if (!out.kind) return no_memory(err);
    for (size_t i = 0; i < 2; i++)
        if (ig_tv_get(*vars, ig_str_from(own[i]), &v) && !ig_tv_put(arena, out, ig_str_from(own[i]), v))
            return no_memory(err);
    if (ig_tv_get(*vars, IG_STR("messages"), &v) && ig_tv_at(v, 0, &(ig_tval){0})) {
        IG_TRY(veil_messages(g, arena, v, &v, err));
        if (!ig_tv_put(arena, out, IG_STR("messages"), v)) return no_memory(err);
    }
    *vars = out;
    return IG_OK;
}

ig_status ig_guard_variables(const ingle_model *m, ig_str source, ig_arena *arena, ig_tval *vars, char mark[4],
                             ig_error *err)
{
    guard g = {.v = m->vocab, .family = ig_reply_family_of(source)};
    unsigned which = 0;
    mark[0] = 0;
    if (!m->vocab) return IG_OK;
    if (!ig_tv_map(arena, *vars, note_marks, &g).kind) return no_memory(err);
    while (which < MARKS && g.used >> which & 1) which++;
    if (which == MARKS)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "the texts hold all noncharacters from U+FDD0 to U+FDEF, of which one must be free");
    memcpy(mark, first_mark, sizeof first_mark);
    mark[2] = (char)(uint8_t)(0x90 + which);
    g.mark = (ig_str){mark, 3};
    ig_buf_init(&g.text, TEXT_BYTES_MAX);
    ig_status st = veil_all(&g, arena, vars, err);
    ig_buf_fini(&g.text);
    return st;
}

ig_status ig_guard_lift(ig_buf *text, const char mark[4], size_t **veils, size_t *n, ig_error *err)
{
    size_t n_marks = 0, to = 0;
    *veils = NULL, *n = 0;
    if (!mark[0] || !text->len) return IG_OK;
    const char *at = text->ptr, *end = text->ptr + text->len;
    for (const char *p = at; (p = memmem(p, (size_t)(end - p), mark, 3)); p += 3) n_marks++;
    if (!n_marks) return IG_OK;
    *veils = ig_calloc(n_marks, sizeof **veils);
    if (!*veils) return no_memory(err);
    while (at < end) {
        const char *next = memmem(at, (size_t)(end - at), mark, 3);
        size_t len = (size_t)((next ? next : end) - at);
        memmove(text->ptr + to, at, len);
        to += len;
        if (next && (!*n || (*veils)[*n - 1] < to)) (*veils)[(*n)++] = to;
        at += len + (next ? 3 : 0);
    }
    text->len = to;
    return IG_OK;
}

ingle_status ig_model_tokenize(const ingle_model *m, const char *text, size_t n_text, unsigned flags,
                               const size_t *veils, size_t n_veils, int32_t *out, size_t capacity, size_t *n_out,
                               ingle_error *err)
{
    ig_error e;
    ig_ids ids = {0};
    unsigned f =
        (flags & INGLE_ADD_SPECIAL ? IG_TOKENIZE_ADD : 0u) | (flags & INGLE_PARSE_SPECIAL ? IG_TOKENIZE_PARSE : 0u);
    if ((flags & INGLE_PARSE_ADDED) && m->vocab && ig_vocab_is_json(m->vocab)) f |= IG_TOKENIZE_PARSE;
    *n_out = 0;
    ig_status st = ig_need_vocab(m, &e);
    if (st == IG_OK) st = ig_tokenize_veiled(m->vocab, text, n_text, f, (ig_veils){veils, n_veils}, &ids, &e);
    if (st == IG_OK) st = ig_give_ids(&ids, out, capacity, n_out, &e);
    ig_free(ids.ptr);
    return ig_pass(st, &e, err);
}

ingle_status ingle_tokenize_veiled(const ingle_model *model, const char *text, size_t n_text, unsigned flags,
                                   const size_t *veils, size_t n_veils, int32_t *out, size_t capacity, size_t *n_out,
                                   ingle_error *err)
{
    return ig_model_tokenize(model, text, n_text, flags, veils, n_veils, out, capacity, n_out, err);
}
