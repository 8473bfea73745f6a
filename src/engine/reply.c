/* Replies of the public header: a thin face of text/reply. */
#include "text/reply/reply.h"
#include "api.h"
#include "engine/constrain.h"

struct ingle_reply {
    ig_reply *r;
    ig_reply_tools *tools;
    const ig_reply_family *family;
};

/* A caller's function behind the room's. */
typedef struct bridge {
    ingle_piece_fn fn;
    void *user;
} bridge;

static bool pass_piece(void *ctx, const ig_piece *p)
{
    const bridge *b = ctx;
    ingle_piece piece = {.kind = (ingle_piece_kind)p->kind,
                         .text = p->text.ptr,
                         .n_text = p->text.len,
                         .call = p->call,
                         .id = p->id.ptr,
                         .n_id = p->id.len,
                         .name = p->name.ptr,
                         .n_name = p->name.len,
                         .unparsed = p->unparsed,
                         .whole = p->whole};
    return !b->fn || b->fn(b->user, &piece);
}

static ig_str str(const char *p, size_t n) { return p ? (ig_str){p, n} : (ig_str){"", 0}; }

static ig_status source_of(const ingle_reply_options *o, ig_str *out, ig_error *err)
{
    *out = str(o->source, o->n_source);
    if (!o->model) return IG_OK;
    return ig_format_str(o->model->file, "tokenizer.chat_template", false, out, err);
}

ingle_status ingle_reply_open(const ingle_reply_options *options, ingle_reply **out, ingle_error *err)
{
    ingle_reply_options o;
    ig_error e;
    ig_str source;
    IG_OPTIONS(&o, options);
    *out = NULL;
    ingle_reply *reply = ig_calloc(1, sizeof *reply);
    if (!reply) return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a reply"), &e, err);
    ig_status st = source_of(&o, &source, &e);
    if (st == IG_OK) st = ig_reply_tools_new(o.tools ? o.tools : "", o.tools ? o.n_tools : 0, &reply->tools, &e);
    if (st == IG_OK) {
        reply->family = ig_reply_family_of(source);
        ig_reply_options r = {.family = reply->family,
                              .tools = reply->tools,
                              .source = source,
                              .prompt = str(o.prompt, o.n_prompt),
                              .seed = o.seed,
                              .whole = o.whole};
        st = ig_reply_open(&r, &reply->r, &e);
    }
    if (st == IG_OK)
        *out = reply;
    else
        ingle_reply_close(reply);
    return ig_pass(st, &e, err);
}

void ingle_reply_close(ingle_reply *reply)
{
    if (!reply) return;
    ig_reply_close(reply->r);
    ig_reply_tools_free(reply->tools);
    ig_free(reply);
}

const char *ingle_reply_family(const ingle_reply *reply) { return ig_reply_family_name(reply->family); }

ingle_status ingle_reply_push(ingle_reply *reply, const char *text, size_t n, ingle_piece_fn fn, void *user,
                              ingle_error *err)
{
    ig_error e;
    bridge b = {fn, user};
    return ig_pass(ig_reply_push(reply->r, text, n, pass_piece, &b, &e), &e, err);
}

ingle_status ingle_reply_finish(ingle_reply *reply, ingle_piece_fn fn, void *user, ingle_reply_end *end,
                                ingle_error *err)
{
    ig_error e;
    bridge b = {fn, user};
    ig_reply_end over = {0};
    ig_status st = ig_reply_finish(reply->r, pass_piece, &b, &over, &e);
    if (end) *end = (ingle_reply_end){over.n_calls, over.n_whole, over.unparsed, over.truncated_call};
    return ig_pass(st, &e, err);
}

bool ingle_reply_is_reasoning(const ingle_reply *reply) { return ig_reply_is_reasoning(reply->r); }
bool ingle_reply_wants_control(const ingle_reply *reply) { return ig_reply_wants_control(reply->r); }

ingle_status ingle_grammar_for_tools(const ingle_reply_options *options, ingle_tool_choice choice, const char *name,
                                     bool parallel, ingle_grammar **out, ingle_error *err)
{
    ingle_reply_options o;
    ig_error e;
    ig_reply_tools *tools = NULL;
    ig_str source;
    IG_OPTIONS(&o, options);
    *out = NULL;
    ingle_grammar *g = ig_calloc(1, sizeof *g);
    if (!g || !(g->pool = ig_mask_pool_new())) {
        ig_free(g);
        return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a grammar"), &e, err);
    }
    ig_status st = source_of(&o, &source, &e);
    if (st == IG_OK) st = ig_reply_tools_new(o.tools ? o.tools : "", o.tools ? o.n_tools : 0, &tools, &e);
    if (st == IG_OK) {
        ig_reply_rule rule = {.family = ig_reply_family_of(source),
                              .tools = tools,
                              .choice = (ig_reply_choice)choice,
                              .name = name ? ig_str_from(name) : str(NULL, 0),
                              .parallel = parallel,
                              .source = source,
                              .prompt = str(o.prompt, o.n_prompt)};
        st = ig_reply_grammar(&rule, &g->g, &e);
    }
    ig_reply_tools_free(tools);
    if (st == IG_OK)
        *out = g;
    else
        ingle_grammar_close(g);
    return ig_pass(st, &e, err);
}
