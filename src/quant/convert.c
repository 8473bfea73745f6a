/* A tensor is cut into segments of at most SEGMENT weights of one row, short rows being segments of their own. A batch
 * of segments is decoded and quantised by all threads, then written in order; memory is one batch of output and one
 * decoded segment a thread. Segments are whole blocks of both types, so cutting changes no result. */
#include "quant/convert.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/kernel.h"

enum {
    SEGMENT = 32768,       /* weights, a multiple of every block */
    PIECE = 65536,         /* weights that one call of a thread converts, at least one segment */
    BATCH_BYTES = 4 << 20, /* of output a thread */
    COPY_BYTES = 8 << 20,
    NO_SEGMENT = -1
};

struct ig_converter {
    ig_pool *pool;      /* borrowed */
    ig_gguf_writer *to; /* borrowed */
    const ig_kernels *kernels;
    float *decoded; /* owned [threads, SEGMENT] */
    uint8_t *batch; /* owned [batch_bytes] */
    size_t batch_bytes;
    float *weights; /* owned [n_weights], of the matrix being written */
    size_t n_weights;
};

ig_status ig_converter_new(ig_pool *pool, ig_gguf_writer *to, ig_converter **out, ig_error *err)
{
    *out = NULL;
    const ig_kernels *kernels = ig_kernels_get(NULL, err);
    if (!kernels) return IG_UNSUPPORTED;
    ig_converter *s = ig_calloc(1, sizeof *s);
    const size_t n = ig_pool_threads(pool);
    if (s) {
        *s = (ig_converter){.pool = pool, .to = to, .kernels = kernels, .batch_bytes = n * BATCH_BYTES};
        s->decoded = ig_alloc_aligned(64, n * SEGMENT * sizeof *s->decoded);
        s->batch = ig_alloc(s->batch_bytes);
    }
    if (!s || !s->decoded || !s->batch) {
        ig_converter_free(s);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the buffers of %zu threads", n);
    }
    *out = s;
    return IG_OK;
}

void ig_converter_free(ig_converter *s)
{
    if (!s) return;
    ig_free(s->decoded);
    ig_free(s->batch);
    ig_free(s->weights);
    ig_free(s);
}

/* ------------------------------------------------------------------------------------------------ shape */

/* The tensor as matrices of rows; a vector whose elements are to be reordered is a matrix of rows of one. */
typedef struct view {
    const ig_tensor *t;
    uint64_t n_cols, n_rows, n_matrices, row_bytes;
} view;

static view view_of(const ig_tensor *t)
{
    view v = {t, t->ne[0], t->ne[1], t->ne[2] * t->ne[3], t->row_bytes};
    if (t->half_split_heads && t->n_dims == 1) {
        v.n_rows = t->ne[0];
        v.n_cols = 1;
        v.row_bytes = t->row_bytes / t->ne[0];
    }
    return v;
}

/* Where row r of matrix m of the output lies in the input. */
static const uint8_t *row_at(const view *v, uint64_t m, uint64_t r)
{
    const ig_tensor *t = v->t;
    const uint8_t *matrix = t->parts ? t->parts[m] : t->data + m * v->n_rows * v->row_bytes;
    if (t->half_split_heads) {
        uint64_t head = v->n_rows / t->half_split_heads, i = r % head;
        r = r - i + (i % 2 ? head / 2 + i / 2 : i / 2);
    }
    return matrix + r * v->row_bytes;
}

ig_status ig_convert_can(const ig_tensor *t, uint32_t type, const char *path, ig_error *err)
{
    view v = view_of(t);
    const bool cut = t->half_split_heads && t->n_dims == 1 && ig_dtype_row(t->type)->block_elems != 1;
    if (cut || (t->half_split_heads && (v.n_rows % t->half_split_heads || v.n_rows / t->half_split_heads % 2)))
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.200s: tensor \"%.*s\": %" PRIu64 " rows cannot be %u heads of two halves", path,
                       IG_STR_ARG(t->name), v.n_rows, t->half_split_heads);
    if (t->type == type) return IG_OK;
    const ig_kernels *kernels = ig_kernels_get(NULL, err);
    if (!kernels) return IG_UNSUPPORTED;
    if (kernels->type[t->type].to_f32 && ig_quant_can(type)) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0, "%.200s: tensor \"%.*s\" cannot be turned from %s into %s", path,
                   IG_STR_ARG(t->name), ig_dtype_row(t->type)->name, ig_dtype_row(type)->name);
}

/* ------------------------------------------------------------------------------------------------ converting */

