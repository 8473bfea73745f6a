/* The dtype table: one row for every tensor type that may appear in a GGUF file, at its id. Block bytes are the sums
 * of the fields noted beside each row, in file order (little-endian, no padding between blocks); `d` and `m` are
 * binary16. Rows that do not exist here are refused when a file is opened (rule G14): ids 4, 5, 31-33 and 36-38 were
 * used once and removed; Q8_1 (9) and Q8_K (15) are made for activations and never stored. */
#include "tensor/tensor.h"

#include "base/mem.h"

static const ig_dtype_info table[IG_DTYPE_MAX] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},  [2] = {"Q4_0", 32, 18}, /* d 2, qs 16 */
    [3] = {"Q4_1", 32, 20},                                                    /* d 2, m 2, qs 16 */
    [6] = {"Q5_0", 32, 22},                                                    /* d 2, qh 4, qs 16 */
    [7] = {"Q5_1", 32, 24},                                                    /* d 2, m 2, qh 4, qs 16 */
    [8] = {"Q8_0", 32, 34},                                                    /* d 2, qs 32 */
    [10] = {"Q2_K", 256, 84},                                                  /* scales 16, qs 64, d 2, dmin 2 */
    [11] = {"Q3_K", 256, 110},                                                 /* hmask 32, qs 64, scales 12, d 2 */
    [12] = {"Q4_K", 256, 144},                                                 /* d 2, dmin 2, scales 12, qs 128 */
    [13] = {"Q5_K", 256, 176},   /* d 2, dmin 2, scales 12, qh 32, qs 128 */
    [14] = {"Q6_K", 256, 210},   /* ql 128, qh 64, scales 16, d 2 */
    [16] = {"IQ2_XXS", 256, 66}, /* d 2, 8 x (index 4, signs and scale 4) */
    [17] = {"IQ2_XS", 256, 74},  /* d 2, qs 64, scales 8 */
    [18] = {"IQ3_XXS", 256, 98}, /* d 2, indices 64, signs and scales 32 */
    [19] = {"IQ1_S", 256, 50},   /* d 2, qs 32, qh 16 */
    [20] = {"IQ4_NL", 32, 18},   /* d 2, qs 16 */
    [21] = {"IQ3_S", 256, 110},  /* d 2, qs 64, qh 8, signs 32, scales 4 */
    [22] = {"IQ2_S", 256, 82},   /* d 2, qs 32, signs 32, qh 8, scales 8 */
    [23] = {"IQ4_XS", 256, 136}, /* d 2, scales_h 2, scales_l 4, qs 128 */
    [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2}, [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8}, [29] = {"IQ1_M", 256, 56}, /* qs 32, qh 16, scales 8 */
    [30] = {"BF16", 1, 2},                                                        /* upper half of a binary32 */
    [34] = {"TQ1_0", 256, 54},                                                    /* qs 48, qh 4, d 2 */
    [35] = {"TQ2_0", 256, 66},                                                    /* qs 64, d 2 */
    [39] = {"MXFP4", 32, 17},                                                     /* exponent 1, qs 16 */
    [40] = {"NVFP4", 64, 36},                                                     /* scales 4, qs 32 */
    [41] = {"Q1_0", 128, 18},                                                     /* d 2, qs 16 */
    [42] = {"Q2_0", 64, 18},                                                      /* d 2, qs 16 */
};

const ig_dtype_info *ig_dtype_row(uint32_t id)
{
    return id < IG_DTYPE_MAX && table[id].block_elems ? &table[id] : NULL;
}

bool ig_dtype_row_bytes(uint32_t id, uint64_t n, uint64_t *bytes)
{
    const ig_dtype_info *row = ig_dtype_row(id);
    if (!row || n % row->block_elems != 0) return false;
    return ig_mul_u64(n / row->block_elems, row->block_bytes, bytes);
}
