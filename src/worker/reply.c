/* A plain reader of replies: <think>...</think> is reasoning, <tool_call>{"name": ..., "arguments": ...}</tool_call> a
 * call where tools were given; an answer that was forced to be a call is the JSON of one, or a list of them. */
#include "worker/reply.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

enum { HELD_MAX = 64 << 20, ID_LETTERS = 24 };

typedef enum state { PLAIN, THINKING, CALLING, FORCED } state;

/* Where a marker leads from which state. */
static const struct {
    const char *text;
    state from, to;
} markers[] = {{"<think>", PLAIN, THINKING},
               {"</think>", THINKING, PLAIN},
               {"<tool_call>", PLAIN, CALLING},
               {"</tool_call>", CALLING, PLAIN}};
enum { N_MARKERS = sizeof markers / sizeof *markers };

struct wk_reply {
    state at;
    bool chat, tools, forced, skip_blank; /* skip_blank: white space behind a marker is no text */
    unsigned n_calls;
    const char *flag;
    ig_buf held; /* what may become a marker; the text of a call */
};

static bool ends_in(ig_str text, const char *tail)
{
    size_t n = strlen(tail);
    while (text.len && strchr(" \n\t", text.ptr[text.len - 1])) text.len--;
    return text.len >= n && !memcmp(text.ptr + text.len - n, tail, n);
}

static bool is_forced(const json_t *body)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    return json_is_object(choice) || (json_is_string(choice) && !strcmp(json_string_value(choice), "required"));
}

ig_status wk_reply_new(ig_str source, ig_str prompt, const json_t *body, wk_reply **out, ig_error *err)
{
    const char *kind = json_string_value(json_object_get(body, "kind"));
    const json_t *choice = json_object_get(body, "tool_choice");
    bool none = json_is_string(choice) && !strcmp(json_string_value(choice), "none");
    (void)source;
    *out = ig_calloc(1, sizeof **out);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a reply");
    wk_reply *r = *out;
    ig_buf_init(&r->held, HELD_MAX);
    r->chat = kind && kind[0] == 'c';
    r->tools = r->chat && !none && json_array_size(json_object_get(body, "tools"));
    r->forced = r->chat && is_forced(body);
    r->at = r->chat && ends_in(prompt, "<think>") ? THINKING : r->forced ? FORCED : PLAIN;
    r->skip_blank = r->at == THINKING;
    return IG_OK;
}

void wk_reply_free(wk_reply *r)
{
    if (!r) return;
    ig_buf_fini(&r->held);
    ig_free(r);
}

bool wk_reply_is_reasoning(const wk_reply *r) { return r->at == THINKING; }

bool wk_reply_wants_control(const wk_reply *r, ig_str text)
{
    for (size_t i = 0; r->chat && r->at != FORCED && i < N_MARKERS; i++)
        if (ig_str_is(text, markers[i].text)) return true;
    return false;
}

static void give(wk_reply *r, const char *text, size_t n, wk_piece_fn fn, void *ctx)
{
    while (r->skip_blank && n && strchr(" \n\r\t", *text)) text++, n--;
    if (n == 0) return;
    r->skip_blank = false;
    (void)fn(ctx, &(wk_piece){.kind = r->at == THINKING ? WK_REASONING : WK_TEXT, .text = {text, n}});
}

static void make_id(char out[ID_LETTERS + 6])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char random[ID_LETTERS];
    ig_random(random, sizeof random);
    memcpy(out, "call_", 5);
    for (size_t i = 0; i < ID_LETTERS; i++) out[5 + i] = letters[random[i] % (sizeof letters - 1)];
    out[5 + ID_LETTERS] = 0;
}

