/* A run: threads, workspace and the pools of KV pages. Everything is allocated here; a step allocates nothing. */
#include "model/run.h"

#include "base/os.h"

ig_kv ig_index_kv(ig_kv kv) { return kv == IG_KV_Q8_0 ? IG_KV_F16 : kv; }

ig_kv_layout ig_layer_kv(const ig_model *m, const ig_layer *w, ig_kv kv)
{
    ig_kv_layout l = {.k_bytes = m->kernels->kv[kv].bytes(w->head_k)};
    uint64_t rows = (uint64_t)w->n_heads_kv * IG_PAGE_TOKENS;
    l.v_bytes = w->absorbed ? l.k_bytes : m->kernels->kv[kv].bytes(w->head_v); /* the first values of the keys */
    l.values = w->absorbed ? 0 : rows * l.k_bytes;
    l.index = rows * (l.k_bytes + (w->absorbed ? 0 : l.v_bytes));
    l.i_bytes = w->idx_keys ? m->kernels->kv[ig_index_kv(kv)].bytes(w->idx_keys) : 0;
    l.total = l.index + IG_PAGE_TOKENS * l.i_bytes;
    return l;
}

static bool owns_kv(const ig_model *m, uint32_t l) { return m->layers[l].attention && m->layers[l].kv_region == l; }

uint64_t ig_model_page_bytes(const ig_model *m, ig_kv kv, int group)
{
    uint64_t sum = 0;
    for (uint32_t l = 0; l < m->n_kv_layers; l++)
        if (owns_kv(m, l) && m->layers[l].kv_group == group) sum += ig_layer_kv(m, &m->layers[l], kv).total;
    return sum;
}

uint64_t ig_model_pages(const ig_model *m, int group, uint64_t n_ctx, uint32_t n_batch)
{
    uint64_t all = (n_ctx + IG_PAGE_TOKENS - 1) / IG_PAGE_TOKENS;
    if (group == 0) return all;
    uint64_t window = (uint64_t)m->window_most / IG_PAGE_TOKENS + n_batch / IG_PAGE_TOKENS + IG_WINDOW_KEEP + 3;
    return window < all ? window : all;
}

uint64_t ig_model_state_bytes(const ig_model *m) { return m->state_floats * sizeof(float) * (1 + IG_SNAPSHOTS); }

uint64_t ig_model_hidden_bytes(const ig_model *m)
{
    return m->hp.n_draft ? IG_HIDDEN_KEPT * (m->hp.n_embd * sizeof(float) + sizeof(uint32_t)) : 0;
}

uint64_t ig_model_kv_bytes(const ig_model *m, ig_kv kv, uint64_t n_ctx, uint32_t n_batch)
{
    uint64_t sum = ig_model_state_bytes(m) + ig_model_hidden_bytes(m);
    for (int g = 0; g < IG_KV_GROUPS; g++) sum += ig_model_page_bytes(m, kv, g) * ig_model_pages(m, g, n_ctx, n_batch);
    return sum;
}

static size_t slot_bytes(const ig_model *m, ig_slot s, uint32_t n_batch, uint32_t n_logits)
{
    size_t rows = s >= IG_SLOT_S ? n_logits : s == IG_SLOT_U && n_batch > IG_FEW_ROWS ? IG_FEW_ROWS : n_batch;
    return rows * m->slot_width[s] * sizeof(float);
}

static uint64_t mask_row_bytes(const ig_model *m, uint64_t n_ctx)
{
    return m->mask_block ? ((n_ctx + m->mask_block - 1) / m->mask_block + 7) / 8 : 0;
}

/* Slots and packed rows lie in one reserved region: rows that no step ever uses take no memory. at[i]: where slot or
 * packed form i lies; returns the bytes of all. */
static uint64_t place_slots(const ig_model *m, uint32_t n_batch, uint32_t n_logits,
                            uint64_t at[IG_SLOT_COUNT + IG_PACK_COUNT])
{
    uint32_t n_most = n_logits > n_batch ? n_logits : n_batch;
    uint64_t end = 0, turn = 0;
    for (int i = 0; i < IG_SLOT_COUNT + IG_PACK_COUNT; i++) {
        bool slot = i < IG_SLOT_COUNT;
        at[i] = end;
        if (i == IG_SLOT_QKV) turn = end;
        if (i == IG_SLOT_G && m->takes_turns) at[i] = turn;
        uint64_t last =
            at[i] + (slot ? slot_bytes(m, (ig_slot)i, n_batch, n_logits) : n_most * m->pack_bytes[i - IG_SLOT_COUNT]);
        if (last > end) end = (last + 63) / 64 * 64;
    }
    return end;
}

