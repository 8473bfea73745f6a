/* Models of the reference data with a draft layer behind the others: the last layer once more, and random or made
 * tensors for what only draft layers have. For tests. */
#ifndef IG_TESTS_DRAFT_MODELS_H
#define IG_TESTS_DRAFT_MODELS_H

#include <stdbool.h>

typedef struct draft_change {
    bool perfect; /* every layer adds nothing, so that the next token depends on the one before alone; the draft layer
                     says what the model says */
    float rest;   /* with perfect: layers add so much of what they would, and the draft layer is often right */
    const char *bent, *left_out; /* a tensor behind "blk.N." with half of its first dimension; one that is not there */
} draft_change;

/* Reads a GGUF file whose tensors are F32 and writes the model with its draft layer. False: it cannot. */
bool draft_model_write(const char *from, const char *path, const draft_change *change);

#endif
