/* Kernels: dtype x operation -> function, one table per level (ref; avx2, avxvnni, avx512, amx; neon, dotprod,
 * i8mm).
 * Reference code defines the result; every other level is tested against it by tests/kernel.
 *
 * The contract that determinism (design, promise 3) rests on: within one level the value of every output element
 * depends only on its own row, its own column and their length n, never on how many rows or columns the call has, on
 * alignment, or on the thread. Integer dot products are exact; float accumulation has one fixed order per (row,
 * column).
 *
 * Kernels return void and check nothing: the plan has proved shapes once. Pointers to void may be unaligned, floats lie
 * as floats must; outputs must not overlap inputs unless said. Any n may be 0. */
#ifndef IG_KERNEL_KERNEL_H
#define IG_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/tensor.h"

/* Forms that an activation row takes before it meets weights. */
typedef enum ig_pack {
    IG_PACK_F32, /* the floats themselves: for F32, F16, BF16 weights */
    IG_PACK_Q8,  /* blocks of 32: int8 with a float scale: for types of smaller blocks */
    IG_PACK_Q8K, /* blocks of 256: int8, float scale, sums of 16: for super-blocks */
    IG_PACK_COUNT
} ig_pack;

/* KV cache element types: F32, F16, Q8_0 (rows padded with zeros to a multiple of 32). */
typedef enum ig_kv { IG_KV_F32, IG_KV_F16, IG_KV_Q8_0, IG_KV_COUNT } ig_kv;

/* Activations of a feed-forward network: y = act(gate) * up. */
typedef enum ig_act {
    IG_ACT_SILU,       /* g / (1 + exp(-g)) */
    IG_ACT_GELU,       /* its tanh form: g / (1 + exp(-2 sqrt(2 / pi) (g + 0.044715 g^3))) */
    IG_ACT_GELU_F16,   /* the tanh form with input and output rounded to binary16, as llama.cpp's table has it */
    IG_ACT_GELU_ERF,   /* g (1 + erf(g / sqrt 2)) / 2 */
    IG_ACT_RELU,       /* max(g, 0) */
    IG_ACT_RELU2,      /* max(g, 0)^2 */
    IG_ACT_SWIGLU_OAI, /* gpt-oss: g' = min(g, 7), u' = u within -7..7: g' / (1 + exp(-1.702 g')) * (u' + 1) */
    IG_ACT_SIGMOID,    /* 1 / (1 + exp(-g)) */
    IG_ACT_SOFTPLUS,   /* ln(1 + exp(g)) */
    IG_ACT_XIELU,      /* has parameters for every layer; no kernel (src/model) */
    IG_ACT_COUNT
} ig_act;

typedef struct ig_mul_args {
    const void *w; /* [n_rows] rows of n weights, w_stride bytes apart */
    size_t w_stride;
    const void *x; /* [n_cols] packed activation rows of n values, x_stride bytes apart */
    size_t x_stride;
    float *y;        /* [n_cols, n_rows]: y[c * y_stride + r] = sum over i of w[r][i] * x[c][i] */
    size_t y_stride; /* in floats */
    size_t n, n_rows, n_cols;
    void *room; /* scratch memory of ig_kernels.room_bytes, aligned to IG_ROOM_ALIGN; NULL: slower, the same values */
} ig_mul_args;
enum { IG_ROOM_ALIGN = 64 };

typedef struct ig_type_kernels {
    ig_pack pack;                                          /* form of x that mul wants */
    void (*to_f32)(const void *src, float *dst, size_t n); /* exact decode of n weights (multiple of the block) */
    void (*mul)(const ig_mul_args *a);
} ig_type_kernels;

typedef struct ig_pack_kernels {
    size_t (*bytes)(size_t n);                           /* bytes of a packed row of n values */
    void (*pack)(const float *src, void *dst, size_t n); /* n a multiple of the block (32, 256) */
} ig_pack_kernels;

enum { IG_SIDE = 16 }; /* queries that lie side by side */

/* Some keys of a page, with their values, and the queries that see all of them. Value i of query c is q[(c / IG_SIDE *
 * n_k + i) * IG_SIDE + c % IG_SIDE]. */
typedef struct ig_attend_args {
    const float *q;    /* [n_q / IG_SIDE][n_k][IG_SIDE] */
    const void *k, *v; /* [n_keys] rows of n_k and n_v stored values, k_stride and v_stride bytes apart */
    size_t k_stride, v_stride;
    const void *next_k, *next_v; /* rows that the next call reads, as many and as far apart, or NULL: hints */
    float scale;
    size_t n_q, n_k, n_v, n_keys; /* multiples of IG_SIDE */
    float *max, *sum;             /* [n_q] of the scores so far; -inf and 0 at first */
    float *acc;                   /* [n_q][n_v] */
    float *s;                     /* [n_q][n_keys] scratch */
    float *room;                  /* [IG_SIDE][n_k or n_v, whichever is more] scratch */
} ig_attend_args;

