/* Sequences: page tables, windows, recurrent state and going back. */
#include <errno.h>

#include "base/disk.h"
#include "base/os.h"
#include "model/run.h"

ig_status ig_seq_init(const ig_run *run, ig_seq *seq, uint32_t n_ctx, ig_error *err)
{
    uint32_t n = n_ctx / IG_PAGE_TOKENS + (n_ctx % IG_PAGE_TOKENS != 0);
    uint64_t state = ig_model_state_bytes(run->m);
    bool ok = true;
    *seq = (ig_seq){.n_pages_max = n};
    uint64_t hidden = run->opt.draft ? ig_model_hidden_bytes(run->m) : 0;
    for (int g = 0; g < IG_KV_GROUPS; g++) ok = ok && (seq->pages[g] = ig_calloc(n, sizeof *seq->pages[g])) != NULL;
    if (ok && state) ok = (seq->state = ig_reserve(state)) != NULL;
    if (ok && hidden) ok = (seq->hidden = ig_reserve(hidden)) != NULL;
    if (seq->hidden) seq->hidden_at = (uint32_t *)(void *)(seq->hidden + (size_t)IG_HIDDEN_KEPT * run->m->hp.n_embd);
    return ok ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a sequence of %u tokens", n_ctx);
}

/* First page that a windowed layer may still look at when n tokens are stored. */
static uint32_t window_start(const ig_run *run, uint32_t n)
{
    uint32_t window = run->m->window_most;
    return n + 1 > window ? (n + 1 - window) / IG_PAGE_TOKENS : 0;
}

/* Gives pages from..to-1 of a group back. */
static void release(ig_run *run, ig_seq *seq, int g, uint32_t from, uint32_t to)
{
    if (run->page_bytes[g] == 0) return;
    for (uint32_t p = from; p < to; p++) run->free_pages[g][run->n_free[g]++] = seq->pages[g][p];
}

bool ig_seq_take_page(ig_run *run, ig_seq *seq)
{
    if (seq->n_pages == seq->n_pages_max) return false;
    for (int g = 0; g < IG_KV_GROUPS; g++)
        if (run->page_bytes[g] && run->n_free[g] == 0) return false;
    for (int g = 0; g < IG_KV_GROUPS; g++)
        if (run->page_bytes[g]) seq->pages[g][seq->n_pages] = run->free_pages[g][--run->n_free[g]];
    seq->n_pages++;
    return true;
}

void ig_seq_drop_pages(ig_run *run, ig_seq *seq, uint32_t n)
{
    for (int g = 0; g < IG_KV_GROUPS; g++) release(run, seq, g, n, seq->n_pages);
    seq->n_pages = n;
}

void ig_seq_slide(ig_run *run, ig_seq *seq)
{
    uint32_t start = window_start(run, seq->n_tokens);
    start = start > IG_WINDOW_KEEP ? start - IG_WINDOW_KEEP : 0;
    if (start <= seq->first[1]) return;
    release(run, seq, 1, seq->first[1], start);
    seq->first[1] = start;
}

/* Version of the state to go back to for at most n tokens; *left gets what it has seen. */
static uint32_t find_snapshot(const ig_seq *seq, uint32_t n, uint32_t *left)
{
    uint32_t best = 0;
    *left = 0;
    for (uint32_t i = 0; i < IG_SNAPSHOTS; i++)
        if (seq->snapshot_at[i] <= n && seq->snapshot_at[i] > *left) {
            *left = seq->snapshot_at[i];
            best = 1 + i;
        }
    if (seq->mark_at <= n && seq->mark_at > *left) {
        *left = seq->mark_at;
        best = 1 + IG_SNAPSHOTS;
    }
    return best;
}

