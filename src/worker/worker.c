/* The process: start, the loop, the end.
 *
 * Order of the start: descriptors and limits, the INIT frame, what must be asked of the system while that is possible,
 * the sandbox, then threads and the model's files. */
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "worker/wk.h"

enum {
    OUT_BYTES_MAX = 160 << 20,
    OUT_BYTES_PAUSE = 8 << 20, /* the front reads too slowly: nothing is computed until it has caught up */
    ROWS_SPARE = 16,           /* rows of logits of a step beyond one a session: for prompts that are scored */
    STATUS_MS = 200,           /* after a change */
    STATUS_IDLE_MS = 4000,     /* without one */
    FILES_NAME_MAX = 4096
};
static const uint64_t memory_spare = (uint64_t)96 << 20; /* of the limit, for everything but pages and workspace */

/* -------------------------------------------------------------------------------------------- INIT */

static bool read_speculate(wk_config *c, wk_fault *f)
{
    static const char *const names[] = {[INGLE_SPECULATE_AUTO] = "auto",
                                        [INGLE_SPECULATE_OFF] = "off",
                                        [INGLE_SPECULATE_NGRAM] = "ngram",
                                        [INGLE_SPECULATE_HEAD] = "head",
                                        [INGLE_SPECULATE_DRAFT] = "draft"};
    const json_t *how = json_object_get(c->body, "speculate");
    if (!how || json_is_null(how)) return true;
    for (size_t i = 0; json_is_string(how) && i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], json_string_value(how))) return c->speculate = (ingle_speculate)i, true;
    return wk_refuse(f, "bad_request", "speculate", "\"speculate\" is not auto, off, ngram, head or draft");
}

static bool read_config(wk *w, wk_fault *f)
{
    static const char *const kinds[] = {[INGLE_KV_F16] = "f16", [INGLE_KV_F32] = "f32", [INGLE_KV_Q8_0] = "q8_0"};
    wk_config *c = &w->cfg;
    const json_t *kv = json_object_get(c->body, "kv"), *memory = json_object_get(c->body, "memory_max");
    uint32_t abi = 0;
    c->n_queue = WK_QUEUE_STANDARD;
    const struct {
        const char *name;
        uint32_t *out;
    } counts[] = {{"threads", &c->n_threads}, {"n_ctx", &c->n_ctx},     {"n_sessions", &c->n_sessions},
                  {"n_batch", &c->n_batch},   {"n_queue", &c->n_queue}, {"landlock_abi_max", &abi}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (!wk_read_count(c->body, counts[i].name, 1u << 24, counts[i].out, f)) return false;
    c->landlock_abi_max = (int)abi;
    if (c->n_sessions == 0) c->n_sessions = 4;
    if (c->n_sessions > WK_SESSIONS_MAX) c->n_sessions = WK_SESSIONS_MAX;
    if (c->n_threads == 0) c->n_threads = ig_cores();
    if (memory && (!json_is_integer(memory) || json_integer_value(memory) < 0))
        return wk_refuse(f, "bad_request", "memory_max", "\"memory_max\" is no number of bytes");
    c->memory_max = (uint64_t)json_integer_value(memory);
    const json_t *spill = json_object_get(c->body, "spill_max");
    if (spill && (!json_is_integer(spill) || json_integer_value(spill) < 0))
        return wk_refuse(f, "bad_request", "spill_max", "\"spill_max\" is no number of bytes");
    c->spill_max = (uint64_t)json_integer_value(spill);
    if (!wk_read_bool(c->body, "share", &c->shares, f)) return false;
    if (!read_speculate(c, f)) return false;
    if (!kv || json_is_null(kv)) return true;
    for (size_t i = 0; json_is_string(kv) && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i], json_string_value(kv))) return c->kv = (ingle_kv_type)i, true;
    return wk_refuse(f, "bad_request", "kv", "\"kv\" is not f16, f32 or q8_0");
}

