/* The worker from outside: a program of its own over a socket pair, as the service starts it. Every operation, the same
 * tokens alone and among others, what the prefix cache reports, cancelling, hostile frames, how it ends, and what its
 * sandbox does not let through. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "ingle.h"
#include "ipc/ipc.h"
#include "tests/golden/draft_models.h"
#include "tests/tap.h"
#include "worker/worker.h"

enum { OUT_MAX = 80 << 20, IDS_MAX = 4096, TEXT_MAX = 1 << 16, WAIT_MS = 60000 };

/* -------------------------------------------------------------------------------------------- a worker */

typedef struct worker {
    ig_channel ch;
    pid_t pid;
    uint64_t next;
    json_t *ready; /* or the ERROR that came instead */
    uint32_t ready_type;
    unsigned n_status, n_load;
} worker;

/* What came for one request. */
typedef struct answer {
    uint64_t id;
    char text[TEXT_MAX], reasoning[1024], args[8][256], names[8][64];
    int32_t ids[IDS_MAX];
    size_t n_text, n_reasoning, n_ids, n_lp, n_calls, n_frames, frame_max;
    json_t *lp;                    /* of the first choice, owned */
    json_t *done, *error, *result; /* owned; done: of the last choice */
    unsigned n_done, n_queue, n_prompt;
    uint64_t order; /* when it ended, counted over all */
} answer;

static uint64_t ends;

static const char *ingle_path(void)
{
    static char path[4096];
    const char *build = getenv("INGLE_BUILD");
    (void)snprintf(path, sizeof path, "%s/ingle", build ? build : ".");
    return path;
}

static void send_body(worker *w, uint32_t type, uint64_t id, const char *body, size_t n, const int *fds, size_t n_fds)
{
    ig_error e;
    if (ig_channel_put(&w->ch, type, id, body, n, fds, n_fds, &e) != IG_OK) abort();
    (void)ig_channel_flush_all(&w->ch, &e);
}

static void send_json(worker *w, uint32_t type, uint64_t id, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    send_body(w, type, id, text, strlen(text), NULL, 0);
    free(text);
    json_decref(body);
}

/* The next frame; its body is a new reference. 0: the worker has closed; 99: nothing came in time. */
static uint32_t receive(worker *w, uint64_t *id, json_t **body, size_t *n, int timeout_ms)
{
    ig_error e;
    for (;;) {
        ig_frame f;
        bool got;
        if (ig_channel_next(&w->ch, &f, &got, &e) != IG_OK) return 0;
        if (got) {
            json_error_t je;
            *body = json_loadb(f.body, f.n_body, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
            if (!*body) printf("# a body is no JSON: %s\n", je.text);
            *id = f.request;
            *n = f.n_body;
            return f.type;
        }
        if (w->ch.ended) return 0;
        if (ig_pass_wait(w->ch.fd, true, false, timeout_ms) == 0) return 99;
        if (ig_channel_fill(&w->ch, &e) != IG_OK) return 0;
    }
}

static void spawn(worker *w)
{
    int fds[2];
    ig_error e;
    *w = (worker){.next = 1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) abort();
    w->pid = fork();
    if (w->pid == 0) {
        if (fds[1] == 3)
            fcntl(3, F_SETFD, 0);
        else
            dup2(fds[1], 3);
        execl(ingle_path(), ingle_path(), "worker", "test", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    if (ig_channel_init(&w->ch, fds[0], 4, OUT_MAX, &e) != IG_OK) abort();
}

static const char *draft_path; /* a smaller model that workers start with, NULL: none */

/* Sends INIT for the file; more (consumed, may be NULL) has further fields. Waits for READY. */
static bool start_with(worker *w, const char *path, json_t *more)
{
    uint64_t id;
    size_t n;
    const char *name = strrchr(path, '/');
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    json_t *body = json_pack("{s:[s],s:i,s:i,s:i,s:s,s:n,s:n,s:i}", "files", name ? name + 1 : path, "threads", 2,
                             "n_sessions", 4, "n_batch", 64, "kv", "f16", "template", "system", "memory_max", 0);
    if (more) json_object_update(body, more);
    json_decref(more);
    if (draft_path) json_object_set_new(body, "draft", json_pack("[s]", strrchr(draft_path, '/') + 1));
    spawn(w);
    char *text = json_dumps(body, JSON_COMPACT);
    int fds[3] = {fd};
    size_t n_fds = fd >= 0;
    if (draft_path) fds[n_fds++] = open(draft_path, O_RDONLY | O_CLOEXEC);
    if (json_integer_value(json_object_get(body, "spill_max")) > 0)
        fds[n_fds++] = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    send_body(w, IG_FRAME_INIT, 0, text, strlen(text), fds, n_fds);
    free(text);
    json_decref(body);
    for (;;) {
        w->ready_type = receive(w, &id, &w->ready, &n, WAIT_MS);
        if (w->ready_type != IG_FRAME_PROGRESS) return w->ready_type == IG_FRAME_READY;
        w->n_load++;
        json_decref(w->ready);
        w->ready = NULL;
    }
}

static int wait_exit(pid_t pid)
{
    int status = -1;
    for (int i = 0; i < 3000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        usleep(10000);
    }
    kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return -1000;
}

/* Closes and returns the exit code, negative: the signal. */
static int stop(worker *w)
{
    ig_channel_fini(&w->ch);
    json_decref(w->ready);
    return wait_exit(w->pid);
}

static const char *data_path(const char *name)
{
    static char path[4][4096];
    static int turn;
    turn = (turn + 1) % 4;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", tap_data(), name);
    return path[turn];
}

/* -------------------------------------------------------------------------------------------- answers */

static void add(char *to, size_t *n, size_t cap, const json_t *text)
{
    size_t len = json_string_length(text);
    if (*n + len + 1 > cap) len = cap - *n - 1;
    memcpy(to + *n, json_string_value(text) ? json_string_value(text) : "", len);
    *n += len;
    to[*n] = 0;
}

static void take_delta(answer *a, const json_t *b)
{
    const char *kind = json_string_value(json_object_get(b, "k"));
    const json_t *ids = json_object_get(b, "ids");
    if (json_integer_value(json_object_get(b, "c")) != 0 || !kind) return;
    if (kind[0] == 't' && kind[1] == 'e') add(a->text, &a->n_text, TEXT_MAX, json_object_get(b, "t"));
    if (kind[0] == 'r') add(a->reasoning, &a->n_reasoning, sizeof a->reasoning, json_object_get(b, "t"));
    for (size_t i = 0; i < json_array_size(ids) && a->n_ids < IDS_MAX; i++)
        a->ids[a->n_ids++] = (int32_t)json_integer_value(json_array_get(ids, i));
    if (json_object_get(b, "lp")) {
        if (!a->lp) a->lp = json_array();
        json_array_extend(a->lp, json_object_get(b, "lp"));
    }
    if (strcmp(kind, "tool") != 0) return;
    size_t i = (size_t)json_integer_value(json_object_get(b, "i")), n = i < 8 ? strlen(a->args[i]) : 0;
    if (i >= 8) return;
    if (json_object_get(b, "name"))
        (void)snprintf(a->names[i], 64, "%s", json_string_value(json_object_get(b, "name")));
    if (json_object_get(b, "args")) add(a->args[i], &n, 256, json_object_get(b, "args"));
    if (i + 1 > a->n_calls) a->n_calls = i + 1;
}

/* Returns true when the request is over. */
static bool take(answer *a, uint32_t type, json_t *b, size_t n)
{
    bool over = type == IG_FRAME_ERROR || type == IG_FRAME_RESULT;
    a->n_frames++;
    if (type == IG_FRAME_DELTA && n > a->frame_max) a->frame_max = n;
    if (type == IG_FRAME_DELTA) take_delta(a, b);
    if (type == IG_FRAME_PROGRESS && json_object_get(b, "position")) a->n_queue++;
    if (type == IG_FRAME_PROGRESS && json_object_get(b, "total")) a->n_prompt++;
    if (type == IG_FRAME_ERROR) a->error = json_incref(b);
    if (type == IG_FRAME_RESULT) a->result = json_incref(b);
    if (type == IG_FRAME_DONE) {
        a->n_done++;
        json_decref(a->done);
        a->done = json_incref(b);
        over = json_is_true(json_object_get(b, "last"));
    }
    if (over) a->order = ++ends;
    return over;
}

/* Waits until all n answers are over; false: the worker went away, or nothing came in time. */
static bool collect(worker *w, answer *a, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++) left += a[i].id && !a[i].order;
    while (left) {
        uint64_t id;
        json_t *body;
        size_t bytes;
        uint32_t type = receive(w, &id, &body, &bytes, WAIT_MS);
        if (type == 0 || type == 99) return false;
        if (type == IG_FRAME_STATUS) w->n_status++;
        for (size_t i = 0; i < n; i++)
            if (a[i].id == id && !a[i].order && type != IG_FRAME_STATUS) left -= take(&a[i], type, body, bytes);
        json_decref(body);
    }
    return true;
}

static void answer_fini(answer *a)
{
    json_decref(a->lp);
    json_decref(a->done);
    json_decref(a->error);
    json_decref(a->result);
    *a = (answer){0};
}

static void ask(worker *w, answer *a, uint32_t type, json_t *body)
{
    answer_fini(a);
    a->id = w->next++;
    send_json(w, type, a->id, body);
}

static bool go(worker *w, answer *a, uint32_t type, json_t *body)
{
    ask(w, a, type, body);
    return collect(w, a, 1);
}

static const char *finish_of(const answer *a)
{
    const char *f = json_string_value(json_object_get(a->done, "finish"));
    return f ? f : "(none)";
}

static json_int_t usage_of(const answer *a, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(a->done, "usage"), name));
}