typedef struct job {
    ig_converter *s;
    view v;
    uint32_t type;
    uint64_t matrix, first; /* segment `first` of the matrix is the first of the batch */
    uint64_t per_row;       /* segments of a row */
    uint64_t n, per_piece;  /* segments of the batch, of a piece */
    size_t seg_bytes;       /* of output, of a full segment */
    uint64_t out_row_bytes;
    const float *weights; /* [n_cols] or NULL */
    _Atomic int64_t bad;  /* lowest segment of the batch with a bad weight, or NO_SEGMENT */
} job;

/* Row, columns and place in the output of segment i of the batch. */
typedef struct segment {
    uint64_t row, col, n;
    size_t at;
} segment;

static uint64_t out_offset(const job *j, uint64_t seg)
{
    return seg / j->per_row * j->out_row_bytes + seg % j->per_row * j->seg_bytes;
}

static segment segment_of(const job *j, uint64_t i)
{
    const uint64_t seg = j->first + i;
    segment s = {.row = seg / j->per_row, .col = seg % j->per_row * SEGMENT};
    s.n = j->v.n_cols - s.col < SEGMENT ? j->v.n_cols - s.col : SEGMENT;
    s.at = (size_t)(out_offset(j, seg) - out_offset(j, j->first));
    return s;
}

static void decode(const job *j, const segment *s, float *x)
{
    const ig_dtype_info *row = ig_dtype_row(j->v.t->type);
    const uint8_t *src = row_at(&j->v, j->matrix, s->row) + s->col / row->block_elems * row->block_bytes;
    j->s->kernels->type[j->v.t->type].to_f32(src, x, (size_t)s->n);
}

static void note_bad(job *j, int64_t i)
{
    int64_t seen = atomic_load(&j->bad);
    while ((seen == NO_SEGMENT || i < seen) && !atomic_compare_exchange_weak(&j->bad, &seen, i)) {}
}

static void convert_piece(void *ctx, size_t piece, unsigned thread_idx)
{
    job *j = ctx;
    float *x = j->s->decoded + (size_t)thread_idx * SEGMENT;
    const uint64_t from = piece * j->per_piece, end = from + j->per_piece < j->n ? from + j->per_piece : j->n;
    for (uint64_t i = from; i < end; i++) {
        const segment s = segment_of(j, i);
        decode(j, &s, x);
        if (ig_quant_check(j->type, x, (size_t)s.n) != s.n)
            note_bad(j, (int64_t)i);
        else
            ig_quant_row(j->type, x, j->weights ? j->weights + s.col : NULL, j->s->batch + s.at, (size_t)s.n);
    }
}

static ig_status bad_weight(const job *j, const char *path, ig_error *err)
{
    const segment s = segment_of(j, (uint64_t)atomic_load(&j->bad));
    float *x = j->s->decoded;
    decode(j, &s, x);
    const size_t at = ig_quant_check(j->type, x, (size_t)s.n);
    const double value = (double)x[at];
    char what[64] = "is no finite number", hint[256];
    (void)snprintf(hint, sizeof hint, "; to see all type: ingle show %.200s --scan", path);
    if (isfinite(value)) {
        (void)snprintf(what, sizeof what, "is %g, beyond what %s holds", value, ig_dtype_row(j->type)->name);
        hint[0] = 0;
    }
    return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: tensor \"%.*s\": weight in row %" PRIu64 ", column %" PRIu64 " %s%s",
                   path, IG_STR_ARG(j->v.t->name), j->matrix * j->v.n_rows + s.row, s.col + at, what, hint);
}

/* One batch from segment j->first on. */
static ig_status convert_batch(job *j, const char *path, ig_error *err)
{
    atomic_store(&j->bad, NO_SEGMENT);
    ig_pool_run(j->s->pool, convert_piece, j, (size_t)((j->n + j->per_piece - 1) / j->per_piece));
    if (atomic_load(&j->bad) != NO_SEGMENT) return bad_weight(j, path, err);
    const uint64_t bytes = out_offset(j, j->first + j->n) - out_offset(j, j->first);
    return ig_gguf_write_data(j->s->to, j->s->batch, (size_t)bytes, err);
}

typedef struct teller {
    ig_convert_fn told;
    void *user;
    uint64_t done;
} teller;

static ig_status tell(teller *t, uint64_t bytes, ig_error *err)
{
    t->done += bytes;
    if (!t->told || t->told(t->user, t->done)) return IG_OK;
    return ig_fail(err, IG_CANCELLED, 0, "interrupted, nothing was written");
}

