/* The forward step: checks the items, lays their tokens out as rows, runs the plan. Each operation is a function over
 * rows, over pieces of weight rows, or over heads of sequences; what a row's result is never depends on other
 * sequences' rows. */
#include "model/run.h"

static const ig_op_fn ops[IG_OP_COUNT] = {
    [IG_OP_LINEAR] = ig_op_linear, [IG_OP_HEADS] = ig_op_heads,   [IG_OP_STORE] = ig_op_store,
    [IG_OP_ATTEND] = ig_op_attend, [IG_OP_INDEX_STORE] = ig_op_index_store,
    [IG_OP_INDEX] = ig_op_index,   [IG_OP_EXPERTS] = ig_op_experts, [IG_OP_CONV] = ig_op_conv,
    [IG_OP_MAMBA] = ig_op_mamba,   [IG_OP_MAMBA2] = ig_op_mamba2, [IG_OP_DELTA] = ig_op_delta,
    [IG_OP_RWKV] = ig_op_rwkv,     [IG_OP_SHIFT] = ig_op_shift,
};

static uint32_t item_rows(const ig_step_item *it) { return it->want == IG_WANT_ALL ? it->n : it->want == IG_WANT_LAST; }

static ig_status check_item(const ig_run *run, const ig_step_item *it, size_t i, ig_error *err)
{
    uint64_t end = (uint64_t)it->seq->n_tokens + it->n, room = (uint64_t)it->seq->n_pages_max * IG_PAGE_TOKENS;
    if (it->n == 0)
        return ig_fail(err, IG_BAD_INPUT, i, "item %zu of the step has no tokens, expected at least 1", i);
    if (end > room)
        return ig_fail(err, IG_TOO_LARGE, i, "the sequence would hold %llu tokens, its page table ends at %llu",
                       (unsigned long long)end, (unsigned long long)room);
    if (!run->m->hp.causal && it->seq->n_tokens)
        return ig_fail(err, IG_BAD_INPUT, i,
                       "an encoder sees its text whole: %u tokens cannot follow the %u of an earlier step", it->n,
                       it->seq->n_tokens);
    if (ig_part_on(run->m, IG_PART_POSITIONS) && end > run->m->hp.n_ctx_train)
        return ig_fail(err, IG_TOO_LARGE, i, "the sequence would hold %llu tokens, the model has %u positions",
                       (unsigned long long)end, run->m->hp.n_ctx_train);
    for (size_t t = 0; t < it->n; t++)
        if (it->tokens[t] < 0 || (uint32_t)it->tokens[t] >= run->m->hp.n_vocab)
            return ig_fail(err, IG_BAD_INPUT, t, "token id %d at position %zu is outside the vocabulary of %u tokens",
                           it->tokens[t], t, run->m->hp.n_vocab);
    return IG_OK;
}

static ig_status check_items(const ig_run *run, const ig_step_item *items, size_t n_items, ig_error *err)
{
    uint64_t n_tokens = 0, n_logits = 0, n_pages = 0;
    for (size_t i = 0; i < n_items; i++) {
        const ig_step_item *it = &items[i];
        IG_TRY(check_item(run, it, i, err));
        for (size_t k = 0; k < i; k++)
            if (items[k].seq == it->seq) return ig_fail(err, IG_BAD_INPUT, i, "a sequence appears twice in one step");
        n_tokens += it->n;
        n_logits += item_rows(it);
        n_pages += ((uint64_t)it->seq->n_tokens + it->n + IG_PAGE_TOKENS - 1) / IG_PAGE_TOKENS - it->seq->n_pages;
    }
    if (n_tokens > run->opt.n_batch)
        return ig_fail(err, IG_TOO_LARGE, 0, "the step has %llu tokens, the batch holds %u",
                       (unsigned long long)n_tokens, run->opt.n_batch);
    if (n_logits > run->opt.n_logits)
        return ig_fail(err, IG_TOO_LARGE, 0, "the step wants %llu rows of logits, there is room for %u",
                       (unsigned long long)n_logits, run->opt.n_logits);
    for (int g = 0; g < IG_KV_GROUPS; g++)
        if (run->page_bytes[g] && n_pages > run->n_free[g])
            return ig_fail(err, IG_NO_MEMORY, 0, "the step needs %llu more KV pages of %d tokens, %u are free",
                           (unsigned long long)n_pages, IG_PAGE_TOKENS, run->n_free[g]);
    return IG_OK;
}