static const char *error_type(const answer *a)
{
    const char *t = json_string_value(json_object_get(a->error, "type"));
    return t ? t : "(none)";
}

static const char *error_text(const answer *a)
{
    const char *t = json_string_value(json_object_get(a->error, "message"));
    return t ? t : "(none)";
}

/* {"op":"generate","kind":"text","prompt":...,"return_ids":true,...}; more is consumed. */
static json_t *text_request(const char *prompt, json_t *more)
{
    json_t *body = json_pack("{s:s,s:s,s:s,s:b}", "op", "generate", "kind", "text", "prompt", prompt, "return_ids", 1);
    if (more) json_object_update(body, more);
    json_decref(more);
    return body;
}

static bool same_ids(const answer *a, const answer *b)
{
    return a->n_ids == b->n_ids && !memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids);
}

/* -------------------------------------------------------------------------------------------- operations */

static void test_ready(worker *w)
{
    const json_t *r = w->ready, *m = json_object_get(r, "memory");
    const char *arch = json_string_value(json_object_get(r, "architecture"));
    tap_ok(arch && !strcmp(arch, "llama") && json_integer_value(json_object_get(r, "n_params")) == 260032 &&
               json_integer_value(json_object_get(r, "n_ctx")) == 512 &&
               json_integer_value(json_object_get(r, "n_vocab")) == 512 &&
               json_is_true(json_object_get(r, "has_logits")) && json_is_false(json_object_get(r, "has_template")),
           "READY tells the model");
    tap_ok(json_integer_value(json_object_get(m, "weights")) > 1000000 &&
               json_integer_value(json_object_get(m, "kv")) > 0 &&
               json_integer_value(json_object_get(m, "workspace")) > 0 && w->n_load >= 2,
           "READY tells the memory, PROGRESS came before");
}

/* Greedy ids of the library in this process. */
static size_t library_ids(const char *prompt, int32_t *out, size_t n_max)
{
    ingle_model *m;
    ingle_engine *e;
    ingle_session *s;
    ingle_model_info info;
    size_t n = 0;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1, .n_ctx = 512};
    if (ingle_model_open(data_path("stories260K.gguf"), NULL, &m, NULL) != INGLE_OK) abort();
    if (ingle_engine_new(m, &o, &e, NULL) != INGLE_OK || ingle_session_new(e, &s, NULL) != INGLE_OK) abort();
    ingle_model_describe(m, &info);
    if (ingle_session_feed_text(s, prompt, strlen(prompt), INGLE_ADD_SPECIAL, NULL) != INGLE_OK) abort();
    for (; n < n_max; n++) {
        const float *l = ingle_session_logits(s);
        uint32_t best = 0;
        for (uint32_t i = 1; i < info.n_vocab; i++)
            if (l[i] > l[best]) best = i;
        if (ingle_token_is_end(m, (int32_t)best)) break;
        out[n] = (int32_t)best;
        if (ingle_session_feed(s, &out[n], 1, NULL) != INGLE_OK) abort();
    }
    ingle_session_free(s);
    ingle_engine_free(e);
    ingle_model_close(m);
    return n;
}

static void test_generate(worker *w, answer *a)
{
    int32_t ids[60];
    size_t n = library_ids("Once upon a time", ids, 60);
    bool ok = go(w, a, IG_FRAME_REQUEST,
                 text_request("Once upon a time", json_pack("{s:i,s:i}", "temperature", 0, "max_tokens", 60)));
    tap_ok(ok && a->n_ids == n && !memcmp(a->ids, ids, n * sizeof *ids), "greedy ids are the library's (%zu)", n);
    tap_ok(!strcmp(finish_of(a), "length") && usage_of(a, "prompt") == 5 && usage_of(a, "completion") == 60 &&
               a->n_prompt == 1 && strstr(a->text, "little girl") != NULL,
           "the answer ends with length, usage is counted");
    go(w, a, IG_FRAME_REQUEST,
       json_pack("{s:s,s:s,s:s,s:i,s:i}", "op", "generate", "kind", "text", "prompt", "Once upon a time", "temperature",
                 0, "max_tokens", 60));
    tap_ok(a->frame_max < 200 && a->n_frames >= 50, "a token's frame has at most %zu bytes", a->frame_max);
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon a time",
                    json_pack("{s:i,s:i,s:[s,s]}", "temperature", 0, "max_tokens", 60, "stop", "zzz", "play out")));
    const char *stopped = json_string_value(json_object_get(a->done, "stop"));
    tap_ok(stopped && !strcmp(stopped, "play out") && !strcmp(finish_of(a), "stop") && !strstr(a->text, "play out") &&
               strstr(a->text, "loved to ") != NULL,
           "a stop string ends the answer and is not given out");
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon a time", json_pack("{s:i,s:i,s:[[i,s],[i,i]]}", "temperature", 0, "max_tokens", 1,
                                                  "logit_bias", 432, "-inf", 376, 1000)));
    tap_ok(a->n_ids == 1 && a->ids[0] == 376, "logit_bias decides");
    go(w, a, IG_FRAME_REQUEST, text_request("Once upon a time", json_pack("{s:i}", "max_tokens", 0)));
    tap_ok(!strcmp(finish_of(a), "length") && a->n_ids == 0, "max_tokens 0 reads the prompt alone");
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once", json_pack("{s:i,s:b,s:i}", "max_tokens", 600, "ignore_eos", 1, "temperature", 0)));
    tap_ok(!strcmp(finish_of(a), "length") && usage_of(a, "prompt") + usage_of(a, "completion") == 513,
           "without room the answer ends with length (%lld tokens)", (long long)usage_of(a, "completion"));
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once",
                    json_pack("{s:i,s:b,s:b,s:i}", "max_tokens", 900, "ignore_eos", 1, "shift", 1, "temperature", 0)));
    tap_ok(usage_of(a, "completion") == 900 && usage_of(a, "shifted") > 0, "with shift it goes on, and says so");
}

static void test_ends(worker *w, answer *a)
{
    /* The end token is made most probable. */
    json_t *more = json_pack("{s:i,s:i,s:[[i,i]]}", "max_tokens", 20, "temperature", 0, "logit_bias", 2, 1000);
    go(w, a, IG_FRAME_REQUEST, text_request("Once", json_incref(more)));
    tap_ok(!strcmp(finish_of(a), "stop") && a->n_ids == 0, "the end token ends the answer");
    json_object_set_new(more, "min_tokens", json_integer(5));
    go(w, a, IG_FRAME_REQUEST, text_request("Once", json_incref(more)));
    tap_ok(!strcmp(finish_of(a), "stop") && a->n_ids == 5, "not before min_tokens (%zu)", a->n_ids);
    json_object_set_new(more, "ignore_eos", json_true());
    go(w, a, IG_FRAME_REQUEST, text_request("Once", more));
    tap_ok(!strcmp(finish_of(a), "length") && a->n_ids == 20, "never with ignore_eos");
}

static void test_logprobs(worker *w, answer *a)
{
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon",
                    json_pack("{s:i,s:i,s:i,s:b}", "max_tokens", 4, "temperature", 0, "logprobs", 3, "echo", 1)));
    size_t n = json_array_size(a->lp), good = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(a->lp, i), *top = json_object_get(row, "top"),
                     *best = json_array_get(top, 0);
        double p = json_number_value(json_object_get(row, "logprob")),
               q = json_number_value(json_object_get(best, "logprob"));
        if (i == 0)
            good += json_is_null(json_object_get(row, "logprob"));
        else if (i < 3)
            good += json_array_size(top) == 3 && p <= q && q <= 0;
        else
            good += json_array_size(top) == 3 && p == q && p <= 0 &&
                    json_integer_value(json_object_get(row, "id")) == json_integer_value(json_object_get(best, "id"));
    }
    tap_ok(n == 3 + 4 && good == n, "log probabilities of prompt and answer (%zu of %zu)", good, n);
    tap_ok(strstr(a->text, "Once upon a") != NULL, "the prompt is echoed");
    json_t *first = json_deep_copy(a->lp);
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon", json_pack("{s:i,s:i,s:b}", "max_tokens", 0, "logprobs", 3, "echo", 1)));
    tap_ok(json_array_size(a->lp) == 3 && json_equal(json_array_get(a->lp, 2), json_array_get(first, 2)),
           "a prompt is scored with max_tokens 0, to the same numbers");
    json_decref(first);
}

static void test_choices(worker *w, answer *a)
{
    int32_t ids[64];
    go(w, a, IG_FRAME_REQUEST, text_request("Once upon", json_pack("{s:i,s:i}", "max_tokens", 30, "seed", 7)));
    size_t n = a->n_ids;
    memcpy(ids, a->ids, n * sizeof *ids);
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon", json_pack("{s:i,s:i,s:i}", "max_tokens", 30, "seed", 7, "n", 6)));
    tap_ok(a->n_done == 6 && a->n_ids == n && !memcmp(a->ids, ids, n * sizeof *ids),
           "six choices on four sessions; the first is the one of n 1 (%u)", a->n_done);
}

