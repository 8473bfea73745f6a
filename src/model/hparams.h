/* Readers of an architecture's metadata keys: private to src/model. */
#ifndef IG_MODEL_HPARAMS_H
#define IG_MODEL_HPARAMS_H

#include "model/plan.h"

enum {
    IG_LAYERS_MAX = 1024,
    IG_EMBD_MAX = 1 << 20,
    IG_FF_MAX = 1 << 22,
    IG_HEADS_MAX = 4096,
    IG_HEAD_SIZE_MAX = 1024,
    IG_EXPERTS_MAX = 4096,
    IG_CONV_MAX = 16,
    IG_CTX_MAX = 1 << 24
};

typedef struct ig_reader {
    const ig_format *f;
    const ig_arch *arch;
    ig_error *err;
} ig_reader;

bool ig_key_given(const ig_reader *r, const char *name);
/* Number of "<architecture>.<name>" in min..max; absent and not required: *out stays. */
ig_status ig_key_size(const ig_reader *r, const char *name, bool required, uint32_t min, uint32_t max, uint32_t *out);
/* positive: a number above 0 where the key is present. */
ig_status ig_key_float(const ig_reader *r, const char *name, bool required, bool positive, float *out);
ig_status ig_key_bool(const ig_reader *r, const char *name, bool *out);

#endif
