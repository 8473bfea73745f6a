/* Builders of the plan: what plan.c, plan_mixer.c and plan_gemma.c share. Private to src/model. */
#ifndef IG_MODEL_BUILD_H
#define IG_MODEL_BUILD_H

#include "model/plan.h"

typedef struct ig_builder {
    ig_model *m;
    ig_ops *ops;
} ig_builder;

typedef struct ig_target { /* where a block's output goes: view (+)= a * output */
    ig_view view;
    bool add;
    float a;
} ig_target;

typedef struct ig_out {
    const ig_mat *mat;
    ig_view view;
} ig_out;

/* Notes that the view is n values wide. */
ig_view ig_use(ig_builder *b, ig_view v, uint64_t n);
/* Returns the operation in the list, to be filled further. */
ig_op *ig_emit(ig_builder *b, ig_op op);
/* y = mats * in for up to IG_LINEAR_MAX matrices; packs `in` before. */
ig_op *ig_emit_linear(ig_builder *b, ig_view in, const ig_out *outs, uint32_t n);
ig_op *ig_emit_to(ig_builder *b, ig_view in, const ig_mat *mat, ig_target to);
/* Norm of the row's kind over n values of one head, or of heads `stride` apart that share the weight. */
ig_op *ig_emit_norm(ig_builder *b, ig_view in, ig_view out, const ig_norm *w, uint32_t n);
ig_op *ig_emit_head_norm(ig_builder *b, ig_view v, const ig_norm *w, uint32_t n, uint32_t heads, uint32_t stride);
void ig_emit_add(ig_builder *b, ig_view in, ig_view out, uint32_t n, float a);
void ig_emit_glu(ig_builder *b, ig_act act, ig_view gate, ig_view up, uint32_t n, float limit);
void ig_emit_pack(ig_builder *b, ig_view in, uint32_t width, const ig_mat *const *mats, uint32_t n, bool wanted);

void ig_plan_attention(ig_builder *b, ig_layer *w, ig_view in, ig_target to);
void ig_plan_mixer(ig_builder *b, ig_layer *w, ig_view in, ig_target to);
void ig_plan_dense(ig_builder *b, const ig_layer *w, ig_view in, ig_target to);
void ig_plan_ffn(ig_builder *b, ig_layer *w, ig_view in, ig_target to);
void ig_plan_router(ig_builder *b, const ig_layer *w, ig_view in);
void ig_plan_experts(ig_builder *b, ig_layer *w, ig_view in, ig_target to);
void ig_plan_gemma3n(ig_builder *b);
void ig_plan_gemma4_experts(ig_builder *b, ig_layer *w);
void ig_plan_layer_inputs(ig_builder *b);
void ig_plan_layer_input(ig_builder *b, const ig_layer *w, ig_view x, ig_view to);
void ig_plan_t5(ig_builder *b);
void ig_plan_head(ig_builder *b, ig_view x);

#endif
