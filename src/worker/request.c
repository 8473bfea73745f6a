/* The text lane: a frame's body becomes a request that can run. What it reads of the worker never changes. */
#include <string.h>

#include "worker/wk.h"

enum { PROMPT_TEXT_MAX = 64 << 20 };

/* -------------------------------------------------------------------------------------------- the body */

static const struct {
    const char *name;
    wk_op op;
    bool query;
} ops[] = {
    {"generate", WK_GENERATE, false}, {"embed", WK_EMBED, false},          {"rerank", WK_RERANK, false},
    {"tokenize", WK_TOKENIZE, true},  {"detokenize", WK_DETOKENIZE, true}, {"template", WK_TEMPLATE, true},
    {"props", WK_PROPS, true},        {"slots", WK_SLOTS, true},           {"facts", WK_FACTS, true},
};

static bool read_op(wk_request *r)
{
    const char *name = json_string_value(json_object_get(r->body, "op"));
    for (size_t i = 0; name && i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(ops[i].name, name) || ops[i].query != r->query) continue;
        r->op = ops[i].op;
        return true;
    }
    return wk_refuse(&r->fault, "bad_request", "op", "\"op\" is not known, expected %s",
                     r->query ? "tokenize, detokenize, template, props, slots or facts" : "generate, embed or rerank");
}

static bool parse(wk_request *r)
{
    json_error_t e;
    r->body = json_loadb(r->raw, r->n_raw, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    ig_free(r->raw);
    r->raw = NULL;
    if (json_is_object(r->body)) return true;
    if (r->body) return wk_refuse(&r->fault, "bad_request", NULL, "the body is no JSON object");
    return wk_refuse(&r->fault, "bad_request", NULL, "the body is no valid JSON, at byte %d", e.position);
}

static bool read_user(wk_request *r)
{
    const json_t *user = json_object_get(r->body, "user"), *priority = json_object_get(r->body, "priority");
    size_t n = json_string_length(user);
    if (json_is_null(user)) user = NULL;
    if (json_is_null(priority)) priority = NULL;
    if (user && (!json_is_string(user) || n >= WK_USER_BYTES || memchr(json_string_value(user), 0, n)))
        return wk_refuse(&r->fault, "bad_request", "user", "\"user\" is no text of at most %d bytes",
                         WK_USER_BYTES - 1);
    if (user) memcpy(r->user_name, json_string_value(user), n + 1);
    const char *text = json_string_value(priority);
    r->batch = text && !strcmp(text, "batch");
    if (priority && !r->batch && (!text || strcmp(text, "interactive")))
        return wk_refuse(&r->fault, "bad_request", "priority", "\"priority\" is neither \"interactive\" nor \"batch\"");
    return true;
}

/* -------------------------------------------------------------------------------------------- tokens */

bool wk_tokenize(const wk *w, ig_str text, unsigned flags, const wk_veils *veils, int32_t **ids, size_t *n, wk_fault *f)
{
    ingle_error e;
    size_t cap = text.len + 8; /* enough but for vocabularies that normalise */
    *ids = NULL;
    for (int tries = 0; tries < 2; tries++) {
        ig_free(*ids);
        *ids = ig_calloc(cap, sizeof **ids);
        if (!*ids) return wk_refuse(f, "overloaded", NULL, "out of memory for the tokens of %zu bytes", text.len);
        if (ig_model_tokenize(w->model, text.ptr ? text.ptr : "", text.len, flags, veils ? veils->at : NULL,
                              veils ? veils->n : 0, *ids, cap, n, &e) == INGLE_OK)
            return true;
        if (e.status != INGLE_TOO_LARGE || *n <= cap) break;
        cap = *n;
    }
    ig_error own = wk_error_of(&e);
    ig_free(*ids);
    *ids = NULL;
    return wk_refuse_status(f, NULL, &own);
}

static bool add_ids(wk_request *r, const int32_t *ids, size_t n)
{
    if (n > UINT32_MAX / 2 - r->n_prompt)
        return wk_refuse(&r->fault, "bad_request", "prompt", "the prompt has more tokens than can be counted");
    int32_t *grown = ig_realloc(r->prompt, (size_t)r->n_prompt + n + 1, sizeof *grown);
    if (!grown) return wk_refuse(&r->fault, "overloaded", NULL, "out of memory for a prompt of %zu tokens", n);
    r->prompt = grown;
    if (n) memcpy(grown + r->n_prompt, ids, n * sizeof *ids);
    r->n_prompt += (uint32_t)n;
    return true;
}

static bool add_text(const wk *w, wk_request *r, ig_str text, unsigned flags)
{
    int32_t *ids;
    size_t n;
    if (!wk_tokenize(w, text, flags, &r->veils, &ids, &n, &r->fault)) return false;
    /* An answer continues the prompt: no end in front of it. */
    if ((flags & INGLE_ADD_SPECIAL) && w->adds_eos && n && ids[n - 1] == w->info.eos) n--;
    bool ok = add_ids(r, ids, n);
    ig_free(ids);
    return ok;
}

static bool read_ids(const wk *w, wk_request *r, const char *name, const json_t *list)
{
    size_t n = json_array_size(list);
    int32_t *ids = ig_calloc(n + 1, sizeof *ids);
    if (!ids) return wk_refuse(&r->fault, "overloaded", NULL, "out of memory for a prompt of %zu tokens", n);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= w->info.n_vocab)
            ok = wk_refuse(&r->fault, "bad_request", name, "entry %zu of \"%s\" is no token id below %u", i, name,
                           w->info.n_vocab);
        ids[i] = (int32_t)id;
    }
    ok = ok && add_ids(r, ids, n);
    ig_free(ids);
    return ok;
}

