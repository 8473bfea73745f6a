#include "bridge/bridge.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "bridge/call.h"

#define OUT_BYTES_MAX  ((size_t)256 << 20)
#define OUT_BYTES_FULL ((size_t)4 << 20) /* waits for the front: the engine has to wait, too */
#define NS_PER_MS      UINT64_C(1000000)
enum {
    HEALTH_MS = 200,
    PROGRESS_MS = 2000,
    STATUS_MS = 1000,
    STATUS_IDLE_MS = 4000,
    STOP_MS = 5000,
    START_MS_STANDARD = 600000,
    SILENCE_S_STANDARD = 600
};

/* ------------------------------------------------------------------------------------------------ to the front */

void br_send(br_bridge *b, uint32_t type, uint64_t id, const json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    ig_error err;
    if (!text || ig_channel_put(&b->ch, type, id, text, strlen(text), NULL, 0, &err) != IG_OK) b->broken = true;
    free(text);
}

void br_send_new(br_bridge *b, uint32_t type, uint64_t id, json_t *body)
{
    br_send(b, type, id, body);
    json_decref(body);
}

/* Text of the engine's may be broken UTF-8. */
static json_t *clean_text(const char *z)
{
    json_t *v = json_string(z);
    char copy[512];
    if (v) return v;
    snprintf(copy, sizeof copy, "%s", z);
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > 126) *c = '?';
    return json_string(copy);
}

void br_send_fault(br_bridge *b, uint64_t id, const br_fault *f)
{
    br_send_new(b, IG_FRAME_ERROR, id,
                json_pack("{s:s, s:o, s:o?, s:I, s:I}", "type", f->type, "message", clean_text(f->message), "param",
                          *f->param ? clean_text(f->param) : NULL, "n_prompt", (json_int_t)f->n_prompt, "n_ctx",
                          (json_int_t)f->n_ctx));
}

static json_int_t number(const br_bridge *b, const char *name, json_int_t standard)
{
    json_int_t n = json_integer_value(json_object_get(b->config, name));
    return n > 0 ? n : standard;
}

/* What it uses, at least what the configuration says. */
static uint64_t reserved(const br_bridge *b)
{
    uint64_t said = (uint64_t)number(b, "memory", 0);
    return b->bytes > said ? b->bytes : said;
}

static void send_status(br_bridge *b, uint64_t now)
{
    b->bytes = br_child_bytes(&b->child);
    b->told_ns = now;
    br_send_new(b, IG_FRAME_STATUS, 0,
                json_pack("{s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I}", "running", (int)b->n_calls, "waiting", 0,
                          "kv_used_pages", 0, "kv_total_pages", 0, "tokens_generated", (json_int_t)b->tokens_generated,
                          "tokens_prompt", (json_int_t)b->tokens_prompt, "memory_rss", (json_int_t)b->bytes,
                          "memory_need", (json_int_t)reserved(b)));
}

static void send_ready(br_bridge *b, uint64_t now)
{
    json_t *can = json_pack("[s, s]", "completion", "tools");
    if (b->engine.embeds) json_array_append_new(can, json_string("embedding"));
    b->bytes = br_child_bytes(&b->child);
    b->ready = b->child.deaf = true;
    b->told_ns = now;
    br_send_new(b, IG_FRAME_READY, 0,
                json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:b, s:b, s:f, s:s, s:s, s:s, s:o}",
                          "architecture", b->engine.name, "engine", b->engine.name, "n_ctx", number(b, "context", 0),
                          "n_ctx_train", number(b, "context", 0), "n_params", (json_int_t)0, "n_vocab", (json_int_t)0,
                          "memory", "weights", (json_int_t)reserved(b), "kv", (json_int_t)0, "workspace", (json_int_t)0,
                          "has_template", 1, "has_logits", 1, "load_ms", (double)(now - b->started_ns) / 1e6, "kernels",
                          b->engine.name, "format", "engine", "quantization", "", "capabilities", can));
}

/* ------------------------------------------------------------------------------------------------ its end */

/* The end of all: ERROR for request 0 fails every request, also those that are still on their way to us. */
static void give_up(br_bridge *b, int code, const char *why)
{
    br_fault f;
    br_refuse(&f, "internal", NULL, "engine %.60s %.320s", b->engine.name, why);
    br_send_fault(b, 0, &f);
    b->over = true;
    b->code = code;
}

void br_hung(br_bridge *b)
{
    char why[120];
    snprintf(why, sizeof why, "said nothing for %ld s and was stopped; the next request starts it again", b->silence_s);
    if (!b->over) give_up(b, IG_BRIDGE_HUNG, why);
}

