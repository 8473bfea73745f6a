#include "model/arch.h"

/* Parts that every row shares so far: RMS norm before attention and before the FFN, grouped-query attention, a
 * SiLU-gated FFN or softmax-routed experts (by expert_count), optional biases, output tied to the embedding when
 * absent. */
static const ig_arch rows[] = {
    /* name       rope           full   temperature */
    {"llama", IG_ROPE_NORM, true, false},
    {"mistral3", IG_ROPE_NORM, true, true},
};

const ig_arch *ig_arch_at(size_t i) { return i < sizeof rows / sizeof *rows ? &rows[i] : NULL; }

const ig_arch *ig_arch_find(ig_str name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ig_str_is(name, rows[i].name)) return &rows[i];
    return NULL;
}