/* Places what attention wants in `at`, 64 bytes aligned; at NULL: only counts. Returns floats. */
static size_t attend_floats(const ig_model *m, float *at, ig_attend_room *room)
{
    size_t k = 0, v = 0, n = IG_QUERIES_MAX;
    for (uint32_t l = 0; l < m->n_kv_layers; l++) {
        if (m->layers[l].head_k > k) k = m->layers[l].head_k;
        if (m->layers[l].head_v > v) v = m->layers[l].head_v;
    }
    size_t rows = IG_SIDE * (k > v ? k : v);
    float *scalars = at ? at + n * (k + 2 * v + IG_PAGE_TOKENS) + rows : NULL;
    if (at)
        *room = (ig_attend_room){.q = at,
                                 .span = {at + n * k, scalars, scalars + n},
                                 .before = {at + n * (k + v), scalars + 2 * n, scalars + 3 * n},
                                 .rows = at + n * (k + 2 * v),
                                 .scores = at + n * (k + 2 * v) + rows};
    return n * (k + 2 * v + IG_PAGE_TOKENS + 4) + rows;
}

static uint64_t span_bytes(const ig_model *m, unsigned n_threads, uint64_t n_ctx)
{
    enum { SPAN = IG_SPAN_PAGES * IG_PAGE_TOKENS };
    return (n_ctx + SPAN - 1) / SPAN * ig_span_floats(m, n_threads) * sizeof(float);
}

uint64_t ig_model_workspace_bytes(const ig_model *m, uint32_t n_batch, uint32_t n_logits, unsigned n_threads,
                                  uint64_t n_ctx)
{
    uint64_t sum = ig_routing_bytes(m, n_batch, n_threads);
    uint64_t at[IG_SLOT_COUNT + IG_PACK_COUNT];
    sum += place_slots(m, n_batch, n_logits, at) -
           (at[IG_SLOT_COUNT] - at[IG_SLOT_VECTORS]); /* rows of output are told apart */
    sum += (uint64_t)n_batch * (m->angles_width * sizeof(float) + sizeof(ig_row) + sizeof(ig_item) + sizeof(ig_tile));
    sum += (uint64_t)n_batch * m->mask_groups * mask_row_bytes(m, n_ctx);
    uint64_t thread = (uint64_t)n_batch * ig_piece_rows_most(m->kernels) * sizeof(float) +
                      IG_HEAD_ROWS * m->heads_bytes + m->kernels->room_bytes +
                      attend_floats(m, NULL, NULL) * sizeof(float);
    sum += span_bytes(m, n_threads, n_ctx);
    return sum + n_threads * (thread + (m->mask_block ? 2 * n_ctx * sizeof(float) : 0));
}

static bool alloc_slots(ig_run *run)
{
    uint64_t at[IG_SLOT_COUNT + IG_PACK_COUNT];
    run->slots_bytes = place_slots(run->m, run->opt.n_batch, run->opt.n_logits, at);
    run->slots = ig_reserve(run->slots_bytes);
    if (!run->slots) return false;
    for (int i = 0; i < IG_SLOT_COUNT; i++) run->slot[i] = (float *)(void *)(run->slots + at[i]);
    for (int i = 0; i < IG_PACK_COUNT; i++) run->packed[i] = run->slots + at[IG_SLOT_COUNT + i];
    return true;
}

static bool alloc_rows(ig_run *run)
{
    const ig_model *m = run->m;
    uint32_t n = run->opt.n_batch;
    run->angles = ig_arena_alloc(&run->arena, (size_t)n * m->angles_width + 1, sizeof(float));
    run->rows = ig_arena_alloc(&run->arena, n, sizeof *run->rows);
    run->items = ig_arena_alloc(&run->arena, n, sizeof *run->items);
    run->tiles = ig_arena_alloc(&run->arena, n, sizeof *run->tiles);
    run->wanted = ig_arena_alloc(&run->arena, run->opt.n_logits, sizeof *run->wanted);
    return run->angles && run->rows && run->items && run->tiles && run->wanted;
}

