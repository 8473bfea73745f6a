/* ingle eval: logits of given tokens, their greedy continuation, or the perplexity of a text. */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "input.h"
#include "out.h"
#include "verbs.h"

typedef struct eval_state {
    const cli_call *call;
    ingle_model *model;
    ingle_model_info info;
    ingle_engine *engine;
    ingle_session *session;
    cli_ids ids, encoder;
    uint32_t chunk;
} eval_state;

static ingle_status fail(ingle_error *err, const ig_error *e) { return input_error(e, err); }

/* ------------------------------------------------------------------------------------------------ context */

/* 256, or n_tokens rounded up to a multiple of 256, at most what the model was trained on. */
static uint32_t standard_context(const eval_state *s, uint64_t n_tokens)
{
    uint64_t n = n_tokens <= 256 ? 256 : (n_tokens + 255) / 256 * 256;
    if (s->info.n_ctx_train && n > s->info.n_ctx_train) n = s->info.n_ctx_train;
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static ingle_status start(eval_state *s, uint64_t n_tokens, ingle_error *err)
{
    uint32_t n_ctx = cli_count(s->call, "ctx", standard_context(s, n_tokens));
    ig_error e;
    if (n_tokens > n_ctx) {
        ig_fail(&e, IG_TOO_LARGE, 0,
                "%llu tokens are asked for and the context holds %u, expected fewer tokens or a larger --ctx",
                (unsigned long long)n_tokens, n_ctx);
        return fail(err, &e);
    }
    s->chunk = cli_count(s->call, "chunk", 256);
    uint32_t n_batch = s->encoder.n > s->chunk ? (uint32_t)s->encoder.n : s->chunk;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = cli_count(s->call, "threads", 0),
                              .n_ctx = n_ctx,
                              .n_batch = n_batch,
                              .n_logits = s->chunk,
                              .kv = input_kv(s->call, INGLE_KV_F32),
                              .dense = cli_set(s->call, "dense"),
                              .no_head = true};
    ingle_status st = ingle_engine_new(s->model, &o, &s->engine, err);
    if (st == INGLE_OK) st = ingle_session_new(s->engine, &s->session, err);
    if (st == INGLE_OK && s->encoder.n) st = ingle_session_encode(s->session, s->encoder.ids, s->encoder.n, err);
    return st;
}

/* ------------------------------------------------------------------------------------------------ steps */

/* Called with the logits [n_vocab] of position i. */
typedef ingle_status (*row_fn)(void *user, size_t i, const float *logits, ingle_error *err);

/* Feeds ids[from..to) in chunks; fn (may be NULL: no logits are wanted) sees every position. */
static ingle_status feed_rows(eval_state *s, const int32_t *ids, size_t from, size_t to, row_fn fn, void *user,
                              ingle_error *err)
{
    for (size_t at = from; at < to;) {
        uint32_t n = to - at < s->chunk ? (uint32_t)(to - at) : s->chunk;
        ingle_step_item item = {
            .session = s->session, .tokens = ids + at, .n_tokens = n, .want = fn ? INGLE_WANT_ALL : INGLE_WANT_NONE};
        ingle_status st = ingle_engine_step(s->engine, &item, 1, err);
        for (uint32_t k = 0; fn && st == INGLE_OK && k < n; k++)
            st = fn(user, at + k, item.logits + (size_t)k * s->info.n_vocab, err);
        if (st != INGLE_OK) return st;
        at += n;
    }
    return INGLE_OK;
}

/* ------------------------------------------------------------------------------------------------ --tokens */

typedef struct token_job {
    const eval_state *s;
    ig_file_writer *writer; /* NULL: no file */
    int32_t *best;          /* [n], most probable next id of every position */
} token_job;

static ingle_status on_row(void *user, size_t i, const float *logits, ingle_error *err)
{
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is little-endian");
    token_job *job = user;
    ig_error e;
    job->best[i] = input_argmax(logits, job->s->info.n_vocab);
    if (!job->writer ||
        ig_writer_write(job->writer, logits, (size_t)job->s->info.n_vocab * sizeof *logits, &e) == IG_OK)
        return INGLE_OK;
    return fail(err, &e);
}

