/* For measurements alone: a sequence as long as asked for, at once. Its pages hold made-up numbers, the same in every
 * page, so that a token behind them reads what it would read behind a text of that length. */
#include "model/run.h"

static float made_up(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)(*state >> 40) / (float)(1 << 23) - 1;
}

static void fill_rows(const ig_run *run, ig_kv kv, uint8_t *at, size_t row_bytes, uint32_t n_rows, uint32_t width)
{
    float row[1024]; /* heads are no wider (hparams.h) */
    uint64_t state = 12345;
    for (uint32_t r = 0; r < n_rows && width <= 1024; r++) {
        for (uint32_t i = 0; i < width; i++) row[i] = made_up(&state);
        run->k->kv[kv].store(row, at + r * row_bytes, width);
    }
}

static void fill_layer(const ig_run *run, const ig_layer *w, uint8_t *page)
{
    ig_kv_layout l = ig_layer_kv(run->m, w, run->opt.kv);
    uint32_t rows = w->n_heads_kv * IG_PAGE_TOKENS;
    fill_rows(run, run->opt.kv, page, l.k_bytes, rows, w->head_k);
    if (!w->absorbed) fill_rows(run, run->opt.kv, page + l.values, l.v_bytes, rows, w->head_v);
    if (l.i_bytes) fill_rows(run, ig_index_kv(run->opt.kv), page + l.index, l.i_bytes, IG_PAGE_TOKENS, w->idx_keys);
}

/* Page `p` of every group: made for the first one, copied behind it. */
static void fill_page(const ig_run *run, const ig_seq *seq, uint32_t p, const uint8_t *first[IG_KV_GROUPS])
{
    const ig_model *m = run->m;
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        if (!run->page_bytes[g]) continue;
        uint8_t *page = run->pages[g] + seq->pages[g][p] * run->page_bytes[g];
        if (first[g] && first[g] != page) memcpy(page, first[g], run->page_bytes[g]);
        for (uint32_t l = 0; !first[g] && l < m->n_kv_layers; l++) {
            const ig_layer *w = &m->layers[l];
            if (w->attention && w->kv_region == l && w->kv_group == g) fill_layer(run, w, page + run->kv_at[l]);
        }
        first[g] = page;
    }
}

ig_status ig_seq_pretend(ig_run *run, ig_seq *seq, uint32_t n_tokens, ig_error *err)
{
    const uint8_t *first[IG_KV_GROUPS] = {NULL};
    (void)ig_seq_truncate(run, seq, 0);
    while (seq->n_tokens < n_tokens) {
        uint32_t p = seq->n_pages, left = n_tokens - seq->n_tokens;
        if (!ig_seq_take_page(run, seq)) {
            (void)ig_seq_truncate(run, seq, 0);
            return ig_fail(err, IG_NO_MEMORY, 0, "%u made-up tokens do not fit into the KV pages", n_tokens);
        }
        fill_page(run, seq, p, first);
        seq->n_tokens += left < IG_PAGE_TOKENS ? left : IG_PAGE_TOKENS;
        if (run->page_bytes[1]) ig_seq_slide(run, seq);
    }
    return IG_OK;
}
