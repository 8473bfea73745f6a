/* ingle doctor: looks at what goes wrong on machines, and says what to type. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "args.h"
#include "base/cpu.h"
#include "base/os.h"
#include "daemon.h"
#include "ingle.h"
#include "out.h"
#include "policy/policy.h"
#include "shop.h"
#include "verbs.h"

typedef enum verdict { GOOD, WORTH, BAD, VERDICTS } verdict;
typedef struct finding {
    verdict verdict;
    char text[512];
} finding;

static const char *const words[VERDICTS] = {"ok", "note", "problem"};

__attribute__((format(printf, 3, 4))) static void find(finding *f, verdict v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    f->verdict = v;
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
}

/* ------------------------------------------------------------------------------------------------ checks */

static void check_service(const cli_call *call, finding *f)
{
    json_t *status;
    ig_error err;
    if (daemon_call(cli_text(call, "host"), "GET", "/ingle/status", NULL, &status, &err) != IG_OK) {
        bool missing = err.status == IG_NOT_FOUND;
        find(f, missing && !cli_set(call, "host") ? WORTH : BAD, "%s", err.text);
        return;
    }
    const char *version = json_string_value(json_object_get(status, "version"));
    if (!version)
        find(f, BAD, "something answers where the service should be, and it is not ingle");
    else if (strcmp(version, ingle_version()))
        find(f, WORTH, "the service is version %s, this program %s; restart the service", version, ingle_version());
    else
        find(f, GOOD, "the service answers, %zu models loaded", json_array_size(json_object_get(status, "models")));
    json_decref(status);
}

/* Where the service has its store, as it tells those who may manage it; else where this user's would be. */
static ig_status store_place(const cli_call *call, char *out, size_t n, ig_error *err)
{
    json_t *status;
    ig_error unused;
    const char *place = NULL;
    if (daemon_call(cli_text(call, "host"), "GET", "/ingle/status", NULL, &status, &unused) == IG_OK) {
        place = json_string_value(json_object_get(status, "store"));
        if (place) snprintf(out, n, "%s", place);
        json_decref(status);
    }
    return place ? IG_OK : ig_store_place(out, n, err);
}

/* What the service does; without one what this machine's configuration says. */
static void check_privacy(const cli_call *call, finding *f)
{
    json_t *status = NULL;
    ig_config *config = NULL;
    ig_error err;
    bool records;
    if (daemon_call(cli_text(call, "host"), "GET", "/ingle/status", NULL, &status, &err) == IG_OK)
        records = json_is_true(json_object_get(status, "audit_content"));
    else
        records = ig_config_load(ig_config_folder(), &config, &err) == IG_OK && config->audit_content;
    if (records)
        find(f, WORTH, "prompts and answers are recorded in the audit log (content in [audit])");
    else
        find(f, GOOD, "prompts and answers are recorded nowhere");
    json_decref(status);
    ig_config_free(config);
}

static void check_store(const cli_call *call, finding *f)
{
    ig_store *store;
    ig_store_list list = {0};
    ig_store_options options = {.read_only = true};
    ig_error err;
    char place[3000];
    ig_status st = store_place(call, place, sizeof place, &err);
    if (st == IG_OK) st = ig_store_open(place, &options, &store, &err);
    if (st == IG_NOT_FOUND) {
        find(f, WORTH, "there is no store yet. Type: ingle pull SOURCE NAME");
        return;
    }
    if (st == IG_OK) st = ig_store_models(store, &list, &err);
    if (st != IG_OK)
        find(f, BAD, "%s", err.text);
    else if (list.n_damaged)
        find(f, BAD, "%zu models cannot be read: %s. Type: ingle verify", list.n_damaged, list.damaged);
    else
        find(f, GOOD, "%zu model%s in %s", list.n, list.n == 1 ? "" : "s", ig_store_root(store));
    ig_store_list_free(&list);
    if (st != IG_NOT_FOUND) ig_store_close(store);
}

