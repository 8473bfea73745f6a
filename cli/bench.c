/* ingle bench: speed of prompt and generation, medians of some runs after a short one to warm up. With guesses the
 * prompt repeats itself, and what is generated is the likeliest. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/os.h"
#include "base/pool.h"
#include "base/sweep.h"
#include "far.h"
#include "input.h"
#include "out.h"
#include "talk.h"
#include "verbs.h"

enum {
    RUNS_MAX = 100,
    BANDWIDTH_BYTES = 512 << 20,
    PIECE_BYTES = 1 << 20,
    WARM_PROMPT = 64,
    WARM_GENERATE = 8,
    REPEAT = 32
};

typedef struct bench_state {
    const cli_call *call;
    ingle_model *model;
    ingle_model_info info;
    ingle_engine *engine;
    ingle_session **sessions; /* [n_streams] */
    ingle_step_item *items;   /* [n_streams] */
    int32_t *ids;             /* [n_ids] */
    int32_t *next;            /* [n_streams] */
    uint32_t n_prompt, n_generate, n_depth, n_streams, n_batch, n_runs;
    bool filled; /* the sessions hold the depth */
    bool guesses;
    talk_guess guess;
    ingle_sampler *sampler;
    uint64_t n_drafted, n_accepted;
    double load_ms, depth_tps, prompt_tps, generate_tps;
    uint64_t peak_rss_bytes;
    double bandwidth; /* bytes a second; 0: not measured */
} bench_state;

static double seconds(uint64_t from) { return (double)(ig_now_ns() - from) / 1e9; }

/* ------------------------------------------------------------------------------------------------ bandwidth */

typedef struct sweep {
    const uint8_t *data;
    size_t n_pages;       /* read side by side */
    _Atomic uint64_t sum; /* so that the reads cannot be left out */
} sweep;

static void read_piece(void *ctx, size_t piece, unsigned thread_idx)
{
    sweep *s = ctx;
    (void)thread_idx;
    s->sum += ig_sweep(s->data + piece * PIECE_BYTES, PIECE_BYTES, s->n_pages);
}

/* Bytes a second that all threads together read, in large pages, from one end to the other or eight small pages side by
 * side (Intel's prefetchers end with a page); 0 when it cannot be measured. */
static double measure_bandwidth(unsigned n_threads)
{
    ig_pool *pool = NULL;
    double best = 0;
    if (ig_memory_available() < 2ull * BANDWIDTH_BYTES) return 0;
    void *data = ig_reserve(BANDWIDTH_BYTES);
    if (!data) return 0;
    (void)madvise(data, BANDWIDTH_BYTES, MADV_HUGEPAGE);
    memset(data, 1, BANDWIDTH_BYTES); /* every page is there */
    sweep s = {.data = data};
    if (ig_pool_new(n_threads, &pool, NULL) == IG_OK) {
        for (int run = 0; run < 6; run++) {
            s.n_pages = run % 2 ? 8 : 1;
            uint64_t t = ig_now_ns();
            ig_pool_run(pool, read_piece, &s, BANDWIDTH_BYTES / PIECE_BYTES);
            double rate = BANDWIDTH_BYTES / seconds(t);
            if (rate > best) best = rate;
        }
    }
    ig_pool_free(pool);
    ig_unreserve(data, BANDWIDTH_BYTES);
    return best;
}

/* Share of the experts that a step touches, when every stream chooses on its own. */
static double experts_share(const bench_state *b)
{
    double untouched = 1;
    if (!b->info.n_experts) return 1;
    for (uint32_t k = 0; k < b->n_streams; k++) untouched *= 1 - (double)b->info.n_experts_used / b->info.n_experts;
    return 1 - untouched;
}

/* Bytes of weights that one step reads: not the rows of the input embedding, and of the experts those used. */
static double weights_per_step(const bench_state *b)
{
    ingle_tensor t;
    double all = 0, embedding = 0;
    bool has_output = false;
    for (uint64_t i = 0; ingle_model_tensor(b->model, i, &t); i++) {
        double n = (double)t.n_bytes;
        if (!strcmp(t.name, "output.weight")) has_output = true;
        if (!strcmp(t.name, "token_embd.weight")) embedding = n;
        all += strstr(t.name, "_exps.") ? n * experts_share(b) : n;
    }
    return has_output ? all - embedding : all;
}