static void test_queries(worker *w, answer *a)
{
    go(w, a, IG_FRAME_QUERY,
       json_pack("{s:s,s:s,s:b,s:b}", "op", "tokenize", "text", "Hello", "special", 1, "pieces", 1));
    const json_t *ids = json_object_get(a->result, "ids");
    tap_ok(json_array_size(ids) > 1 && json_integer_value(json_array_get(ids, 0)) == 1 &&
               json_array_size(json_object_get(a->result, "tokens")) == json_array_size(ids),
           "tokenize");
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s,s:[i,i,i]}", "op", "detokenize", "ids", 403, 407, 261));
    const char *text = json_string_value(json_object_get(a->result, "text"));
    tap_ok(text && strstr(text, "Once upon a"), "detokenize");
    go(w, a, IG_FRAME_QUERY,
       json_pack("{s:s,s:[{s:s,s:s}]}", "op", "template", "messages", "role", "user", "content", "hi"));
    text = json_string_value(json_object_get(a->result, "prompt"));
    tap_ok(text && !strcmp(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"), "template");
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s}", "op", "props"));
    tap_ok(json_integer_value(json_object_get(a->result, "n_ctx")) == 512, "props");
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s}", "op", "slots"));
    tap_ok(json_array_size(json_object_get(a->result, "slots")) == 4, "slots");
}

static bool close_to(const json_t *a, const json_t *b)
{
    bool ok = json_array_size(a) == json_array_size(b) && json_array_size(a) > 0;
    for (size_t i = 0; ok && i < json_array_size(a); i++)
        ok = json_number_value(json_array_get(a, i)) == json_number_value(json_array_get(b, i));
    return ok;
}

static void test_embed(void)
{
    worker w;
    answer a = {0}, b = {0};
    bool ok = start_with(&w, data_path("embeddings/bert.gguf"), NULL);
    if (!tap_ok(ok && json_is_false(json_object_get(w.ready, "has_logits")), "an encoder starts, without logits"))
        return;
    go(&w, &a, IG_FRAME_REQUEST,
       json_pack("{s:s,s:[[i,i,i],[i,i,i,i,i],[i,i]],s:b}", "op", "embed", "inputs", 1, 5, 2, 1, 7, 8, 9, 2, 1, 2,
                 "normalize", 1));
    go(&w, &b, IG_FRAME_REQUEST,
       json_pack("{s:s,s:[[i,i,i,i,i]],s:b}", "op", "embed", "inputs", 1, 7, 8, 9, 2, "normalize", 1));
    const json_t *all = json_object_get(a.result, "embeddings"), *one = json_object_get(b.result, "embeddings");
    double sum = 0;
    for (size_t i = 0; i < json_array_size(json_array_get(one, 0)); i++)
        sum += pow(json_number_value(json_array_get(json_array_get(one, 0), i)), 2);
    tap_ok(json_array_size(all) == 3 && close_to(json_array_get(all, 1), json_array_get(one, 0)) &&
               fabs(sum - 1) < 1e-5,
           "an embedding does not depend on its neighbours, and has length 1");
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[s],s:s}", "op", "embed", "inputs", "some text", "pooling", "none"));
    const json_t *rows = json_array_get(json_object_get(b.result, "embeddings"), 0);
    tap_ok(json_is_array(json_array_get(rows, 0)) &&
               (json_int_t)json_array_size(rows) ==
                   json_integer_value(json_object_get(json_object_get(b.result, "usage"), "prompt")),
           "pooling none gives a row for each token");
    go(&w, &b, IG_FRAME_REQUEST, text_request("x", NULL));
    tap_ok(!strcmp(error_type(&b), "unsupported"), "generating is refused: %s", error_text(&b));
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:s,s:[s]}", "op", "rerank", "query", "q", "documents", "d"));
    tap_ok(!strcmp(error_type(&b), "unsupported"), "a model that does not judge is not asked: %s", error_text(&b));
    char *longest = malloc(40001);
    for (size_t i = 0; i < 40000; i++) longest[i] = i % 2 ? ' ' : 'a';
    longest[40000] = 0;
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[s]}", "op", "embed", "inputs", longest));
    tap_ok(!strcmp(error_type(&b), "too_long") && json_integer_value(json_object_get(b.error, "n_prompt")) > 512,
           "a text too long is refused with both numbers: %s", error_text(&b));
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[s],s:b}", "op", "embed", "inputs", longest, "truncate", 1));
    tap_ok(json_array_size(json_object_get(b.result, "embeddings")) == 1, "and cut when asked");
    free(longest);
    json_t *many = json_array();
    for (int i = 0; i < 2000; i++) json_array_append_new(many, json_pack("[i,i,i]", 1, 3 + i % 50, 2));
    ask(&w, &a, IG_FRAME_REQUEST, json_pack("{s:s,s:o}", "op", "embed", "inputs", many));
    ask(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[[i,i,i]]}", "op", "embed", "inputs", 1, 4, 2));
    answer both[2] = {a, b};
    bool done = collect(&w, both, 2);
    all = json_object_get(both[0].result, "embeddings");
    tap_ok(done && both[1].order < both[0].order && json_array_size(all) == 2000 &&
               close_to(json_array_get(all, 51), json_array_get(json_object_get(both[1].result, "embeddings"), 0)),
           "a few texts do not wait for many");
    a = both[0], b = both[1];
    answer_fini(&a);
    answer_fini(&b);
    tap_ok(stop(&w) == 0, "the encoder's worker ends");
}

/* -------------------------------------------------------------------------------------------- scheduling */

enum { MANY = 12 };

static json_t *seeded(size_t i, const char *user)
{
    static const char *const prompts[] = {"Once upon a time", "The big dog", "Lily went to the park and she saw a",
                                          "One day"};
    return text_request(prompts[i % 4], json_pack("{s:i,s:f,s:i,s:s,s:f}", "max_tokens", 40 + (int)i, "temperature",
                                                  1.2, "seed", (int)i, "user", user, "repeat_penalty", 1.1));
}

static void test_determinism(worker *w, const char *what, size_t n_users)
{
    static answer alone[MANY], among[MANY];
    static const char *const users[] = {"anna", "ben", "cleo"};
    size_t same = 0, tokens = 0;
    for (size_t i = 0; i < MANY; i++) {
        json_t *body = seeded(i, "nobody");
        go(w, &alone[i], IG_FRAME_REQUEST, body);
    }
    for (size_t i = 0; i < MANY; i++) {
        json_t *body = seeded(i, users[i % n_users]);
        if (i % 5 == 4) json_object_set_new(body, "priority", json_string("batch"));
        ask(w, &among[i], IG_FRAME_REQUEST, body);
    }
    bool ok = collect(w, among, MANY);
    for (size_t i = 0; i < MANY; i++) {
        same += alone[i].n_ids > 0 && same_ids(&alone[i], &among[i]);
        tokens += among[i].n_ids;
        answer_fini(&alone[i]);
        answer_fini(&among[i]);
    }
    tap_ok(ok && same == MANY, "%s: the same tokens alone and among others (%zu of %d, %zu tokens)", what, same, MANY,
           tokens);
}

/* A conversation in ids: prompts that begin with earlier prompts and answers. */
static json_t *id_request(const int32_t *ids, size_t n, const char *user, int max_tokens)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    return json_pack("{s:s,s:s,s:o,s:b,s:s,s:i,s:b,s:i}", "op", "generate", "kind", "text", "prompt", list,
                     "return_ids", 1, "user", user, "max_tokens", max_tokens, "ignore_eos", 1, "temperature", 0);
}

static void test_prefix(const char *file, uint32_t n_vocab)
{
    worker w;
    answer a = {0}, b = {0};
    int32_t ids[600];
    size_t n = 200;
    if (!tap_ok(start_with(&w, data_path(file), json_pack("{s:i}", "n_ctx", n_vocab == 512 ? 512 : 1024)), "%s starts",
                file))
        return;
    for (size_t i = 0; i < 600; i++) ids[i] = (int32_t)(3 + i * 7919 % (n_vocab - 3));
    go(&w, &a, IG_FRAME_REQUEST, id_request(ids, n, "anna", 40));
    tap_ok(usage_of(&a, "cached") == 0 && a.n_ids == 40, "%s: a first turn has nothing cached", file);
    memcpy(ids + n, a.ids, a.n_ids * sizeof *ids);
    size_t turn = n + a.n_ids;
    for (size_t i = 0; i < 30; i++) ids[turn + i] = (int32_t)(5 + i);
    go(&w, &a, IG_FRAME_REQUEST, id_request(ids, turn + 30, "anna", 40));
    tap_ok(usage_of(&a, "cached") == (json_int_t)turn - 1,
           "%s: a second turn costs its new tokens alone (%lld of %zu cached)", file, (long long)usage_of(&a, "cached"),
           turn);
    for (size_t i = 0; i < 30; i++) ids[turn + i] = (int32_t)(40 + i);
    go(&w, &b, IG_FRAME_REQUEST, id_request(ids, turn + 30, "anna", 40));
    tap_ok(usage_of(&b, "cached") >= (json_int_t)turn - 1,
           "%s: an edit of the last turn keeps what was before it (%lld)", file, (long long)usage_of(&b, "cached"));
    go(&w, &a, IG_FRAME_REQUEST, id_request(ids, turn + 30, "ben", 40));
    tap_ok(usage_of(&a, "cached") == 0 && same_ids(&a, &b), "%s: another user shares nothing, and gets the same answer",
           file);
    answer_fini(&a);
    answer_fini(&b);
    stop(&w);
}

