/* State of a run: private to src/model. */
#ifndef IG_MODEL_RUN_H
#define IG_MODEL_RUN_H

#include <stdatomic.h>

#include "base/pool.h"
#include "model/plan.h"

enum {
    IG_PIECE_ROWS = 32, /* weight rows of one piece of work, and what larger pieces are multiples of */
    IG_EXPERT_GROUPS_MAX = 512,
    IG_HEAD_ROWS = 8,   /* rows of a piece that multiplies one head (IG_OP_HEADS) */
    IG_QUERY_TILE = 16, /* query rows that walk the pages together */
    IG_SPAN_PAGES = 16, /* pages over which a softmax runs before it is added to the one of those before */
    IG_WINDOW_KEEP = 2  /* pages behind a window that are kept for going back */
};

typedef struct ig_row { /* one token of the step */
    int32_t token;
    uint32_t pos;
    uint32_t item;
} ig_row;

typedef struct ig_item { /* consecutive rows of one sequence */
    ig_seq *seq;
    uint32_t first, n, end; /* rows; tokens of the sequence after the step */
} ig_item;

typedef struct ig_tile { /* rows of one item that attend together */
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
    float *gate, *up;           /* [n_batch * k, widest] by place */
    uint8_t *hidden;            /* packed gate rows by place, for down */
    float *out;                 /* [n_batch * k, d] by place */
    float *probs;               /* [n_threads, 2 E] */
    bool *taken;                /* [n_threads, E] */
} ig_routing;

enum { IG_QUERIES_MAX = 64 }; /* heads of a group times rows of a tile that walk over the pages together */

typedef struct ig_softmax { /* of n queries: what they have seen so far of some positions */
    float *acc;             /* [n, head_v] */
    float *max, *sum;       /* [n] */
} ig_softmax;

typedef struct ig_attend_room { /* of the queries that walk together, n at most */
    float *q;                   /* [n, head_k] side by side (ig_attend_args) */
    ig_softmax span, before;    /* of the span that is walked, of those before it */
    float *scores;              /* [n, IG_PAGE_TOKENS] */
    float *rows;                /* [IG_SIDE, head_k or head_v] */
} ig_attend_room;

typedef struct ig_scratch {   /* of one thread, one cache line apart */
    _Alignas(64) float *tile; /* [n_batch, ig_piece_rows_most] */
    uint8_t *packed;          /* IG_HEAD_ROWS heads */
    void *room;               /* of the kernels, NULL: they want none */
    float *chosen;            /* [2 n_ctx] indexer scores */
    ig_attend_room attend;
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
    float *angles;    /* [n_batch, angles_width] */
    ig_row *rows;     /* [n_batch] */
    ig_item *items;   /* [n_batch] */
    uint32_t *wanted; /* [n_logits] rows whose output is wanted */
    ig_tile *tiles;   /* [n_batch] */
    uint32_t n_rows, n_wanted, n_tiles, n_items;
    ig_scratch *scratch; /* [n_threads] */
    uint8_t *spans;      /* [spans of a context, span_floats] of one row, reserved; NULL: its spans stay together */
    uint64_t spans_bytes;
    size_t span_floats;
    ig_routing routing;
    uint8_t *mask; /* [n_batch, groups, mask_bytes] chosen blocks of positions, reserved */
    uint64_t mask_bytes, mask_total;
    uint64_t *kv_at;              /* [n_kv_layers] where a layer's part of a page starts */
    uint8_t *pages[IG_KV_GROUPS]; /* [n_pages, page_bytes] reserved */
    uint64_t page_bytes[IG_KV_GROUPS];
    uint32_t *free_pages[IG_KV_GROUPS], n_free[IG_KV_GROUPS]; /* stacks of page numbers */
    ig_observe_fn observe;
    void *observe_user;
};

static inline float *ig_row_at(const ig_run *run, ig_view v, size_t row)
{
    return run->slot[v.slot] + row * run->m->slot_width[v.slot] + v.at;
}
/* Start of the part of a page that belongs to the layer's keys and values. */
static inline uint8_t *ig_page_at(const ig_run *run, const ig_layer *w, const ig_seq *seq, uint32_t page)
{
    int g = w->kv_group;
    return run->pages[g] + seq->pages[g][page] * run->page_bytes[g] + run->kv_at[w->kv_region];
}
/* The state of op's layer in version 0 (now) or 1.. (snapshots) of the item's sequence. */
static inline float *ig_state_at(const ig_run *run, const ig_op *op, const ig_item *item, uint32_t version)
{
    return (float *)(void *)item->seq->state + version * run->m->state_floats + op->layer->state_at + op->from;
}
/* Version that the state after token `pos` must be copied to, 0: none. */
static inline uint32_t ig_snapshot_of(const ig_item *item, uint32_t pos)
{
    uint32_t seen = pos + 1;
    if (seen % IG_PAGE_TOKENS || (uint64_t)seen + IG_SNAPSHOTS * IG_PAGE_TOKENS <= item->end) return 0;
    return 1 + seen / IG_PAGE_TOKENS % IG_SNAPSHOTS;
}
static inline uint32_t ig_op_rows(const ig_run *run, const ig_op *op)
{
    return op->wanted ? run->n_wanted : run->n_rows;
}

