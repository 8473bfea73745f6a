/* The start of the level amx, on a processor that may have none of it: what the CPU and the system say is put in front
 * of kernel.c by the linker (--wrap), and the instructions themselves are trapped (amx_trap.h). Each case is a process
 * of its own, since levels are looked at once a process. */
#include <errno.h>
#include <glob.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "ingle.h"
#include "kernel/kernel.h"
#include "tests/tap.h"

#if defined(IG_KERNELS_AMX)
#include "kernel/x86/x86.h"
#include "tests/kernel/amx_trap.h"

static int asking_fails; /* errno of the system's answer */
static bool wrong_q4_k;  /* one bit of one product is wrong */
static unsigned n_asked;

uint32_t __real_ig_cpu_flags(void);
uint32_t __wrap_ig_cpu_flags(void);
int __wrap_ig_cpu_ask_amx(void);
void __real_ig_mul_q4_k_amx(const ig_mul_args *a);
void __wrap_ig_mul_q4_k_amx(const ig_mul_args *a);

uint32_t __wrap_ig_cpu_flags(void) { return __real_ig_cpu_flags() | IG_CPU_AMX; }
int __wrap_ig_cpu_ask_amx(void)
{
    n_asked++;
    return asking_fails;
}
void __wrap_ig_mul_q4_k_amx(const ig_mul_args *a)
{
    __real_ig_mul_q4_k_amx(a);
    uint32_t bits;
    if (!wrong_q4_k || a->n_cols < 2) return;
    memcpy(&bits, a->y + a->y_stride + 3, 4);
    bits ^= 1;
    memcpy(a->y + a->y_stride + 3, &bits, 4);
}

enum { N = 50 };

/* Logits [n, n_vocab] of a prompt in one step, with two threads, in memory for the caller; NULL on failure. */
static float *logits(const char *path, const char *kernels, size_t *n, const char **level)
{
    ingle_model *m;
    ingle_engine *e;
    ingle_session *s;
    ingle_error err;
    static ingle_model_info info;
    ingle_model_options mo = {.size = sizeof mo, .kernels = kernels};
    if (ingle_model_open(path, &mo, &m, &err) != INGLE_OK) return NULL;
    ingle_model_describe(m, &info);
    *level = info.kernels;
    ingle_engine_options o = {
        .size = sizeof o, .n_threads = 2, .n_ctx = 128, .n_batch = N, .n_sessions = 1, .n_logits = N};
    if (ingle_engine_new(m, &o, &e, &err) != INGLE_OK || ingle_session_new(e, &s, &err) != INGLE_OK) return NULL;
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = (i * 37 + 5) % (int32_t)info.n_vocab;
    ingle_step_item item = {.session = s, .tokens = tokens, .n_tokens = N, .want = INGLE_WANT_ALL};
    if (ingle_engine_step(e, &item, 1, &err) != INGLE_OK) return NULL;
    *n = (size_t)N * info.n_vocab;
    float *out = malloc(*n * sizeof *out);
    if (out) memcpy(out, item.logits, *n * sizeof *out);
    ingle_session_free(s);
    ingle_engine_free(e);
    ingle_model_close(m);
    return out;
}

static bool it_is_used(void)
{
    const char *note = "", *level = ingle_kernels(&note);
    return level && !strcmp(level, "amx") && !note && ig_kernels_get("amx", NULL) && n_asked == 1;
}

/* All models of one pattern of names; encoders and the like, which take no such prompt, are passed over. */
static bool models_are_equal(const char *pattern, unsigned long least)
{
    unsigned long n = 0, before = n_trapped;
    bool ok = true;
    glob_t found = {0};
    if (glob(pattern, 0, NULL, &found)) found.gl_pathc = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *level = "", *below = "";
        size_t n_have = 0, n_want = 1;
        float *want = logits(found.gl_pathv[i], "avx512", &n_want, &below);
        float *have = want ? logits(found.gl_pathv[i], NULL, &n_have, &level) : NULL;
        bool same = !want || (have && n_have == n_want && !memcmp(have, want, n_want * sizeof *have) &&
                              !strcmp(level, "amx") && !strcmp(below, "avx512"));
        if (!same) printf("# %s: levels %s and %s differ\n", found.gl_pathv[i], level, below);
        ok = ok && same;
        n += want != NULL;
        free(have);
        free(want);
    }
    globfree(&found);
    printf("# %s: %lu models, %lu instructions\n", pattern, n, n_trapped - before);
    return ok && n >= least && n_trapped > before + 1000;
}
static bool own_models(void)
{
    return models_are_equal("tests/data/archs/*.gguf", 10) && models_are_equal("tests/data/stories260K.q*.gguf", 2);
}

static bool reference_has(const char *pattern, unsigned long least)
{
    const char *golden = getenv("INGLE_GOLDEN");
    char path[1024];
    (void)snprintf(path, sizeof path, "%.900s/%s", golden ? golden : "../shared/golden", pattern);
    return models_are_equal(path, least);
}
static bool models_of_types(void) { return reference_has("quants/models/*.gguf", 10); }
static bool models_of_archs(void) { return reference_has("archs/*.gguf", 40); }

static bool is_refused(const char *words)
{
    const char *note = NULL, *level = ingle_kernels(&note);
    ig_error err = {0};
    bool ok = level && !strcmp(level, "avx512") && note && strstr(note, words);
    ok = ok && !ig_kernels_get("amx", &err) && err.status == IG_UNSUPPORTED && strstr(err.text, words);
    printf("# %s\n", note ? note : "no note");
    return ok && n_asked == 1 && ig_kernels_get("avx512", NULL);
}

static bool system_says_no(void)
{
    asking_fails = ENOSPC;
    return is_refused("the system does not let this process use the CPU's tiles");
}
static bool product_is_wrong(void)
{
    wrong_q4_k = true;
    return is_refused("its product of Q4_K differs from the reference");
}
static bool others_do_not_ask(void)
{
    return ig_kernels_get("avx512", NULL) && ig_kernels_get("ref", NULL) && !n_asked;
}

static bool in_a_process(bool (*run)(void))
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        unsetenv("INGLE_KERNELS");
        trap_amx();
        bool ok = run();
        fflush(stdout);
        _exit(!ok);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
    uint32_t cpu = __real_ig_cpu_flags();
    if (!(cpu & IG_CPU_AVX512VNNI))
        tap_skip("amx", "this CPU has no AVX-512 VNNI");
    else if (cpu & IG_CPU_AMX)
        tap_skip("amx", "this CPU has AMX: nothing is trapped");
    else {
        tap_ok(in_a_process(it_is_used), "the level is taken and the system asked once");
        tap_ok(in_a_process(own_models), "models give the bits of avx512");
        const char *golden = getenv("INGLE_GOLDEN");
        if (access(golden ? golden : "../shared/golden", R_OK))
            tap_skip("models of every type and architecture", "no reference data");
        else {
            tap_ok(in_a_process(models_of_types), "models of every type do");
            tap_ok(in_a_process(models_of_archs), "models of every architecture do");
        }
        tap_ok(in_a_process(system_says_no), "not where the system refuses, and a note says so");
        tap_ok(in_a_process(product_is_wrong), "not where a product is wrong in one bit, and a note says so");
        tap_ok(in_a_process(others_do_not_ask), "other levels ask for nothing");
    }
    return tap_done();
}
#else
int main(void)
{
    tap_skip("amx", "not compiled");
    return tap_done();
}
#endif
