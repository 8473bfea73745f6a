/* The operations of AMX that kernels use. A tile's number is a literal, since it is part of the instruction. With
 * IG_AMX_EMULATED the same words do the same in plain C.
 *
 *   AMX_CONFIG(t, shapes)             shapes of all tiles, which become zero
 *   AMX_RELEASE(t)                    no tile has a shape or content any more
 *   AMX_ZERO(t, n)
 *   AMX_LOAD(t, n, from, stride)      rows of the tile, `stride` bytes apart
 *   AMX_STORE(t, n, to, stride)
 *   AMX_DOT_SS(t, c, a, b)            c[m][n] += a[m][4k..4k+3] * b[k][4n..4n+3], signed bytes; c and products 32 bits
 *   AMX_DOT_SU(t, c, a, b)            the same, b's bytes unsigned
 *
 * Assembly instead of intrinsics: those of one compiler do not say which memory they read (gcc 12: LDTILECFG), and
 * those of another choose tiles themselves. "memory" is what keeps the order of tiles and buffers. */
#ifndef IG_KERNEL_X86_AMX_H
#define IG_KERNEL_X86_AMX_H

#include <stddef.h>

#include "kernel/x86/amx_shapes.h"

#if defined(IG_AMX_EMULATED)
#include "kernel/x86/amx_emulated.h"

typedef amx_state amx;
#define AMX_CONFIG(t, shapes)        amx_emulate_config(t, shapes)
#define AMX_RELEASE(t)               amx_emulate_release(t)
#define AMX_ZERO(t, n)               amx_emulate_zero(t, n)
#define AMX_LOAD(t, n, from, stride) amx_emulate_load(t, n, from, stride)
#define AMX_STORE(t, n, to, stride)  amx_emulate_store(t, n, to, stride)
#define AMX_DOT_SS(t, c, a, b)       amx_emulate_dot(t, c, a, b, true, true)
#define AMX_DOT_SU(t, c, a, b)       amx_emulate_dot(t, c, a, b, true, false)
#else
typedef struct amx { /* the thread's tiles are the processor's */
    char none;
} amx;
/* clang-format off */
#define AMX_DO(t, ...) do { (void)(t); __asm__ volatile(__VA_ARGS__); } while (0)
#define AMX_CONFIG(t, shapes) AMX_DO(t, "ldtilecfg %0" : : "m"(*(const amx_shapes *)(shapes)) : "memory")
#define AMX_RELEASE(t) AMX_DO(t, "tilerelease" : : : "memory")
#define AMX_ZERO(t, n) AMX_ZERO_(t, n)
#define AMX_ZERO_(t, n) AMX_DO(t, "tilezero %%tmm" #n : :)
#define AMX_LOAD(t, n, from, stride) AMX_LOAD_(t, n, from, stride)
#define AMX_LOAD_(t, n, from, stride)                                                                                  \
    AMX_DO(t, "tileloadd (%0,%1,1), %%tmm" #n : : "r"((const void *)(from)), "r"((size_t)(stride)) : "memory")
#define AMX_STORE(t, n, to, stride) AMX_STORE_(t, n, to, stride)
#define AMX_STORE_(t, n, to, stride)                                                                                   \
    AMX_DO(t, "tilestored %%tmm" #n ", (%0,%1,1)" : : "r"((void *)(to)), "r"((size_t)(stride)) : "memory")
#define AMX_DOT_SS(t, c, a, b) AMX_DOT_(t, "tdpbssd", c, a, b)
#define AMX_DOT_SU(t, c, a, b) AMX_DOT_(t, "tdpbsud", c, a, b)
#define AMX_DOT_(t, name, c, a, b) AMX_DO(t, name " %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
/* clang-format on */
#endif

#endif
