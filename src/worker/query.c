/* Questions that need no forward step. Text lane, but for the slots. */
#include "base/utf8.h"
#include "worker/wk.h"

static ig_str str(const ig_buf *b) { return (ig_str){b->ptr, b->len}; }

static void put_piece(const wk *w, int32_t id, ig_buf *scratch, ig_buf *out)
{
    scratch->len = 0;
    (void)ig_model_piece(w->model, id, true, scratch);
    if (ig_utf8_valid(scratch->ptr ? scratch->ptr : "", scratch->len))
        wk_put_text(out, str(scratch));
    else
        wk_put_bytes(out, str(scratch));
}

static bool answer_tokenize(wk *w, wk_request *r)
{
    const json_t *text = json_object_get(r->body, "text");
    bool special = false, parse = true, pieces = false;
    int32_t *ids;
    size_t n;
    if (!json_is_string(text)) return wk_refuse(&r->fault, "bad_request", "text", "\"text\" is no text");
    if (!wk_read_bool(r->body, "special", &special, &r->fault) ||
        !wk_read_bool(r->body, "parse_special", &parse, &r->fault) ||
        !wk_read_bool(r->body, "pieces", &pieces, &r->fault))
        return false;
    unsigned flags = (special ? INGLE_ADD_SPECIAL : 0u) | (parse ? INGLE_PARSE_SPECIAL : 0u) | INGLE_PARSE_ADDED;
    if (!wk_tokenize(w, (ig_str){json_string_value(text), json_string_length(text)}, flags, NULL, &ids, &n, &r->fault))
        return false;
    ig_buf_printf(&r->result, "{\"ids\":[");
    for (size_t i = 0; i < n; i++) ig_buf_printf(&r->result, "%s%d", i ? "," : "", ids[i]);
    ig_buf_printf(&r->result, "]");
    ig_buf scratch;
    ig_buf_init(&scratch, 1 << 20);
    if (pieces) ig_buf_printf(&r->result, ",\"tokens\":[");
    for (size_t i = 0; pieces && i < n; i++) {
        ig_buf_printf(&r->result, "%s{\"id\":%d,\"piece\":", i ? "," : "", ids[i]);
        put_piece(w, ids[i], &scratch, &r->result);
        ig_buf_add(&r->result, "}", 1);
    }
    ig_buf_printf(&r->result, pieces ? "]}" : "}");
    ig_buf_fini(&scratch);
    ig_free(ids);
    return true;
}

static bool read_id_list(const wk *w, wk_request *r, int32_t **out, size_t *n)
{
    const json_t *list = json_object_get(r->body, "ids");
    *n = json_array_size(list);
    if (!json_is_array(list)) return wk_refuse(&r->fault, "bad_request", "ids", "\"ids\" is no list of token ids");
    *out = ig_calloc(*n + 1, sizeof **out);
    if (!*out) return wk_refuse(&r->fault, "overloaded", NULL, "out of memory for %zu token ids", *n);
    for (size_t i = 0; i < *n; i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= w->info.n_vocab) {
            ig_free(*out);
            return wk_refuse(&r->fault, "bad_request", "ids", "entry %zu of \"ids\" is no token id below %u", i,
                             w->info.n_vocab);
        }
        (*out)[i] = (int32_t)id;
    }
    return true;
}

/* skip_special: without control tokens; bytes: also as they are, where the text may end inside a character. */
static bool answer_detokenize(wk *w, wk_request *r)
{
    int32_t *ids = NULL;
    size_t n, n_text = 0;
    ingle_error e;
    bool skip = false, bytes = false;
    if (!wk_read_bool(r->body, "skip_special", &skip, &r->fault) ||
        !wk_read_bool(r->body, "bytes", &bytes, &r->fault) || !read_id_list(w, r, &ids, &n))
        return false;
    unsigned flags = skip ? INGLE_STRIP_SPECIAL : INGLE_WRITE_SPECIAL;
    bool ok = ingle_detokenize(w->model, ids, n, flags, NULL, 0, &n_text, &e) == INGLE_OK;
    char *text = ok ? ig_alloc(n_text + 1) : NULL;
    if (text) ok = ingle_detokenize(w->model, ids, n, flags, text, n_text + 1, &n_text, &e) == INGLE_OK;
    if (ok && text) {
        ig_buf_printf(&r->result, "{\"text\":");
        wk_put_broken(&r->result, (ig_str){text, n_text});
        if (bytes) ig_buf_printf(&r->result, ",\"bytes\":");
        if (bytes) wk_put_bytes(&r->result, (ig_str){text, n_text});
        ig_buf_printf(&r->result, "}");
    } else if (ok) {
        ok = wk_refuse(&r->fault, "overloaded", NULL, "out of memory for the text of %zu tokens", n);
    } else {
        ig_error own = wk_error_of(&e);
        wk_refuse_status(&r->fault, "ids", &own);
    }
    ig_free(text);
    ig_free(ids);
    return ok;
}