/* Puts the recurrent state where at most n tokens have been seen; returns how many. */
static uint32_t restore(const ig_run *run, ig_seq *seq, uint32_t n)
{
    size_t bytes = run->m->state_floats * sizeof(float);
    uint32_t left, version = find_snapshot(seq, n, &left);
    if (version)
        memcpy(seq->state, version > IG_SNAPSHOTS ? seq->mark : seq->state + version * bytes, bytes);
    else
        memset(seq->state, 0, bytes);
    for (uint32_t i = 0; i < IG_SNAPSHOTS; i++)
        if (seq->snapshot_at[i] > left) seq->snapshot_at[i] = 0;
    if (seq->mark_at > left) seq->mark_at = 0;
    return left;
}

bool ig_seq_mark(const ig_run *run, ig_seq *seq)
{
    size_t bytes = run->m->state_floats * sizeof(float);
    if (!seq->state) return true;
    if (!seq->mark && !(seq->mark = ig_reserve(bytes))) return false;
    memcpy(seq->mark, seq->state, bytes);
    seq->mark_at = seq->n_tokens;
    return true;
}

uint32_t ig_seq_reach(const ig_run *run, const ig_seq *seq, uint32_t n_tokens)
{
    if (n_tokens >= seq->n_tokens) return seq->n_tokens;
    uint32_t left = n_tokens;
    if (!run->m->hp.causal) return 0; /* what was seen depends on what is dropped */
    if (seq->state) (void)find_snapshot(seq, left, &left);
    return run->page_bytes[1] && window_start(run, left) < seq->first[1] ? 0 : left;
}

/* States behind the first n tokens count no more. */
static void forget_states(const ig_seq *seq, uint32_t n)
{
    for (int i = 0; seq->hidden && i < IG_HIDDEN_KEPT; i++)
        if (seq->hidden_at[i] > n) seq->hidden_at[i] = 0;
}

uint32_t ig_seq_truncate(ig_run *run, ig_seq *seq, uint32_t n_tokens)
{
    if (n_tokens >= seq->n_tokens) return seq->n_tokens;
    uint32_t left = ig_seq_reach(run, seq, n_tokens);
    if (seq->state) left = restore(run, seq, left);
    forget_states(seq, n_tokens); /* tokens between `left` and n_tokens come again */
    uint32_t keep = left / IG_PAGE_TOKENS + (left % IG_PAGE_TOKENS != 0);
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        uint32_t from = keep > seq->first[g] ? keep : seq->first[g];
        release(run, seq, g, from, seq->n_pages);
        if (seq->first[g] > keep) seq->first[g] = keep;
    }
    seq->n_pages = keep;
    seq->n_tokens = left;
    return left;
}

uint32_t ig_seq_copy(ig_run *run, ig_seq *to, const ig_seq *from, uint32_t n_tokens)
{
    uint32_t left = ig_seq_reach(run, from, n_tokens), keep = left / IG_PAGE_TOKENS + (left % IG_PAGE_TOKENS != 0);
    if (left == 0 || to->n_tokens || to->n_pages || keep > to->n_pages_max) return 0;
    for (int g = 0; g < IG_KV_GROUPS; g++)
        if (run->page_bytes[g] && keep > from->first[g] && keep - from->first[g] > run->n_free[g]) return 0;
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        to->first[g] = from->first[g] < keep ? from->first[g] : keep;
        for (uint32_t p = to->first[g]; run->page_bytes[g] && p < keep; p++) {
            to->pages[g][p] = run->free_pages[g][--run->n_free[g]];
            memcpy(run->pages[g] + to->pages[g][p] * run->page_bytes[g],
                   run->pages[g] + from->pages[g][p] * run->page_bytes[g], run->page_bytes[g]);
        }
    }
    to->n_pages = keep;
    to->n_tokens = left;
    if (to->hidden && from->hidden) {
        memcpy(to->hidden, from->hidden, ig_model_hidden_bytes(run->m));
        forget_states(to, left);
    }
    if (!to->state) return left;
    memcpy(to->state, from->state, ig_model_state_bytes(run->m));
    memcpy(to->snapshot_at, from->snapshot_at, sizeof to->snapshot_at);
    if (left == from->n_tokens) return left;
    (void)restore(run, to, left);
    if (left == from->mark_at) memcpy(to->state, from->mark, run->m->state_floats * sizeof(float));
    return left;
}

