/* Blocks of weights: byte 0 selects the type, byte 1 rows (1..5) and columns (1..9), the rest are the rows' blocks. No
 * bytes may lead outside a row or a codebook, and every level must give the bits of ref (quantised types) whatever the
 * blocks hold. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/kernel.h"
#include "kernel/kernel_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define X(id, name, pack) IG_##id,
static const int types[] = {IG_KERNEL_TYPES(X)};
#undef X
enum { N_TYPES = sizeof types / sizeof *types, N_MAX = 2048, ROWS_MAX = 5, COLS_MAX = 9 };

typedef struct shape {
    int type;
    size_t n, rows, cols, row_bytes;
} shape;

/* Columns of small numbers, some of them zero, packed as this type wants them. Returns the bytes of one. */
static size_t pack_columns(const ig_kernels *k, const shape *s, uint8_t *out)
{
    const ig_pack_kernels *pack = &k->pack[k->type[s->type].pack];
    float x[N_MAX];
    for (size_t c = 0; c < s->cols; c++) {
        for (size_t i = 0; i < s->n; i++) x[i] = (float)((int)((i + 3 * c) * 2654435761u >> 24) - 128) / (float)(1 + c);
        pack->pack(x, out + c * pack->bytes(s->n), s->n);
    }
    return pack->bytes(s->n);
}

static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

static void check(const shape *s, const uint8_t *w)
{
    static uint8_t x[COLS_MAX * N_MAX * sizeof(float)];
    float want[ROWS_MAX * COLS_MAX], y[ROWS_MAX * COLS_MAX];
    const ig_kernels *ref = ig_kernels_get("ref", NULL);
    size_t x_stride = pack_columns(ref, s, x);
    ig_mul_args a = {w, s->row_bytes, x, x_stride, want, s->rows, s->n, s->rows, s->cols, NULL};
    ref->type[s->type].mul(&a);
    a.y = y;
    for (const char *const *level = ig_kernel_levels(); *level; level++) {
        const ig_kernels *k = ig_kernels_get(*level, NULL);
        if (!k) continue;
        a.room = k->room_bytes ? ig_alloc_aligned(IG_ROOM_ALIGN, k->room_bytes) : NULL;
        k->type[s->type].mul(&a);
        ig_free(a.room);
        if (ref->type[s->type].pack != IG_PACK_F32 && !same(y, want, s->rows * s->cols)) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    shape s = {.type = types[data[0] % N_TYPES], .rows = 1 + data[1] % ROWS_MAX, .cols = 1 + data[1] / 16 % COLS_MAX};
    const ig_dtype_info *info = ig_dtype_row((uint32_t)s.type);
    size_t blocks = (size - 2) / info->block_bytes / s.rows;
    if (blocks > N_MAX / info->block_elems) blocks = N_MAX / info->block_elems;
    s.n = blocks * info->block_elems;
    s.row_bytes = blocks * info->block_bytes;
    uint8_t *w = malloc(s.n ? s.rows * s.row_bytes : 1); /* no more, so that an overread is seen */
    float *decoded = malloc(s.n ? s.n * sizeof *decoded : 1);
    if (!w || !decoded) abort();
    memcpy(w, data + 2, s.rows * s.row_bytes);
    ig_kernels_get("ref", NULL)->type[s.type].to_f32(w, decoded, s.n);
    check(&s, w);
    free(w);
    free(decoded);
    return 0;
}
