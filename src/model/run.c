/* A run: threads, workspace and the pool of KV pages. Everything is allocated here; a step allocates nothing. */
#include "model/run.h"

#include "base/os.h"

static uint64_t layer_kv_bytes(const ig_model *m, ig_kv kv)
{
    size_t (*bytes)(size_t) = m->kernels->kv[kv].bytes;
    return (uint64_t)m->hp.n_heads_kv * IG_PAGE_TOKENS * (bytes(m->hp.head_k) + bytes(m->hp.head_v));
}

uint64_t ig_model_page_bytes(const ig_model *m, ig_kv kv) { return layer_kv_bytes(m, kv) * m->hp.n_layers; }

static size_t slot_bytes(const ig_model *m, ig_slot s, uint32_t n_batch, uint32_t n_logits)
{
    size_t rows = s == IG_SLOT_S || s == IG_SLOT_LOGITS ? n_logits : n_batch;
    return rows * m->slot_width[s] * sizeof(float);
}

uint64_t ig_model_workspace_bytes(const ig_model *m, uint32_t n_batch, uint32_t n_logits, unsigned n_threads)
{
    uint64_t sum = 0, k = m->hp.n_experts_used;
    for (int s = 0; s < IG_SLOT_LOGITS; s++) sum += slot_bytes(m, (ig_slot)s, n_batch, n_logits);
    for (int p = 0; p < IG_PACK_COUNT; p++) sum += (uint64_t)n_batch * m->pack_bytes[p] * (1 + k);
    sum += (uint64_t)n_batch * k * (2u * m->hp.n_ff_expert + m->hp.n_embd) * sizeof(float);
    return sum + (uint64_t)n_threads * n_batch * IG_PIECE_ROWS * sizeof(float);
}

/* Slots and packed rows lie in one reserved region: rows that no step ever uses take no memory. */
static bool alloc_slots(ig_run *run)
{
    const ig_model *m = run->m;
    uint32_t n = run->opt.n_batch, n_most = run->opt.n_logits > n ? run->opt.n_logits : n;
    uint64_t at[IG_SLOT_COUNT + IG_PACK_COUNT], end = 0;
    for (int i = 0; i < IG_SLOT_COUNT + IG_PACK_COUNT; i++) {
        bool slot = i < IG_SLOT_COUNT;
        at[i] = end;
        end += slot ? slot_bytes(m, (ig_slot)i, n, run->opt.n_logits) : n_most * m->pack_bytes[i - IG_SLOT_COUNT];
        end = (end + 63) / 64 * 64;
    }
    run->slots_bytes = end;
    run->slots = ig_reserve(end);
    if (!run->slots) return false;
    for (int i = 0; i < IG_SLOT_COUNT; i++) run->slot[i] = (float *)(void *)(run->slots + at[i]);
    for (int i = 0; i < IG_PACK_COUNT; i++) run->packed[i] = run->slots + at[IG_SLOT_COUNT + i];
    return true;
}

static bool alloc_rows(ig_run *run)
{
    const ig_model *m = run->m;
    uint32_t n = run->opt.n_batch;
    run->angles = ig_arena_alloc(&run->arena, (size_t)n * 2 * m->rope.n_pairs, sizeof(float));
    run->rows = ig_arena_alloc(&run->arena, n, sizeof *run->rows);
    run->tiles = ig_arena_alloc(&run->arena, n, sizeof *run->tiles);
    run->wanted = ig_arena_alloc(&run->arena, run->opt.n_logits, sizeof *run->wanted);
    return run->angles && run->rows && run->tiles && run->wanted;
}

static bool alloc_scratch(ig_run *run)
{
    unsigned n = run->opt.n_threads;
    run->scratch = ig_alloc_aligned(64, n * sizeof *run->scratch);
    if (!run->scratch) return false;
    for (unsigned i = 0; i < n; i++) {
        uint32_t n_most = run->opt.n_logits > run->opt.n_batch ? run->opt.n_logits : run->opt.n_batch;
        run->scratch[i].tile = ig_arena_alloc(&run->arena, (size_t)n_most * IG_PIECE_ROWS, sizeof(float));
        if (!run->scratch[i].tile) return false;
    }
    return true;
}

