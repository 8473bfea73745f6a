/* Replies of the public header: a thin face of text/reply. */
#include "text/reply/reply.h"
#include "api.h"
#include "engine/constrain.h"

struct ingle_reply {
    ig_reply *r;
    ig_reply_tools *tools;
    const ig_reply_family *family;
    const char *think_start, *think_end; /* static */
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
        (void)ig_reply_thoughts(source, r.prompt, &reply->think_start, &reply->think_end);
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

bool ig_reply_reads(const struct ingle_reply *reply, ig_str token)
{
    return ig_reply_wants_control(reply->r) && ig_reply_is_marker(reply->family, token);
}

bool ingle_reply_thoughts(const ingle_reply *reply, const char **start, const char **end)
{
    *start = reply->think_start, *end = reply->think_end;
    return reply->think_end != NULL;
}

/* ------------------------------------------------------------------------------------------------ grammars of tools */

static ig_status keep_relaxed(ingle_grammar *g, const ig_reply_tools *tools, const bool *relaxed, ig_error *err)
{
    size_t n = ig_reply_tools_count(tools);
    g->relaxed = ig_calloc(n + 1, sizeof *g->relaxed);
    for (size_t i = 0; i < n && g->relaxed; i++) {
        if (!relaxed[i]) continue;
        const char *name = ig_reply_tools_name(tools, i);
        char *copy = ig_alloc(strlen(name) + 1);
        if (!copy) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
        g->relaxed[g->n_relaxed++] = memcpy(copy, name, strlen(name) + 1);
    }
    return g->relaxed ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
}

static ig_status make_grammar(ingle_grammar *g, const ingle_reply_options *o, ig_reply_rule *rule, ig_error *err)
{
    ig_reply_tools *tools = NULL;
    IG_TRY(source_of(o, &rule->source, err));
    IG_TRY(ig_reply_tools_new(o->tools ? o->tools : "", o->tools ? o->n_tools : 0, &tools, err));
    g->family = rule->family = ig_reply_family_of(rule->source);
    rule->tools = tools;
    rule->prompt = str(o->prompt, o->n_prompt);
    rule->answer = str(o->answer, o->n_answer);
    rule->relaxed = ig_calloc(ig_reply_tools_count(tools) + 1, sizeof *rule->relaxed);
    ig_status st = rule->relaxed ? ig_reply_grammar(rule, &g->g, err)
                                 : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
    if (st == IG_OK) st = keep_relaxed(g, tools, rule->relaxed, err);
    ig_free(rule->relaxed);
    ig_reply_tools_free(tools);
    return st;
}

ingle_status ingle_grammar_for_tools(const ingle_reply_options *options, ingle_tool_choice choice, const char *name,
                                     bool parallel, ingle_grammar **out, ingle_error *err)
{
    ingle_reply_options o;
    ig_error e;
    IG_OPTIONS(&o, options);
    *out = NULL;
    ig_reply_rule rule = {
        .choice = (ig_reply_choice)choice, .name = name ? ig_str_from(name) : str(NULL, 0), .parallel = parallel};
    ingle_grammar *g = ig_calloc(1, sizeof *g);
    if (!g || !(g->pool = ig_mask_pool_new())) {
        ig_free(g);
        return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a grammar"), &e, err);
    }
    ig_status st = make_grammar(g, &o, &rule, &e);
    if (st == IG_OK)
        *out = g;
    else
        ingle_grammar_close(g);
    return ig_pass(st, &e, err);
}