/* Bytes of keys and values that a token reads, in the middle of what is generated. */
static double cache_per_token(const bench_state *b)
{
    ingle_memory need;
    ingle_error err;
    uint32_t n = b->n_depth + b->n_prompt + b->n_generate / 2;
    if (ingle_model_memory(b->model, n, input_kv(b->call, INGLE_KV_F16), &need, &err) != INGLE_OK) return 0;
    return (double)need.kv;
}

/* ------------------------------------------------------------------------------------------------ runs */

static ingle_status feed(bench_state *b, ingle_session *session, uint32_t n, bool want_last, ingle_error *err)
{
    for (uint32_t at = 0; at < n;) {
        uint32_t k = n - at < b->n_batch ? n - at : b->n_batch;
        bool last = want_last && at + k == n;
        ingle_step_item item = {
            .session = session, .tokens = b->ids + at, .n_tokens = k, .want = last ? INGLE_WANT_LAST : INGLE_WANT_NONE};
        ingle_status st = ingle_engine_step(b->engine, &item, 1, err);
        if (st != INGLE_OK) return st;
        at += k;
    }
    return INGLE_OK;
}

/* With guesses: one stream, through the face that people use. */
static ingle_status generate_guessing(bench_state *b, uint32_t n, ingle_error *err)
{
    ingle_generate_result r;
    ingle_generate_options o = {
        .size = sizeof o, .n_max = n, .ignore_end = true, .speculate = b->guess.how, .drafter = b->guess.session};
    ingle_status st = ingle_generate(b->sessions[0], b->sampler, &o, &r, err);
    b->n_drafted += r.n_drafted;
    b->n_accepted += r.n_accepted;
    return st;
}

static ingle_status generate(bench_state *b, uint32_t n, ingle_error *err)
{
    if (b->guesses) return generate_guessing(b, n, err);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < b->n_streams; k++)
            b->items[k] = (ingle_step_item){
                .session = b->sessions[k], .tokens = &b->next[k], .n_tokens = 1, .want = INGLE_WANT_LAST};
        ingle_status st = ingle_engine_step(b->engine, b->items, b->n_streams, err);
        if (st != INGLE_OK) return st;
        for (uint32_t k = 0; k < b->n_streams; k++) b->next[k] = input_argmax(b->items[k].logits, b->info.n_vocab);
    }
    return INGLE_OK;
}

/* Every session holds the depth and nothing behind it; it is fed once. */
static ingle_status to_depth(bench_state *b, ingle_error *err)
{
    ingle_status st = INGLE_OK;
    bool made_up = cli_set(b->call, "made-up");
    uint64_t t = ig_now_ns();
    for (uint32_t k = 0; st == INGLE_OK && k < b->n_streams; k++) {
        ingle_session_truncate(b->sessions[k], b->filled ? b->n_depth : 0);
        if (!b->filled && made_up)
            st = ingle_session_pretend(b->sessions[k], b->n_depth, err);
        else if (!b->filled)
            st = feed(b, b->sessions[k], b->n_depth, false, err);
        b->next[k] = (int32_t)((k * 31u + 5) % b->info.n_vocab);
    }
    if (!b->filled && b->n_depth && !made_up) b->depth_tps = (double)b->n_depth * b->n_streams / seconds(t);
    b->filled = true;
    return st;
}

static ingle_status one_run(bench_state *b, bool warm_up, double *prompt_tps, double *generate_tps, ingle_error *err)
{
    uint32_t n_prompt = warm_up && b->n_prompt > WARM_PROMPT ? WARM_PROMPT : b->n_prompt,
             n_generate = warm_up && b->n_generate > WARM_GENERATE ? WARM_GENERATE : b->n_generate;
    ingle_status st = to_depth(b, err);
    uint64_t t = ig_now_ns();
    for (uint32_t k = 0; st == INGLE_OK && k < b->n_streams; k++) st = feed(b, b->sessions[k], n_prompt, true, err);
    *prompt_tps = (double)n_prompt * b->n_streams / seconds(t);
    t = ig_now_ns();
    if (st == INGLE_OK) st = generate(b, n_generate, err);
    *generate_tps = (double)n_generate * b->n_streams / seconds(t);
    return st;
}