static void on_frame(br_bridge *b, const ig_frame *frame)
{
    if (frame->type == IG_FRAME_REQUEST || frame->type == IG_FRAME_QUERY) br_request(b, frame);
    if (frame->type == IG_FRAME_CANCEL) br_cancel(b, frame->request);
    if (frame->type == IG_FRAME_STOP) b->over = true;
}

/* ------------------------------------------------------------------------------------------------ health */

static void on_health_head(void *ctx, long status, bool stream)
{
    br_bridge *b = ctx;
    (void)stream;
    b->healthy = status == 200;
    if (status == 404 && !json_is_string(json_object_get(b->config, "health"))) b->no_health = true;
}

static bool on_health_body(void *ctx, const char *p, size_t n)
{
    (void)ctx, (void)p, (void)n;
    return true;
}

static void on_health_end(void *ctx, bool whole, const char *why)
{
    br_bridge *b = ctx;
    (void)why;
    b->health = NULL;
    if (!whole || !br_child_owns(&b->child)) b->healthy = false;
    if (b->healthy) send_ready(b, ig_now_ns());
}

static const br_listener health_listener = {on_health_head, on_health_body, on_health_end};

static void wait_for_health(br_bridge *b, uint64_t now)
{
    char why[200];
    if (now - b->started_ns > (uint64_t)b->start_ms * NS_PER_MS) {
        snprintf(why, sizeof why, "was not healthy %ld s after its start (GET %s)", b->start_ms / 1000, b->health_path);
        give_up(b, IG_BRIDGE_FAILED, why);
        return;
    }
    if (now - b->told_ns > PROGRESS_MS * NS_PER_MS) {
        b->told_ns = now;
        br_send_new(b, IG_FRAME_PROGRESS, 0, json_pack("{s:s, s:f}", "phase", "load", "share", 0.0));
    }
    if (b->health || now - b->asked_ns < HEALTH_MS * NS_PER_MS) return;
    b->asked_ns = now;
    b->health = br_wire_ask(b->wire, b->no_health ? "/v1/models" : b->health_path, NULL, 0, 5, &health_listener, b);
}

/* ------------------------------------------------------------------------------------------------ the engine's end */

static void look_after(br_bridge *b)
{
    int status;
    char why[300];
    if (!b->child.pid || waitpid(b->child.pid, &status, WNOHANG) != b->child.pid) return;
    br_child_listen(&b->child);
    for (int rounds = 0; rounds < 16; rounds++) br_wire_work(b->wire); /* what it has still said */
    b->child.pid = 0;
    if (WIFSIGNALED(status)) { /* our own death says it, so that crashes are counted */
        b->signal = WTERMSIG(status);
        b->over = true;
        return;
    }
    const char *last = b->child.last + (strlen(b->child.last) > 200 ? strlen(b->child.last) - 200 : 0);
    if (b->ready)
        snprintf(why, sizeof why, "ended with code %d; the next request starts it again", WEXITSTATUS(status));
    else
        snprintf(why, sizeof why, "ended with code %d before it was ready%s%s", WEXITSTATUS(status),
                 *last ? "; it said: " : "", last);
    give_up(b, b->ready ? IG_BRIDGE_ENDED : IG_BRIDGE_FAILED, why);
}

/* ------------------------------------------------------------------------------------------------ the loop */

static void read_channel(br_bridge *b)
{
    ig_error err;
    ig_frame frame;
    bool got = true;
    if (ig_channel_fill(&b->ch, &err) != IG_OK) b->broken = true;
    while (!b->broken && !b->over && got) {
        if (ig_channel_next(&b->ch, &frame, &got, &err) != IG_OK) b->broken = true;
        if (!b->broken && got) on_frame(b, &frame);
    }
    if (b->ch.ended) b->broken = true;
}

static int due_ms(const br_bridge *b)
{
    if (br_calls_broken(b)) return 50;
    return !b->ready ? 100 : b->n_calls ? STATUS_MS : STATUS_IDLE_MS;
}

static void look_at_time(br_bridge *b)
{
    uint64_t now = ig_now_ns(), every = b->n_calls ? STATUS_MS : STATUS_IDLE_MS;
    if (!b->ready)
        wait_for_health(b, now);
    else if (now - b->told_ns >= every * NS_PER_MS)
        send_status(b, now);
    br_look_at_broken(b, now);
}