/* Waits for INIT; *gone: the front has closed before. */
static bool receive_init(wk *w, bool *gone, wk_fault *f)
{
    ig_frame frame;
    json_error_t e;
    ig_status st = ig_channel_receive(&w->ch, &frame, &f->e);
    *gone = st == IG_NOT_FOUND;
    if (st != IG_OK) return wk_refuse_status(f, NULL, &f->e);
    if (frame.type != IG_FRAME_INIT) return wk_refuse(f, "bad_request", NULL, "the first frame is not INIT");
    w->cfg.body = json_loadb(frame.body, frame.n_body, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(w->cfg.body)) return wk_refuse(f, "bad_request", NULL, "the body of INIT is no JSON object");
    return read_config(w, f);
}

/* -------------------------------------------------------------------------------------------- loading */

/* Names of the files of one model: list [*n]. */
static bool read_names(const wk *w, const char *key, const char **names, size_t *n, wk_fault *f)
{
    const json_t *list = json_object_get(w->cfg.body, key);
    *n = json_array_size(list);
    if (*n > IG_FRAME_FDS_MAX)
        return wk_refuse(f, "bad_request", key, "\"%s\" is no list of 1 to %d names", key, IG_FRAME_FDS_MAX);
    for (size_t i = 0; i < *n; i++) {
        names[i] = json_string_value(json_array_get(list, i));
        if (!names[i] || !*names[i] || strlen(names[i]) > FILES_NAME_MAX)
            return wk_refuse(f, "bad_request", key, "entry %zu of \"%s\" is no name", i, key);
    }
    return true;
}

/* Takes the descriptors of the files and opens the model. */
static bool open_model(wk *w, const char *key, const char *const *names, size_t n, ingle_model **out, wk_fault *f)
{
    int fds[IG_FRAME_FDS_MAX];
    ingle_error e;
    if (!ig_channel_take_fds(&w->ch, fds, n))
        return wk_refuse(f, "bad_request", key, "INIT names %zu files and brings fewer descriptors", n);
    ingle_status st = ig_model_open_fds(names, fds, n, NULL, out, &e);
    for (size_t i = 0; i < n; i++) close(fds[i]);
    if (st == INGLE_OK) return true;
    ig_error own = wk_error_of(&e);
    return wk_refuse_status(f, NULL, &own);
}

/* The model's files come first, then those of the smaller one that guesses, then the file for conversations. */
static bool open_files(wk *w, wk_fault *f)
{
    const char *names[IG_FRAME_FDS_MAX], *draft[IG_FRAME_FDS_MAX];
    size_t n, n_draft;
    if (!read_names(w, "files", names, &n, f) || !read_names(w, "draft", draft, &n_draft, f)) return false;
    if (n == 0) return wk_refuse(f, "bad_request", "files", "\"files\" is no list of 1 to %d names", IG_FRAME_FDS_MAX);
    if (!open_model(w, "files", names, n, &w->model, f)) return false;
    if (n_draft && !open_model(w, "draft", draft, n_draft, &w->draft, f)) return false;
    if (!w->cfg.spill_max || ig_channel_take_fds(&w->ch, &w->spill_fd, 1)) return true;
    return wk_refuse(f, "bad_request", "spill_max", "\"spill_max\" is set and no file for it was brought");
}

/* What the engine would need, for whoever only asks: the cache of all sessions, as far as the limit goes. */
static void plan_engine(wk *w)
{
    ingle_error e;
    ingle_memory need = {0};
    if (ingle_model_memory(w->model, w->n_ctx, w->cfg.kv, &need, &e) != INGLE_OK) return;
    uint64_t kv, rest = need.weights + need.workspace + w->draft_bytes;
    if (!ig_mul_u64(need.kv, w->cfg.n_sessions, &kv)) kv = UINT64_MAX / 2;
    if (w->cfg.memory_max && (w->cfg.memory_max <= rest || kv > w->cfg.memory_max - rest))
        kv = w->cfg.memory_max > rest ? w->cfg.memory_max - rest : 0;
    w->planned = (ig_engine_use){.weights = need.weights, .kv = kv, .workspace = need.workspace};
}

