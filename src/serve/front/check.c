#include "serve/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/front/fr.h"

enum { CHECK_MS = 600000, ROUND_MS = 1000, CHECK_CONTEXT = 32768, CHECK_SESSIONS = 4 };

typedef struct check {
    ig_channel ch;
    pid_t pid;
} check;

static ig_status start(check *c, const char *program, ig_error *err)
{
    int pair[2];
    char own[4096];
    ssize_t n = program ? 0 : readlink("/proc/self/exe", own, sizeof own - 1);
    if (!program && n <= 0) return ig_fail(err, IG_IO, 0, "the path of this program is not known");
    if (!program) own[n] = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return ig_fail_errno(err, IG_IO, errno, "no socket for checking the model");
    c->pid = fr_spawn_worker(program ? program : own, NULL, pair[1]);
    int no = errno;
    close(pair[1]);
    if (c->pid < 0) {
        close(pair[0]);
        return ig_fail_errno(err, IG_IO, no, "cannot start a worker for checking the model");
    }
    return ig_channel_init(&c->ch, pair[0], 4, (size_t)64 << 20, err);
}

/* Copies of the descriptors that a worker needs, and their names. */
static bool copies(const ig_manifest *m, const int *fds, int *out, json_t *names, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < m->n_files; i++) {
        if (m->files[i].role != IG_ROLE_WEIGHTS && m->files[i].role != IG_ROLE_CONFIG) continue;
        out[*n] = *n < FR_FILES_MAX ? fcntl(fds[i], F_DUPFD_CLOEXEC, 3) : -1;
        if (out[*n] < 0) {
            while (*n) close(out[--*n]);
            return false;
        }
        json_array_append_new(names, json_string(m->files[i].name));
        (*n)++;
    }
    return true;
}

static ig_status send_init(check *c, const ig_manifest *m, const int *fds, ig_error *err)
{
    int own[FR_FILES_MAX];
    size_t n;
    json_t *names = json_array();
    if (!copies(m, fds, own, names, &n)) {
        json_decref(names);
        return ig_fail(err, IG_TOO_LARGE, 0, "model %s has too many files to check", m->name.text);
    }
    json_t *body = json_pack("{s:o, s:i, s:i, s:i, s:s?, s:s?}", "files", names, "threads", 1, "n_ctx", CHECK_CONTEXT,
                             "n_sessions", CHECK_SESSIONS, "template", ig_manifest_template(m), "system", m->system);
    ig_buf text;
    ig_buf_init(&text, IG_FRAME_BODY_MAX);
    if (body) ig_json_write(body, &text);
    bool bad = !body || text.failed;
    json_decref(body);
    ig_status status = IG_OK;
    if (bad) {
        for (size_t i = 0; i < n; i++) close(own[i]);
        status = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for checking the model");
    } else
        status = ig_channel_put(&c->ch, IG_FRAME_INIT, 0, text.ptr, text.len, own, n, err);
    ig_buf_fini(&text);
    return status == IG_OK ? ig_channel_flush_all(&c->ch, err) : status;
}

/* Waits for the next frame. */
static ig_status receive(check *c, const ig_manifest *m, ig_frame *frame, ig_error *err)
{
    uint64_t end = ig_now_ns() + CHECK_MS * FR_NS_PER_MS;
    bool got = false;
    for (;;) {
        IG_TRY(ig_channel_next(&c->ch, frame, &got, err));
        if (got) return IG_OK;
        if (c->ch.ended)
            return ig_fail(err, IG_BAD_INPUT, 0, "model %s is refused: the process that looked at it died",
                           m->name.text);
        if (ig_now_ns() > end)
            return ig_fail(err, IG_BAD_INPUT, 0, "model %s is refused: looking at it took too long", m->name.text);
        if (ig_pass_wait(c->ch.fd, true, false, ROUND_MS) > 0) IG_TRY(ig_channel_fill(&c->ch, err));
    }
}

/* What is worth keeping: not how this one run went, and under the names that people read. */
static ig_status keep_facts(const ig_frame *frame, ig_buf *about, ig_error *err)
{
    static const char *const passing[] = {"load_ms", "sandbox", "kernels", "kernels_note", "n_sessions", "n_threads"};
    json_error_t error;
    json_t *all = json_loadb(frame->body, frame->n_body, 0, &error);
    if (!json_is_object(all)) {
        json_decref(all);
        return ig_fail(err, IG_BAD_INPUT, 0, "the worker that looked at the model told nothing about it");
    }
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) json_object_del(all, passing[i]);
    double n = json_number_value(json_object_get(all, "n_params"));
    double bits = json_number_value(json_object_get(json_object_get(all, "memory"), "weights")) * 8;
    if (n > 0) json_object_set(all, "parameters", json_object_get(all, "n_params"));
    if (n > 0 && bits > 0)
        json_object_set_new(all, "bits_per_weight", json_real((double)(long)(bits / n * 100 + 0.5) / 100));
    if (json_object_get(all, "n_ctx_train")) json_object_set(all, "context", json_object_get(all, "n_ctx_train"));
    ig_json_write(all, about);
    json_decref(all);
    return about->failed ? ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what is known about the model") : IG_OK;
}

static ig_status judge(check *c, const ig_manifest *m, ig_buf *about, ig_error *err)
{
    ig_frame frame;
    json_error_t error;
    do IG_TRY(receive(c, m, &frame, err));
    while (frame.type != IG_FRAME_READY && frame.type != IG_FRAME_ERROR);
    if (frame.type == IG_FRAME_READY) return keep_facts(&frame, about, err);
    json_t *body = json_loadb(frame.body, frame.n_body, 0, &error);
    const char *why = json_string_value(json_object_get(body, "message"));
    ig_fail(err, IG_BAD_INPUT, 0, "%.480s", why ? why : "the model is refused and the worker did not say why");
    json_decref(body);
    return IG_BAD_INPUT;
}

ig_status ig_model_check(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err)
{
    check c = {.ch.fd = -1};
    int code;
    IG_TRY(ig_manifest_usable(m, err));
    ig_status status = start(&c, ctx, err);
    if (status == IG_OK) status = send_init(&c, m, fds, err);
    if (status == IG_OK) status = judge(&c, m, about, err);
    ig_channel_fini(&c.ch);
    if (c.pid > 0) {
        kill(c.pid, SIGKILL);
        while (waitpid(c.pid, &code, 0) < 0 && errno == EINTR) continue;
    }
    return status;
}