static inline size_t ig_piece_rows_most(const ig_kernels *k)
{
    return k->piece_rows > IG_PIECE_ROWS ? k->piece_rows : IG_PIECE_ROWS;
}
/* Weight rows of one piece where n_out rows in all meet n_cols columns: what kernels like, while every thread still has
 * a few pieces to choose from, and as many as the others. */
static inline size_t ig_piece_rows(const ig_run *run, size_t n_out, size_t n_cols)
{
    enum { PIECES = 2 }; /* a thread */
    size_t most = ig_piece_rows_most(run->k), threads = run->opt.n_threads;
    if (n_cols < IG_FEW_ROWS) return IG_PIECE_ROWS;
    size_t rounds = (n_out + threads * most - 1) / (threads * most);
    if (rounds < PIECES) rounds = PIECES;
    size_t rows = (n_out + rounds * threads - 1) / (rounds * threads);
    rows = (rows + IG_PIECE_ROWS - 1) / IG_PIECE_ROWS * IG_PIECE_ROWS;
    return rows < most ? rows : most;
}

/* Tells the observer, where there is one, that a matrix of w meets n_rows rows. */
static inline void ig_tell(const ig_run *run, const ig_mat *w, size_t matrix, const float *x, size_t stride,
                           size_t n_rows)
{
    if (run->observe) run->observe(run->observe_user, w->name, w->n_mats, matrix, x, stride, n_rows, w->n_in);
}

typedef struct ig_job { /* what a piece of work sees */
    ig_run *run;
    const ig_op *op;
    size_t rows; /* weight rows of a piece that multiplies */
} ig_job;
static inline void ig_run_pieces(ig_run *run, const ig_op *op, ig_piece_fn fn, size_t n)
{
    ig_job j = {run, op, 0};
    if (n) ig_pool_run(run->pool, fn, &j, n);
}

typedef void (*ig_op_fn)(ig_run *run, const ig_op *op);
extern const ig_op_fn ig_row_ops[IG_OP_COUNT]; /* ops_row.c: operations on rows, NULL for the others */
/* gate = act(gate) * up (NULL: act alone), n values, as op says. */
void ig_gate(const ig_run *run, const ig_op *op, float *gate, const float *up, uint32_t n);
void ig_op_linear(ig_run *run, const ig_op *op);
void ig_op_heads(ig_run *run, const ig_op *op);
void ig_op_store(ig_run *run, const ig_op *op);
void ig_op_attend(ig_run *run, const ig_op *op);
/* Floats of what all heads have seen of a span, where ig_op_attend may give a row's spans to several threads, else 0.
 */
size_t ig_span_floats(const ig_model *m, unsigned n_threads);
void ig_op_index_store(ig_run *run, const ig_op *op);
void ig_op_index(ig_run *run, const ig_op *op);
void ig_op_experts(ig_run *run, const ig_op *op);
void ig_op_conv(ig_run *run, const ig_op *op);
void ig_op_mamba(ig_run *run, const ig_op *op);
void ig_op_mamba2(ig_run *run, const ig_op *op);
void ig_op_delta(ig_run *run, const ig_op *op);
void ig_op_rwkv(ig_run *run, const ig_op *op);
void ig_op_shift(ig_run *run, const ig_op *op);
bool ig_routing_init(ig_run *run);
uint64_t ig_routing_bytes(const ig_model *m, uint32_t n_batch, unsigned n_threads);
/* Gives back the pages that no window reaches any more (seq.c). */
void ig_seq_slide(ig_run *run, ig_seq *seq);
/* One page more behind the sequence's, of every group; false: there is none. Gives all but the first n back. */
bool ig_seq_take_page(ig_run *run, ig_seq *seq);
void ig_seq_drop_pages(ig_run *run, ig_seq *seq, uint32_t n);
void ig_run_ops(ig_run *run, const ig_ops *list);
/* Behind the operations of a step: the draft layer sees it, too (draft.c). Lays the rows out anew. */
void ig_draft_keep_up(ig_run *run);
ig_kv ig_index_kv(ig_kv kv); /* element type of index keys beside a cache of kv */
static inline bool ig_masked(const ig_run *run, const ig_layer *w)
{
    bool draft = w->index >= run->m->hp.n_layers; /* nobody has chosen for it but itself */
    return run->m->mask_block && !run->opt.dense &&
           (w->indexer || (!draft && ig_part_on(run->m, IG_PART_TOKEN_INDEXER)));
}
static inline uint8_t *ig_mask_row(const ig_run *run, size_t row, uint32_t group)
{
    return run->mask + (row * run->m->mask_groups + group) * run->mask_bytes;
}

#endif
