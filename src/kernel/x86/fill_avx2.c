/* The avx2 level's own entries. */
#include "base/cpu.h"
#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

bool ig_fetch_apart, ig_fetch_far;

void ig_kernels_fill_avx2(ig_kernels *k, uint32_t cpu)
{
    ig_fetch_apart = (cpu & IG_CPU_INTEL) != 0;
    k->fetch_far = ig_fetch_far = (cpu & IG_CPU_AMD_L1_32K) != 0;
    k->type[IG_F32].mul = ig_mul_f32_avx2;
    k->type[IG_F16].mul = ig_mul_f16_avx2;
    k->type[IG_BF16].mul = ig_mul_bf16_avx2;
    k->type[IG_Q4_0].mul = ig_mul_q4_0_avx2;
    k->type[IG_Q4_1].mul = ig_mul_q4_1_avx2;
    k->type[IG_Q5_0].mul = ig_mul_q5_0_avx2;
    k->type[IG_Q5_1].mul = ig_mul_q5_1_avx2;
    k->type[IG_Q8_0].mul = ig_mul_q8_0_avx2;
    k->type[IG_IQ4_NL].mul = ig_mul_iq4_nl_avx2;
    k->type[IG_MXFP4].mul = ig_mul_mxfp4_avx2;
    k->type[IG_NVFP4].mul = ig_mul_nvfp4_avx2;
    k->type[IG_Q1_0].mul = ig_mul_q1_0_avx2;
    k->type[IG_Q2_0].mul = ig_mul_q2_0_avx2;
    k->type[IG_Q2_K].mul = ig_mul_q2_k_avx2;
    k->type[IG_Q3_K].mul = ig_mul_q3_k_avx2;
    k->type[IG_Q4_K].mul = ig_mul_q4_k_avx2;
    k->type[IG_Q5_K].mul = ig_mul_q5_k_avx2;
    k->type[IG_Q6_K].mul = ig_mul_q6_k_avx2;
    k->type[IG_IQ4_XS].mul = ig_mul_iq4_xs_avx2;
    k->type[IG_IQ2_XXS].mul = ig_mul_iq2_xxs_avx2;
    k->type[IG_IQ2_XS].mul = ig_mul_iq2_xs_avx2;
    k->type[IG_IQ2_S].mul = ig_mul_iq2_s_avx2;
    k->type[IG_IQ3_XXS].mul = ig_mul_iq3_xxs_avx2;
    k->type[IG_IQ3_S].mul = ig_mul_iq3_s_avx2;
    k->type[IG_IQ1_S].mul = ig_mul_iq1_s_avx2;
    k->type[IG_IQ1_M].mul = ig_mul_iq1_m_avx2;
    k->type[IG_TQ1_0].mul = ig_mul_tq1_0_avx2;
    k->type[IG_TQ2_0].mul = ig_mul_tq2_0_avx2;
    ig_fill_other_avx2(k);
    ig_fill_kv_avx2(k);
    ig_fill_pack_avx2(k);
    ig_fill_grids();
}