/* -------------------------------------------------------------------------------------------- infill */

/* How vocabularies spell the gap that is to be filled; `swapped`: the suffix comes first. */
static const struct {
    const char *prefix, *suffix, *middle; /* middle NULL: none */
    bool swapped;
} gaps[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", false},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", false},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>", false},
    {"<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>", false},
    {"<\xEF\xBD\x9C"
     "fim\xE2\x96\x81"
     "begin\xEF\xBD\x9C>",
     "<\xEF\xBD\x9C"
     "fim\xE2\x96\x81"
     "hole\xEF\xBD\x9C>",
     "<\xEF\xBD\x9C"
     "fim\xE2\x96\x81"
     "end\xEF\xBD\x9C>",
     false},
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", false},
    {"\xE2\x96\x81<PRE>", "\xE2\x96\x81<SUF>", "\xE2\x96\x81<MID>", false},
    {"<PRE>", "<SUF>", "<MID>", false},
    {"[PREFIX]", "[SUFFIX]", NULL, true},
};

/* Id of a control token by its text, -1: the vocabulary has none. */
static int32_t control_id(const wk *w, const char *text)
{
    int32_t ids[8];
    size_t n = 0;
    if (!text || ingle_tokenize(w->model, text, strlen(text), INGLE_PARSE_SPECIAL, ids, 8, &n, NULL) != INGLE_OK)
        return -1;
    return n == 1 && ig_model_is_control(w->model, ids[0]) ? ids[0] : -1;
}

/* ids: prefix, suffix, middle (-1: none). */
static bool find_gap(const wk *w, int32_t ids[3], bool *swapped)
{
    static const char *const keys[3][2] = {{"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"},
                                           {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"},
                                           {"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"}};
    *swapped = false;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 3; i++) ids[i] = ig_model_number(w->model, keys[i][k]);
        if (ids[0] >= 0 && ids[1] >= 0 && ids[2] >= 0) return true;
    }
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        ids[0] = control_id(w, gaps[g].prefix);
        ids[1] = control_id(w, gaps[g].suffix);
        ids[2] = control_id(w, gaps[g].middle);
        *swapped = gaps[g].swapped;
        if (ids[0] >= 0 && ids[1] >= 0 && (ids[2] >= 0 || !gaps[g].middle)) return true;
    }
    return false;
}