/* Replacing a device or a pipe by a file is never what was meant. */
static ingle_status begin_file(ig_file_writer *w, const char *path, ingle_error *err)
{
    struct stat sb;
    ig_error e;
    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode)) {
        ig_fail(&e, IG_BAD_INPUT, 0, "%.300s is no regular file, expected the name of a file to write", path);
        return fail(err, &e);
    }
    return ig_writer_begin(w, path, &e) == IG_OK ? INGLE_OK : fail(err, &e);
}

/* Only complete files get the name asked for. */
static ingle_status evaluate(eval_state *s, const char *path, int32_t *best, ingle_error *err)
{
    ig_file_writer w = {.fd = -1};
    ig_error e;
    token_job job = {.s = s, .writer = path ? &w : NULL, .best = best};
    ingle_status st = path ? begin_file(&w, path, err) : INGLE_OK;
    if (st != INGLE_OK) return st;
    st = feed_rows(s, s->ids.ids, 0, s->ids.n, on_row, &job, err);
    if (!path) return st;
    if (st == INGLE_OK) return ig_writer_commit(&w, &e) == IG_OK ? INGLE_OK : fail(err, &e);
    ig_writer_abandon(&w);
    return st;
}

/* The n ids that follow `first`, which is already known from the logits of the last position. */
static ingle_status greedy(eval_state *s, int32_t first, uint32_t n, int32_t *out, ingle_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = first;
        if (i + 1 == n) break;
        ingle_status st = ingle_session_feed(s->session, &first, 1, err);
        if (st != INGLE_OK) return st;
        first = input_argmax(ingle_session_logits(s->session), s->info.n_vocab);
    }
    return INGLE_OK;
}

static void print_ids(const cli_call *call, const char *name, const int32_t *ids, size_t n)
{
    if (cli_set(call, "json")) {
        json_t *list = json_array(), *j = json_object();
        for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
        json_object_set_new(j, name, list);
        cli_out_json(j);
        json_decref(j);
        return;
    }
    for (size_t i = 0; i < n; i++) cli_outf("%s%d", i ? " " : "", ids[i]);
    cli_out("\n", 1);
}

static ingle_status eval_tokens(eval_state *s, ingle_error *err)
{
    const char *path = cli_text(s->call, "logits");
    uint32_t n_greedy = cli_count(s->call, "greedy", 0);
    size_t n = s->ids.n;
    ig_error e;
    int32_t *best = ig_calloc(n + n_greedy, sizeof *best);
    if (!best) return ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for %zu ids", n + n_greedy), fail(err, &e);
    ingle_status st = start(s, (uint64_t)n + (n_greedy ? n_greedy - 1 : 0), err);
    if (st == INGLE_OK) st = evaluate(s, path, best, err);
    if (st == INGLE_OK && n_greedy) st = greedy(s, best[n - 1], n_greedy, best + n, err);
    if (st == INGLE_OK && n_greedy)
        print_ids(s->call, "greedy", best + n, n_greedy);
    else if (st == INGLE_OK && !path)
        print_ids(s->call, "next", best, n);
    ig_free(best);
    return st;
}

/* ------------------------------------------------------------------------------------------------ --text */

typedef struct score {
    const eval_state *s;
    size_t n_scored;
    double sum;
} score;

/* Position i predicts token i + 1. */
static ingle_status on_scored(void *user, size_t i, const float *logits, ingle_error *err)
{
    score *sc = user;
    uint32_t n = sc->s->info.n_vocab;
    double max = (double)logits[input_argmax(logits, n)], z = 0;
    for (uint32_t v = 0; v < n; v++) z += exp((double)logits[v] - max);
    double nll = max + log(z) - (double)logits[sc->s->ids.ids[i + 1]];
    if (!isfinite(nll)) {
        ig_error e;
        ig_fail(&e, IG_BAD_INPUT, 0,
                "the logits of token %zu are not finite, expected numbers: the weights are damaged", i);
        return fail(err, &e);
    }
    sc->sum += nll;
    sc->n_scored++;
    return INGLE_OK;
}

static ingle_status score_windows(eval_state *s, size_t window, score *sc, ingle_error *err)
{
    for (size_t at = 0; at + window <= s->ids.n; at += window) {
        ingle_session_truncate(s->session, 0);
        ingle_status st = feed_rows(s, s->ids.ids, at, at + window / 2, NULL, NULL, err);
        if (st == INGLE_OK) st = feed_rows(s, s->ids.ids, at + window / 2, at + window - 1, on_scored, sc, err);
        if (st != INGLE_OK) return st;
    }
    return INGLE_OK;
}