static ig_status convert_matrix(job *j, const char *path, teller *who, ig_error *err)
{
    const uint64_t all = j->v.n_rows * j->per_row;
    const uint64_t widest = j->per_row > 1 ? j->seg_bytes : j->out_row_bytes;
    const uint64_t batch = j->s->batch_bytes / widest;
    for (j->first = 0; j->first < all; j->first += j->n) {
        j->n = all - j->first < batch ? all - j->first : batch;
        IG_TRY(convert_batch(j, path, err));
        IG_TRY(tell(who, j->n * (j->v.row_bytes / j->per_row), err));
    }
    return IG_OK;
}

/* Room for the weights of a row. */
static ig_status weights_room(ig_converter *s, uint64_t n, ig_error *err)
{
    if (n <= s->n_weights) return IG_OK;
    float *w = n <= SIZE_MAX / sizeof *w ? ig_realloc(s->weights, (size_t)n, sizeof *w) : NULL;
    if (!w) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the importance of %" PRIu64 " columns", n);
    s->weights = w;
    s->n_weights = (size_t)n;
    return IG_OK;
}

static ig_status convert(ig_converter *s, const ig_tensor *t, uint32_t type, const ig_importance *imp, const char *path,
                         teller *who, bool *weighed, ig_error *err)
{
    job j = {.s = s, .v = view_of(t), .type = type};
    const ig_dtype_info *row = ig_dtype_row(type);
    j.per_row = (j.v.n_cols + SEGMENT - 1) / SEGMENT;
    j.per_piece = j.v.n_cols < PIECE ? PIECE / j.v.n_cols : 1;
    j.seg_bytes = (size_t)SEGMENT / row->block_elems * row->block_bytes;
    if (!ig_dtype_row_bytes(type, j.v.n_cols, &j.out_row_bytes))
        return ig_fail(err, IG_BUG, 0, "%.200s: tensor \"%.*s\" does not divide into blocks", path,
                       IG_STR_ARG(t->name));
    imp = ig_quant_weighs(type) ? imp : NULL;
    if (imp) IG_TRY(weights_room(s, j.v.n_cols, err));
    for (j.matrix = 0; j.matrix < j.v.n_matrices; j.matrix++) {
        bool found = false;
        if (imp) IG_TRY(ig_importance_prepare(imp, t, j.matrix, s->weights, &found, err));
        j.weights = found ? s->weights : NULL;
        *weighed = found;
        IG_TRY(convert_matrix(&j, path, who, err));
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ copying */

static ig_status copy_run(ig_converter *s, const uint8_t *p, uint64_t n, teller *who, ig_error *err)
{
    while (n) {
        size_t k = n < COPY_BYTES ? (size_t)n : (size_t)COPY_BYTES;
        IG_TRY(ig_gguf_write_data(s->to, p, k, err));
        IG_TRY(tell(who, k, err));
        p += k;
        n -= k;
    }
    return IG_OK;
}

/* Gathers reordered rows in the batch buffer, so that writes are large. */
static ig_status copy_rows(ig_converter *s, const view *v, uint64_t m, teller *who, ig_error *err)
{
    if (v->row_bytes > s->batch_bytes) {
        for (uint64_t r = 0; r < v->n_rows; r++) IG_TRY(copy_run(s, row_at(v, m, r), v->row_bytes, who, err));
        return IG_OK;
    }
    for (uint64_t r = 0; r < v->n_rows;) {
        size_t n = 0;
        for (; r < v->n_rows && n + v->row_bytes <= s->batch_bytes; r++, n += (size_t)v->row_bytes)
            memcpy(s->batch + n, row_at(v, m, r), (size_t)v->row_bytes);
        IG_TRY(ig_gguf_write_data(s->to, s->batch, n, err));
        IG_TRY(tell(who, n, err));
    }
    return IG_OK;
}

static ig_status copy(ig_converter *s, const ig_tensor *t, teller *who, ig_error *err)
{
    const view v = view_of(t);
    for (uint64_t m = 0; m < v.n_matrices; m++) {
        if (t->half_split_heads)
            IG_TRY(copy_rows(s, &v, m, who, err));
        else
            IG_TRY(copy_run(s, row_at(&v, m, 0), v.n_rows * v.row_bytes, who, err));
    }
    return IG_OK;
}

ig_status ig_convert_tensor(ig_converter *s, const ig_tensor *t, uint32_t type, const ig_importance *imp,
                            const char *path, ig_convert_fn told, void *user, bool *weighed, ig_error *err)
{
    teller who = {told, user, 0};
    *weighed = false;
    return t->type == type ? copy(s, t, &who, err) : convert(s, t, type, imp, path, &who, weighed, err);
}