static bool alloc_scratch(ig_run *run)
{
    unsigned n = run->opt.n_threads;
    uint32_t n_most = run->opt.n_logits > run->opt.n_batch ? run->opt.n_logits : run->opt.n_batch;
    run->scratch = ig_alloc_aligned(64, n * sizeof *run->scratch);
    if (!run->scratch) return false;
    for (unsigned i = 0; i < n; i++) {
        ig_scratch *s = &run->scratch[i];
        s->tile = ig_arena_alloc(&run->arena, n_most * ig_piece_rows_most(run->k), sizeof(float));
        s->packed = ig_arena_alloc(&run->arena, IG_HEAD_ROWS, run->m->heads_bytes + 1);
        s->chosen = ig_arena_alloc(&run->arena, run->m->mask_block ? 2 * (size_t)run->opt.n_ctx : 1, sizeof(float));
        size_t attend = attend_floats(run->m, NULL, NULL) * sizeof(float);
        uint8_t *room = ig_arena_alloc(&run->arena, run->k->room_bytes + attend + IG_ROOM_ALIGN, 1);
        if (!s->tile || !s->packed || !s->chosen || !room) return false;
        room += -(uintptr_t)room & (IG_ROOM_ALIGN - 1);
        attend_floats(run->m, (float *)(void *)room, &s->attend);
        if (run->k->room_bytes) s->room = room + attend;
    }
    return true;
}

static bool alloc_mask(ig_run *run)
{
    if (run->m->mask_block == 0) return true;
    run->mask_bytes = mask_row_bytes(run->m, run->opt.n_ctx);
    run->mask_total = run->mask_bytes * run->m->mask_groups * run->opt.n_batch;
    run->mask = ig_reserve(run->mask_total);
    return run->mask != NULL;
}

static bool alloc_spans(ig_run *run)
{
    run->spans_bytes = span_bytes(run->m, run->opt.n_threads, run->opt.n_ctx);
    run->span_floats = ig_span_floats(run->m, run->opt.n_threads);
    if (run->spans_bytes == 0) return true;
    run->spans = ig_reserve(run->spans_bytes);
    return run->spans != NULL;
}

static bool alloc_pages(ig_run *run)
{
    const ig_model *m = run->m;
    uint64_t at[IG_KV_GROUPS] = {0}, total;
    run->kv_at = ig_arena_alloc(&run->arena, m->n_kv_layers, sizeof *run->kv_at);
    if (!run->kv_at) return false;
    for (uint32_t l = 0; l < m->n_kv_layers; l++) {
        if (!owns_kv(m, l)) continue;
        run->kv_at[l] = at[m->layers[l].kv_group];
        at[m->layers[l].kv_group] += ig_layer_kv(m, &m->layers[l], run->opt.kv).total;
    }
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        run->page_bytes[g] = at[g];
        uint32_t n = at[g] ? run->opt.n_pages[g] : 0;
        if (!ig_mul_u64(at[g], n, &total)) return false;
        run->free_pages[g] = ig_arena_alloc(&run->arena, (size_t)n + 1, sizeof *run->free_pages[g]);
        if (!run->free_pages[g] || (total && !(run->pages[g] = ig_reserve(total)))) return false;
        while (n > 0) run->free_pages[g][run->n_free[g]++] = --n;
    }
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
    run->opt.draft = options->draft && m->hp.n_draft;
    ig_status st = ig_pool_new(options->n_threads, &run->pool, err);
    if (st == IG_OK && !(alloc_slots(run) && alloc_rows(run) && alloc_scratch(run) && alloc_mask(run) &&
                         alloc_spans(run) && alloc_pages(run) && ig_routing_init(run)))
        st = ig_fail(
            err, IG_NO_MEMORY, 0,
            "out of memory for a workspace of %llu MiB and %u KV pages of %llu KiB: try a smaller --ctx or --batch",
            (unsigned long long)(ig_model_workspace_bytes(m, options->n_batch, options->n_logits, options->n_threads,
                                                          options->n_ctx) >>
                                 20),
            options->n_pages[0], (unsigned long long)(ig_model_page_bytes(m, options->kv, 0) >> 10));
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
    ig_unreserve(run->mask, run->mask_total);
    ig_unreserve(run->spans, run->spans_bytes);
    ig_free(run->scratch);
    for (int g = 0; g < IG_KV_GROUPS; g++) ig_unreserve(run->pages[g], run->page_bytes[g] * run->opt.n_pages[g]);
    ig_arena_fini(&run->arena);
    ig_free(run);
}

void ig_run_pages(const ig_run *run, int group, uint32_t *total, uint32_t *used)
{
    *total = run->page_bytes[group] ? run->opt.n_pages[group] : 0;
    *used = *total - (*total ? run->n_free[group] : 0);
}

void ig_run_observe(ig_run *run, ig_observe_fn fn, void *user)
{
    run->observe = fn;
    run->observe_user = user;
}

uint64_t ig_run_weight_bytes_read(const ig_run *run)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < run->opt.n_threads; i++) sum += run->scratch[i].weight_bytes;
    return sum;
}
