/* What a worker takes from whoever speaks to it, and what it may do: hostile frames and requests, bad starts, every way
 * to end, its sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
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

#include "tests/api/worker_kit.h"

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
    test_hostile(&w, &a);
    answer_fini(&a);
    tap_ok(stop(&w) == 0, "the worker ends when the socket closes");
    test_bad_start();
    test_ways_to_end();
    test_status();
    test_sandbox();
    return tap_done();
}