static bool make_engine(wk *w, wk_fault *f)
{
    ingle_error e;
    ingle_memory need = {0};
    uint32_t batch = w->cfg.n_batch ? w->cfg.n_batch : 256;
    if (batch < w->cfg.n_sessions + 1) batch = w->cfg.n_sessions + 1;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = w->cfg.n_threads,
                              .n_ctx = w->cfg.n_ctx,
                              .n_batch = batch,
                              .n_sessions = w->cfg.n_sessions,
                              .n_logits = w->cfg.n_sessions + ROWS_SPARE,
                              .kv = w->cfg.kv,
                              .no_head =
                                  w->cfg.speculate != INGLE_SPECULATE_AUTO && w->cfg.speculate != INGLE_SPECULATE_HEAD};
    if (o.n_ctx > w->info.n_ctx_train) o.n_ctx = w->info.n_ctx_train;
    if (w->cfg.memory_max && ingle_model_memory(w->model, o.n_ctx, o.kv, &need, &e) == INGLE_OK) {
        uint64_t rest = need.weights + need.workspace + memory_spare + need.logits * o.n_logits + w->draft_bytes;
        if (w->cfg.memory_max <= rest)
            return wk_refuse(f, "overloaded", "memory_max",
                             "the model needs %llu bytes beside its KV cache, the limit is %llu",
                             (unsigned long long)rest, (unsigned long long)w->cfg.memory_max);
        o.kv_bytes_max = w->cfg.memory_max - rest;
    }
    if (ingle_engine_new(w->model, &o, &w->engine, &e) != INGLE_OK) {
        ig_error own = wk_error_of(&e);
        return wk_refuse_status(f, NULL, &own);
    }
    w->n_ctx = ingle_engine_n_ctx(w->engine);
    w->n_rows = o.n_logits;
    w->n_batch = o.n_batch < w->n_ctx * w->cfg.n_sessions ? o.n_batch : w->n_ctx * w->cfg.n_sessions;
    return true;
}

static bool make_slots(wk *w, wk_fault *f)
{
    uint32_t n = w->cfg.n_sessions;
    ingle_error e;
    w->slots = ig_calloc(n, sizeof *w->slots);
    w->items = ig_calloc(n, sizeof *w->items);
    w->stepping = ig_calloc(n, sizeof(wk_choice *));
    w->guessed = ig_calloc(n, sizeof *w->guessed);
    w->spilled = ig_calloc(WK_SPILLED_MAX, sizeof *w->spilled);
    w->logits = ig_calloc(w->info.n_vocab, sizeof *w->logits);
    w->top = ig_calloc(WK_TOP_MAX, sizeof *w->top);
    w->ends = ig_calloc(w->info.n_vocab, sizeof *w->ends);
    if (!w->slots || !w->items || !w->stepping || !w->guessed || !w->spilled || !w->logits || !w->top || !w->ends)
        return wk_refuse(f, "overloaded", NULL, "out of memory for %u sessions", n);
    for (uint32_t i = 0; i < w->info.n_vocab; i++)
        if (ingle_token_is_end(w->model, (int32_t)i)) w->ends[w->n_ends++] = (int32_t)i;
    for (uint32_t i = 0; i < n; i++)
        if (ingle_session_new(w->engine, &w->slots[i].session, &e) != INGLE_OK) {
            ig_error own = wk_error_of(&e);
            return wk_refuse_status(f, NULL, &own);
        }
    return true;
}

static bool token_text(const wk *w, int32_t id, ig_buf *out)
{
    ig_buf_init(out, 1 << 16);
    return id < 0 || ig_model_piece(w->model, id, true, out);
}