static bool alloc_pages(ig_run *run)
{
    uint64_t total;
    run->layer_bytes = layer_kv_bytes(run->m, run->opt.kv);
    run->page_bytes = ig_model_page_bytes(run->m, run->opt.kv);
    run->k_bytes = run->k->kv[run->opt.kv].bytes(run->m->hp.head_k);
    run->v_bytes = run->k->kv[run->opt.kv].bytes(run->m->hp.head_v);
    if (!ig_mul_u64(run->page_bytes, run->opt.n_pages, &total)) return false;
    run->pages = ig_reserve(total);
    run->free_pages = ig_arena_alloc(&run->arena, run->opt.n_pages, sizeof *run->free_pages);
    if (!run->pages || !run->free_pages) return false;
    for (uint32_t i = run->opt.n_pages; i-- > 0;) run->free_pages[run->n_free++] = i;
    return true;
}

ig_status ig_run_new(const ig_model *m, const ig_run_options *options, ig_run **out, ig_error *err)
{
    *out = NULL;
    ig_run *run = ig_calloc(1, sizeof *run);
    if (!run) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the workspace");
    run->m = m;
    run->k = m->kernels;
    run->opt = *options;
    ig_status st = ig_pool_new(options->n_threads, &run->pool, err);
    if (st == IG_OK &&
        !(alloc_slots(run) && alloc_rows(run) && alloc_scratch(run) && alloc_pages(run) && ig_routing_init(run)))
        st = ig_fail(
            err, IG_NO_MEMORY, 0,
            "out of memory for a workspace of %llu MiB and %u KV pages of %llu KiB: try a smaller --ctx or --batch",
            (unsigned long long)(ig_model_workspace_bytes(m, options->n_batch, options->n_logits, options->n_threads) >>
                                 20),
            options->n_pages, (unsigned long long)(ig_model_page_bytes(m, options->kv) >> 10));
    if (st != IG_OK) {
        ig_run_free(run);
        return st;
    }
    *out = run;
    return IG_OK;
}

void ig_run_free(ig_run *run)
{
    if (!run) return;
    ig_pool_free(run->pool);
    ig_unreserve(run->slots, run->slots_bytes);
    ig_free(run->scratch);
    ig_unreserve(run->pages, run->page_bytes * run->opt.n_pages);
    ig_arena_fini(&run->arena);
    ig_free(run);
}

uint64_t ig_run_weight_bytes_read(const ig_run *run)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < run->opt.n_threads; i++) sum += run->scratch[i].weight_bytes;
    return sum;
}

ig_status ig_seq_init(ig_seq *seq, uint32_t n_ctx, ig_error *err)
{
    uint32_t n = n_ctx / IG_PAGE_TOKENS + (n_ctx % IG_PAGE_TOKENS != 0);
    *seq = (ig_seq){.pages = ig_calloc(n, sizeof *seq->pages), .n_pages_max = n};
    return seq->pages ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a sequence of %u tokens", n_ctx);
}

void ig_seq_truncate(ig_run *run, ig_seq *seq, uint32_t n_tokens)
{
    if (n_tokens < seq->n_tokens) seq->n_tokens = n_tokens;
    uint32_t keep = seq->n_tokens / IG_PAGE_TOKENS + (seq->n_tokens % IG_PAGE_TOKENS != 0);
    while (seq->n_pages > keep) run->free_pages[run->n_free++] = seq->pages[--seq->n_pages];
}

void ig_seq_fini(ig_run *run, ig_seq *seq)
{
    if (seq->pages) ig_seq_truncate(run, seq, 0);
    ig_free(seq->pages);
    *seq = (ig_seq){0};
}