static void print_perplexity(const eval_state *s, size_t window, const score *sc)
{
    double nll = sc->sum / (double)sc->n_scored;
    if (!cli_set(s->call, "json")) {
        cli_outf("tokens %zu window %zu scored %zu nll %.6f ppl %.4f\n", s->ids.n, window, sc->n_scored, nll, exp(nll));
        return;
    }
    json_t *j = json_pack("{s:I, s:I, s:I, s:f, s:f}", "tokens", (json_int_t)s->ids.n, "window", (json_int_t)window,
                          "scored", (json_int_t)sc->n_scored, "nll", nll, "ppl", exp(nll));
    cli_out_json(j);
    json_decref(j);
}

static ingle_status eval_text(eval_state *s, ingle_error *err)
{
    ig_buf text;
    ig_error e;
    score sc = {.s = s};
    uint32_t window = s->info.n_ctx_train && s->info.n_ctx_train < 512 ? s->info.n_ctx_train : 512;
    window = cli_count(s->call, "window", window);
    ingle_status st = input_text(NULL, cli_text(s->call, "text"), &text, err);
    if (st == INGLE_OK) st = input_tokenize(s->model, text.ptr, text.len, INGLE_ADD_SPECIAL, &s->ids, err);
    ig_buf_fini(&text);
    if (st == INGLE_OK && s->ids.n < window) {
        ig_fail(&e, IG_BAD_INPUT, 0,
                "the text has %zu tokens and a window %u, expected a longer text or a smaller --window", s->ids.n,
                window);
        st = fail(err, &e);
    }
    if (st == INGLE_OK) st = start(s, window, err);
    if (st == INGLE_OK) st = score_windows(s, window, &sc, err);
    if (st == INGLE_OK) print_perplexity(s, window, &sc);
    return st;
}

/* ------------------------------------------------------------------------------------------------ all together */

static int check_flags(const cli_call *call)
{
    static const char *const only_tokens[] = {"logits", "greedy"};
    bool tokens = cli_set(call, "tokens"), text = cli_set(call, "text");
    if (tokens == text)
        return cli_usage(tokens ? "eval got --tokens and --text, expected one of them. Type: ingle eval --help"
                                : "eval needs --tokens IDS or --text FILE. Type: ingle eval --help");
    for (size_t i = 0; text && i < sizeof only_tokens / sizeof *only_tokens; i++)
        if (cli_set(call, only_tokens[i]))
            return cli_usage("--logits and --greedy go with --tokens. Type: ingle eval --help");
    if (text && cli_set(call, "encoder-tokens"))
        return cli_usage("--encoder-tokens goes with --tokens. Type: ingle eval --help");
    if (tokens && cli_set(call, "window")) return cli_usage("--window goes with --text. Type: ingle eval --help");
    return CLI_DONE;
}

/* The ids of a flag, where it is given. */
static bool read_ids(const cli_call *call, const char *flag, cli_ids *out)
{
    const char *text = cli_text(call, flag);
    ingle_error err;
    ig_error usage;
    if (!text || (input_ids(text, strlen(text), out, &err) == INGLE_OK && out->n)) return true;
    cli_bad_value(call, flag, "token ids separated by commas, such as 1,2,3", &usage);
    cli_usage(usage.text);
    return false;
}

int cli_eval(const cli_call *call)
{
    eval_state s = {.call = call};
    ingle_error err;
    const char *ids = cli_text(call, "tokens");
    if (check_flags(call) != CLI_DONE) return CLI_USAGE;
    if (!read_ids(call, "tokens", &s.ids) || !read_ids(call, "encoder-tokens", &s.encoder)) {
        input_ids_fini(&s.ids);
        input_ids_fini(&s.encoder);
        return CLI_USAGE;
    }
    ingle_status st = input_model(call->args[0], false, &s.model, &err);
    if (st == INGLE_OK) {
        ingle_model_describe(s.model, &s.info);
        st = ids ? eval_tokens(&s, &err) : eval_text(&s, &err);
    }
    ingle_session_free(s.session);
    ingle_engine_free(s.engine);
    ingle_model_close(s.model);
    input_ids_fini(&s.ids);
    input_ids_fini(&s.encoder);
    return st == INGLE_OK ? CLI_DONE : cli_fail(err.text);
}