/* Prompts with repeats, greedy and sampled: with guesses the very answers, with their log probabilities, that come
 * without, alone and among others. */
static json_t *repeating(size_t i, uint32_t n_vocab)
{
    int32_t ids[80];
    static const char *const users[] = {"anna", "ben", "cleo"};
    for (size_t k = 0; k < 80; k++) ids[k] = (int32_t)(3 + k % (9 + i) * 7919 % (n_vocab - 3));
    json_t *body = id_request(ids, 60 + i, users[i % 3], 150 + (int)i);
    json_object_update_new(body, json_pack("{s:f,s:i,s:i}", "temperature", i % 2 ? 0.1 * (double)i : 0.0, "seed",
                                           (int)i, "logprobs", 2));
    if (i % 4 == 1) json_object_set_new(body, "repeat_penalty", json_real(1.05));
    return body;
}

static bool same_answer(const answer *a, const answer *b)
{
    return a->n_ids > 0 && same_ids(a, b) && a->n_text == b->n_text && !memcmp(a->text, b->text, a->n_text) &&
           !strcmp(finish_of(a), finish_of(b)) && a->n_lp == b->n_lp && json_equal(a->lp, b->lp);
}

static void test_guesses(const char *path, const char *how, uint32_t n_vocab)
{
    enum { N = 6 };
    static answer plain[N], alone[N], among[N];
    const char *file = strrchr(path, '/') + 1;
    worker w;
    size_t same = 0, same_among = 0;
    json_int_t drafted = 0, accepted = 0;
    bool ok = start_with(&w, path, json_pack("{s:s,s:i}", "speculate", "off", "n_ctx", 256));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &plain[i], IG_FRAME_REQUEST, repeating(i, n_vocab));
    stop(&w);
    ok = ok && start_with(&w, path, json_pack("{s:s,s:i}", "speculate", how, "n_ctx", 256));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &alone[i], IG_FRAME_REQUEST, repeating(i, n_vocab));
    for (size_t i = 0; ok && i < N; i++) ask(&w, &among[i], IG_FRAME_REQUEST, repeating(i, n_vocab));
    ok = ok && collect(&w, among, N);
    stop(&w);
    for (size_t i = 0; i < N; i++) {
        same += same_answer(&plain[i], &alone[i]);
        same_among += same_answer(&plain[i], &among[i]);
        drafted += usage_of(&alone[i], "drafted");
        accepted += usage_of(&alone[i], "accepted");
        answer_fini(&plain[i]);
        answer_fini(&alone[i]);
        answer_fini(&among[i]);
    }
    tap_ok(ok && same == N && same_among == N,
           "%s, %s: with guesses the same answers, %zu of %d alone, %zu among others", file, how, same, N, same_among);
    tap_ok(accepted > 0 && accepted <= drafted, "%s: %lld tokens guessed, %lld came true", file, (long long)drafted,
           (long long)accepted);
}

/* The same with a smaller model: prompts without repeats, so that it is the one who is asked, longer than what it reads
 * beside a step; users take turns in the slots. */
static json_t *telling(size_t i)
{
    static const char *const starts[] = {"Once upon a time, there was a little girl named Lily. She loved to play.",
                                         "Tom had a red ball.", "One day, a big dog saw a cat in the garden. The cat"};
    static const char *const users[] = {"anna", "ben", "cleo", "dora"};
    char text[1024] = "";
    for (size_t k = 0; k <= i % 3; k++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", k ? " " : "", starts[(i + k) % 3]);
    return json_pack("{s:s,s:s,s:s,s:b,s:i,s:f,s:i,s:s,s:i,s:b}", "op", "generate", "kind", "text", "prompt", text,
                     "return_ids", 1, "max_tokens", 60, "temperature", 0.3 * (double)(i % 3), "seed", (int)i, "user",
                     users[i % 4], "logprobs", 1, "ignore_eos", 1);
}

static void test_draft(void)
{
    enum { N = 8 };
    static answer plain[N], alone[N], among[N];
    worker w;
    size_t same = 0, same_among = 0;
    json_int_t drafted = 0, accepted = 0;
    const char *model = data_path("stories260K.gguf");
    bool ok = start_with(&w, model, json_pack("{s:s,s:i}", "speculate", "off", "n_ctx", 256));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &plain[i], IG_FRAME_REQUEST, telling(i));
    stop(&w);
    draft_path = data_path("stories260K.q4_0.gguf");
    ok = ok && start_with(&w, model, json_pack("{s:s,s:i,s:i}", "speculate", "ngram", "n_ctx", 256, "n_sessions", 3));
    json_int_t bytes = json_integer_value(json_object_get(json_object_get(w.ready, "memory"), "draft"));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &alone[i], IG_FRAME_REQUEST, telling(i));
    for (size_t i = 0; ok && i < N; i++) ask(&w, &among[i], IG_FRAME_REQUEST, telling(i));
    ok = ok && collect(&w, among, N);
    stop(&w);
    for (size_t i = 0; i < N; i++) {
        same += same_answer(&plain[i], &alone[i]);
        same_among += same_answer(&plain[i], &among[i]);
        drafted += usage_of(&alone[i], "drafted");
        accepted += usage_of(&alone[i], "accepted");
        answer_fini(&plain[i]);
        answer_fini(&alone[i]);
        answer_fini(&among[i]);
    }
    tap_ok(ok && same == N && same_among == N,
           "with a smaller model the same answers, %zu of %d alone, %zu among others", same, N, same_among);
    tap_ok(accepted > drafted / 2 && drafted > 100, "the smaller model guessed %lld tokens, %lld came true",
           (long long)drafted, (long long)accepted);
    tap_ok(bytes > 100000, "its %lld bytes are counted", (long long)bytes);
    draft_path = data_path("archs/gemma3.gguf");
    ok = start_with(&w, model, NULL);
    const char *why = json_string_value(json_object_get(w.ready, "message"));
    tap_ok(!ok && w.ready_type == IG_FRAME_ERROR && why && strstr(why, "vocabulary"), "another vocabulary: %s",
           why ? why : "no reason");
    stop(&w);
    draft_path = NULL;
}

/* The same with models that bring a head for it. */
static void test_heads(const char *file, float rest)
{
    char path[] = "/tmp/ingle-heads-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) abort();
    close(fd);
    draft_change change = {.perfect = true, .rest = rest};
    if (tap_ok(draft_model_write(data_path(file), path, &change), "%s gets a head", file)) {
        test_guesses(path, "head", 121);
        test_guesses(path, "auto", 121);
    }
    remove(path);
}

/* Conversations that lose their slot to others come back from disk, and go on as if they had stayed; others than their
 * user never see them. */
static void test_spill(const char *file, uint32_t n_vocab, json_int_t spill_max)
{
    enum { N = 5 };
    static answer first[N], again[N], fresh[N];
    static const char *const users[] = {"anna", "ben", "cleo", "dora", "eve"};
    worker w;
    size_t same = 0, kept = 0;
    int32_t ids[400];
    bool ok = start_with(&w, data_path(file), json_pack("{s:i,s:i,s:I}", "n_ctx", 400, "n_sessions", 2, "spill_max",
                                                        spill_max ? spill_max : (json_int_t)16 << 20));
    for (int turn = 0; ok && turn < 2; turn++)
        for (size_t i = 0; ok && i < N; i++) {
            for (size_t k = 0; k < 400; k++) ids[k] = (int32_t)(3 + (k + 17 * i) * 7919 % (n_vocab - 3));
            if (turn) memcpy(ids + 150, first[i].ids, first[i].n_ids * sizeof *ids);
            ok = go(&w, turn ? &again[i] : &first[i], IG_FRAME_REQUEST,
                    id_request(ids, turn ? 150 + first[i].n_ids + 20 : 150, users[i], 30));
        }
    for (size_t i = 0; ok && i < N; i++) {
        for (size_t k = 0; k < 400; k++) ids[k] = (int32_t)(3 + (k + 17 * i) * 7919 % (n_vocab - 3));
        memcpy(ids + 150, first[i].ids, first[i].n_ids * sizeof *ids);
        ok = go(&w, &fresh[i], IG_FRAME_REQUEST, id_request(ids, 150 + first[i].n_ids + 20, "stranger", 30));
        kept += usage_of(&again[i], "cached") == 150 + (json_int_t)first[i].n_ids - 1;
        same += again[i].n_ids == 30 && same_ids(&again[i], &fresh[i]) && (i || usage_of(&fresh[i], "cached") == 0);
    }
    tap_ok(ok && same == N, "%s: conversations back from disk go on as computed anew (%zu of %d)", file, same, N);
    tap_ok(spill_max ? kept < N : kept == N, "%s: %zu of %d were kept", file, kept, N);
    for (size_t i = 0; i < N; i++) {
        answer_fini(&first[i]);
        answer_fini(&again[i]);
        answer_fini(&fresh[i]);
    }
    tap_ok(stop(&w) == 0, "%s: and the worker ends well", file);
}