void ig_seq_describe(const ig_run *run, const ig_seq *seq, ig_seq_image *out)
{
    *out = (ig_seq_image){.n_pages = seq->n_pages, .n_tokens = seq->n_tokens};
    memcpy(out->first, seq->first, sizeof out->first);
    memcpy(out->snapshot_at, seq->snapshot_at, sizeof out->snapshot_at);
    if (seq->state) out->n_bytes = ig_model_state_bytes(run->m);
    for (int g = 0; g < IG_KV_GROUPS; g++) out->n_bytes += (seq->n_pages - seq->first[g]) * run->page_bytes[g];
}

typedef bool (*move_fn)(int fd, void *p, uint64_t n, uint64_t offset);

static bool put_bytes(int fd, void *p, uint64_t n, uint64_t offset) { return ig_disk_write_at(fd, p, n, offset); }

static bool get_bytes(int fd, void *p, uint64_t n, uint64_t offset)
{
    errno = EIO; /* the file is too short */
    return ig_disk_read_at(fd, p, n, offset) == (ssize_t)n;
}

/* State, then the pages of each group in order. */
static bool move(const ig_run *run, const ig_seq *seq, int fd, uint64_t at, move_fn fn)
{
    uint64_t n = ig_model_state_bytes(run->m);
    if (seq->state && !fn(fd, seq->state, n, at)) return false;
    if (seq->state) at += n;
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        n = run->page_bytes[g];
        for (uint32_t p = seq->first[g]; n && p < seq->n_pages; p++, at += n)
            if (!fn(fd, run->pages[g] + seq->pages[g][p] * n, n, at)) return false;
    }
    return true;
}

ig_status ig_seq_save(const ig_run *run, const ig_seq *seq, int fd, uint64_t offset, ig_error *err)
{
    if (move(run, seq, fd, offset, put_bytes)) return IG_OK;
    return ig_fail_errno(err, IG_IO, errno, "cannot write %u tokens of a conversation to disk", seq->n_tokens);
}

ig_status ig_seq_load(ig_run *run, ig_seq *seq, const ig_seq_image *image, int fd, uint64_t offset, ig_error *err)
{
    uint32_t n = image->n_pages;
    for (int g = 0; g < IG_KV_GROUPS; g++)
        if (run->page_bytes[g] && n - image->first[g] > run->n_free[g])
            return ig_fail(err, IG_NO_MEMORY, 0, "a conversation on disk needs %u KV pages, %u are free",
                           n - image->first[g], run->n_free[g]);
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        seq->first[g] = image->first[g];
        for (uint32_t p = seq->first[g]; run->page_bytes[g] && p < n; p++)
            seq->pages[g][p] = run->free_pages[g][--run->n_free[g]];
    }
    seq->n_pages = n;
    seq->n_tokens = image->n_tokens;
    memcpy(seq->snapshot_at, image->snapshot_at, sizeof seq->snapshot_at);
    seq->mark_at = 0;
    forget_states(seq, 0);
    if (move(run, seq, fd, offset, get_bytes)) return IG_OK;
    (void)ig_fail_errno(err, IG_IO, errno, "cannot read %u tokens of a conversation from disk", seq->n_tokens);
    memset(seq->snapshot_at, 0, sizeof seq->snapshot_at);
    (void)ig_seq_truncate(run, seq, 0);
    return IG_IO;
}

void ig_seq_fini(ig_run *run, ig_seq *seq)
{
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        if (seq->pages[g]) release(run, seq, g, seq->first[g], seq->n_pages);
        ig_free(seq->pages[g]);
    }
    ig_unreserve(seq->hidden, ig_model_hidden_bytes(run->m));
    ig_unreserve(seq->state, ig_model_state_bytes(run->m));
    ig_unreserve(seq->mark, run->m->state_floats * sizeof(float));
    *seq = (ig_seq){0};
}