bool wk_fills_gaps(const wk *w)
{
    int32_t ids[3];
    bool swapped;
    return find_gap(w, ids, &swapped);
}

static bool read_infill(const wk *w, wk_request *r, ig_str prefix, ig_str suffix, unsigned flags)
{
    int32_t ids[3];
    bool swapped;
    if (!find_gap(w, ids, &swapped))
        return wk_refuse(&r->fault, "unsupported", "suffix",
                         "the model cannot fill a gap: its vocabulary has no tokens for prefix, suffix and middle");
    r->infill = true;
    unsigned plain = flags & ~(unsigned)(INGLE_ADD_SPECIAL | INGLE_PARSE_SPECIAL);
    if ((flags & INGLE_ADD_SPECIAL) && !add_text(w, r, IG_STR(""), INGLE_ADD_SPECIAL)) return false;
    const struct {
        int32_t id;
        ig_str text;
    } parts[2] = {{ids[swapped ? 1 : 0], swapped ? suffix : prefix}, {ids[swapped ? 0 : 1], swapped ? prefix : suffix}};
    for (int i = 0; i < 2; i++)
        if (!add_ids(r, &parts[i].id, 1) || !add_text(w, r, parts[i].text, plain)) return false;
    return ids[2] < 0 || add_ids(r, &ids[2], 1);
}

/* -------------------------------------------------------------------------------------------- prompts */

static ig_str text_of(const json_t *v) { return (ig_str){json_string_value(v), json_string_length(v)}; }

/* A list of ids, with texts among them perhaps. */
static bool read_list(const wk *w, wk_request *r, const json_t *list, unsigned flags)
{
    const json_t *v;
    size_t i;
    bool texts = false;
    json_array_foreach(list, i, v) texts = texts || json_is_string(v);
    if (!texts) return read_ids(w, r, "prompt", list);
    json_array_foreach(list, i, v)
    {
        json_int_t id = json_integer_value(v);
        int32_t one = json_is_integer(v) && id >= 0 && id < w->info.n_vocab ? (int32_t)id : -1;
        if (!json_is_string(v) && one < 0)
            return wk_refuse(&r->fault, "bad_request", "prompt",
                             "entry %zu of \"prompt\" is neither a text nor a token id below %u", i, w->info.n_vocab);
        unsigned own = i ? flags & ~(unsigned)INGLE_ADD_SPECIAL : flags;
        if (json_is_string(v) ? !add_text(w, r, text_of(v), own) : !add_ids(r, &one, 1)) return false;
    }
    return true;
}

static bool read_text(const wk *w, wk_request *r)
{
    const json_t *prompt = json_object_get(r->body, "prompt"), *suffix = json_object_get(r->body, "suffix");
    bool special = true, parse_special = false;
    if (!wk_read_bool(r->body, "special", &special, &r->fault) ||
        !wk_read_bool(r->body, "parse_special", &parse_special, &r->fault))
        return false;
    unsigned flags =
        (special ? INGLE_ADD_SPECIAL : 0u) | INGLE_PARSE_ADDED | (parse_special ? INGLE_PARSE_SPECIAL : 0u);
    if (!prompt || (!json_is_string(prompt) && !json_is_array(prompt)))
        return wk_refuse(&r->fault, "bad_request", "prompt", "\"prompt\" is neither a text nor a list of token ids");
    if (suffix && !json_is_null(suffix)) {
        if (!json_is_string(suffix) || !json_is_string(prompt))
            return wk_refuse(&r->fault, "bad_request", "suffix",
                             "\"suffix\" wants to be a text, with a text before it");
        (void)ig_buf_add(&r->text, json_string_value(prompt), json_string_length(prompt)); /* for echo */
        return read_infill(w, r, text_of(prompt), text_of(suffix), flags);
    }
    if (json_is_array(prompt)) return read_list(w, r, prompt, flags);
    ig_str text = text_of(prompt);
    return ig_buf_add(&r->text, text.ptr, text.len)
               ? add_text(w, r, text, flags)
               : wk_refuse(&r->fault, "overloaded", NULL, "out of memory for a prompt of %zu bytes", text.len);
}

