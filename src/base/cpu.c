#include "base/cpu.h"

#include <errno.h>
#include <stdbool.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Leaf 80000005h, ecx 31..24: KiB (AMD, APM volume 3, appendix E.4.4); Intel has 0 there. */
static bool l1_32k(void)
{
    uint32_t a, b, c, d;
    return __get_cpuid(0x80000005, &a, &b, &c, &d) && c >> 24 && c >> 24 <= 32;
}

uint32_t ig_cpu_flags(void)
{
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, F16C = 1 << 29 };                      /* leaf 1, ecx */
    enum { AVX2 = 1 << 5, BMI2 = 1 << 8, F = 1 << 16, DQ = 1 << 17, BW = 1 << 30 }; /* leaf 7.0, ebx */
    enum { VNNI = 1 << 11 };                                                        /* leaf 7.0, ecx */
    enum { AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25, TILE_STATE = 3 << 17 };          /* leaf 7.0, edx; XCR0 */
    enum { AVXVNNI = 1 << 4 };                                                      /* leaf 7.1, eax */
    const uint32_t VL = 1u << 31;
    uint32_t a, b, c, d, flags = 0, c1, most;
    if (!__get_cpuid(0, &most, &b, &c, &d)) return 0;
    if (b == signature_INTEL_ebx && c == signature_INTEL_ecx && d == signature_INTEL_edx) flags |= IG_CPU_INTEL;
    if (l1_32k()) flags |= IG_CPU_AMD_L1_32K;
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !(c1 & OSXSAVE)) return 0;
    uint64_t os = xcr0();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (os & 6) != 6) return 0;
    if (!(c1 & FMA) || !(c1 & F16C) || !(b & AVX2) || !(b & BMI2)) return 0;
    flags |= IG_CPU_AVX2;
    if ((os & 0xE6) == 0xE6 && (b & F) && (b & DQ) && (b & BW) && (b & VL)) {
        flags |= IG_CPU_AVX512;
        if (c & VNNI) flags |= IG_CPU_AVX512VNNI;
    }
    if ((os & TILE_STATE) == TILE_STATE && (d & AMX_TILE) && (d & AMX_INT8)) flags |= IG_CPU_AMX;
    uint32_t n_sub = a;
    if (n_sub >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVXVNNI)) flags |= IG_CPU_AVXVNNI;
    return flags;
}

int ig_cpu_ask_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) ? errno : 0;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

uint32_t ig_cpu_flags(void)
{
    const unsigned long asimd = 1 << 1, asimddp = 1 << 20; /* AT_HWCAP */
    const unsigned long i8mm = 1 << 13;                    /* AT_HWCAP2 */
    unsigned long a = getauxval(AT_HWCAP), b = getauxval(AT_HWCAP2);
    uint32_t flags = 0;
    if (a & asimd) flags |= IG_CPU_NEON;
    if (flags && (a & asimddp)) flags |= IG_CPU_DOTPROD;
    if (flags && (b & i8mm)) flags |= IG_CPU_I8MM;
    return flags;
}
#else
uint32_t ig_cpu_flags(void) { return 0; }
#endif

#if !defined(__x86_64__)
int ig_cpu_ask_amx(void) { return ENOSYS; }
#endif
