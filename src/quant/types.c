/* The table of types that can be written: rows.h is the list. */
#include <assert.h>
#include <math.h>

#include "quant/quant.h"
#include "quant/rows.h"

typedef struct type_row {
    void (*from_f32)(const float *x, const float *w, void *dst, size_t n);
    float max;
    bool weighs;
} type_row;

static const type_row rows[IG_DTYPE_MAX] = {
#define X(id, name, max, weighs) [IG_##id] = {ig_from_f32_##name, max, weighs},
    IG_QUANT_TYPES(X)
#undef X
};

bool ig_quant_can(uint32_t type) { return type < IG_DTYPE_MAX && rows[type].from_f32; }
bool ig_quant_weighs(uint32_t type) { return ig_quant_can(type) && rows[type].weighs; }

size_t ig_quant_check(uint32_t type, const float *x, size_t n)
{
    const float max = rows[type].max;
    bool good = true;
    for (size_t i = 0; i < n; i++) good &= fabsf(x[i]) <= max; /* false for NaN */
    for (size_t i = 0; !good && i < n; i++)
        if (!(fabsf(x[i]) <= max)) return i;
    return n;
}

void ig_quant_row(uint32_t type, const float *x, const float *w, void *dst, size_t n)
{
    assert(ig_quant_can(type) && n % ig_dtype_row(type)->block_elems == 0);
    rows[type].from_f32(x, w, dst, n);
}