static bool make_texts(wk *w, wk_fault *f)
{
    const json_t *source = json_object_get(w->cfg.body, "template"), *system = json_object_get(w->cfg.body, "system");
    ig_str sys = {json_string_value(system), json_string_length(system)};
    ig_error e;
    int32_t ids[8];
    size_t n = 0;
    if (!ig_model_text(w->model, "tokenizer.chat_template", &w->template_source)) w->template_source = (ig_str){0};
    if (json_is_string(source)) w->template_source = (ig_str){json_string_value(source), json_string_length(source)};
    if (!token_text(w, w->info.bos, &w->bos_text) || !token_text(w, w->info.eos, &w->eos_text))
        return wk_refuse(f, "overloaded", NULL, "out of memory for the vocabulary");
    if (w->info.has_vocab && ingle_tokenize(w->model, "a", 1, INGLE_ADD_SPECIAL, ids, 8, &n, NULL) == INGLE_OK && n)
        w->adds_eos = w->info.eos >= 0 && ids[n - 1] == w->info.eos;
    ig_str bos = {w->bos_text.ptr, w->bos_text.len}, eos = {w->eos_text.ptr, w->eos_text.len};
    if (!bos.ptr) bos.ptr = "";
    if (!eos.ptr) eos.ptr = "";
    if (wk_chat_new(w->model, w->template_source, sys, bos, eos, &w->chat, &e) != IG_OK ||
        wk_constrainer_new(w->model, w->template_source, &w->constrainer, &e) != IG_OK)
        return wk_refuse_status(f, "template", &e);
    return true;
}

static bool load(wk *w, wk_fault *f)
{
    ig_error e;
    wk_send_load(w, 0);
    (void)ig_channel_flush(&w->ch, &e);
    if (!open_files(w, f)) return false;
    ingle_model_describe(w->model, &w->info);
    wk_send_load(w, 0.5);
    (void)ig_channel_flush(&w->ch, &e);
    bool looks = json_is_true(json_object_get(w->cfg.body, "probe"));
    w->generates = w->info.has_tensors && w->info.has_logits && w->info.causal && !w->info.has_encoder;
    w->n_ctx = w->cfg.n_ctx && w->cfg.n_ctx < w->info.n_ctx_train ? w->cfg.n_ctx : w->info.n_ctx_train;
    bool drafts = w->generates && w->draft && w->cfg.speculate != INGLE_SPECULATE_OFF;
    if (drafts && !wk_drafter_plan(w, f)) return false;
    if (w->generates && looks) plan_engine(w);
    if (w->generates && !looks && (!make_engine(w, f) || !make_slots(w, f))) return false;
    wk_spill_open(w);
    if (drafts && !looks && !wk_drafter_start(w, f)) return false;
    if (!make_texts(w, f)) return false;
    if (wk_lane_start(&w->text, w, wk_prepare_request, &e) != IG_OK ||
        wk_lane_start(&w->embed, w, wk_compute_embeddings, &e) != IG_OK)
        return wk_refuse_status(f, NULL, &e);
    wk_send_load(w, 1);
    return true;
}

/* -------------------------------------------------------------------------------------------- frames */

static void refuse_job(wk *w, uint64_t id, const char *type, const char *why)
{
    wk_fault f;
    wk_refuse(&f, type, NULL, "%s", why);
    wk_send_error(w, id, &f);
}

static void take_job(wk *w, const ig_frame *frame)
{
    if (w->n_jobs + w->n_waiting >= w->cfg.n_queue || w->job_bytes + frame->n_body > WK_JOB_BYTES_MAX) {
        refuse_job(w, frame->request, "overloaded", "the model's queue is full; try again later");
        return;
    }
    wk_request *r = ig_calloc(1, sizeof *r);
    char *raw = r ? ig_alloc(frame->n_body + 1) : NULL;
    if (!raw) {
        ig_free(r);
        refuse_job(w, frame->request, "overloaded", "out of memory for a request");
        return;
    }
    memcpy(raw, frame->body, frame->n_body);
    *r = (wk_request){.id = frame->request,
                      .query = frame->type == IG_FRAME_QUERY,
                      .raw = raw,
                      .n_raw = frame->n_body,
                      .n_body = frame->n_body,
                      .came_ns = ig_now_ns()};
    w->n_jobs++;
    w->job_bytes += frame->n_body;
    wk_lane_give(&w->text, r);
}

