/* The tables: one per level, filled once from the CPU's flags and constant afterwards. */
#include "kernel/kernel.h"

#include <pthread.h>
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
} level;

static const level levels[] = {
    /* weakest first; a level is its own entries over those before it */
    {"ref", 0, "", ig_kernels_fill_ref},
#if defined(IG_KERNELS_X86)
    {"avx2", IG_CPU_AVX2, "AVX2, FMA and F16C", ig_kernels_fill_avx2},
    {"avxvnni", IG_CPU_AVX2 | IG_CPU_AVXVNNI, "AVX-VNNI", ig_kernels_fill_avxvnni},
    {"avx512", IG_CPU_AVX2 | IG_CPU_AVX512, "AVX-512 (F, BW, DQ, VL)", ig_kernels_fill_avx512},
#endif
#if defined(IG_KERNELS_ARM)
    {"neon", IG_CPU_NEON, "Advanced SIMD", ig_kernels_fill_neon},
    {"dotprod", IG_CPU_NEON | IG_CPU_DOTPROD, "the dot product instructions (FEAT_DotProd)", ig_kernels_fill_dotprod},
    {"i8mm", IG_CPU_NEON | IG_CPU_DOTPROD | IG_CPU_I8MM, "the matrix instructions for int8 (FEAT_I8MM)",
     ig_kernels_fill_i8mm},
#endif
};
enum { N_LEVELS = sizeof levels / sizeof *levels };

static ig_kernels tables[N_LEVELS];
static uint32_t cpu;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
    cpu = ig_cpu_flags();
    for (int i = 0; i < N_LEVELS; i++) {
        for (int j = 0; j <= i; j++)
            if ((cpu & levels[j].needs) == levels[j].needs) levels[j].fill(&tables[i], cpu);
        tables[i].level = levels[i].name;
    }
}

const char *const *ig_kernel_levels(void)
{
#if defined(IG_KERNELS_ARM)
    static const char *const names[] = {"ref", "neon", "dotprod", "i8mm", NULL};
#else
    static const char *const names[] = {"ref", "avx2", "avxvnni", "avx512", NULL};
#endif
    return names;
}

static const ig_kernels *at(int i, ig_error *err)
{
    if ((cpu & levels[i].needs) == levels[i].needs) return &tables[i];
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
        while ((cpu & levels[best].needs) != levels[best].needs) best--;
        return &tables[best];
    }
    for (int i = 0; i < N_LEVELS; i++)
        if (!strcmp(name, levels[i].name)) return at(i, err);
    static const char *const known[] = {"avx2", "avxvnni", "avx512", "neon", "dotprod", "i8mm"}; /* on any processor */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i])) continue;
        ig_fail(err, IG_UNSUPPORTED, 0, "kernel level \"%s\" is not for this CPU: unset INGLE_KERNELS", name);
        return NULL;
    }
    ig_fail(err, IG_BAD_INPUT, 0,
            "kernel level \"%.32s\" is not known, expected ref, avx2, avxvnni or avx512 (arm64: neon, dotprod or i8mm)",
            name);
    return NULL;
}
