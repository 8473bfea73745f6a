/* State of a run: private to src/model. */
#ifndef IG_MODEL_RUN_H
#define IG_MODEL_RUN_H

#include <stdatomic.h>

#include "base/pool.h"
#include "model/plan.h"

enum {
    IG_PIECE_ROWS = 32, /* weight rows of one piece of work */
    IG_QUERY_TILE = 8   /* query rows that walk the pages together */
};

typedef struct ig_row { /* one token of the step */
    int32_t token;
    uint32_t pos;
    ig_seq *seq;
} ig_row;

typedef struct ig_tile { /* consecutive rows of one sequence */
    uint32_t first, n;
} ig_tile;

/* Routed experts of one step: assignment a = row * n_used + rank. */
typedef struct ig_routing {
    uint32_t *expert; /* [n_batch * k] chosen expert of an assignment */
    float *weight;    /* [n_batch * k] */
    uint32_t *place;  /* [n_batch * k] where the assignment stands when sorted by expert */
    uint32_t *start;  /* [E + 1] first place of an expert */
    uint32_t *used;   /* [E] experts with at least one assignment */
    uint32_t n_used;
    uint8_t *in[IG_PACK_COUNT]; /* gathered inputs by place */
    float *gate, *up;           /* [n_batch * k, ff] by place */
    float *ones;                /* [ff] what `up` is multiplied by when experts have no gate */
    uint8_t *hidden;            /* packed gate rows by place, for down */
    float *out;                 /* [n_batch * k, d] by place */
    bool *taken;                /* [n_threads, E] */
} ig_routing;

typedef struct ig_scratch {   /* of one thread, one cache line apart */
    _Alignas(64) float *tile; /* [n_batch, IG_PIECE_ROWS] */
    float scores[IG_PAGE_TOKENS];
    uint64_t weight_bytes;
} ig_scratch;

struct ig_run {
    const ig_model *m;
    const ig_kernels *k;
    ig_run_options opt;
    ig_pool *pool;
    ig_arena arena;
    uint8_t *slots; /* reserved region behind slot and packed */
    uint64_t slots_bytes;
    float *slot[IG_SLOT_COUNT];
    uint8_t *packed[IG_PACK_COUNT];
    float *angles;    /* [n_batch, 2 * n_pairs] */
    ig_row *rows;     /* [n_batch] */
    uint32_t *wanted; /* [n_logits] rows whose logits are wanted */
    ig_tile *tiles;   /* [n_batch] */
    uint32_t n_rows, n_wanted, n_tiles;
    ig_scratch *scratch; /* [n_threads] */
    ig_routing routing;
    uint8_t *pages; /* [n_pages, page_bytes] reserved */
    uint64_t page_bytes, layer_bytes;
    size_t k_bytes, v_bytes;      /* one key and one value row of one head */
    uint32_t *free_pages, n_free; /* stack of page numbers */
};

/* Key or value row of kv head g at position pos: rows of one head in one page follow each other. */
static inline uint8_t *ig_page_keys(const ig_run *run, uint32_t page, uint32_t layer, uint32_t g)
{
    return run->pages + page * run->page_bytes + layer * run->layer_bytes + (uint64_t)g * IG_PAGE_TOKENS * run->k_bytes;
}
static inline uint8_t *ig_page_values(const ig_run *run, uint32_t page, uint32_t layer, uint32_t g)
{
    return run->pages + page * run->page_bytes + layer * run->layer_bytes +
           (uint64_t)run->m->hp.n_heads_kv * IG_PAGE_TOKENS * run->k_bytes +
           (uint64_t)g * IG_PAGE_TOKENS * run->v_bytes;
}
static inline float *ig_slot_row(const ig_run *run, ig_slot slot, size_t row)
{
    return run->slot[slot] + row * run->m->slot_width[slot];
}

/* Operations (step.c, attend.c, experts.c). */
void ig_op_store(ig_run *run, const ig_op *op);
void ig_op_attend(ig_run *run, const ig_op *op);
void ig_op_experts(ig_run *run, const ig_op *op);
bool ig_routing_init(ig_run *run);

#endif