static void test_fairness(void)
{
    static answer flood[10], one, batch[3];
    worker w;
    if (!tap_ok(start_with(&w, data_path("stories260K.gguf"), json_pack("{s:i}", "n_sessions", 2)), "two sessions"))
        return;
    for (size_t i = 0; i < 10; i++)
        ask(&w, &flood[i], IG_FRAME_REQUEST,
            text_request("Once", json_pack("{s:i,s:b,s:s,s:i}", "max_tokens", 200, "ignore_eos", 1, "user", "anna",
                                           "seed", (int)i)));
    ask(&w, &one, IG_FRAME_REQUEST,
        text_request("One day", json_pack("{s:i,s:b,s:s}", "max_tokens", 50, "ignore_eos", 1, "user", "ben")));
    answer all[11];
    memcpy(all, flood, sizeof flood);
    all[10] = one;
    bool ok = collect(&w, all, 11);
    size_t before = 0;
    for (size_t i = 0; i < 10; i++) before += all[i].order < all[10].order;
    tap_ok(ok && before <= 1, "ten requests of one user do not hold up another's (%zu ended before)", before);
    unsigned told = 0;
    for (size_t i = 0; i < 11; i++) told += all[i].n_queue;
    tap_ok(told > 0, "who waits is told the position (%u times)", told);
    for (size_t i = 0; i < 11; i++) answer_fini(&all[i]);
    memset(all, 0, sizeof all);
    for (size_t i = 0; i < 3; i++)
        ask(&w, &batch[i], IG_FRAME_REQUEST,
            text_request("Once", json_pack("{s:i,s:b,s:s,s:i}", "max_tokens", 300, "ignore_eos", 1, "priority", "batch",
                                           "seed", (int)i)));
    memset(&one, 0, sizeof one);
    ask(&w, &one, IG_FRAME_REQUEST, text_request("One day", json_pack("{s:i,s:b}", "max_tokens", 50, "ignore_eos", 1)));
    memcpy(all, batch, sizeof batch);
    all[3] = one;
    ok = collect(&w, all, 4);
    tap_ok(ok && all[3].order < all[0].order && all[3].order < all[1].order && all[0].n_ids == 300,
           "interactive work goes before batch, which goes on afterwards");
    for (size_t i = 0; i < 4; i++) answer_fini(&all[i]);
    stop(&w);
}

static void test_cancel(worker *w, answer *a)
{
    char *prompt = malloc(1001);
    memset(prompt, 'a', 1000);
    for (size_t i = 1; i < 1000; i += 2) prompt[i] = ' ';
    prompt[900] = 0;
    ask(w, a, IG_FRAME_REQUEST,
        text_request("Once", json_pack("{s:i,s:b,s:b}", "max_tokens", 1000000, "ignore_eos", 1, "shift", 1)));
    uint64_t id;
    json_t *body;
    size_t n, deltas = 0;
    while (deltas < 20) {
        uint32_t type = receive(w, &id, &body, &n, WAIT_MS);
        deltas += type == IG_FRAME_DELTA && id == a->id;
        json_decref(body);
        if (type == 0 || type == 99) break;
    }
    send_body(w, IG_FRAME_CANCEL, a->id, "{}", 2, NULL, 0);
    bool ok = collect(w, a, 1);
    tap_ok(ok && !strcmp(finish_of(a), "cancelled") && usage_of(a, "completion") >= 20,
           "a running answer is cancelled");
    static answer many[8];
    for (size_t i = 0; i < 8; i++)
        ask(w, &many[i], IG_FRAME_REQUEST, text_request(prompt, json_pack("{s:i,s:i}", "max_tokens", 100, "n", 3)));
    for (size_t i = 0; i < 8; i++) send_body(w, IG_FRAME_CANCEL, many[i].id, "{}", 2, NULL, 0);
    ok = collect(w, many, 8);
    size_t cancelled = 0;
    for (size_t i = 0; i < 8; i++) {
        cancelled += many[i].done && !strcmp(finish_of(&many[i]), "cancelled");
        answer_fini(&many[i]);
    }
    tap_ok(ok && cancelled >= 6, "prompts and waiting requests are cancelled (%zu of 8)", cancelled);
    send_body(w, IG_FRAME_CANCEL, 123456, "{}", 2, NULL, 0);
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s}", "op", "slots"));
    size_t i, busy = 0;
    json_t *slot;
    json_array_foreach(json_object_get(a->result, "slots"), i, slot) busy +=
        strcmp(json_string_value(json_object_get(slot, "state")), "idle") != 0;
    tap_ok(busy == 0 && json_integer_value(json_object_get(a->result, "waiting")) == 0, "all slots are free again");
    free(prompt);
}

static void test_queue(void)
{
    static answer a[20];
    worker w;
    size_t refused = 0, done = 0;
    if (!tap_ok(start_with(&w, data_path("stories260K.gguf"), json_pack("{s:i,s:i}", "n_sessions", 1, "n_queue", 4)),
                "a queue of 4"))
        return;
    for (size_t i = 0; i < 20; i++)
        ask(&w, &a[i], IG_FRAME_REQUEST,
            text_request("Once", json_pack("{s:i,s:b}", "max_tokens", 300, "ignore_eos", 1)));
    bool ok = collect(&w, a, 20);
    for (size_t i = 0; i < 20; i++) {
        refused += !strcmp(error_type(&a[i]), "overloaded");
        done += a[i].n_ids == 300;
        answer_fini(&a[i]);
    }
    tap_ok(ok && refused > 0 && done >= 4 && refused + done == 20, "the queue is bounded: %zu done, %zu refused", done,
           refused);
    stop(&w);
}

/* Pages for little more than one context: the others wait or are sent back, and all come to their end. */
static void test_memory(void)
{
    worker w;
    static answer a[6];
    int64_t limit = 0, kv = 0;
    for (int64_t mib = 96; mib < 120 && kv < 800000; mib++) {
        if (limit) stop(&w);
        limit = mib << 20;
        if (!start_with(&w, data_path("stories260K.gguf"),
                        json_pack("{s:I,s:i}", "memory_max", (json_int_t)limit, "n_sessions", 8)))
            continue;
        kv = json_integer_value(json_object_get(json_object_get(w.ready, "memory"), "kv"));
    }
    tap_ok(kv > 0 && kv < 2621440, "a limit of %lld bytes leaves %lld for the cache", (long long)limit, (long long)kv);
    for (size_t i = 0; i < 6; i++)
        ask(&w, &a[i], IG_FRAME_REQUEST,
            text_request("Once upon a time",
                         json_pack("{s:i,s:b,s:i}", "max_tokens", 400, "ignore_eos", 1, "temperature", 0)));
    bool ok = collect(&w, a, 6);
    size_t same = 0;
    for (size_t i = 0; i < 6; i++) same += a[i].n_ids == 400 && same_ids(&a[i], &a[0]);
    tap_ok(ok && same == 6, "six answers share too few pages and come to their end (%zu) %s", same,
           a[0].error ? error_text(&a[0]) : "");
    for (size_t i = 0; i < 6; i++) answer_fini(&a[i]);
    stop(&w);
}

/* Clock ticks that a process has computed. */
static unsigned long ticks_of(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, sys = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2) return 0;
    return user + sys;
}

/* A front that does not read: the worker stops computing instead of piling frames up. */
static void test_slow_reader(void)
{
    worker w;
    answer a = {0};
    start_with(&w, data_path("stories260K.gguf"), NULL);
    ask(&w, &a, IG_FRAME_REQUEST,
        text_request("Once", json_pack("{s:i,s:b,s:b,s:i}", "max_tokens", 100000, "ignore_eos", 1, "shift", 1,
                                       "logprobs", 100)));
    unsigned long before = 0, now = 1;
    int tries = 0;
    for (; before != now && tries < 60; tries++) {
        before = now;
        usleep(1000000);
        now = ticks_of(w.pid);
    }
    send_body(&w, IG_FRAME_CANCEL, a.id, "{}", 2, NULL, 0);
    bool ok = collect(&w, &a, 1);
    json_int_t n = usage_of(&a, "completion");
    tap_ok(ok && tries < 60 && !strcmp(finish_of(&a), "cancelled") && n > 100 && n < 3000,
           "it waits for a front that does not read (%lld tokens)", (long long)n);
    answer_fini(&a);
    stop(&w);
}

/* -------------------------------------------------------------------------------------------- hostile input */

static const struct {
    uint32_t type;
    const char *body, *want; /* the type of the ERROR */
} hostile[] = {
    {IG_FRAME_REQUEST, "", "bad_request"},
    {IG_FRAME_REQUEST, "{", "bad_request"},
    {IG_FRAME_REQUEST, "[]", "bad_request"},
    {IG_FRAME_REQUEST, "\"\\ud800\"", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"op\":\"embed\"}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":7}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"tokenize\",\"text\":\"x\"}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"generate\"}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"tokenize\"}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"tokenize\",\"text\":5}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"tokenize\",\"text\":\"x\",\"special\":5}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"detokenize\",\"ids\":[1,99999999999]}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"detokenize\",\"ids\":[-1]}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"template\",\"messages\":[]}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"template\",\"messages\":[{\"role\":\"user\",\"content\":{}}]}", "bad_request"},
    {IG_FRAME_QUERY, "{\"op\":\"template\",\"messages\":[7]}", "bad_request"},
    {IG_FRAME_READY, "{}", "bad_request"},
    {IG_FRAME_INIT, "{}", "bad_request"},