static void step(br_bridge *b)
{
    ig_error err;
    bool full = ig_channel_waiting(&b->ch) > OUT_BYTES_FULL;
    if (!full) br_wire_work(b->wire);
    if (ig_channel_flush(&b->ch, &err) != IG_OK) b->broken = true;
    if (b->broken || b->over) return;
    struct pollfd fds[2] = {{b->ch.fd, POLLIN, 0}, {b->child.output, POLLIN, 0}};
    unsigned n = b->child.output >= 0 ? 2 : 1;
    if (ig_channel_waiting(&b->ch)) fds[0].events |= POLLOUT;
    if (full)
        (void)poll(fds, n, due_ms(b));
    else
        br_wire_wait(b->wire, fds, n, due_ms(b));
    br_child_listen(&b->child);
    read_channel(b);
    look_after(b);
    if (!b->over) look_at_time(b);
}

/* ------------------------------------------------------------------------------------------------ start and end */

static bool take_init(br_bridge *b, int *fds, size_t *n_fds)
{
    ig_frame frame;
    ig_error err;
    json_error_t error;
    if (ig_channel_receive(&b->ch, &frame, &err) != IG_OK || frame.type != IG_FRAME_INIT) return false;
    b->init = json_loadb(frame.body, frame.n_body, JSON_REJECT_DUPLICATES, &error);
    b->config = json_object_get(b->init, "engine");
    *n_fds = json_array_size(json_object_get(b->init, "files"));
    if (!json_is_object(b->config) || *n_fds > BR_FILES_MAX || (*n_fds && !ig_channel_take_fds(&b->ch, fds, *n_fds)))
        return false;
    const char *name = json_string_value(json_object_get(b->config, "name")),
               *model = json_string_value(json_object_get(b->config, "model")),
               *health = json_string_value(json_object_get(b->config, "health"));
    b->engine = (br_engine){.name = name ? name : "engine",
                            .model = model  ? model
                                     : name ? name
                                            : "model",
                            .passes = json_object_get(b->config, "passes"),
                            .context = json_integer_value(json_object_get(b->config, "context")),
                            .embeds = json_is_true(json_object_get(b->config, "embeddings"))};
    b->health_path = health ? health : "/health";
    b->start_ms = (long)number(b, "start_ms", START_MS_STANDARD);
    b->silence_s = (long)number(b, "timeout_s", SILENCE_S_STANDARD);
    return true;
}

/* Asks the engine to end, and makes it. */
static void stop_child(br_bridge *b)
{
    uint64_t until = ig_now_ns() + STOP_MS * NS_PER_MS;
    bool own_group = getpgrp() == getpid();
    if (!b->child.pid) return;
    signal(SIGTERM, SIG_IGN);
    if (b->code != IG_BRIDGE_HUNG && !b->broken) {
        kill(own_group ? 0 : b->child.pid, SIGTERM);
        while (ig_now_ns() < until && waitpid(b->child.pid, NULL, WNOHANG) == 0) (void)poll(NULL, 0, 20);
    }
    kill(b->child.pid, SIGKILL);
    (void)waitpid(b->child.pid, NULL, 0);
    b->child.pid = 0;
}

/* As the engine has died, so that the front counts it as it counts a worker's death. */
static void die_alike(int signo)
{
    struct rlimit none = {0, 0};
    sigset_t set;
    setrlimit(RLIMIT_CORE, &none);
    signal(signo, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, signo);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(signo);
}

static void finish(br_bridge *b)
{
    ig_error err;
    br_drop_calls(b);
    for (int rounds = 0; !b->broken && ig_channel_waiting(&b->ch) && rounds < 100; rounds++) {
        if (ig_channel_flush(&b->ch, &err) != IG_OK) break;
        if (ig_channel_waiting(&b->ch)) (void)poll(&(struct pollfd){b->ch.fd, POLLOUT, 0}, 1, 50);
    }
    stop_child(b);
    br_child_clean(&b->child);
}

int ig_bridge_main(int fd)
{
    static br_bridge bridge; /* large, and one a process */
    static int fds[BR_FILES_MAX];
    br_bridge *b = &bridge;
    char why[400];
    size_t n_fds;
    ig_error err;
    signal(SIGPIPE, SIG_IGN);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    b->child.output = -1;
    if (ig_channel_init(&b->ch, fd, BR_FILES_MAX, OUT_BYTES_MAX, &err) != IG_OK || !take_init(b, fds, &n_fds))
        return IG_BRIDGE_FAILED;
    b->started_ns = b->told_ns = ig_now_ns();
    if (!br_child_start(&b->child, b->config, fds, n_fds, why) || !(b->wire = br_wire_new(&b->child, why)))
        give_up(b, IG_BRIDGE_FAILED, why);
    while (!b->over && !b->broken) step(b);
    finish(b);
    br_wire_free(b->wire);
    int code = b->code, signo = b->signal;
    ig_channel_fini(&b->ch);
    json_decref(b->init);
    if (signo) die_alike(signo);
    return code;
}