static void take_frame(wk *w, const ig_frame *frame)
{
    switch (frame->type) {
    case IG_FRAME_REQUEST:
    case IG_FRAME_QUERY: take_job(w, frame); break;
    case IG_FRAME_CANCEL: wk_cancel(w, frame->request); break;
    case IG_FRAME_STOP:
        w->stopping = true;
        w->leaves = frame->n_body > 2; /* {"leave": true} */
        break;
    default: refuse_job(w, frame->request, "bad_request", "a frame of this type is not for a worker"); break;
    }
}

/* Takes all frames that are there. False: the front is gone or talks nonsense. */
static bool take_frames(wk *w)
{
    ig_frame frame;
    ig_error e;
    for (int fills = 0; fills < 64 && !w->stopping;) {
        bool got;
        if (ig_channel_next(&w->ch, &frame, &got, &e) != IG_OK) {
            refuse_job(w, 0, "bad_request", e.text);
            return false;
        }
        if (got) {
            take_frame(w, &frame);
            continue;
        }
        uint64_t had = w->ch.in_end - w->ch.in_at;
        if (w->ch.ended || ig_channel_fill(&w->ch, &e) != IG_OK) return false;
        if (w->ch.in_end - w->ch.in_at == had) return !w->ch.ended;
        fills++;
    }
    return true;
}

/* -------------------------------------------------------------------------------------------- lanes */

static void leave_queue(wk *w, wk_request *r)
{
    w->n_jobs--;
    w->job_bytes -= r->n_body;
}

static void end_job(wk *w, wk_request *r)
{
    wk_choice c = {.r = r};
    r->p.n = 1; /* whatever it asked for, one frame ends it */
    if (atomic_load(&r->cancelled))
        wk_send_done(w, &c, "cancelled", NULL, NULL);
    else if (r->failed)
        wk_send_error(w, r->id, &r->fault);
    else
        wk_send(w, IG_FRAME_RESULT, r->id, &r->result);
    leave_queue(w, r);
    wk_request_free(r);
}

static void take_done(wk *w)
{
    char bells[64];
    while (read(w->bell[0], bells, sizeof bells) > 0) continue;
    for (wk_request *r; (r = wk_lane_take_done(&w->text)) != NULL;) {
        bool over = r->failed || atomic_load(&r->cancelled);
        if (!over && r->op == WK_SLOTS) wk_put_slots(w, &r->result);
        if (!over && r->op == WK_GENERATE) {
            leave_queue(w, r);
            wk_accept(w, r);
        } else if (!over && (r->op == WK_EMBED || r->op == WK_RERANK)) {
            wk_lane_give(&w->embed, r);
        } else {
            end_job(w, r);
        }
    }
    for (wk_request *r; (r = wk_lane_take_done(&w->embed)) != NULL;) {
        bool over = r->failed || atomic_load(&r->cancelled) || r->texts.n_done == r->texts.n;
        if (over)
            end_job(w, r);
        else
            wk_lane_give(&w->embed, r);
    }
}

/* -------------------------------------------------------------------------------------------- loop */

static void tell(wk *w)
{
    uint64_t now = ig_now_ns(), since = (now - w->status_ns) / 1000000;
    if (since >= STATUS_IDLE_MS || (since >= STATUS_MS && (w->status_due || w->n_running))) wk_send_status(w, now);
    wk_tell_positions(w, now);
}

/* Sleeps until a frame comes, a lane is done, the front reads again, or it is time for a STATUS. */
static void rest(wk *w)
{
    struct pollfd fds[2] = {{.fd = w->ch.fd, .events = POLLIN}, {.fd = w->bell[0], .events = POLLIN}};
    uint64_t since = (ig_now_ns() - w->status_ns) / 1000000, every = w->status_due ? STATUS_MS : STATUS_IDLE_MS;
    int timeout = since < every ? (int)(every - since) : 0;
    if (ig_channel_waiting(&w->ch)) fds[0].events |= POLLOUT;
    (void)poll(fds, 2, timeout);
}

