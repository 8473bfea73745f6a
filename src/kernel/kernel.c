/* The tables: one per level, filled once from the CPU's flags and constant afterwards. */
#include "kernel/kernel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "kernel/kernel_list.h"

typedef struct level {
    const char *name;
    uint32_t needs; /* CPU flags */
    const char *lacks;
    void (*fill)(ig_kernels *k, uint32_t cpu);
    enum { ANY_TIME, BY_NAME, ONCE_PROVED } when; /* taken as the best one; only by name; only after it has passed */
} level;

#define AVX512_FLAGS (IG_CPU_AVX2 | IG_CPU_AVX512)
static const level levels[] = {
    /* weakest first; a level is its own entries over those before it */
    {"ref", 0, "", ig_kernels_fill_ref, ANY_TIME},
#if defined(IG_KERNELS_X86)
    {"avx2", IG_CPU_AVX2, "AVX2, FMA and F16C", ig_kernels_fill_avx2, ANY_TIME},
    {"avxvnni", IG_CPU_AVX2 | IG_CPU_AVXVNNI, "AVX-VNNI", ig_kernels_fill_avxvnni, ANY_TIME},
    {"avx512", AVX512_FLAGS, "AVX-512 (F, BW, DQ, VL)", ig_kernels_fill_avx512, ANY_TIME},
#endif
#if defined(IG_KERNELS_AMX)
    {"amx", AVX512_FLAGS | IG_CPU_AVX512VNNI | IG_CPU_AMX, "AMX (tiles, int8) beside AVX-512 VNNI", ig_kernels_fill_amx,
     ONCE_PROVED},
#endif
#if defined(IG_KERNELS_AMX_EMULATED)
    {"amx-emulated", AVX512_FLAGS | IG_CPU_AVX512VNNI, "AVX-512 VNNI", ig_kernels_fill_amx_emulated, BY_NAME},
#endif
#if defined(IG_KERNELS_ARM)
    {"neon", IG_CPU_NEON, "Advanced SIMD", ig_kernels_fill_neon, ANY_TIME},
    {"dotprod", IG_CPU_NEON | IG_CPU_DOTPROD, "the dot product instructions (FEAT_DotProd)", ig_kernels_fill_dotprod,
     ANY_TIME},
    {"i8mm", IG_CPU_NEON | IG_CPU_DOTPROD | IG_CPU_I8MM, "the matrix instructions for int8 (FEAT_I8MM)",
     ig_kernels_fill_i8mm, ANY_TIME},
#endif
};
enum { N_LEVELS = sizeof levels / sizeof *levels };

static ig_kernels tables[N_LEVELS];
static const char *names[N_LEVELS + 1];
static uint32_t cpu;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* Of the one level that must prove itself. */
static pthread_once_t proved_once = PTHREAD_ONCE_INIT;
static int proving; /* its index */
static ig_error fault;
static atomic_bool failed; /* fault is set */

static bool has(int i) { return (cpu & levels[i].needs) == levels[i].needs; }

static void fill_tables(void)
{
    cpu = ig_cpu_flags();
    for (int i = 0; i < N_LEVELS; i++) {
        for (int j = 0; j <= i; j++)
            if (has(j) && (j == i || levels[j].when == ANY_TIME)) levels[j].fill(&tables[i], cpu);
        tables[i].level = names[i] = levels[i].name;
        if (levels[i].when == ONCE_PROVED) proving = i;
    }
}

/* Asks the system for the tiles, once, and compares every product with the reference. */
static void prove(void)
{
    ig_error why = {0};
    int e = ig_cpu_ask_amx();
    if (e)
        (void)ig_fail_errno(&why, IG_UNSUPPORTED, e, "the system does not let this process use the CPU's tiles");
    else if (ig_kernels_compare(&tables[proving], &tables[0], &why) == IG_OK)
        return;
    (void)ig_fail(&fault, IG_UNSUPPORTED, 0, "kernel level \"%s\" is not used: %.300s", names[proving], why.text);
    atomic_store(&failed, true);
}

static bool usable(int i)
{
    if (!has(i)) return false;
    if (levels[i].when == ONCE_PROVED) pthread_once(&proved_once, prove);
    return levels[i].when == ANY_TIME || (levels[i].when == ONCE_PROVED && !atomic_load(&failed));
}

const char *const *ig_kernel_levels(void)
{
    pthread_once(&once, fill_tables);
    return names;
}

const char *ig_kernels_note(const ig_kernels *k)
{
    return k < &tables[proving] && atomic_load(&failed) ? fault.text : NULL;
}

static const ig_kernels *at(int i, ig_error *err)
{
    if (levels[i].when == BY_NAME ? has(i) : usable(i)) return &tables[i];
    if (has(i))
        ig_fail(err, IG_UNSUPPORTED, 0, "%s", fault.text);
    else
        ig_fail(err, IG_UNSUPPORTED, 0, "kernel level \"%s\" needs %s, which this CPU lacks: unset INGLE_KERNELS",
                levels[i].name, levels[i].lacks);
    return NULL;
}

const ig_kernels *ig_kernels_get(const char *name, ig_error *err)
{
    pthread_once(&once, fill_tables);
    if (!name || !*name) name = getenv("INGLE_KERNELS");
    if (!name || !*name) {
        int best = N_LEVELS - 1;
        while (!usable(best)) best--;
        return &tables[best];
    }
    for (int i = 0; i < N_LEVELS; i++)
        if (!strcmp(name, levels[i].name)) return at(i, err);
    static const char *const known[] = {"avx2",         "avxvnni", "avx512",  "amx",
                                        "amx-emulated", "neon",    "dotprod", "i8mm"}; /* on any processor */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i])) continue;
        ig_fail(err, IG_UNSUPPORTED, 0, "kernel level \"%s\" is not for this CPU: unset INGLE_KERNELS", name);
        return NULL;
    }
    ig_fail(err, IG_BAD_INPUT, 0,
            "kernel level \"%.32s\" is not known, expected ref, avx2, avxvnni, avx512 or amx (arm64: neon, dotprod or "
            "i8mm)",
            name);
    return NULL;
}
