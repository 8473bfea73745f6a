/* CPU features as bundles that kernels need, from CPUID and the operating system's XCR0, or from
 * the auxiliary vector. */
#ifndef IG_BASE_CPU_H
#define IG_BASE_CPU_H

#include <stdint.h>

enum {
    IG_CPU_AVX2 = 1 << 0,       /* AVX2, FMA, F16C, BMI2: Intel Haswell (2013-), AMD Zen (2017-) */
    IG_CPU_AVX512 = 1 << 1,     /* F, BW, DQ, VL: Intel Skylake-X (2017-), AMD Zen 4 (2022-); implies AVX2 */
    IG_CPU_AVX512VNNI = 1 << 2, /* + VNNI: Intel Ice Lake (2019-), AMD Zen 4 */
    IG_CPU_AVXVNNI = 1 << 3,    /* VNNI in 256 bits: Intel Alder Lake (2021-), AMD Zen 5 */
    IG_CPU_NEON = 1 << 4,       /* arm64 baseline */
    IG_CPU_DOTPROD = 1 << 5,    /* FEAT_DotProd: Cortex-A55, A76 (2018-), Apple A11; implies NEON */
    IG_CPU_I8MM = 1 << 6,       /* FEAT_I8MM: Cortex-A510, X2 (2021-), Neoverse V1, N2 */
    IG_CPU_AMX = 1 << 7, /* AMX tiles of int8: Intel Sapphire Rapids (2023-); a process must ask the system, too */
    /* No instructions, but how it fetches from memory. */
    IG_CPU_INTEL = 1 << 8,      /* by its name */
    IG_CPU_AMD_L1_32K = 1 << 9, /* AMD with 32 KiB of first-level data cache or less: Zen to Zen 4 (2017-) */
};
uint32_t ig_cpu_flags(void);
/* Asks the system to let all threads of this process use AMX tiles (Linux: once a process, inherited by fork). Returns
 * 0 or the errno. Signal frames grow by more than 8 KiB. */
int ig_cpu_ask_amx(void);

#endif
