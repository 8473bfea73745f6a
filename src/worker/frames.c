/* Frames to the front. Everything is sent by the main thread; a failure means that the front is gone. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/os.h"
#include "worker/wk.h"

void wk_send(wk *w, ig_frame_type type, uint64_t request, const ig_buf *body)
{
    ig_error e;
    if (w->broken) return;
    w->broken = body->failed || ig_channel_put(&w->ch, type, request, body->ptr, body->len, NULL, 0, &e) != IG_OK;
}

static ig_buf *begin(wk *w)
{
    w->out.len = 0;
    w->out.failed = false;
    return &w->out;
}

void wk_send_error(wk *w, uint64_t request, const wk_fault *f)
{
    ig_buf *b = begin(w);
    ig_buf_printf(b, "{\"type\":\"%s\",\"message\":", f->type);
    wk_put_broken(b, ig_str_from(f->e.text));
    ig_buf_printf(b, ",\"param\":");
    wk_put_z(b, f->param);
    if (f->n_ctx) ig_buf_printf(b, ",\"n_prompt\":%llu,\"n_ctx\":%u", (unsigned long long)f->n_prompt, f->n_ctx);
    ig_buf_printf(b, "}");
    wk_send(w, IG_FRAME_ERROR, request, b);
}

static void put_memory(const wk *w, ig_buf *b)
{
    ig_engine_use use = w->planned;
    if (!use.weights) use.weights = w->info.weight_bytes;
    if (w->engine) ig_engine_measure(w->engine, &use);
    ig_buf_printf(b, ",\"memory\":{\"weights\":%llu,\"kv\":%llu,\"workspace\":%llu", (unsigned long long)use.weights,
                  (unsigned long long)use.kv, (unsigned long long)use.workspace);
    if (w->draft_bytes) ig_buf_printf(b, ",\"draft\":%llu", (unsigned long long)w->draft_bytes);
    ig_buf_add(b, "}", 1);
}

void wk_send_ready(wk *w, double load_ms)
{
    const ingle_model_info *i = &w->info;
    ig_buf *b = begin(w);
    ig_buf_printf(b, "{\"architecture\":");
    wk_put_broken(b, ig_str_from(i->architecture));
    ig_buf_printf(b, ",\"n_params\":%llu,\"n_ctx\":%u,\"n_ctx_train\":%u,\"n_vocab\":%u",
                  (unsigned long long)i->n_params, w->n_ctx, i->n_ctx_train, i->n_vocab);
    put_memory(w, b);
    ig_buf_printf(b, ",\"has_template\":%s,\"has_logits\":%s,\"n_embd\":%u,\"load_ms\":%.3f",
                  w->template_source.len ? "true" : "false", w->generates ? "true" : "false", i->n_embd_out, load_ms);
    ig_buf_printf(
        b, ",\"kernels\":\"%s\",\"n_sessions\":%u,\"n_threads\":%u,\"sandbox\":{\"landlock\":%d,\"seccomp\":%s}",
        i->kernels, w->cfg.n_sessions, w->cfg.n_threads, w->box.landlock_abi, w->box.seccomp ? "true" : "false");
    const char *note;
    (void)ingle_kernels(&note);
    if (note) {
        ig_buf_printf(b, ",\"kernels_note\":");
        wk_put_broken(b, ig_str_from(note));
    }
    wk_put_facts(w, b);
    ig_buf_printf(b, "}");
    wk_send(w, IG_FRAME_READY, 0, b);
}

/* Resident bytes of the process, 0 where the system does not tell. */
static uint64_t resident(const wk *w)
{
    char text[128];
    unsigned long long pages = 0;
    ssize_t n = w->rss_fd < 0 ? -1 : pread(w->rss_fd, text, sizeof text - 1, 0);
    if (n <= 0) return 0;
    text[n] = 0;
    if (sscanf(text, "%*u %llu", &pages) != 1) return 0;
    return pages * w->page_bytes;
}

void wk_send_status(wk *w, uint64_t now_ns)
{
    ig_engine_use use = {0};
    ig_buf *b = begin(w);
    if (w->engine) ig_engine_measure(w->engine, &use);
    ig_buf_printf(b, "{\"running\":%u,\"waiting\":%u,\"kv_used_pages\":%u,\"kv_total_pages\":%u", w->n_running,
                  w->n_waiting + w->n_jobs, use.kv_pages_used, use.kv_pages);
    ig_buf_printf(b, ",\"tokens_generated\":%llu,\"tokens_prompt\":%llu,\"memory_rss\":%llu}",
                  (unsigned long long)w->tokens_generated, (unsigned long long)w->tokens_prompt,
                  (unsigned long long)resident(w));
    wk_send(w, IG_FRAME_STATUS, 0, b);
    w->status_ns = now_ns;
    w->status_due = false;
}

