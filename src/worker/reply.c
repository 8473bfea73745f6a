/* Stand-in: all is text. The parsers of replies (src/text/reply) take its place. */
#include "worker/reply.h"

#include "base/mem.h"

struct wk_reply {
    bool nothing;
};

ig_status wk_reply_new(ig_str source, ig_str prompt, const json_t *body, wk_reply **out, ig_error *err)
{
    (void)source;
    (void)prompt;
    (void)body;
    *out = ig_calloc(1, sizeof **out);
    return *out ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a reply");
}

void wk_reply_free(wk_reply *r) { ig_free(r); }
bool wk_reply_wants_control(const wk_reply *r) { return r->nothing; }
bool wk_reply_is_reasoning(const wk_reply *r) { return r->nothing; }

ig_status wk_reply_push(wk_reply *r, const char *text, size_t n, wk_piece_fn fn, void *ctx, ig_error *err)
{
    (void)r;
    (void)err;
    if (n) (void)fn(ctx, &(wk_piece){.kind = WK_TEXT, .text = {text, n}});
    return IG_OK;
}

ig_status wk_reply_finish(wk_reply *r, bool whole, wk_piece_fn fn, void *ctx, wk_reply_end *end, ig_error *err)
{
    (void)r;
    (void)whole;
    (void)fn;
    (void)ctx;
    (void)err;
    *end = (wk_reply_end){0};
    return IG_OK;
}