static bool answer_template(wk *w, wk_request *r)
{
    bool add = true, ids = false;
    ig_buf_init(&r->text, WK_RESULT_BYTES_MAX);
    if (!wk_read_bool(r->body, "add_generation_prompt", &add, &r->fault) ||
        !wk_read_bool(r->body, "return_ids", &ids, &r->fault) || !wk_render(w, r, add))
        return false;
    ig_buf_printf(&r->result, "{\"prompt\":");
    wk_put_broken(&r->result, str(&r->text));
    if (ids) ig_buf_printf(&r->result, ",\"ids\":[");
    for (uint32_t i = 0; ids && i < r->n_prompt; i++) ig_buf_printf(&r->result, "%s%d", i ? "," : "", r->prompt[i]);
    ig_buf_printf(&r->result, "%s,\"usage\":{\"prompt\":%u}}", ids ? "]" : "", r->n_prompt);
    return true;
}

static bool answer_props(wk *w, wk_request *r)
{
    static const char *const poolings[] = {"default", "mean", "cls", "last", "none"};
    const ingle_model_info *i = &w->info;
    ig_buf *b = &r->result;
    ig_buf_printf(b, "{\"architecture\":");
    wk_put_broken(b, ig_str_from(i->architecture));
    ig_buf_printf(b, ",\"name\":");
    wk_put_broken(b, ig_str_from(i->name));
    ig_buf_printf(b, ",\"file_type\":\"%s\",\"kernels\":\"%s\"", i->file_type, i->kernels);
    ig_buf_printf(b, ",\"n_ctx\":%u,\"n_ctx_train\":%u,\"n_vocab\":%u,\"n_params\":%llu,\"weight_bytes\":%llu",
                  w->n_ctx, i->n_ctx_train, i->n_vocab, (unsigned long long)i->n_params,
                  (unsigned long long)i->weight_bytes);
    ig_buf_printf(b, ",\"n_layers\":%u,\"n_embd\":%u,\"total_slots\":%u", i->n_layers, i->n_embd_out,
                  w->cfg.n_sessions);
    ig_buf_printf(b, ",\"bos\":%d,\"eos\":%d,\"bos_token\":", i->bos, i->eos);
    wk_put_broken(b, str(&w->bos_text));
    ig_buf_printf(b, ",\"eos_token\":");
    wk_put_broken(b, str(&w->eos_text));
    ig_buf_printf(b, ",\"pooling\":\"%s\",\"has_logits\":%s,\"has_tools\":%s,\"chat_template\":",
                  poolings[i->pooling <= INGLE_POOLING_NONE ? i->pooling : 0], w->engine ? "true" : "false",
                  wk_chat_knows(w->chat, "tools") ? "true" : "false");
    wk_put_broken(b, w->template_source);
    ig_buf_printf(b, "}");
    return true;
}

static bool answer_slots(wk *w, wk_request *r)
{
    (void)w; /* the main thread writes it */
    (void)r;
    return true;
}

static bool answer_facts(wk *w, wk_request *r)
{
    wk_put_all_facts(w, &r->result);
    return true;
}

void wk_answer_query(wk *w, wk_request *r)
{
    static bool (*const answers[WK_OPS])(wk *, wk_request *) = {
        [WK_TOKENIZE] = answer_tokenize, [WK_DETOKENIZE] = answer_detokenize, [WK_TEMPLATE] = answer_template,
        [WK_PROPS] = answer_props,       [WK_SLOTS] = answer_slots,           [WK_FACTS] = answer_facts};
    ig_buf_init(&r->result, WK_RESULT_BYTES_MAX);
    r->failed = !answers[r->op](w, r);
    if (!r->failed && r->result.failed)
        r->failed =
            !wk_refuse(&r->fault, "bad_request", NULL, "the answer is larger than %zu bytes", WK_RESULT_BYTES_MAX);
}

static const char *state_of(const wk_choice *c) { return !c ? "idle" : c->prompt_done ? "generate" : "prompt"; }

void wk_put_slots(wk *w, ig_buf *out)
{
    ig_buf_printf(out, "{\"waiting\":%u,\"slots\":[", w->n_waiting);
    for (uint32_t i = 0; w->engine && i < w->cfg.n_sessions; i++) {
        const wk_slot *s = &w->slots[i];
        const wk_choice *c = s->choice;
        ig_buf_printf(out, "%s{\"id\":%u,\"is_processing\":%s,\"state\":\"%s\",\"tokens\":%u,\"n_ctx\":%u",
                      i ? "," : "", i, c ? "true" : "false", state_of(c), ingle_session_length(s->session), w->n_ctx);
        ig_buf_printf(out, ",\"user\":");
        wk_put_z(out, s->user ? s->user->name : NULL);
        if (c)
            ig_buf_printf(out, ",\"request\":%llu,\"c\":%u,\"n_prompt\":%u,\"cached\":%u,\"generated\":%u",
                          (unsigned long long)c->r->id, c->idx, c->r->n_prompt, c->n_cached, c->n_generated);
        ig_buf_printf(out, "}");
    }
    ig_buf_printf(out, "]}");
}