bool wk_render(const wk *w, wk_request *r, bool add_prompt)
{
    ig_error e;
    const char *param = NULL;
    r->text.len = 0;
    r->n_prompt = 0;
    ig_free(r->veils.at);
    if (wk_chat_render(w->chat, r->body, add_prompt, &r->text, &r->veils, &param, &e) != IG_OK)
        return wk_refuse_status(&r->fault, param, &e);
    /* Most templates write the first token themselves. */
    ig_str text = {r->text.ptr, r->text.len}, bos = {w->bos_text.ptr, w->bos_text.len};
    unsigned flags = INGLE_PARSE_SPECIAL | (bos.len && ig_str_starts(text, bos) ? 0u : INGLE_ADD_SPECIAL);
    const json_t *context = json_object_get(r->body, "context"); /* a conversation in front */
    if (json_array_size(context)) flags &= ~(unsigned)INGLE_ADD_SPECIAL;
    if (json_array_size(context) && !read_ids(w, r, "context", context)) return false;
    return add_text(w, r, text, flags);
}

/* -------------------------------------------------------------------------------------------- too long */

uint32_t wk_context(const wk *w, const wk_params *p)
{
    static const uint32_t least = 16; /* a context that is shifted must not be empty */
    uint32_t n = p->n_ctx < least ? least : p->n_ctx;
    return p->n_ctx && n < w->n_ctx ? n : w->n_ctx;
}

/* Tokens that prompt may have: one of the context is for the answer. */
static uint32_t room_for(const wk *w, const wk_request *r)
{
    uint32_t n = wk_context(w, &r->p);
    return r->p.max_tokens && n > 1 ? n - 1 : n;
}

static bool too_long(const wk *w, wk_request *r)
{
    uint32_t n_ctx = wk_context(w, &r->p);
    if (n_ctx < w->n_ctx && r->p.n_ctx_rule) {
        wk_refuse(&r->fault, "too_long", json_object_get(r->body, "messages") ? "messages" : "prompt",
                  "the prompt has %u tokens, rule %.64s allows a context of %u with the answer; shorten it or ask for "
                  "truncation",
                  r->n_prompt, r->p.n_ctx_rule, n_ctx);
        r->fault.n_prompt = r->n_prompt;
        r->fault.n_ctx = n_ctx;
        return false;
    }
    wk_refuse(
        &r->fault, "too_long", r->op == WK_GENERATE && json_object_get(r->body, "messages") ? "messages" : "prompt",
        "the prompt has %u tokens, the context holds %u with the answer; shorten it, ask for truncation or give the "
        "model a larger context",
        r->n_prompt, w->n_ctx);
    r->fault.n_prompt = r->n_prompt;
    r->fault.n_ctx = w->n_ctx;
    return false;
}

/* Index of the first message of `messages` that may be dropped. */
static size_t first_droppable(const json_t *messages)
{
    size_t i = 0;
    for (; i < json_array_size(messages); i++) {
        const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
        if (!role || (strcmp(role, "system") && strcmp(role, "developer"))) break;
    }
    return i;
}

/* Drops the oldest messages behind the system's until the rest begins with a person and fits. */
static bool truncate_chat(const wk *w, wk_request *r)
{
    json_t *messages = json_object_get(r->body, "messages");
    uint32_t before = r->n_prompt;
    size_t first = first_droppable(messages);
    while (r->n_prompt > room_for(w, r)) {
        const char *role;
        do {
            if (json_array_size(messages) <= first + 1) return too_long(w, r);
            json_array_remove(messages, first);
            role = json_string_value(json_object_get(json_array_get(messages, first), "role"));
        } while (!role || (strcmp(role, "user") && json_array_size(messages) > first + 1));
        if (atomic_load(&r->cancelled) || !wk_render(w, r, true)) return false;
    }
    r->n_dropped = before - r->n_prompt;
    return true;
}