void wk_send_load(wk *w, double share)
{
    ig_buf *b = begin(w);
    ig_buf_printf(b, "{\"phase\":\"load\",\"share\":%.3f}", share);
    wk_send(w, IG_FRAME_PROGRESS, 0, b);
}

void wk_send_position(wk *w, wk_request *r, uint32_t position)
{
    ig_buf *b = begin(w);
    ig_buf_printf(b, "{\"phase\":\"queue\",\"position\":%u,\"depth\":%u}", position, w->n_waiting);
    wk_send(w, IG_FRAME_PROGRESS, r->id, b);
    r->told_position = position;
}

void wk_send_prompt(wk *w, wk_choice *c)
{
    ig_buf *b = begin(w);
    uint32_t done = ingle_session_length(c->slot->session);
    ig_buf_printf(b, "{\"phase\":\"prompt\",\"done\":%u,\"total\":%u,\"cached\":%u}",
                  done < c->r->n_prompt ? done : c->r->n_prompt, c->r->n_prompt, c->n_cached);
    wk_send(w, IG_FRAME_PROGRESS, c->r->id, b);
}

static double ms_between(uint64_t from, uint64_t to) { return from && to > from ? (double)(to - from) / 1e6 : 0; }

/* What was said to the template and it does not read. */
static void put_unused(const wk *w, const wk_request *r, ig_buf *b)
{
    enum { MOST = 16 };
    const char *name;
    json_t *v;
    unsigned n = 0;
    json_object_foreach(json_object_get(r->body, "template_args"), name, v)
    {
        if (json_is_null(v) || wk_chat_knows(w->chat, name) || n == MOST) continue;
        ig_buf_printf(b, n++ ? "," : ",\"unused\":[");
        wk_put_z(b, name);
    }
    if (n) ig_buf_add(b, "]", 1);
}

void wk_send_done(wk *w, wk_choice *c, const char *finish, const char *stop, const char *flag)
{
    wk_request *r = c->r;
    uint64_t now = ig_now_ns();
    ig_buf *b = begin(w);
    ig_buf_printf(b, "{\"c\":%u,\"finish\":\"%s\",\"stop\":", c->idx, finish);
    wk_put_z(b, stop);
    ig_buf_printf(b, ",\"flag\":");
    wk_put_z(b, flag);
    if (r->rule && wk_rule_relaxed(r->rule, 0)) {
        ig_buf_printf(b, ",\"relaxed\":[");
        for (size_t i = 0; wk_rule_relaxed(r->rule, i); i++) {
            ig_buf_printf(b, "%s", i ? "," : "");
            wk_put_z(b, wk_rule_relaxed(r->rule, i));
        }
        ig_buf_printf(b, "]");
    }
    put_unused(w, r, b);
    ig_buf_printf(b, ",\"usage\":{\"prompt\":%u,\"cached\":%u,\"completion\":%u,\"reasoning\":%u", r->n_prompt,
                  c->n_cached, c->n_generated, c->n_reasoning);
    if (c->n_drafted) ig_buf_printf(b, ",\"drafted\":%u,\"accepted\":%u", c->n_drafted, c->n_accepted);
    if (r->n_dropped) ig_buf_printf(b, ",\"dropped\":%u", r->n_dropped);
    if (c->n_shifted) ig_buf_printf(b, ",\"shifted\":%u", c->n_shifted);
    ig_buf_add(b, "}", 1);
    if (r->p.return_context) {
        ig_buf_printf(b, ",\"context\":[");
        for (uint32_t i = 0; i < c->n_tokens; i++) ig_buf_printf(b, "%s%d", i ? "," : "", c->tokens[i]);
        ig_buf_add(b, "]", 1);
    }
    ig_buf_printf(b, ",\"timings\":{\"queue_ms\":%.3f,\"prompt_ms\":%.3f,\"generate_ms\":%.3f}",
                  ms_between(r->came_ns, c->admitted_ns ? c->admitted_ns : now),
                  ms_between(c->admitted_ns, c->prompt_ns ? c->prompt_ns : now), ms_between(c->prompt_ns, now));
    if (c->sampler) ig_buf_printf(b, ",\"seed\":%lld", (long long)ingle_sampler_seed(c->sampler));
    ig_buf_printf(b, ",\"last\":%s}", r->n_done + 1 >= r->p.n ? "true" : "false");
    wk_send(w, IG_FRAME_DONE, r->id, b);
}