double bench_median(double *x, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k > 0 && x[k] < x[k - 1]; k--) {
            double t = x[k];
            x[k] = x[k - 1];
            x[k - 1] = t;
        }
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static ingle_status measure(bench_state *b, ingle_error *err)
{
    double prompt[RUNS_MAX + 1], generated[RUNS_MAX + 1];
    struct rusage usage;
    for (uint32_t run = 0; run <= b->n_runs; run++) {
        ingle_status st = one_run(b, run == 0, &prompt[run], &generated[run], err);
        if (st != INGLE_OK) return st;
        if (run == 0) b->n_drafted = b->n_accepted = 0;
    }
    b->prompt_tps = bench_median(prompt + 1, b->n_runs);
    b->generate_tps = bench_median(generated + 1, b->n_runs);
    getrusage(RUSAGE_SELF, &usage);
    b->peak_rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
    b->bandwidth = measure_bandwidth(ingle_engine_n_threads(b->engine));
    return INGLE_OK;
}

/* ------------------------------------------------------------------------------------------------ set-up and result */

static ingle_status no_memory(ingle_error *err)
{
    ig_error e;
    ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the benchmark's tokens");
    return input_error(&e, err);
}

/* The standard lengths shrink where the model was trained on less; what the user asked for never does. */
static void choose_lengths(bench_state *b)
{
    uint32_t trained = b->info.n_ctx_train ? b->info.n_ctx_train : UINT32_MAX;
    b->n_prompt = cli_count(b->call, "prompt", trained / 2 < 512 ? (trained + 1) / 2 : 512);
    b->n_generate = cli_count(b->call, "generate", trained / 4 < 128 ? (trained + 3) / 4 : 128);
}

static ingle_status set_up(bench_state *b, ingle_error *err)
{
    const cli_call *c = b->call;
    uint64_t start = ig_now_ns();
    ingle_status st = input_model(c->args[0], false, &b->model, err);
    if (st != INGLE_OK) return st;
    ingle_model_describe(b->model, &b->info);
    choose_lengths(b);
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = cli_count(c, "threads", 0),
                              .n_ctx = b->n_depth + b->n_prompt + b->n_generate,
                              .n_batch = b->n_batch,
                              .n_sessions = b->n_streams,
                              .n_logits = b->guesses ? 0 : b->n_streams,
                              .kv = input_kv(c, INGLE_KV_F16),
                              .no_head = !b->guesses || talk_no_head(c)};
    if ((st = ingle_engine_new(b->model, &o, &b->engine, err)) != INGLE_OK) return st;
    b->load_ms = seconds(start) * 1e3;
    uint32_t n_ids = b->n_prompt > b->n_depth ? b->n_prompt : b->n_depth;
    b->ids = ig_calloc(n_ids, sizeof *b->ids);
    b->next = ig_calloc(b->n_streams, sizeof *b->next);
    b->items = ig_calloc(b->n_streams, sizeof *b->items);
    b->sessions = ig_calloc(b->n_streams, sizeof *b->sessions);
    if (!b->ids || !b->next || !b->items || !b->sessions) return no_memory(err);
    for (uint32_t i = 0; i < n_ids; i++)
        b->ids[i] = (int32_t)(((b->guesses ? i % REPEAT : i) * 7919ull + 13) % b->info.n_vocab);
    for (uint32_t k = 0; k < b->n_streams && st == INGLE_OK; k++)
        st = ingle_session_new(b->engine, &b->sessions[k], err);
    ingle_sampler_options so = {.size = sizeof so};
    if (st == INGLE_OK && b->guesses) st = ingle_sampler_new(b->model, &so, &b->sampler, err);
    if (st == INGLE_OK && b->guesses) st = talk_guess_open(&b->guess, c, o.n_ctx, err);
    return st;
}