/* Keeps the first token where it is the vocabulary's, and the end, with room for an answer. */
static void truncate_text(const wk *w, wk_request *r)
{
    uint32_t n_ctx = wk_context(w, &r->p), answer = r->p.max_tokens < n_ctx / 4 ? r->p.max_tokens : n_ctx / 4,
             keep = n_ctx - answer;
    uint32_t head = r->prompt[0] == w->info.bos;
    if (keep > room_for(w, r)) keep = room_for(w, r);
    if (keep <= head) head = 0;
    r->n_dropped = r->n_prompt - keep;
    memmove(r->prompt + head, r->prompt + head + r->n_dropped, (keep - head) * sizeof *r->prompt);
    r->n_prompt = keep;
}

static bool fit(const wk *w, wk_request *r, bool chat)
{
    if (r->n_prompt == 0)
        return wk_refuse(&r->fault, "bad_request", chat ? "messages" : "prompt",
                         "the prompt has no tokens, expected at least one");
    if (r->n_prompt <= room_for(w, r)) return true;
    if (!r->p.truncate || r->infill) return too_long(w, r);
    if (chat) return truncate_chat(w, r);
    truncate_text(w, r);
    return true;
}

/* -------------------------------------------------------------------------------------------- the whole */

static bool prepare_generate(wk *w, wk_request *r)
{
    const char *kind = json_string_value(json_object_get(r->body, "kind")), *param = NULL;
    ig_error e;
    if (!w->engine)
        return wk_refuse(&r->fault, "unsupported", "op", "the model (%s) gives embeddings alone, it generates no text",
                         w->info.architecture);
    if (!kind || (strcmp(kind, "chat") && strcmp(kind, "text")))
        return wk_refuse(&r->fault, "bad_request", "kind", "\"kind\" is neither \"chat\" nor \"text\"");
    bool chat = kind[0] == 'c';
    ig_buf_init(&r->text, PROMPT_TEXT_MAX);
    if (!read_user(r) || !wk_read_params(w, r->body, &r->p, &r->fault)) return false;
    if (chat ? !wk_render(w, r, true) : !read_text(w, r)) return false;
    if (!fit(w, r, chat)) return false;
    if (atomic_load(&r->cancelled)) return true;
    return wk_rule_new(w->constrainer, r->body, (ig_str){r->text.ptr, r->text.len}, &r->rule, &param, &e) == IG_OK ||
           wk_refuse_status(&r->fault, param, &e);
}

void wk_prepare_request(wk *w, wk_request *r)
{
    bool ok = !atomic_load(&r->cancelled) && parse(r) && read_op(r);
    if (ok && r->query)
        wk_answer_query(w, r);
    else if (ok && r->op == WK_GENERATE)
        r->failed = !prepare_generate(w, r);
    else if (ok)
        r->failed = !(read_user(r) && wk_read_texts(w, r));
    else
        r->failed = true;
}

void wk_request_free(wk_request *r)
{
    if (!r) return;
    for (uint32_t i = 0; r->choices && i < r->p.n; i++) wk_choice_fini(&r->choices[i]);
    for (size_t i = 0; i < r->texts.n; i++) ig_free((int32_t *)r->texts.items[i].tokens);
    ig_free(r->texts.items);
    ig_free(r->choices);
    ig_free(r->raw);
    ig_free(r->prompt);
    ig_free(r->p.bias);
    ig_free(r->p.stops);
    wk_rule_free(r->rule);
    ig_buf_fini(&r->text);
    ig_free(r->veils.at);
    ig_buf_fini(&r->result);
    json_decref(r->body);
    ig_free(r);
}
