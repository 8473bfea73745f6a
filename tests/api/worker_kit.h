/* Shared by the tests of the worker: the real program, started and spoken to over its socket pair as the front does it.
 * What a test does not use is no fault. */
#ifndef IG_TESTS_WORKER_KIT_H
#define IG_TESTS_WORKER_KIT_H

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "ingle.h"
#include "ipc/ipc.h"
#include "tests/tap.h"
#include "worker/worker.h"

#define KIT static __attribute__((unused))

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

KIT uint64_t ends;

KIT const char *ingle_path(void)
{
    static char path[4096];
    const char *build = getenv("INGLE_BUILD");
    (void)snprintf(path, sizeof path, "%s/ingle", build ? build : ".");
    return path;
}

KIT void send_body(worker *w, uint32_t type, uint64_t id, const char *body, size_t n, const int *fds, size_t n_fds)
{
    ig_error e;
    if (ig_channel_put(&w->ch, type, id, body, n, fds, n_fds, &e) != IG_OK) abort();
    (void)ig_channel_flush_all(&w->ch, &e);
}

KIT void send_json(worker *w, uint32_t type, uint64_t id, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    send_body(w, type, id, text, strlen(text), NULL, 0);
    free(text);
    json_decref(body);
}

/* The next frame; its body is a new reference. 0: the worker has closed; 99: nothing came in time. */
KIT uint32_t receive(worker *w, uint64_t *id, json_t **body, size_t *n, int timeout_ms)
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

KIT void spawn(worker *w)
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

KIT int spill_file = -1;    /* that workers with spill_max get; -1: each a new one */
KIT const char *draft_path; /* a smaller model that workers start with, NULL: none */

/* Sends INIT for the file; more (consumed, may be NULL) has further fields. Waits for READY. */
KIT bool start_with(worker *w, const char *path, json_t *more)
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
        fds[n_fds++] = spill_file >= 0 ? dup(spill_file) : open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
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

KIT int wait_exit(pid_t pid)
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
KIT int stop(worker *w)
{
    ig_channel_fini(&w->ch);
    json_decref(w->ready);
    return wait_exit(w->pid);
}

KIT const char *data_path(const char *name)
{
    static char path[4][4096];
    static int turn;
    turn = (turn + 1) % 4;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", tap_data(), name);
    return path[turn];
}

/* -------------------------------------------------------------------------------------------- answers */

KIT void add(char *to, size_t *n, size_t cap, const json_t *text)
{
    size_t len = json_string_length(text);
    if (*n + len + 1 > cap) len = cap - *n - 1;
    memcpy(to + *n, json_string_value(text) ? json_string_value(text) : "", len);
    *n += len;
    to[*n] = 0;
}

KIT void take_delta(answer *a, const json_t *b)
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
KIT bool take(answer *a, uint32_t type, json_t *b, size_t n)
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
KIT bool collect(worker *w, answer *a, size_t n)
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

KIT void answer_fini(answer *a)
{
    json_decref(a->lp);
    json_decref(a->done);
    json_decref(a->error);
    json_decref(a->result);
    *a = (answer){0};
}

KIT void ask(worker *w, answer *a, uint32_t type, json_t *body)
{
    answer_fini(a);
    a->id = w->next++;
    send_json(w, type, a->id, body);
}

KIT bool go(worker *w, answer *a, uint32_t type, json_t *body)
{
    ask(w, a, type, body);
    return collect(w, a, 1);
}

KIT const char *finish_of(const answer *a)
{
    const char *f = json_string_value(json_object_get(a->done, "finish"));
    return f ? f : "(none)";
}

KIT json_int_t usage_of(const answer *a, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(a->done, "usage"), name));
}

KIT const char *error_type(const answer *a)
{
    const char *t = json_string_value(json_object_get(a->error, "type"));
    return t ? t : "(none)";
}

KIT const char *error_text(const answer *a)
{
    const char *t = json_string_value(json_object_get(a->error, "message"));
    return t ? t : "(none)";
}

/* {"op":"generate","kind":"text","prompt":...,"return_ids":true,...}; more is consumed. */
KIT json_t *text_request(const char *prompt, json_t *more)
{
    json_t *body = json_pack("{s:s,s:s,s:s,s:b}", "op", "generate", "kind", "text", "prompt", prompt, "return_ids", 1);
    if (more) json_object_update(body, more);
    json_decref(more);
    return body;
}

KIT bool same_ids(const answer *a, const answer *b)
{
    return a->n_ids == b->n_ids && !memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids);
}

KIT json_t *id_request(const int32_t *ids, size_t n, const char *user, int max_tokens)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    return json_pack("{s:s,s:s,s:o,s:b,s:s,s:i,s:b,s:i}", "op", "generate", "kind", "text", "prompt", list,
                     "return_ids", 1, "user", user, "max_tokens", max_tokens, "ignore_eos", 1, "temperature", 0);
}

#endif