static void print_result(const bench_state *b)
{
    char rss[16];
    double bytes = weights_per_step(b) / b->n_streams + cache_per_token(b),
           share = b->bandwidth > 0 ? bytes * b->generate_tps / b->bandwidth : 0;
    unsigned n_threads = ingle_engine_n_threads(b->engine);
    if (!cli_set(b->call, "json")) {
        cli_outf("kernels          %s, %u threads\n", b->info.kernels, n_threads);
        cli_outf("load             %.1f ms\n", b->load_ms);
        if (b->n_depth && b->depth_tps > 0)
            cli_outf("depth            %.1f tokens/s (%u tokens)\n", b->depth_tps, b->n_depth);
        cli_outf("prompt           %.1f tokens/s (%u tokens)\n", b->prompt_tps, b->n_prompt);
        cli_outf("generate         %.1f tokens/s (%u tokens, %u streams, depth %u)\n", b->generate_tps, b->n_generate,
                 b->n_streams, b->n_depth + b->n_prompt);
        if (b->guesses)
            cli_outf("guessed          %llu tokens, %llu came true\n", (unsigned long long)b->n_drafted,
                     (unsigned long long)b->n_accepted);
        cli_outf("peak memory      %s\n", cli_bytes(b->peak_rss_bytes, rss));
        if (b->bandwidth > 0) cli_outf("bandwidth        %.0f %% of %.1f GB/s\n", share * 100, b->bandwidth / 1e9);
        return;
    }
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:I}", "kernels", b->info.kernels, "threads",
                  (json_int_t)n_threads, "prompt", (json_int_t)b->n_prompt, "generate", (json_int_t)b->n_generate,
                  "depth", (json_int_t)b->n_depth, "streams", (json_int_t)b->n_streams, "kv",
                  input_kv_name(input_kv(b->call, INGLE_KV_F16)), "prompt_tps", b->prompt_tps, "generate_tps",
                  b->generate_tps, "load_ms", b->load_ms, "peak_rss_bytes", (json_int_t)b->peak_rss_bytes);
    json_object_set_new(j, "runs", json_integer((json_int_t)b->n_runs));
    json_object_set_new(j, "depth_tps", b->depth_tps > 0 ? json_real(b->depth_tps) : json_null());
    if (b->guesses) json_object_set_new(j, "drafted", json_integer((json_int_t)b->n_drafted));
    if (b->guesses) json_object_set_new(j, "accepted", json_integer((json_int_t)b->n_accepted));
    json_object_set_new(j, "bytes_per_token", json_integer((json_int_t)bytes));
    json_object_set_new(j, "bandwidth_bytes_per_s", b->bandwidth > 0 ? json_real(b->bandwidth) : json_null());
    json_object_set_new(j, "bandwidth_share", b->bandwidth > 0 ? json_real(share) : json_null());
    cli_out_json(j);
    json_decref(j);
}

int cli_bench(const cli_call *call)
{
    bench_state b = {.call = call,
                     .n_depth = cli_count(call, "depth", 0),
                     .n_streams = cli_count(call, "streams", 1),
                     .n_batch = cli_count(call, "batch", 256),
                     .n_runs = cli_count(call, "runs", 3),
                     .guesses = cli_set(call, "speculate") || cli_set(call, "draft")};
    ingle_error err;
    ig_error e;
    static const char *const local[] = {"depth",   "streams", "batch",     "threads", "kv",
                                        "made-up", "draft",   "speculate", NULL};
    int code = CLI_DONE;
    far_choice where = far_choose_query(call, local, &code);
    if (where != FAR_HERE) return where == FAR_THERE ? far_bench_run(call) : code;
    if (talk_check_guess(call, &e) != IG_OK) return cli_usage(e.text);
    if (b.guesses && b.n_streams > 1)
        return cli_usage("--speculate and --draft measure one stream, leave --streams out");
    ingle_status st = set_up(&b, &err);
    if (st == INGLE_OK) st = measure(&b, &err);
    if (st == INGLE_OK) print_result(&b);
    for (uint32_t k = 0; b.sessions && k < b.n_streams; k++) ingle_session_free(b.sessions[k]);
    talk_guess_close(&b.guess);
    ingle_sampler_free(b.sampler);
    ingle_engine_free(b.engine);
    ingle_model_close(b.model);
    ig_free(b.sessions);
    ig_free(b.items);
    ig_free(b.next);
    ig_free(b.ids);
    return st == INGLE_OK ? CLI_DONE : cli_fail(err.text);
}
