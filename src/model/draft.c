/* The draft layer: one more layer behind the others that some families were trained with to say what comes after the
 * next token (DeepSeek-V3, arXiv 2412.19437, section 2.2). What it reads of position p is the state of the last layer
 * there and the token at p + 1; it has keys and values of its own, in the same pages, position p's at p. So it stays
 * one token behind the sequence: the state of the last token waits for the token that is chosen.
 *
 * It keeps up with every step (ig_draft_keep_up), and goes ahead where somebody wants guesses (ig_draft_ahead): the
 * first from true states, further ones from its own, whose keys and values the next step writes over. Guesses decide
 * nothing, so what is lost when a sequence goes back far (states of tokens long ago) is replaced by zeros. */
#include "model/run.h"

/* What the state of position pos is kept in, NULL: it is not kept. */
static float *kept(const ig_run *run, const ig_seq *seq, uint32_t pos)
{
    uint32_t at = pos % IG_HIDDEN_KEPT;
    return seq->hidden_at[at] == pos + 1 ? seq->hidden + (size_t)at * run->m->hp.n_embd : NULL;
}

static void put_state(ig_run *run, uint32_t row, const float *state)
{
    uint32_t d = run->m->hp.n_embd;
    float *to = ig_row_at(run, IG_VIEW(D, d), row);
    if (state)
        memcpy(to, state, d * sizeof *to);
    else
        memset(to, 0, d * sizeof *to);
}

/* The states of an item's last tokens, for the step after this one. */
static void keep_states(ig_run *run, const ig_item *it, ig_view states)
{
    uint32_t d = run->m->hp.n_embd, from = it->seq->n_tokens;
    for (uint32_t t = it->n > IG_HIDDEN_KEPT ? it->n - IG_HIDDEN_KEPT : 0; t < it->n; t++) {
        uint32_t at = (from + t) % IG_HIDDEN_KEPT;
        memcpy(it->seq->hidden + (size_t)at * d, ig_row_at(run, states, it->first + t), d * sizeof(float));
        it->seq->hidden_at[at] = from + t + 1;
    }
}

static void add_tile_row(ig_run *run, uint32_t in_item)
{
    if (in_item % IG_QUERY_TILE == 0) run->tiles[run->n_tiles++] = (ig_tile){run->n_rows, 0};
    run->tiles[run->n_tiles - 1].n++;
}

/* The rows of the step once more, a position back each and with the states before them; a sequence's first token has
 * none and no row. New rows never stand behind the old ones that they are made of. */
static void lay_out_again(ig_run *run, ig_view states)
{
    run->n_rows = run->n_tiles = run->n_wanted = 0;
    for (uint32_t i = 0; i < run->n_items; i++) {
        ig_item *it = &run->items[i];
        const ig_item old = *it;
        it->first = run->n_rows;
        for (uint32_t t = 0; t < old.n; t++) {
            ig_row row = run->rows[old.first + t];
            if (row.pos == 0) continue;
            row.pos--;
            put_state(run, run->n_rows, t ? ig_row_at(run, states, old.first + t - 1) : kept(run, old.seq, row.pos));
            add_tile_row(run, run->n_rows - it->first);
            run->rows[run->n_rows++] = row;
        }
        it->n = run->n_rows - it->first;
        keep_states(run, &old, states);
    }
}

void ig_draft_keep_up(ig_run *run)
{
    const ig_model *m = run->m;
    ig_view states = m->draft_in.n ? IG_VIEW(N, 0) : IG_VIEW(X, 0);
    ig_run_ops(run, &m->draft_in);
    lay_out_again(run, states);
    if (run->n_rows) ig_run_ops(run, &m->draft);
}

static uint32_t likeliest(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* Lays out tokens [n] behind the sequence, each with the state before it; false: the last one's is not kept. */
static bool lay_out_due(ig_run *run, ig_seq *seq, const int32_t *tokens, uint32_t n)
{
    run->n_rows = run->n_tiles = 0;
    run->n_items = run->n_wanted = 1;
    for (uint32_t t = 0; t < n; t++) {
        if (seq->n_tokens + t == 0) continue;
        uint32_t pos = seq->n_tokens + t - 1;
        const float *state = kept(run, seq, pos);
        if (!state && t + 1 == n) return false;
        put_state(run, run->n_rows, state);
        add_tile_row(run, run->n_rows);
        run->rows[run->n_rows++] = (ig_row){tokens[t], pos, 0};
    }
    run->items[0] = (ig_item){seq, 0, run->n_rows, seq->n_tokens + n};
    run->wanted[0] = run->n_rows - 1;
    return run->n_rows > 0;
}

/* The guess goes behind the others, with the layer's own state. */
static void lay_out_guess(ig_run *run, int32_t token)
{
    bool normed = run->m->draft_in.n > 0;
    ig_row row = {token, run->rows[run->n_rows - 1].pos + 1, 0};
    put_state(run, 0, normed ? ig_row_at(run, IG_VIEW(S, 0), 0) : ig_row_at(run, IG_VIEW(X, 0), run->n_rows - 1));
    run->n_rows = run->n_tiles = 0;
    add_tile_row(run, 0);
    run->rows[run->n_rows++] = row;
    run->items[0].n = 1;
    run->items[0].end = row.pos + 1;
    run->wanted[0] = 0;
}

static bool may_draft(const ig_run *run, const ig_seq *seq, const int32_t *tokens, uint32_t n)
{
    if (!run->opt.draft || !seq->hidden || n == 0 || n > run->opt.n_batch) return false;
    for (uint32_t t = 0; t < n; t++)
        if (tokens[t] < 0 || (uint32_t)tokens[t] >= run->m->hp.n_vocab) return false;
    return true;
}

uint32_t ig_draft_ahead(ig_run *run, ig_seq *seq, const int32_t *tokens, uint32_t n, uint32_t most, int32_t *out,
                        const float **logits)
{
    uint32_t k = 0, held = seq->n_pages;
    if (logits) *logits = NULL;
    if (!may_draft(run, seq, tokens, n)) return 0;
    /* Positions up to that of the last token; one more for every further guess. */
    for (uint64_t end = (uint64_t)seq->n_tokens + n - 1; k < most && end <= run->opt.n_ctx; end++) {
        while (seq->n_pages * (uint64_t)IG_PAGE_TOKENS < end)
            if (!ig_seq_take_page(run, seq)) goto done;
        if (k == 0 && !lay_out_due(run, seq, tokens, n)) break;
        if (k) lay_out_guess(run, out[k - 1]);
        ig_run_ops(run, &run->m->draft);
        ig_run_ops(run, &run->m->draft_head);
        const float *row = ig_row_at(run, IG_VIEW(LOGITS, 0), 0);
        if (logits) *logits = row;
        out[k++] = (int32_t)likeliest(row, run->m->hp.n_vocab);
    }
done:
    ig_seq_drop_pages(run, seq, held);
    return k;
}