#define GENERATE(rest) "{\"op\":\"generate\",\"kind\":\"text\",\"prompt\":\"x\"," rest "}"
    {IG_FRAME_REQUEST, "{\"op\":\"generate\"}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"kind\":\"song\"}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"kind\":\"text\"}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"kind\":\"text\",\"prompt\":[]}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"kind\":\"text\",\"prompt\":[1,{}]}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"kind\":\"text\",\"prompt\":[1,512]}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"kind\":\"text\",\"prompt\":\"\",\"special\":false}", "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"max_tokens\":-1"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"max_tokens\":1.5"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"n\":0"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"n\":9"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"n\":4294967297"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"temperature\":\"hot\""), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"temperature\":-1"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"temperature\":1e400"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"top_p\":-0.1"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"repeat_penalty\":0"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"repeat_last_n\":-2"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"seed\":\"x\""), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"stop\":\"x\""), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"stop\":[\"\"]"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"stop\":[\"a\\u0000b\"]"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"stop\":[1]"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"logit_bias\":[[1]]"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"logit_bias\":[[512,1]]"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"logit_bias\":[[1,\"inf\"]]"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"logit_bias\":{\"1\":2}"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"logprobs\":101"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"user\":5"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"priority\":\"now\""), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"echo\":\"yes\""), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"suffix\":\"y\""), "unsupported"},
    {IG_FRAME_REQUEST, GENERATE("\"grammar\":\"root ::= [a\""), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"grammar\":7"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"grammar\":\"root ::= [a\",\"json_object\":true"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"json_schema\":{\"type\":\"strange\"}"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"json_schema\":{\"uniqueItems\":true}"), "unsupported"},
    {IG_FRAME_REQUEST, GENERATE("\"json_schema\":false"), "bad_request"},
    {IG_FRAME_REQUEST, GENERATE("\"tool_choice\":\"required\""), "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"generate\",\"kind\":\"chat\"}", "bad_request"},
    {IG_FRAME_REQUEST,
     "{\"op\":\"generate\",\"kind\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
     "\"continue_last\":true}",
     "bad_request"},
    {IG_FRAME_REQUEST,
     "{\"op\":\"generate\",\"kind\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"image_url\"}]}]}",
     "unsupported"},
    {IG_FRAME_REQUEST,
     "{\"op\":\"generate\",\"kind\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
     "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}",
     "unsupported"},
    {IG_FRAME_REQUEST, "{\"op\":\"embed\"}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"embed\",\"inputs\":[]}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"embed\",\"inputs\":[[]]}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"embed\",\"inputs\":[5]}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"embed\",\"inputs\":[[1,-5]]}", "bad_request"},
    {IG_FRAME_REQUEST, "{\"op\":\"embed\",\"inputs\":[\"a\"],\"pooling\":\"max\"}", "bad_request"},
};

static void test_hostile(worker *w, answer *a)
{
    size_t good = 0, n = sizeof hostile / sizeof *hostile;
    for (size_t i = 0; i < n; i++) {
        answer_fini(a);
        a->id = w->next++;
        send_body(w, hostile[i].type, a->id, hostile[i].body, strlen(hostile[i].body), NULL, 0);
        bool ok = collect(w, a, 1) && !strcmp(error_type(a), hostile[i].want) && strlen(error_text(a)) > 15;
        if (!ok) printf("# %s: %s %s\n", hostile[i].body, error_type(a), error_text(a));
        good += ok;
    }
    tap_ok(good == n, "hostile frames are refused with a sentence (%zu of %zu)", good, n);
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    answer_fini(a);
    a->id = w->next++;
    send_body(w, IG_FRAME_REQUEST, a->id, deep, 200000, NULL, 0);
    tap_ok(collect(w, a, 1) && !strcmp(error_type(a), "bad_request"), "deep JSON is refused");
    memset(deep, 'a', 200000);
    go(w, a, IG_FRAME_REQUEST, text_request(deep, NULL));
    tap_ok(!strcmp(error_type(a), "too_long") && json_integer_value(json_object_get(a->error, "n_prompt")) > 512 &&
               json_integer_value(json_object_get(a->error, "n_ctx")) == 512,
           "a prompt too long is refused with both numbers: %s", error_text(a));
    go(w, a, IG_FRAME_REQUEST, text_request(deep, json_pack("{s:b,s:i}", "truncate", 1, "max_tokens", 2)));
    tap_ok(a->done && usage_of(a, "dropped") > 0 && usage_of(a, "prompt") < 512, "and cut when asked, which is told");
    free(deep);
    json_t *big = json_array();
    for (int i = 0; i < 200000; i++) json_array_append_new(big, json_integer(403));
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s,s:o}", "op", "detokenize", "ids", big));
    tap_ok(json_string_length(json_object_get(a->result, "text")) == 5 * 200000 - 1 ||
               json_string_length(json_object_get(a->result, "text")) == 5 * 200000,
           "bodies above 1 MiB travel both ways (%zu bytes)", json_string_length(json_object_get(a->result, "text")));
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon a time", json_pack("{s:i,s:i}", "temperature", 0, "max_tokens", 5)));
    tap_ok(a->n_ids == 5, "and the worker goes on");
}

static void test_bad_start(void)
{
    static const struct {
        const char *file, *field, *value;
    } rows[] = {
        {"text.txt", NULL, NULL},
        {"stories260K.gguf", "kv", "\"f99\""},
        {"stories260K.gguf", "files", "[]"},
        {"stories260K.gguf", "files", "[\"a\",\"b\"]"},
        {"stories260K.gguf", "files", "[7]"},
        {"stories260K.gguf", "speculate", "\"often\""},
        {"stories260K.gguf", "speculate", "1"},
        {"stories260K.gguf", "spill_max", "-1"},
        {"stories260K.gguf", "spill_max", "\"much\""},
        {"stories260K.gguf", "threads", "-1"},
        {"stories260K.gguf", "memory_max", "1000"},
        {"stories260K.gguf", "template", "\"{% for %}\""},
    };
    size_t good = 0, n = sizeof rows / sizeof *rows;
    for (size_t i = 0; i < n; i++) {
        worker w;
        json_t *more = json_object();
        if (rows[i].field) json_object_set_new(more, rows[i].field, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        bool ok = !start_with(&w, data_path(rows[i].file), more) && w.ready_type == IG_FRAME_ERROR;
        const char *text = json_string_value(json_object_get(w.ready, "message"));
        ok = ok && text && strlen(text) > 15;
        if (!ok) printf("# row %zu: %u %s\n", i, w.ready_type, text ? text : "");
        good += stop(&w) == IG_WORKER_FAILED && ok;
    }
    tap_ok(good == n, "what cannot be loaded is an ERROR and exit 1 (%zu of %zu)", good, n);
}

static void test_ways_to_end(void)
{
    worker w;
    answer a = {0};
    spawn(&w);
    tap_ok(stop(&w) == 0, "closing before INIT ends it");
    start_with(&w, data_path("stories260K.gguf"), NULL);
    tap_ok(stop(&w) == 0, "closing ends an idle worker");
    start_with(&w, data_path("stories260K.gguf"), NULL);
    for (int i = 0; i < 6; i++)
        ask(&w, &a, IG_FRAME_REQUEST,
            text_request("Once", json_pack("{s:i,s:b,s:b}", "max_tokens", 1000000, "ignore_eos", 1, "shift", 1)));
    tap_ok(stop(&w) == 0, "closing ends a busy worker");
    start_with(&w, data_path("stories260K.gguf"), NULL);
    ask(&w, &a, IG_FRAME_REQUEST,
        text_request("Once", json_pack("{s:i,s:b,s:b}", "max_tokens", 1000000, "ignore_eos", 1, "shift", 1)));
    usleep(50000);
    send_body(&w, IG_FRAME_STOP, 0, "{}", 2, NULL, 0);
    bool ok = collect(&w, &a, 1);
    tap_ok(ok && !strcmp(finish_of(&a), "cancelled") && stop(&w) == 0, "STOP ends it, with DONE for what runs");
    start_with(&w, data_path("stories260K.gguf"), NULL);
    static const unsigned char junk[16] = {0xff, 0xff, 0xff, 0x7f, 2};
    ssize_t sent = write(w.ch.fd, junk, sizeof junk);
    int code = wait_exit(w.pid);
    tap_ok(sent == 16 && code == IG_WORKER_FAILED, "what is no frame ends it with 1 (%d)", code);
    ig_channel_fini(&w.ch);
    json_decref(w.ready);
    start_with(&w, data_path("stories260K.gguf"), NULL);
    kill(w.pid, SIGKILL);
    uint64_t id;
    json_t *body;
    size_t n;
    uint32_t type;
    while ((type = receive(&w, &id, &body, &n, WAIT_MS)) != 0 && type != 99) json_decref(body);
    tap_ok(type == 0 && stop(&w) == -SIGKILL, "a kill is seen at once");
    answer_fini(&a);
}

static void test_status(void)
{
    worker w;
    answer a = {0};
    start_with(&w, data_path("stories260K.gguf"), NULL);
    ask(&w, &a, IG_FRAME_REQUEST,
        text_request("Once", json_pack("{s:i,s:b,s:b}", "max_tokens", 100000000, "ignore_eos", 1, "shift", 1)));
    uint64_t id, from = ig_now_ns();
    json_t *body, *status = NULL;
    size_t n, n_status = 0;
    while (n_status < 3 && ig_now_ns() - from < 8000000000u) {
        uint32_t type = receive(&w, &id, &body, &n, 6000);
        if (type == 0 || type == 99) break;
        if (type == IG_FRAME_STATUS) {
            n_status++;
            json_decref(status);
            status = json_incref(body);
        }
        json_decref(body);
    }
    double seconds = (double)(ig_now_ns() - from) / 1e9;
    tap_ok(n_status == 3 && json_integer_value(json_object_get(status, "running")) == 1 &&
               json_integer_value(json_object_get(status, "kv_used_pages")) > 0 &&
               json_integer_value(json_object_get(status, "tokens_generated")) > 0 &&
               json_integer_value(json_object_get(status, "memory_rss")) > 1000000,
           "STATUS comes while it computes (3 were read in %.1f s)", seconds);
    json_decref(status);
    answer_fini(&a);
    stop(&w);
}

/* -------------------------------------------------------------------------------------------- chat */

static const char tools_json[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"city\":{\"$ref\":\"#/$defs/c\"},\"now\":{\"type\":\"boolean\"}},\"required\":[\"city\",\"now\"],"
    "\"additionalProperties\":false,\"$defs\":{\"c\":{\"enum\":[\"Rome\",\"Paris\"]}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"stop\",\"parameters\":{\"type\":\"object\",\"properties\":{},"
    "\"additionalProperties\":false}}}]";

static json_t *chat_request(json_t *more)
{
    json_t *body = json_pack("{s:s,s:s,s:[{s:s,s:s}],s:b}", "op", "generate", "kind", "chat", "messages", "role",
                             "user", "content", "How is it?", "return_ids", 1);
    json_object_update(body, more);
    json_decref(more);
    return body;
}

static bool is_weather(const char *args)
{
    json_t *v = json_loads(args, 0, NULL);
    const char *city = json_string_value(json_object_get(v, "city"));
    bool ok = city && (!strcmp(city, "Rome") || !strcmp(city, "Paris")) && json_is_boolean(json_object_get(v, "now")) &&
              json_object_size(v) == 2;
    json_decref(v);
    return ok;
}

static void test_tools(worker *w, answer *a)
{
    json_t *tools = json_loads(tools_json, 0, NULL);
    size_t good = 0;
    for (int seed = 0; seed < 8; seed++) {
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:O,s:{s:s},s:i,s:i}", "tools", tools, "tool_choice", "name", "weather",
                                  "max_tokens", 300, "seed", seed)));
        good += !strcmp(finish_of(a), "tool_calls") && a->n_calls == 1 && !strcmp(a->names[0], "weather") &&
                is_weather(a->args[0]) && a->n_text == 0;
    }
    tap_ok(good == 8, "a forced call fits its schema (%zu of 8)", good);
    size_t calls = 0;
    good = 0;
    for (int seed = 0; seed < 8; seed++) {
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:O,s:s,s:b,s:i,s:i}", "tools", tools, "tool_choice", "required",
                                  "parallel_tool_calls", 1, "max_tokens", 2000, "seed", seed)));
        bool ok = !strcmp(finish_of(a), "tool_calls") && a->n_calls >= 1;
        for (size_t i = 0; ok && i < a->n_calls; i++)
            ok = !strcmp(a->names[i], "stop") ? !strcmp(a->args[i], "{}") : is_weather(a->args[i]);
        good += ok;
        calls += a->n_calls;
    }
    tap_ok(good == 8 && calls > 8, "parallel calls have their indexes (%zu calls)", calls);
    const char *flag = NULL;
    for (int n = 4; n < 60 && !flag; n++) { /* until the cut falls into the call */
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:O,s:{s:s},s:i,s:i}", "tools", tools, "tool_choice", "name", "weather",
                                  "max_tokens", n, "seed", 3)));
        flag = json_string_value(json_object_get(a->done, "flag"));
    }
    tap_ok(flag && !strcmp(flag, "truncated_call") && !strcmp(finish_of(a), "length"),
           "a call that was cut is flagged");
    json_decref(tools);
}