/* Lays the items out as rows, wanted rows and query tiles, and gives every sequence its pages. */
static void lay_out(ig_run *run, const ig_step_item *items, size_t n_items)
{
    run->n_rows = run->n_wanted = run->n_tiles = run->n_items = 0;
    for (size_t i = 0; i < n_items; i++) {
        const ig_step_item *it = &items[i];
        ig_seq *seq = it->seq;
        run->items[run->n_items] = (ig_item){seq, run->n_rows, it->n, seq->n_tokens + it->n};
        for (uint32_t t = 0; t < it->n; t++) {
            if (t % IG_QUERY_TILE == 0) run->tiles[run->n_tiles++] = (ig_tile){run->n_rows, 0};
            run->tiles[run->n_tiles - 1].n++;
            if (it->want == IG_WANT_ALL || (it->want == IG_WANT_LAST && t + 1 == it->n))
                run->wanted[run->n_wanted++] = run->n_rows;
            run->rows[run->n_rows++] = (ig_row){it->tokens[t], seq->n_tokens + t, run->n_items};
        }
        run->n_items++;
        for (; (uint64_t)seq->n_pages * IG_PAGE_TOKENS < (uint64_t)seq->n_tokens + it->n; seq->n_pages++)
            for (int g = 0; g < IG_KV_GROUPS; g++)
                if (run->page_bytes[g]) seq->pages[g][seq->n_pages] = run->free_pages[g][--run->n_free[g]];
    }
}

void ig_run_ops(ig_run *run, const ig_ops *list)
{
    ig_when skip = run->opt.embed ? IG_WHEN_LOGITS : IG_WHEN_EMBED;
    for (size_t i = 0; i < list->n; i++) {
        const ig_op *op = &list->list[i];
        if (op->when == skip) continue;
        if (ig_row_ops[op->kind])
            ig_row_ops[op->kind](run, op);
        else
            ops[op->kind](run, op);
    }
}

/* The sequence has seen the tokens of its item. */
static void advance(ig_run *run, ig_seq *seq, uint32_t n)
{
    uint32_t end = seq->n_tokens + n;
    for (uint32_t seen = end / IG_PAGE_TOKENS * IG_PAGE_TOKENS, i = 0; seq->state && i < IG_SNAPSHOTS; i++) {
        if (seen > seq->n_tokens) seq->snapshot_at[seen / IG_PAGE_TOKENS % IG_SNAPSHOTS] = seen;
        seen = seen > IG_PAGE_TOKENS ? seen - IG_PAGE_TOKENS : 0;
    }
    seq->n_tokens = end;
    if (run->page_bytes[1]) ig_seq_slide(run, seq);
}

ig_status ig_step(ig_run *run, ig_step_item *items, size_t n_items, ig_error *err)
{
    if (!run->opt.embed && !run->m->hp.has_logits)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the architecture %s gives embeddings and no logits: use ingle embed",
                       ig_format_path(run->m->file), run->m->arch->name);
    IG_TRY(check_items(run, items, n_items, err));
    if (run->m->encoder.n)
        for (size_t i = 0; i < n_items; i++)
            if (!items[i].seq->source || items[i].seq->source->n_tokens == 0)
                return ig_fail(err, IG_BAD_INPUT, i,
                               "the decoder of an encoder-decoder model needs the encoder's tokens first");
    lay_out(run, items, n_items);
    ig_run_ops(run, &run->m->ops);
    if (run->opt.draft && !run->opt.embed) ig_draft_keep_up(run);
    uint32_t row = 0;
    for (size_t i = 0; i < n_items; i++) {
        items[i].logits = item_rows(&items[i]) ? ig_row_at(run, (ig_view){run->opt.embed ? IG_SLOT_VECTORS : IG_SLOT_LOGITS, 0}, row) : NULL;
        row += item_rows(&items[i]);
        advance(run, items[i].seq, items[i].n);
    }
    return IG_OK;
}

ig_status ig_encode(ig_run *run, ig_step_item *item, ig_error *err)
{
    if (run->m->encoder.n == 0)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the architecture %s has no encoder", ig_format_path(run->m->file),
                       run->m->arch->name);
    item->want = IG_WANT_NONE;
    if (item->seq->n_tokens)
        return ig_fail(err, IG_BAD_INPUT, 0, "the encoder sees its text whole: %u tokens cannot follow", item->n);
    IG_TRY(check_items(run, item, 1, err));
    lay_out(run, item, 1);
    ig_run_ops(run, &run->m->encoder);
    item->seq->n_tokens += item->n;
    return IG_OK;
}