/* False: the front has sent what is no frame. */
static bool serve(wk *w)
{
    ig_error e;
    while (!w->stopping && !w->broken) {
        if (!take_frames(w)) return w->ch.ended;
        take_done(w);
        bool paused = ig_channel_waiting(&w->ch) > OUT_BYTES_PAUSE;
        wk_admit(w);
        bool computing = !paused && wk_step(w);
        tell(w);
        if (ig_channel_flush(&w->ch, &e) != IG_OK) break;
        if (!computing && !w->stopping) rest(w);
    }
    while (w->stopping && w->requests) wk_cancel(w, w->requests->id);
    if (w->leaves && !w->broken) wk_spill_leave(w);
    return true;
}

static void fini(wk *w)
{
    wk_lane_stop(&w->text);
    wk_lane_stop(&w->embed);
    wk_drop_all(w);
    for (uint32_t i = 0; w->slots && i < w->cfg.n_sessions; i++) ingle_session_free(w->slots[i].session);
    wk_drafter_stop(w);
    ingle_engine_free(w->engine);
    ingle_engine_free(w->embedder);
    wk_chat_free(w->chat);
    wk_constrainer_free(w->constrainer);
    ingle_model_close(w->model);
    ig_free(w->slots);
    ig_free(w->items);
    ig_free(w->stepping);
    ig_free(w->guessed);
    ig_free(w->spilled);
    ig_free(w->logits);
    ig_free(w->top);
    ig_free(w->ends);
    ig_buf_fini(&w->bos_text);
    ig_buf_fini(&w->eos_text);
    ig_buf_fini(&w->out);
    json_decref(w->cfg.body);
    for (int i = 0; i < 2; i++)
        if (w->bell[i] >= 0) close(w->bell[i]);
    if (w->rss_fd >= 0) close(w->rss_fd);
    ig_channel_fini(&w->ch);
}

/* Where memory runs out, the kernel is to take the worker and not the front (L10). */
static void offer_first(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = write(fd, "500", 3);
    (void)n;
    close(fd);
}

/* Up to READY. */
static bool start(wk *w, bool *gone, wk_fault *f)
{
    uint64_t from = ig_now_ns();
    offer_first();
    w->rss_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    w->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    tzset(); /* templates may ask for the local time */
    if (pipe2(w->bell, O_CLOEXEC | O_NONBLOCK) < 0) {
        (void)ig_fail_errno(&f->e, IG_IO, errno, "the worker cannot make a pipe");
        return wk_refuse_status(f, NULL, &f->e);
    }
    w->text.bell = w->embed.bell = w->bell[1];
    if (!receive_init(w, gone, f)) return false;
    wk_limit_files(w->cfg.spill_max ? w->cfg.spill_max + WK_SPILL_LIST_BYTES : 0);
    ig_engine_prepare();
    if (wk_confine(w->cfg.landlock_abi_max, &w->box, &f->e) != IG_OK) return wk_refuse_status(f, NULL, &f->e);
    wk_limit_memory(w->cfg.memory_max);
    if (!load(w, f)) return false;
    wk_send_ready(w, (double)(ig_now_ns() - from) / 1e6);
    return true;
}

int ig_worker_main(int fd)
{
    wk w = {.rss_fd = -1, .bell = {-1, -1}, .spill_fd = -1};
    wk_fault f = {.type = "internal"};
    ig_error e;
    bool gone = false;
    wk_prepare(fd);
    ig_buf_init(&w.out, WK_RESULT_BYTES_MAX);
    if (ig_channel_init(&w.ch, fd, IG_FRAME_FDS_MAX, OUT_BYTES_MAX, &e) != IG_OK) return IG_WORKER_FAILED;
    bool ok = start(&w, &gone, &f);
    if (ok)
        ok = serve(&w);
    else if (!gone)
        wk_send_error(&w, 0, &f);
    if (!gone) (void)ig_channel_flush_all(&w.ch, &e);
    fini(&w);
    return ok || gone ? IG_WORKER_DONE : IG_WORKER_FAILED;
}
