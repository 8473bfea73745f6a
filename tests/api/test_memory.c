/* Memory beyond mapped weights, KV cache and logits, for a model of a 1-billion-parameter shape with a 128k vocabulary:
 * at most 64 MiB with a prefill chunk of the default size. Also: a model opened twice shares its weights. */
#include <sys/wait.h>
#include <unistd.h>

#include "ingle.h"
#include "tests/tap.h"

/* Anonymous memory of this process in bytes, and file pages mapped. */
static void resident(uint64_t *anonymous, uint64_t *file)
{
    char line[256];
    unsigned long long kib;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "RssAnon: %llu", &kib) == 1) *anonymous = kib * 1024;
        if (sscanf(line, "RssFile: %llu", &kib) == 1) *file = kib * 1024;
    }
    if (f) fclose(f);
}

static bool write_model(const char *build, const char *path)
{
    char tool[1024];
    (void)snprintf(tool, sizeof tool, "%s/bench/make_model", build);
    pid_t pid = fork();
    if (pid == 0) {
        execl(tool, tool, path, "type=Q4_K", (char *)NULL);
        _exit(127);
    }
    int status = 1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void test_memory(const char *path)
{
    enum { N = 256 };
    static int32_t tokens[N];
    ingle_error err = {0};
    ingle_model *m = NULL, *again = NULL;
    ingle_engine *e = NULL;
    ingle_session *s = NULL;
    ingle_memory need;
    uint64_t before = 0, after = 0, file = 0;
    for (int i = 0; i < N; i++) tokens[i] = 300 + i;
    resident(&before, &file);
    ingle_engine_options o = {.size = sizeof o, .n_threads = 2};
    bool ok = !ingle_model_open(path, NULL, &m, &err) && !ingle_engine_new(m, &o, &e, &err) &&
              !ingle_session_new(e, &s, &err) && !ingle_session_feed(s, tokens, N, &err) &&
              !ingle_model_memory(m, N, INGLE_KV_F16, &need, &err);
    resident(&after, &file);
    if (!ok)
        tap_ok(false, "a 1B shape runs: %s", err.text);
    else {
        uint64_t beyond = after - before - need.kv - 2 * need.logits; /* the step's row and the session's own */
        tap_ok(beyond <= 64u << 20, "beyond weights, KV and logits: %.1f MiB, at most 64 (weights %.0f, KV %.1f MiB)",
               (double)beyond / (1 << 20), (double)need.weights / (1 << 20), (double)need.kv / (1 << 20));
        resident(&before, &file);
        ok = !ingle_model_open(path, NULL, &again, &err);
        resident(&after, &file);
        tap_ok(ok && after - before < 32u << 20, "opened twice: %.1f MiB more, the weights are shared %s",
               (double)(after - before) / (1 << 20), err.text);
    }
    ingle_session_free(s);
    ingle_engine_free(e);
    ingle_model_close(again);
    ingle_model_close(m);
}

int main(void)
{
    const char *build = getenv("INGLE_BUILD");
    char path[1024];
    if (!build) build = "build";
    (void)snprintf(path, sizeof path, "%s/memory-1b.gguf", build);
    if (tap_sanitized)
        tap_skip("memory of a 1B shape", "sanitizers change what memory a process takes");
    else if (write_model(build, path))
        test_memory(path);
    else
        tap_ok(false, "%s/bench/make_model writes a model of 700 MB", build);
    unlink(path);
    return tap_done();
}