static bool give_call(wk_reply *r, const json_t *call, wk_piece_fn fn, void *ctx)
{
    const json_t *name = json_object_get(call, "name"), *arguments = json_object_get(call, "arguments");
    char id[ID_LETTERS + 6];
    if (!json_is_string(name) || !arguments) return false;
    char *text = json_is_string(arguments) ? NULL : json_dumps(arguments, JSON_COMPACT | JSON_ENCODE_ANY);
    ig_str args = text ? ig_str_from(text) : (ig_str){json_string_value(arguments), json_string_length(arguments)};
    if (!args.ptr) return false;
    make_id(id);
    unsigned i = r->n_calls++;
    (void)fn(ctx, &(wk_piece){.kind = WK_CALL,
                              .call = i,
                              .id = ig_str_from(id),
                              .name = {json_string_value(name), json_string_length(name)}});
    (void)fn(ctx, &(wk_piece){.kind = WK_ARGUMENTS, .call = i, .text = args});
    free(text);
    return true;
}

/* Gives the held text out as calls; false: it is none. */
static bool give_calls(wk_reply *r, size_t n, wk_piece_fn fn, void *ctx)
{
    json_error_t e;
    json_t *all = json_loadb(r->held.ptr ? r->held.ptr : "", n, JSON_ALLOW_NUL, &e);
    bool ok = all != NULL;
    for (size_t i = 0; ok && i < json_array_size(all); i++) ok = give_call(r, json_array_get(all, i), fn, ctx);
    if (ok && !json_is_array(all)) ok = give_call(r, all, fn, ctx);
    json_decref(all);
    return ok;
}

static bool applies(const wk_reply *r, size_t i)
{
    return markers[i].from == r->at && (r->tools || markers[i].to != CALLING);
}

/* The first marker in the held text, its place in *at; N_MARKERS: none, then *at bytes are certain. */
static size_t find(const wk_reply *r, size_t *at)
{
    const char *p = r->held.ptr;
    for (*at = 0; *at < r->held.len; ++*at)
        for (size_t i = 0; i < N_MARKERS; i++) {
            size_t len = strlen(markers[i].text), left = r->held.len - *at;
            if (!applies(r, i) || memcmp(p + *at, markers[i].text, len < left ? len : left) != 0) continue;
            return len <= left ? i : N_MARKERS;
        }
    return N_MARKERS;
}

static void drop_held(wk_reply *r, size_t n)
{
    memmove(r->held.ptr, r->held.ptr + n, r->held.len - n);
    r->held.len -= n;
}

static void end_call(wk_reply *r, size_t n, wk_piece_fn fn, void *ctx)
{
    if (give_calls(r, n, fn, ctx)) return;
    r->flag = "unparsed";
    r->at = PLAIN;
    (void)fn(ctx, &(wk_piece){.kind = WK_TEXT, .text = {r->held.ptr, n}});
}

ig_status wk_reply_push(wk_reply *r, const char *text, size_t n, wk_piece_fn fn, void *ctx, ig_error *err)
{
    if (!r->chat) {
        (void)fn(ctx, &(wk_piece){.kind = WK_TEXT, .text = {text, n}});
        return IG_OK;
    }
    if (!ig_buf_add(&r->held, text, n)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a reply");
    while (r->at != FORCED) {
        size_t at, i = find(r, &at);
        if (i == N_MARKERS && r->at == CALLING) break;
        if (r->at == CALLING)
            end_call(r, at, fn, ctx);
        else
            give(r, r->held.ptr, at, fn, ctx);
        drop_held(r, i < N_MARKERS ? at + strlen(markers[i].text) : at);
        if (i == N_MARKERS) break;
        r->at = r->forced && markers[i].to == PLAIN ? FORCED : markers[i].to;
        r->skip_blank = true;
    }
    return IG_OK;
}

ig_status wk_reply_finish(wk_reply *r, bool whole, wk_piece_fn fn, void *ctx, wk_reply_end *end, ig_error *err)
{
    (void)err;
    if (r->at == FORCED || r->at == CALLING) {
        if (!give_calls(r, r->held.len, fn, ctx)) {
            r->flag = whole ? "unparsed" : "truncated_call";
            if (r->held.len) (void)fn(ctx, &(wk_piece){.kind = WK_TEXT, .text = {r->held.ptr, r->held.len}});
        }
    } else if (r->held.len) {
        give(r, r->held.ptr, r->held.len, fn, ctx);
    }
    r->held.len = 0;
    *end = (wk_reply_end){.calls = r->n_calls > 0, .flag = r->flag};
    return IG_OK;
}