typedef struct ig_kv_kernels {
    size_t (*bytes)(size_t n); /* bytes of one stored row of n values */
    void (*store)(const float *src, void *dst, size_t n);
    /* s[j] = scale * sum over i of q[i] * k[j][i], j < n_keys; rows k_stride bytes apart */
    void (*scores)(const float *q, const void *k, size_t k_stride, float scale, float *s, size_t n, size_t n_keys);
    /* acc[i] += sum over j of p[j] * v[j][i], j ascending */
    void (*mix)(const float *p, const void *v, size_t v_stride, float *acc, size_t n, size_t n_keys);
    /* The same for n_q queries that see the same keys, s and p [n_q][s_stride], each as if it were alone. */
    void (*scores_of)(const float *const *q, size_t n_q, const void *k, size_t k_stride, float scale, float *s,
                      size_t s_stride, size_t n, size_t n_keys);
    void (*mix_of)(const float *p, size_t p_stride, const void *v, size_t v_stride, float *const *acc, size_t n_q,
                   size_t n, size_t n_keys);
    /* Online softmax of many queries over some keys, NULL: the level has none. Each query's max, sum and acc are bit
     * for bit what comes of: scores; where their max is greater than the query's, sum and acc times exp_sum of the one
     * that was (unless it is -inf), and the new one; sum += exp_sum of the scores; mix with them. */
    void (*attend)(const ig_attend_args *a);
} ig_kv_kernels;

typedef struct ig_kernels {
    const char *level; /* "ref", "avx2", ... */
    size_t piece_rows; /* rows that a product of many columns had best have, 0: any number */
    size_t room_bytes; /* that products work in, 0: none */
    bool fetch_far;    /* what is read soon is best fetched into the second-level cache, not the first */
    ig_type_kernels type[IG_DTYPE_MAX]; /* by ig_dtype; mul NULL where the type cannot be computed with yet */
    ig_pack_kernels pack[IG_PACK_COUNT];
    ig_kv_kernels kv[IG_KV_COUNT];
    /* y[i] = x[i] / sqrt(mean(x^2) + eps) * w[i]; w NULL: 1; y may be x */
    void (*rms_norm)(const float *x, const float *w, float eps, float *y, size_t n);
    /* y[i] = (x[i] - mean) / sqrt(var + eps) * w[i] + b[i], var = mean of squares; w NULL: 1, b NULL: 0; y may be x */
    void (*layer_norm)(const float *x, const float *w, const float *b, float eps, float *y, size_t n);
    void (*add)(float *y, const float *x, size_t n);                 /* y += x */
    void (*add_scaled)(float *y, const float *x, float a, size_t n); /* y += a * x */
    void (*scale)(float *y, float a, size_t n);                      /* y *= a */
    /* A recurrent state s [n keys, n values]. recall: s[j] *= decay[j], then e += sum over j of k[j] * s[j]; learn:
     * s[j] += k[j] * e, then o += sum over j of q[j] * s[j]. Bit for bit what scale, add_scaled and kv.mix of F32 make
     * of the rows, one j after the other, in one pass over s. */
    void (*recall)(float *s, const float *decay, const float *k, float *e, size_t n);
    void (*learn)(float *s, const float *k, const float *e, const float *q, float *o, size_t n);
    /* y = act(gate) * up; up NULL: 1; y may be gate or up */
    void (*glu[IG_ACT_COUNT])(const float *gate, const float *up, float *y, size_t n);
    float (*max)(const float *x, size_t n);          /* -inf for n = 0 */
    float (*exp_sum)(float *x, float max, size_t n); /* x[i] = exp(x[i] - max), 0 below 2^-126; returns the sum */
    /* Rotates the first 2 * n_pairs values of x in place; cs holds [n_pairs] cosines then [n_pairs] sines.
     * norm: pairs (2i, 2i + 1); neox: pairs (i, i + n_pairs). */
    void (*rope_norm)(float *x, const float *cs, size_t n_pairs);
    void (*rope_neox)(float *x, const float *cs, size_t n_pairs);
} ig_kernels;

/* Table of a level, or NULL with err set (UNSUPPORTED, names the level and what the CPU lacks; BAD_INPUT for an unknown
 * name). NULL or "": the environment's INGLE_KERNELS, else the best level of this CPU. Tables are constant.
 *
 * Before amx is given to anybody, the system is asked to let this process use the tiles (arch_prctl) and every product
 * is compared with the reference; where one fails, the level is not used. So the first call must come before a filter
 * of system calls is set. The level amx-emulated is the same code without the instructions: slow, for tests, never the
 * best level, and not compiled where tests are not. */
const ig_kernels *ig_kernels_get(const char *level, ig_error *err);
/* NULL, or why a better level of this CPU than k's failed, a sentence for people. Any thread. */
const char *ig_kernels_note(const ig_kernels *k);
/* Every product that k has of its own, against ref's, on small matrices; UNSUPPORTED names the first that differs in a
 * bit; NO_MEMORY. Some milliseconds; 128 KiB of stack. */
ig_status ig_kernels_compare(const ig_kernels *k, const ig_kernels *ref, ig_error *err);
/* Names of the levels compiled in, weakest first, NULL-terminated (also ones this CPU lacks). */
const char *const *ig_kernel_levels(void);

#endif