static void test_structured(worker *w, answer *a)
{
    size_t good = 0;
    for (int seed = 0; seed < 8; seed++) {
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:{s:s,s:{s:{s:[i,i]},s:{s:s,s:{s:s},s:i}},s:[s,s],s:b},s:i,s:i,s:f}",
                                  "json_schema", "type", "object", "properties", "a", "enum", 1, 22, "b", "type",
                                  "array", "items", "type", "boolean", "maxItems", 3, "required", "a", "b",
                                  "additionalProperties", 0, "max_tokens", 400, "seed", seed, "temperature", 1.5)));
        json_t *v = json_loads(a->text, 0, NULL);
        json_int_t n = json_integer_value(json_object_get(v, "a"));
        good += !strcmp(finish_of(a), "stop") && (n == 1 || n == 22) && json_is_array(json_object_get(v, "b"));
        json_decref(v);
    }
    tap_ok(good == 8, "answers fit a schema (%zu of 8)", good);
    go(w, a, IG_FRAME_REQUEST,
       text_request(
           "x", json_pack("{s:s,s:i,s:b}", "grammar", "root ::= \"yes\" | \"no\"", "max_tokens", 20, "ignore_eos", 1)));
    tap_ok((!strcmp(a->text, "yes") || !strcmp(a->text, "no")) && !strcmp(finish_of(a), "stop"), "and a grammar: %s",
           a->text);
    go(w, a, IG_FRAME_REQUEST, chat_request(json_pack("{s:b,s:i,s:i}", "json_object", 1, "max_tokens", 60, "seed", 3)));
    tap_ok(a->text[0] == '{', "json_object begins with a brace");
}

/* The answer is forced by a grammar that writes the markers as the model would. */
static void test_reply(worker *w, answer *a)
{
    json_t *tools = json_loads(tools_json, 0, NULL);
    go(w, a, IG_FRAME_REQUEST,
       chat_request(json_pack(
           "{s:O,s:s,s:i}", "tools", tools, "grammar",
           "root ::= \"<think>\\nhm\\n</think>\\n\\nso <tool_call>{\\\"name\\\": \\\"stop\\\", \\\"arguments\\\": "
           "{}}</tool_call>\"",
           "max_tokens", 300)));
    tap_ok(strstr(a->reasoning, "hm") && !strcmp(a->text, "so") && a->n_calls == 1 && !strcmp(a->names[0], "stop") &&
               !strcmp(finish_of(a), "tool_calls") && usage_of(a, "reasoning") > 0,
           "reasoning, text and a call are told apart");
    go(w, a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:O,s:s,s:i}", "tools", tools, "grammar", "root ::= \"<tool_call>{oops}</tool_call>\"",
                              "max_tokens", 300)));
    const char *flag = json_string_value(json_object_get(a->done, "flag"));
    tap_ok(flag && !strcmp(flag, "unparsed") && strstr(a->text, "{oops}"),
           "what is no call is given as text, and flagged");
    json_decref(tools);
}

/* A template that begins with thoughts: rules hold for what follows them. */
static void test_thoughts(const char *path)
{
    static const char source[] = "{% if tools %}T{% endif %}{{ messages[0].content }}<think>\n";
    worker w;
    answer a = {0};
    json_t *tools = json_loads(tools_json, 0, NULL);
    start_with(&w, path, json_pack("{s:s}", "template", source));
    go(&w, &a, IG_FRAME_QUERY, json_pack("{s:s,s:s}", "op", "tokenize", "text", "</think>"));
    json_int_t id = json_integer_value(json_array_get(json_object_get(a.result, "ids"), 0));
    go(&w, &a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:{s:[i,i]},s:[[I,i]],s:i}", "json_schema", "enum", 123, 456, "logit_bias", id, 1000,
                              "max_tokens", 20)));
    tap_ok((!strcmp(a.text, "123") || !strcmp(a.text, "456")) && usage_of(&a, "completion") == 4,
           "a schema holds behind the thoughts (%s)", a.text);
    go(&w, &a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:O,s:{s:s},s:[[I,i]],s:i}", "tools", tools, "tool_choice", "name", "weather",
                              "logit_bias", id, 1000, "max_tokens", 200)));
    tap_ok(a.n_calls == 1 && is_weather(a.args[0]), "and a forced call");
    json_decref(tools);
    answer_fini(&a);
    stop(&w);
}

