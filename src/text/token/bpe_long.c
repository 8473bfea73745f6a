/* Byte-pair merging of long pieces: a million equal letters, or a whole text where there is no pre-tokenizer.
 * Candidates wait in a bucket for each rank, in the order of the text, and a heap holds the ranks whose buckets are not
 * empty. One sweep over a bucket makes all its merges; what a merge makes possible lies near it, so a bucket is nearly
 * always filled in order, and the time is linear where a heap of all candidates would be n log n with a miss in the
 * cache at every step. The order is the same: lowest rank first, then leftmost. */
#include "text/token/token_priv.h"

typedef struct entry { /* a pair that may be joined */
    uint32_t left, right, n_bytes;
    uint32_t next; /* index + 1 of an entry of the same list, 0: none */
} entry;

typedef struct bucket {
    uint32_t ready;      /* list in the order of the text */
    uint32_t head, tail; /* list of what came since */
    uint32_t last;       /* place of the tail */
    bool unsorted, queued;
} bucket;

struct ig_bpe_queue {
    entry *entries;
    size_t n, cap;
    uint32_t free;   /* list of entries to use again */
    bucket *buckets; /* [n_ranks] */
    uint32_t *heap;  /* [n_ranks] ranks, the lowest first */
    size_t n_heap, n_ranks;
};

void ig_bpe_queue_free(ig_bpe_queue *q)
{
    if (!q) return;
    ig_free(q->entries);
    ig_free(q->buckets);
    ig_free(q->heap);
    ig_free(q);
}

static bool prepare(const ig_vocab *v, ig_work *w)
{
    if (w->queue) return true;
    ig_bpe_queue *q = ig_calloc(1, sizeof *q);
    if (!q) return false;
    q->n_ranks = v->n_merges;
    q->buckets = ig_calloc(q->n_ranks + 1, sizeof *q->buckets);
    q->heap = ig_calloc(q->n_ranks + 1, sizeof *q->heap);
    if (!q->buckets || !q->heap) {
        ig_bpe_queue_free(q);
        return false;
    }
    w->queue = q;
    return true;
}

static void heap_push(ig_bpe_queue *q, uint32_t rank)
{
    size_t i = q->n_heap++;
    for (size_t up; i && q->heap[up = (i - 1) / 2] > rank; i = up) q->heap[i] = q->heap[up];
    q->heap[i] = rank;
}

static void heap_pop(ig_bpe_queue *q)
{
    uint32_t last = q->heap[--q->n_heap];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < q->n_heap; i = c) {
        if (c + 1 < q->n_heap && q->heap[c + 1] < q->heap[c]) c++;
        if (last <= q->heap[c]) break;
        q->heap[i] = q->heap[c];
    }
    q->heap[i] = last;
}

/* Index + 1 of an unused entry, 0 without memory. */
static uint32_t new_entry(ig_bpe_queue *q)
{
    uint32_t e = q->free;
    if (e) {
        q->free = q->entries[e - 1].next;
        return e;
    }
    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap + q->cap / 2 : 8192;
        entry *p = cap < UINT32_MAX ? ig_realloc(q->entries, cap, sizeof *p) : NULL;
        if (!p) return 0;
        q->entries = p;
        q->cap = cap;
    }
    return (uint32_t)++q->n;
}

static bool push(ig_bpe_queue *q, uint32_t rank, entry x)
{
    bucket *b = &q->buckets[rank];
    uint32_t e = new_entry(q);
    if (!e) return false;
    x.next = 0;
    q->entries[e - 1] = x;
    if (!b->head) {
        b->head = e;
        b->unsorted = false;
    } else {
        q->entries[b->tail - 1].next = e;
        b->unsorted = b->unsorted || x.left < b->last;
    }
    b->tail = e;
    b->last = x.left;
    if (!b->queued) heap_push(q, rank);
    b->queued = true;
    return true;
}

/* Joins two lists in order; stops walking where one of them ends. */
static uint32_t merge_lists(ig_bpe_queue *q, uint32_t a, uint32_t b)
{
    uint32_t head = 0, *to = &head;
    while (a && b) {
        uint32_t *from = q->entries[a - 1].left <= q->entries[b - 1].left ? &a : &b;
        *to = *from;
        to = &q->entries[*from - 1].next;
        *from = *to;
    }
    *to = a ? a : b;
    return head;
}

/* Sorts a list by merging the runs that it consists of. */
static uint32_t sort_list(ig_bpe_queue *q, uint32_t list)
{
    uint32_t bins[33] = {0}, all = 0; /* bins[i]: 2^i runs */
    while (list) {
        uint32_t run = list, at = list, i = 0;
        for (uint32_t next; (next = q->entries[at - 1].next) && q->entries[at - 1].left <= q->entries[next - 1].left;)
            at = next;
        list = q->entries[at - 1].next;
        q->entries[at - 1].next = 0;
        for (; bins[i]; bins[i++] = 0) run = merge_lists(q, bins[i], run);
        bins[i] = run;
    }
    for (int i = 0; i < 33; i++) all = merge_lists(q, bins[i], all);
    return all;
}

/* Takes the leftmost pair of the lowest rank; false where there is none. */
static bool pop(ig_bpe_queue *q, entry *out)
{
    while (q->n_heap) {
        bucket *b = &q->buckets[q->heap[0]];
        if (b->head) {
            if (b->unsorted) b->head = sort_list(q, b->head);
            b->ready = merge_lists(q, b->ready, b->head);
            b->head = 0;
        }
        uint32_t e = b->ready;
        if (!e) {
            b->queued = false;
            heap_pop(q);
            continue;
        }
        *out = q->entries[e - 1];
        b->ready = out->next;
        q->entries[e - 1].next = q->free;
        q->free = e;
        return true;
    }
    return false;
}

static bool offer(const ig_vocab *v, ig_work *w, int32_t left, int32_t right)
{
    if (left < 0 || right < 0) return true;
    const ig_symbol *a = &w->symbols[left], *b = &w->symbols[right];
    const ig_merge *m = ig_vocab_merge(v, a->id, b->id);
    return !m || push(w->queue, m->rank, (entry){(uint32_t)left, (uint32_t)right, a->n + b->n, 0});
}

bool ig_bpe_join_long(const ig_vocab *v, ig_work *w, int32_t count)
{
    entry e;
    if (!prepare(v, w)) return false;
    for (int32_t i = 1; i < count; i++)
        if (!offer(v, w, i - 1, i)) return false;
    while (pop(w->queue, &e)) {
        ig_symbol *a = &w->symbols[e.left], *b = &w->symbols[e.right];
        if (a->n == 0 || b->n == 0 || a->n + b->n != e.n_bytes || a->next != (int32_t)e.right) continue;
        a->id = ig_vocab_merge(v, a->id, b->id)->result;
        a->n += b->n;
        b->n = 0;
        a->next = b->next;
        if (b->next >= 0) w->symbols[b->next].prev = (int32_t)e.left;
        if (!offer(v, w, a->prev, (int32_t)e.left) || !offer(v, w, (int32_t)e.left, a->next)) return false;
    }
    return true;
}
