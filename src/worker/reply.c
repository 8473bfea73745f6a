/* Replies through the parsers of src/text/reply; what is no chat passes as it is. */
#include "worker/reply.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "text/reply/reply.h"

struct wk_reply {
    const ig_reply_family *family;
    ig_reply_tools *tools;
    ig_reply *r; /* NULL: no chat */
    bool unparsed;
};

typedef struct outlet {
    wk_reply *r;
    wk_piece_fn fn;
    void *ctx;
} outlet;

static bool on_piece(void *ctx, const ig_piece *p)
{
    static const wk_piece_kind kinds[] = {[IG_PIECE_TEXT] = WK_TEXT,
                                          [IG_PIECE_REASONING] = WK_REASONING,
                                          [IG_PIECE_CALL] = WK_CALL,
                                          [IG_PIECE_ARGUMENTS] = WK_ARGUMENTS};
    const outlet *o = ctx;
    if (p->kind == IG_PIECE_CALL_END) return true;
    if (p->kind == IG_PIECE_TEXT && p->unparsed) o->r->unparsed = true;
    return o->fn(o->ctx,
                 &(wk_piece){.kind = kinds[p->kind], .text = p->text, .call = p->call, .id = p->id, .name = p->name});
}

static ig_status read_tools(const json_t *body, ig_reply_tools **out, ig_error *err)
{
    const json_t *tools = json_object_get(body, "tools"), *choice = json_object_get(body, "tool_choice");
    if (json_array_size(tools) == 0) return IG_OK;
    if (json_is_string(choice) && !strcmp(json_string_value(choice), "none")) return IG_OK;
    char *text = json_dumps(tools, JSON_COMPACT);
    if (!text) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tools");
    ig_status st = ig_reply_tools_new(text, strlen(text), out, err);
    free(text);
    return st;
}

ig_status wk_reply_new(ig_str source, ig_str prompt, const json_t *body, wk_reply **out, ig_error *err)
{
    const char *kind = json_string_value(json_object_get(body, "kind"));
    uint64_t seed;
    *out = ig_calloc(1, sizeof **out);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a reply");
    wk_reply *r = *out;
    if (!kind || kind[0] != 'c') return IG_OK;
    ig_random(&seed, sizeof seed);
    r->family = ig_reply_family_of(source);
    ig_status st = read_tools(body, &r->tools, err);
    ig_reply_options o = {.family = r->family,
                          .tools = r->tools,
                          .source = source,
                          .prompt = prompt,
                          .seed = seed,
                          .no_calls = json_array_size(json_object_get(body, "tools")) == 0};
    if (st == IG_OK) st = ig_reply_open(&o, &r->r, err);
    if (st == IG_OK) return IG_OK;
    wk_reply_free(r);
    *out = NULL;
    return st;
}

void wk_reply_free(wk_reply *r)
{
    if (!r) return;
    ig_reply_close(r->r);
    ig_reply_tools_free(r->tools);
    ig_free(r);
}

bool wk_reply_is_reasoning(const wk_reply *r) { return r->r && ig_reply_is_reasoning(r->r); }

bool wk_reply_wants_control(const wk_reply *r, ig_str text)
{
    return r->r && ig_reply_wants_control(r->r) && ig_reply_is_marker(r->family, text);
}

ig_status wk_reply_push(wk_reply *r, const char *text, size_t n, wk_piece_fn fn, void *ctx, ig_error *err)
{
    outlet o = {r, fn, ctx};
    if (r->r) return ig_reply_push(r->r, text, n, on_piece, &o, err);
    (void)fn(ctx, &(wk_piece){.kind = WK_TEXT, .text = {text, n}});
    return IG_OK;
}

ig_status wk_reply_finish(wk_reply *r, bool whole, wk_piece_fn fn, void *ctx, wk_reply_end *end, ig_error *err)
{
    outlet o = {r, fn, ctx};
    ig_reply_end e = {0};
    *end = (wk_reply_end){0};
    if (!r->r) return IG_OK;
    if (!whole) ig_reply_cut_off(r->r);
    IG_TRY(ig_reply_finish(r->r, on_piece, &o, &e, err));
    end->calls = e.n_whole > 0;
    end->flag = e.truncated_call ? "truncated_call" : e.unparsed || r->unparsed ? "unparsed" : NULL;
    return IG_OK;
}