static void test_chat(void)
{
    char path[4096];
    worker w;
    answer a = {0};
    (void)snprintf(path, sizeof path, "%s/serve/chat.gguf", tap_data());
    if (access(path, R_OK) != 0) (void)snprintf(path, sizeof path, "%s/serve/chat.gguf", tap_golden());
    if (access(path, R_OK) != 0) {
        tap_skip("chat", "%s is not there", path);
        return;
    }
    tap_ok(start_with(&w, path, NULL) && json_is_true(json_object_get(w.ready, "has_template")), "a chat model starts");
    test_tools(&w, &a);
    test_structured(&w, &a);
    test_reply(&w, &a);
    go(&w, &a, IG_FRAME_REQUEST,
       json_pack("{s:s,s:s,s:s,s:s,s:i}", "op", "generate", "kind", "text", "prompt", "int f(", "suffix", "return x;",
                 "max_tokens", 5));
    tap_ok(usage_of(&a, "prompt") == 3 + 6 + 9 - 2 || usage_of(&a, "completion") == 5, "a gap is filled (%lld tokens)",
           (long long)usage_of(&a, "prompt"));
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "system", "content", "Be brief.");
    for (int i = 0; i < 40; i++) {
        char text[201];
        memset(text, 'a' + i % 26, 200);
        text[200] = 0;
        json_array_append_new(messages, json_pack("{s:s,s:s}", "role", i % 2 ? "assistant" : "user", "content", text));
    }
    json_array_append_new(messages, json_pack("{s:s,s:[{s:s,s:s},{s:s,s:s}]}", "role", "user", "content", "type",
                                              "text", "text", "last", "type", "text", "text", "words"));
    go(&w, &a, IG_FRAME_REQUEST, chat_request(json_pack("{s:O}", "messages", messages)));
    tap_ok(!strcmp(error_type(&a), "too_long"), "a chat too long is refused: %s", error_text(&a));
    go(&w, &a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:O,s:b,s:i}", "messages", messages, "truncate", 1, "max_tokens", 2)));
    tap_ok(a.done && usage_of(&a, "dropped") > 0, "and loses its oldest messages when asked");
    json_decref(messages);
    go(&w, &a, IG_FRAME_QUERY,
       json_pack("{s:s,s:[{s:s,s:s},{s:s,s:s}],s:b}", "op", "template", "messages", "role", "user", "content", "q",
                 "role", "assistant", "content", "The answer is", "continue_last", 1));
    const char *prompt = json_string_value(json_object_get(a.result, "prompt"));
    tap_ok(prompt && !strcmp(prompt, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nThe answer is"),
           "the last message is continued");
    go(&w, &a, IG_FRAME_REQUEST, json_pack("{s:s,s:[s,s]}", "op", "embed", "inputs", "a", "b c"));
    tap_ok(json_array_size(json_object_get(a.result, "embeddings")) == 2, "a chat model embeds, too");
    answer_fini(&a);
    tap_ok(stop(&w) == 0, "the chat worker ends");
    test_thoughts(path);
}

/* -------------------------------------------------------------------------------------------- sandbox */

enum { KILLED = 1, FAILS = 2 };

static long try_open(void) { return open("/etc/passwd", O_RDONLY); }
static long try_openat2(void)
{
    uint64_t how[3] = {0};
    return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof how);
}
static long try_creat(void) { return syscall(SYS_mkdir, "/tmp/ingle-test-worker", 0700); }
static long try_unlink(void) { return syscall(SYS_unlink, "/tmp/ingle-test-worker"); }
static long try_socket(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static long try_unix(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static long try_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = 9};
    return connect(1, (struct sockaddr *)&to, sizeof to);
}
static long try_exec(void) { return execl("/bin/true", "true", (char *)NULL); }
static long try_fork(void) { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static long try_vfork(void) { return syscall(SYS_fork); }
static long try_ptrace(void) { return ptrace(PTRACE_ATTACH, getppid(), 0, 0); }
static long try_kill(void) { return kill(getppid(), 0); }
static long try_tgkill(void) { return syscall(SYS_tgkill, getppid(), getppid(), 0); }
static long try_uring(void)
{
    char params[256] = {0};
    return syscall(SYS_io_uring_setup, 4, params);
}
static long try_wx(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1
                                                                                                                  : 0;
}
static long try_mprotect(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}
static long try_prctl(void) { return syscall(SYS_prctl, 1, 2, 3, 4, 5); }
static long try_ioctl(void) { return syscall(SYS_ioctl, 0, 0x5412, "x"); /* TIOCSTI */ }
static long try_mount(void) { return syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL); }
static long try_bpf(void) { return syscall(SYS_bpf, 0, NULL, 0); }
static long try_vm_read(void) { return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0); }
static long try_signalfd(void) { return syscall(SYS_pidfd_open, getppid(), 0); }
static long try_setrlimit(void)
{
    struct rlimit most = {1 << 20, 1 << 20};
    return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &most, NULL);
}

static const struct {
    const char *name;
    long (*call)(void);
    int want;
} escapes[] = {
    {"open", try_open, KILLED | FAILS},
    {"openat2", try_openat2, KILLED},
    {"mkdir", try_creat, KILLED},
    {"unlink", try_unlink, KILLED},
    {"socket inet", try_socket, KILLED},
    {"socket unix", try_unix, KILLED},
    {"connect", try_connect, KILLED},
    {"execve", try_exec, KILLED},
    {"clone a process", try_fork, KILLED},
    {"fork", try_vfork, KILLED},
    {"ptrace", try_ptrace, KILLED},
    {"kill", try_kill, KILLED},
    {"tgkill", try_tgkill, KILLED},
    {"io_uring_setup", try_uring, KILLED},
    {"mmap W+X", try_wx, KILLED},
    {"mprotect X", try_mprotect, KILLED},
    {"prctl", try_prctl, FAILS},
    {"ioctl", try_ioctl, FAILS},
    {"mount", try_mount, KILLED},
    {"bpf", try_bpf, KILLED},
    {"process_vm_readv", try_vm_read, KILLED},
    {"pidfd_open", try_signalfd, KILLED},
    {"prlimit of descriptors", try_setrlimit, KILLED},
};

/* What became of the call in a confined child: KILLED, FAILS, 0 where it went through, -1 where it was not reached. */
static int escape(long (*call)(void), int abi)
{
    char why[256];
    pid_t pid = fork();
    if (pid == 0) {
        if (!ig_worker_confine(abi, why)) _exit(99);
        _exit(call() < 0 ? 42 : 0);
    }
    int status;
    (void)waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGSYS ? KILLED : -1;
    return WEXITSTATUS(status) == 42 ? FAILS : WEXITSTATUS(status) == 99 ? -1 : 0;
}

/* Landlock alone, as with a kernel that has no seccomp filter: files cannot be opened. */
static void test_sandbox(void)
{
    static const int abis[] = {0, 1, 2, 4};
    if (tap_sanitized) {
        tap_skip("sandbox", "no system call filter under a sanitizer, whose runtime needs more");
    } else {
        for (size_t k = 0; k < sizeof abis / sizeof *abis; k++) {
            size_t good = 0, n = sizeof escapes / sizeof *escapes;
            for (size_t i = 0; i < n; i++) {
                int got = escape(escapes[i].call, abis[k]);
                if (got > 0 && (got & escapes[i].want))
                    good++;
                else
                    printf("# %s: %d\n", escapes[i].name, got);
            }
            tap_ok(good == n, "nothing gets out with Landlock ABI %d (%zu of %zu)", abis[k], good, n);
        }
    }
    worker w;
    bool ok = start_with(&w, data_path("stories260K.gguf"), json_pack("{s:i}", "landlock_abi_max", 2));
    const json_t *box = json_object_get(w.ready, "sandbox");
    tap_ok(ok && json_integer_value(json_object_get(box, "landlock")) <= 2 &&
               json_is_true(json_object_get(box, "seccomp")) == !tap_sanitized,
           "READY tells what is in force (Landlock %lld)",
           (long long)json_integer_value(json_object_get(box, "landlock")));
    char link[64], to[64];
    size_t open_fds = 0, strange = 0;
    for (int fd = 0; fd < 64; fd++) {
        (void)snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)w.pid, fd);
        ssize_t n = readlink(link, to, sizeof to - 1);
        if (n <= 0) continue;
        to[n] = 0;
        open_fds++;
        strange += fd > 2 && strncmp(to, "socket:", 7) != 0 && strncmp(to, "pipe:", 5) != 0 && !strstr(to, "statm");
    }
    tap_ok(strange == 0, "it keeps no descriptor but its own (%zu open)", open_fds);
    stop(&w);
}

int main(void)
{
    worker w;
    answer a = {0};
    signal(SIGPIPE, SIG_IGN);
    if (!tap_ok(start_with(&w, data_path("stories260K.gguf"), NULL), "a worker starts")) return tap_done();
    test_ready(&w);
    test_generate(&w, &a);
    test_ends(&w, &a);
    test_logprobs(&w, &a);
    test_choices(&w, &a);
    test_queries(&w, &a);
    test_determinism(&w, "four sessions", 1);
    test_cancel(&w, &a);
    test_hostile(&w, &a);
    answer_fini(&a);
    tap_ok(stop(&w) == 0, "the worker ends when the socket closes");
    if (start_with(&w, data_path("stories260K.gguf"), json_pack("{s:i,s:i}", "n_sessions", 2, "n_batch", 7)))
        test_determinism(&w, "two sessions, three users", 3);
    stop(&w);
    test_prefix("stories260K.gguf", 512);
    test_prefix("archs/gemma3.gguf", 121);
    test_prefix("archs/falcon-h1.gguf", 121);
    test_prefix("archs/mamba.gguf", 121);
    test_guesses(data_path("stories260K.gguf"), "ngram", 512);
    test_guesses(data_path("archs/gemma3.gguf"), "ngram", 121);
    test_guesses(data_path("archs/falcon-h1.gguf"), "ngram", 121);
    test_guesses(data_path("archs/mamba.gguf"), "ngram", 121);
    test_draft();
    test_heads("archs/deepseek2.gguf", 0);
    test_heads("archs/deepseek2.gguf", 0.2f);
    test_heads("archs/qwen3next.gguf", 0.2f);
    test_spill("stories260K.gguf", 512, 0);
    test_spill("stories260K.gguf", 512, 400000);
    test_spill("archs/gemma3.gguf", 121, 0);
    test_spill("archs/falcon-h1.gguf", 121, 0);
    test_fairness();
    test_queue();
    test_slow_reader();
    test_memory();
    test_embed();
    test_bad_start();
    test_ways_to_end();
    test_status();
    test_chat();
    test_sandbox();
    return tap_done();
}
