/* Products of a level against those of ref, where the processor itself is to be looked at: before a level is used that
 * few machines have. */
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/kernel.h"

enum {
    ROWS = 45, /* a panel and the beginning of one */
    COLS = 18, /* a group of columns and two */
    BLOCKS_N = 640,
    SUPER_N = 512, /* more than a panel holds of blocks of 32; two super-blocks */
    ROW_BYTES = BLOCKS_N / 32 * 34,
    X_BYTES = BLOCKS_N / 32 * 40,
    BLOCK_MAX = 256,
    TRIES = 64
};

typedef struct work {
    uint8_t w[ROWS * ROW_BYTES], x[COLS * X_BYTES];
    float have[COLS * ROWS], want[COLS * ROWS];
    uint32_t seed;
    void *room;
} work;

static uint32_t next(work *k)
{
    k->seed = k->seed * 1664525u + 1013904223u;
    return k->seed >> 8;
}

/* Any bytes that mean numbers of a decent size; zeros where none are found. */
static void fill_block(work *k, uint8_t *to, size_t bytes, size_t elems, void (*decode)(const void *, float *, size_t))
{
    float means[BLOCK_MAX];
    for (int i = 0; i < TRIES; i++) {
        bool fine = true;
        for (size_t b = 0; b < bytes; b++) to[b] = (uint8_t)next(k);
        decode(to, means, elems);
        for (size_t e = 0; e < elems; e++) fine = fine && means[e] > -1e6f && means[e] < 1e6f;
        if (fine) return;
    }
    memset(to, 0, bytes);
}

static void fill_columns(work *k, const ig_pack_kernels *p, size_t n)
{
    float row[BLOCKS_N];
    for (size_t c = 0; c < COLS; c++) {
        for (size_t i = 0; i < n; i++) row[i] = (float)(int32_t)(next(k) % 2001) / 1000 - 1;
        p->pack(row, k->x + c * p->bytes(n), n);
    }
}

static bool same(work *k, const ig_kernels *level, const ig_kernels *ref, const ig_dtype_info *t, size_t type)
{
    const ig_pack_kernels *p = &ref->pack[ref->type[type].pack];
    size_t n = t->block_elems == 256 ? SUPER_N : BLOCKS_N, row = n / t->block_elems * t->block_bytes;
    for (size_t at = 0; at < ROWS * row; at += t->block_bytes)
        fill_block(k, k->w + at, t->block_bytes, t->block_elems, ref->type[type].to_f32);
    fill_columns(k, p, n);
    ig_mul_args a = {k->w, row, k->x, p->bytes(n), k->have, ROWS, n, ROWS, COLS, k->room};
    level->type[type].mul(&a);
    a.y = k->want;
    ref->type[type].mul(&a);
    return !memcmp(k->have, k->want, sizeof k->have);
}

static ig_status compare_all(work *all, const ig_kernels *k, const ig_kernels *ref, ig_error *err)
{
    for (size_t type = 0; type < IG_DTYPE_MAX; type++) {
        const ig_dtype_info *t = ig_dtype_row((uint32_t)type);
        if (!ref->type[type].mul || ref->type[type].pack == IG_PACK_F32) continue; /* sums of floats may differ */
        if (!same(all, k, ref, t, type))
            return ig_fail(err, IG_UNSUPPORTED, 0, "its product of %s differs from the reference; please report this",
                           t->name);
    }
    return IG_OK;
}

ig_status ig_kernels_compare(const ig_kernels *k, const ig_kernels *ref, ig_error *err)
{
    work all = {.seed = 1};
    if (k->room_bytes) {
        all.room = ig_alloc_aligned(IG_ROOM_ALIGN, k->room_bytes);
        if (!all.room) return ig_fail(err, IG_NO_MEMORY, 0, "no memory to compare its products in");
    }
    ig_status st = compare_all(&all, k, ref, err);
    ig_free(all.room);
    return st;
}