static void check_disk(const cli_call *call, finding *f)
{
    char place[3000], bytes[16];
    struct statvfs v;
    ig_error err;
    if (store_place(call, place, sizeof place, &err) != IG_OK) {
        find(f, BAD, "%s", err.text);
        return;
    }
    for (char *slash; statvfs(place, &v) && errno == ENOENT && (slash = strrchr(place, '/')) && slash != place;)
        *slash = 0;
    uint64_t free_bytes = statvfs(place, &v) ? 0 : (uint64_t)v.f_bavail * v.f_frsize;
    cli_bytes(free_bytes, bytes);
    if (free_bytes < (uint64_t)2 << 30)
        find(f, WORTH, "only %s are free for models at %s. Type: ingle gc", bytes, place);
    else
        find(f, GOOD, "%s free for models at %s", bytes, place);
}

static void check_memory(const cli_call *call, finding *f)
{
    char bytes[16];
    uint64_t n = ig_memory_available();
    (void)call;
    cli_bytes(n, bytes);
    if (n < (uint64_t)1 << 30)
        find(f, WORTH, "only %s of memory are available; take small models, or close programs", bytes);
    else
        find(f, GOOD, "%s of memory available", bytes);
}

/* What the fastest kernels use, best first. */
static const char *processor_features(void)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } rows[] = {
        {IG_CPU_AMX, "AMX and AVX-512 VNNI"},
        {IG_CPU_AVX512VNNI, "AVX-512 VNNI"},
        {IG_CPU_AVX512, "AVX-512"},
        {IG_CPU_AVXVNNI, "AVX2 with VNNI"},
        {IG_CPU_AVX2, "AVX2"},
        {IG_CPU_I8MM, "NEON with i8mm"},
        {IG_CPU_DOTPROD, "NEON with dotprod"},
        {IG_CPU_NEON, "NEON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ig_cpu_flags() & rows[i].flag) return rows[i].name;
    return NULL;
}

static void check_processor(const cli_call *call, finding *f)
{
    const char *forced = getenv("INGLE_KERNELS"), *note, *level = ingle_kernels(&note);
    (void)call;
    if (forced && *forced)
        find(f, WORTH, "INGLE_KERNELS=%.40s is set: the best kernels may not be used. Type: unset INGLE_KERNELS",
             forced);
    else if (!processor_features())
        find(f, WORTH, "the processor has neither AVX2 nor NEON: answers are slow");
    else if (note)
        find(f, WORTH, "%s", note);
    else
        find(f, GOOD, "%u usable core%s, %s, kernels %s", ig_cores(), ig_cores() == 1 ? "" : "s", processor_features(),
             level);
}

static void check_sandbox(const cli_call *call, finding *f)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
    bool seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 || errno != EINVAL;
    (void)call;
    if (abi <= 0 && !seccomp)
        find(f, WORTH, "the kernel has neither Landlock nor seccomp: workers run without a sandbox");
    else if (abi <= 0)
        find(f, WORTH,
             "the kernel has no Landlock (add landlock to lsm= on its command line): workers have seccomp alone");
    else
        find(f, GOOD, "workers are sandboxed: Landlock %ld and seccomp", abi);
}

static void check_descriptors(const cli_call *call, finding *f)
{
    struct rlimit l = {0};
    (void)call;
    getrlimit(RLIMIT_NOFILE, &l);
    if (l.rlim_max < 4096)
        find(f, WORTH, "only %llu open files are allowed: few connections at once. Type: ulimit -Hn, and raise it",
             (unsigned long long)l.rlim_max);
    else
        find(f, GOOD, "%llu open files allowed", (unsigned long long)l.rlim_max);
}

static const struct {
    const char *name;
    void (*fn)(const cli_call *call, finding *f);
} checks[] = {{"service", check_service}, {"privacy", check_privacy},  {"store", check_store},
              {"disk", check_disk},       {"memory", check_memory},    {"processor", check_processor},
              {"sandbox", check_sandbox}, {"files", check_descriptors}};

int cli_doctor(const cli_call *call)
{
    json_t *list = cli_set(call, "json") ? json_array() : NULL;
    bool bad = false;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        finding f;
        checks[i].fn(call, &f);
        bad = bad || f.verdict == BAD;
        if (list)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "check", checks[i].name, "verdict",
                                                  words[f.verdict], "text", f.text));
        else
            cli_outf("%-8s %-10s %s\n", words[f.verdict], checks[i].name, f.text);
    }
    if (list) {
        json_t *all = json_pack("{s:o, s:b}", "checks", list, "healthy", !bad);
        cli_out_json(all);
        json_decref(all);
    }
    return bad ? CLI_NO : CLI_DONE;
}
