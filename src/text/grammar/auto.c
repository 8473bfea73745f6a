/* Compile context, interning, deterministic automata: trimming, minimising, products, word lists. */
#include <stdarg.h>
#include <stdio.h>

#include "auto.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/sort.h"
#include "base/utf8.h"

void gr_fail(gr_cc *cc, ig_status st, const char *format, ...)
{
    char text[400];
    va_list args;
    if (cc->st != IG_OK) return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cc->st = cc->where ? ig_fail(cc->err, st, 0, "%s: %s", cc->where, text) : ig_fail(cc->err, st, 0, "%s", text);
}

void *gr_new(gr_cc *cc, size_t n, size_t size)
{
    if (cc->st != IG_OK) return NULL;
    void *p = ig_arena_alloc(&cc->mem, n ? n : 1, size);
    size_t bytes;
    bool fits = ig_mul_sz(n, size, &bytes) && ig_add_sz(bytes, cc->mem.used_bytes + 15, &bytes) &&
                (!cc->mem.max_bytes || bytes <= cc->mem.max_bytes);
    if (!p && fits)
        gr_fail(cc, IG_NO_MEMORY, "out of memory for the grammar");
    else if (!p)
        gr_fail(cc, IG_TOO_LARGE, "the grammar needs more than %zu MiB to compile; make it smaller",
                GR_WORK_BYTES >> 20);
    return p;
}

bool gr_grow(gr_cc *cc, void **ptr, uint32_t n, uint32_t *cap, size_t size)
{
    if (cc->st != IG_OK) return false;
    if (n < *cap) return true;
    uint32_t more = *cap ? *cap * 2 : 8;
    while (more <= n) {
        if (more > UINT32_MAX / 2) return false;
        more *= 2;
    }
    void *p = gr_new(cc, more, size);
    if (!p) return false;
    if (*cap) memcpy(p, *ptr, (n < *cap ? n : *cap) * size);
    *ptr = p;
    *cap = more;
    return true;
}

bool gr_pay(gr_cc *cc, uint64_t n)
{
    if (cc->st != IG_OK) return false;
    if (cc->steps < n) {
        gr_fail(cc, IG_TOO_LARGE, "the grammar takes too much work to compile; make it smaller");
        return false;
    }
    cc->steps -= n;
    return true;
}

static void intern_place(gr_intern *in, uint32_t idx)
{
    uint32_t n, i;
    const uint32_t *key = gr_intern_key(in, idx, &n);
    for (i = (uint32_t)ig_hash(key, n * sizeof *key, in->seed) & (in->n_slots - 1); in->slots[i];)
        i = (i + 1) & (in->n_slots - 1);
    in->slots[i] = idx + 1;
}

static bool intern_room(gr_cc *cc, gr_intern *in, uint32_t n)
{
    if (!in->n_slots) ig_random(&in->seed, sizeof in->seed);
    if (in->n * 2 + 2 > in->n_slots) {
        uint32_t more = in->n_slots ? in->n_slots * 2 : 64;
        uint32_t *slots = gr_new(cc, more, sizeof *slots);
        if (!slots) return false;
        in->slots = slots, in->n_slots = more;
        for (uint32_t i = 0; i < in->n; i++) intern_place(in, i);
    }
    if (!gr_grow(cc, (void **)&in->off, in->n + 1, &in->cap, sizeof *in->off)) return false;
    while (in->cap_pool < in->n_pool + n + 1)
        if (!gr_grow(cc, (void **)&in->pool, in->cap_pool, &in->cap_pool, sizeof *in->pool)) return false;
    return true;
}

const uint32_t *gr_intern_key(const gr_intern *in, uint32_t idx, uint32_t *n)
{
    uint32_t end = idx + 1 < in->n ? in->off[idx + 1] : in->n_pool;
    *n = end - in->off[idx];
    return in->pool + in->off[idx];
}

uint32_t gr_intern_add(gr_cc *cc, gr_intern *in, const uint32_t *key, uint32_t n, bool *is_new)
{
    if (is_new) *is_new = false;
    if (in->n_slots) {
        uint32_t i = (uint32_t)ig_hash(key, n * sizeof *key, in->seed) & (in->n_slots - 1), len;
        for (; in->slots[i]; i = (i + 1) & (in->n_slots - 1)) {
            const uint32_t *old = gr_intern_key(in, in->slots[i] - 1, &len);
            if (len == n && (!n || !memcmp(old, key, n * sizeof *key))) return in->slots[i] - 1;
        }
    }
    if (!intern_room(cc, in, n)) return GR_NONE;
    in->off[in->n] = in->n_pool;
    if (n) memcpy(in->pool + in->n_pool, key, n * sizeof *key);
    in->n_pool += n;
    in->n++;
    intern_place(in, in->n - 1);
    if (is_new) *is_new = true;
    return in->n - 1;
}

static uint32_t all_bound[1] = {0}, all_next[2] = {0, 1}, all_label[2] = {0, 1}, none_next[1] = {0},
                none_label[1] = {0};
static uint16_t all_cls[1] = {0}, all_run[2] = {0, GR_RUN_MAX};
const gr_dfa gr_dfa_all = {2, 1, 1, 1, all_bound, all_cls, {0}, all_next, all_label, all_run};
const gr_dfa gr_dfa_none = {1, 1, 1, 0, all_bound, all_cls, {0}, none_next, none_label, all_run};

uint16_t gr_dfa_class(const gr_dfa *d, uint32_t cp)
{
    uint32_t lo = 0, hi = d->n_bounds;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (d->bound[mid] <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return d->cls_of[lo];
}

uint32_t gr_dfa_match(const gr_dfa *d, ig_str text)
{
    uint32_t q = d->start, cp;
    for (size_t i = 0, n; i < text.len; i += n) {
        n = ig_utf8_decode(text.ptr + i, text.len - i, &cp);
        if (!n) return 0;
        q = gr_dfa_next(d, q, cp);
    }
    return d->label[q];
}

/* Marks states from which a label is reached, backwards along the edges. */
static uint8_t *mark_live(gr_cc *cc, const gr_dfa *d)
{
    size_t n_edges = (size_t)d->n_states * d->n_cls;
    uint8_t *live = gr_new(cc, d->n_states, 1);
    uint32_t *first = gr_new(cc, d->n_states + 2, sizeof *first), *from = gr_new(cc, n_edges, sizeof *from);
    uint32_t *todo = gr_new(cc, d->n_states, sizeof *todo), n_todo = 0;
    if (!todo) return NULL;
    for (size_t i = 0; i < n_edges; i++) first[d->next[i] + 2]++;
    for (uint32_t s = 2; s < d->n_states + 2; s++) first[s] += first[s - 1];
    for (size_t i = 0; i < n_edges; i++) from[first[d->next[i] + 1]++] = (uint32_t)(i / d->n_cls);
    for (uint32_t s = 1; s < d->n_states; s++)
        if (d->label[s]) live[s] = 1, todo[n_todo++] = s;
    while (n_todo) {
        uint32_t s = todo[--n_todo];
        for (uint32_t i = first[s]; i < first[s + 1]; i++)
            if (from[i] && !live[from[i]]) live[from[i]] = 1, todo[n_todo++] = from[i];
    }
    return live;
}

/* Minimising after Hopcroft: blocks of states that no text has told apart yet. The states of block i stand in
 * order[first[i] .. first[i] + size[i]), those that the splitter leads to at its front (touched[i] of them). */
typedef struct blocks {
    const gr_dfa *d;
    uint32_t *order, *place, *of;                   /* [n_states] */
    uint32_t *first, *size, *touched, *list, *todo; /* [n_states]; list: touched blocks; todo: splitters */
    uint8_t *waits;                                 /* [n_states] block is in todo */
    uint32_t *preds, *pred_at;                      /* sources by (class, target) */
    uint32_t n, n_list, n_todo;
} blocks;

static bool blocks_make(gr_cc *cc, blocks *b, const gr_dfa *d)
{
    size_t n = d->n_states, cells = n * d->n_cls;
    uint32_t **arrays[] = {&b->order, &b->place, &b->of, &b->first, &b->size, &b->touched, &b->list, &b->todo};
    b->d = d;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) *arrays[i] = gr_new(cc, n, 4);
    b->waits = gr_new(cc, n, 1);
    b->preds = gr_new(cc, cells, 4);
    b->pred_at = gr_new(cc, cells + 2, 4);
    if (!b->pred_at) return false;
    for (size_t s = 0; s < n; s++)
        for (size_t c = 0; c < d->n_cls; c++) b->pred_at[c * n + d->next[s * d->n_cls + c] + 2]++;
    for (size_t i = 2; i < cells + 2; i++) b->pred_at[i] += b->pred_at[i - 1];
    for (size_t s = 0; s < n; s++)
        for (size_t c = 0; c < d->n_cls; c++)
            b->preds[b->pred_at[c * n + d->next[s * d->n_cls + c] + 1]++] = (uint32_t)s;
    return true;
}

/* One block for each label. */
static bool blocks_begin(gr_cc *cc, blocks *b)
{
    gr_intern labels = {0};
    uint32_t at = 0;
    for (uint32_t s = 0; s < b->d->n_states; s++) {
        b->of[s] = gr_intern_add(cc, &labels, &b->d->label[s], 1, NULL);
        if (b->of[s] == GR_NONE) return false;
        b->size[b->of[s]]++;
    }
    b->n = labels.n;
    for (uint32_t i = 0; i < b->n; i++) b->first[i] = at, at += b->size[i], b->todo[b->n_todo++] = i, b->waits[i] = 1;
    for (uint32_t s = 0; s < b->d->n_states; s++) {
        uint32_t i = b->of[s];
        b->place[s] = b->first[i] + b->touched[i]++;
        b->order[b->place[s]] = s;
    }
    memset(b->touched, 0, b->n * sizeof *b->touched);
    return true;
}

static void touch(blocks *b, uint32_t s)
{
    uint32_t i = b->of[s], to = b->first[i] + b->touched[i], other = b->order[to];
    if (b->place[s] < to) return;
    if (!b->touched[i]++) b->list[b->n_list++] = i;
    b->order[b->place[s]] = other, b->place[other] = b->place[s];
    b->order[to] = s, b->place[s] = to;
}

/* Divides every touched block into its touched states and the rest. */
static void split_touched(blocks *b)
{
    for (; b->n_list; b->n_list--) {
        uint32_t i = b->list[b->n_list - 1], n = b->touched[i], fresh = b->n;
        b->touched[i] = 0;
        if (n == b->size[i]) continue;
        bool front = n <= b->size[i] - n; /* the smaller part becomes the new block */
        uint32_t from = front ? b->first[i] : b->first[i] + n, count = front ? n : b->size[i] - n;
        if (front) b->first[i] += n;
        b->size[i] -= count;
        b->first[fresh] = from, b->size[fresh] = count, b->touched[fresh] = 0;
        for (uint32_t k = from; k < from + count; k++) b->of[b->order[k]] = fresh;
        b->waits[fresh] = 1, b->todo[b->n_todo++] = fresh;
        b->n++;
    }
}

/* Groups states that accept the same texts with the same labels. group [n_states]. */
static bool group_states(const gr_dfa *d, uint32_t *group, uint32_t *n_groups)
{
    gr_cc inner = {.mem = {.max_bytes = GR_WORK_BYTES}, .st = IG_OK};
    blocks b = {0};
    uint32_t *members = gr_new(&inner, d->n_states, 4);
    bool ok = members && blocks_make(&inner, &b, d) && blocks_begin(&inner, &b);
    while (ok && b.n_todo) {
        uint32_t at = b.todo[--b.n_todo], n = b.size[at];
        b.waits[at] = 0;
        memcpy(members, b.order + b.first[at], n * sizeof *members);
        for (size_t c = 0; c < d->n_cls; c++) {
            for (uint32_t m = 0; m < n; m++) {
                size_t cell = c * d->n_states + members[m];
                for (uint32_t k = b.pred_at[cell]; k < b.pred_at[cell + 1]; k++) touch(&b, b.preds[k]);
            }
            split_touched(&b);
        }
    }
    if (ok) memcpy(group, b.of, d->n_states * sizeof *group), *n_groups = b.n;
    ig_arena_fini(&inner.mem);
    return ok;
}

/* Replaces states by their groups, in order of first visit from the start; the dead group becomes 0. */
static bool renumber(gr_cc *cc, gr_dfa *d, const uint32_t *group, uint32_t n_groups)
{
    uint32_t *id = gr_new(cc, n_groups, sizeof *id), *todo = gr_new(cc, n_groups + 1, sizeof *todo), n = 1;
    uint32_t *next = gr_new(cc, (size_t)n_groups * d->n_cls, sizeof *next),
             *label = gr_new(cc, n_groups, sizeof *label);
    if (!label) return false;
    for (uint32_t g = 0; g < n_groups; g++) id[g] = GR_NONE;
    id[group[0]] = 0;
    if (id[group[d->start]] == GR_NONE) id[group[d->start]] = n, todo[n++] = d->start;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t s = todo[i];
        label[i] = d->label[s];
        for (uint32_t c = 0; c < d->n_cls; c++) {
            uint32_t t = d->next[(size_t)s * d->n_cls + c];
            if (id[group[t]] == GR_NONE) id[group[t]] = n, todo[n++] = t;
            next[(size_t)i * d->n_cls + c] = id[group[t]];
        }
    }
    d->start = id[group[d->start]];
    d->n_states = n;
    d->next = next;
    d->label = label;
    return true;
}

/* Joins classes that behave alike in every state, then neighbouring intervals of one class. */
static void join_classes(gr_cc *cc, gr_dfa *d)
{
    gr_intern in = {0};
    uint32_t *column = gr_new(cc, d->n_states, sizeof *column), *to = gr_new(cc, d->n_cls, sizeof *to);
    if (!to) return;
    for (uint32_t c = 0; c < d->n_cls; c++) {
        for (uint32_t s = 0; s < d->n_states; s++) column[s] = d->next[(size_t)s * d->n_cls + c];
        to[c] = gr_intern_add(cc, &in, column, d->n_states, NULL);
        if (to[c] == GR_NONE) return;
    }
    uint32_t *next = gr_new(cc, (size_t)d->n_states * in.n, sizeof *next), n = 0;
    uint32_t *bound = gr_new(cc, d->n_bounds, sizeof *bound);
    uint16_t *cls_of = gr_new(cc, d->n_bounds, sizeof *cls_of);
    if (!cls_of) return;
    for (uint32_t s = 0; s < d->n_states; s++)
        for (uint32_t c = 0; c < d->n_cls; c++) next[(size_t)s * in.n + to[c]] = d->next[(size_t)s * d->n_cls + c];
    for (uint32_t i = 0; i < d->n_bounds; i++) {
        uint16_t cls = (uint16_t)to[d->cls_of[i]];
        if (n && cls_of[n - 1] == cls) continue;
        bound[n] = d->bound[i];
        cls_of[n++] = cls;
    }
    d->next = next, d->n_cls = in.n, d->bound = bound, d->cls_of = cls_of, d->n_bounds = n;
}

const gr_dfa *gr_dfa_make(gr_cc *cc, gr_dfa raw)
{
    uint8_t *live = mark_live(cc, &raw);
    uint32_t *group = gr_new(cc, raw.n_states, sizeof *group), n_groups = 0;
    gr_dfa *d = gr_new(cc, 1, sizeof *d);
    if (!d || !live || !gr_pay(cc, (uint64_t)raw.n_states * raw.n_cls)) return NULL;
    if (!live[raw.start]) return &gr_dfa_none;
    for (size_t i = 0; i < (size_t)raw.n_states * raw.n_cls; i++)
        if (!live[raw.next[i]]) raw.next[i] = 0;
    for (uint32_t c = 0; c < raw.n_cls; c++) raw.next[c] = 0;
    if (!group_states(&raw, group, &n_groups)) {
        for (uint32_t s = 0; s < raw.n_states; s++) group[s] = s;
        n_groups = raw.n_states;
    }
    if (!renumber(cc, &raw, group, n_groups)) return NULL;
    join_classes(cc, &raw);
    for (uint32_t cp = 0; cp < 128; cp++) raw.ascii[cp] = gr_dfa_class(&raw, cp);
    *d = raw;
    if (d->n_states == 2 && d->n_cls == 1 && d->label[1] == 1 && d->next[1] == 1) return &gr_dfa_all;
    return cc->st == IG_OK ? d : NULL;
}

/* Intervals on which both agree: class pairs of the product. */
static bool pair_classes(gr_cc *cc, const gr_dfa *a, const gr_dfa *b, gr_dfa *out, gr_intern *pairs)
{
    uint32_t cap = a->n_bounds + b->n_bounds, i = 0, j = 0;
    out->bound = gr_new(cc, cap, sizeof *out->bound);
    out->cls_of = gr_new(cc, cap, sizeof *out->cls_of);
    if (!out->cls_of) return false;
    for (uint32_t at = 0;;) {
        uint32_t key[2] = {a->cls_of[i], b->cls_of[j]}, cls = gr_intern_add(cc, pairs, key, 2, NULL);
        if (cls == GR_NONE || cls > UINT16_MAX) return false;
        out->bound[out->n_bounds] = at;
        out->cls_of[out->n_bounds++] = (uint16_t)cls;
        uint32_t na = i + 1 < a->n_bounds ? a->bound[i + 1] : GR_NONE;
        uint32_t nb = j + 1 < b->n_bounds ? b->bound[j + 1] : GR_NONE;
        at = na < nb ? na : nb;
        if (at == GR_NONE) break;
        i += na == at;
        j += nb == at;
    }
    out->n_cls = pairs->n;
    return true;
}

static uint32_t op_label(gr_dfa_op op, uint32_t a, uint32_t b, uint32_t bit)
{
    switch (op) {
    case GR_AND: return a && b ? a : 0;
    case GR_OR: return a ? a : b;
    case GR_DIFF: return b ? 0 : a;
    case GR_LABEL: return a >= GR_CLASS && b ? a | bit : a;
    }
    return 0;
}

static bool too_big(gr_cc *cc, uint64_t n_states, uint64_t n_cls)
{
    if (n_states <= GR_DFA_MAX && n_states * n_cls <= GR_CELLS_MAX) return false;
    gr_fail(cc, IG_TOO_LARGE, "the automaton would have more than %u states",
            n_states > GR_DFA_MAX ? (unsigned)GR_DFA_MAX : (unsigned)n_states);
    return true;
}

const gr_dfa *gr_dfa_combine(gr_cc *cc, const gr_dfa *a, const gr_dfa *b, gr_dfa_op op, uint32_t bit)
{
    if (cc->st != IG_OK || !a || !b) return NULL;
    if (op == GR_AND && (gr_dfa_empty(a) || gr_dfa_empty(b))) return &gr_dfa_none;
    if (op == GR_AND && b == &gr_dfa_all) return a;
    if (op == GR_AND && a == &gr_dfa_all) return b;
    if (op == GR_OR && (gr_dfa_empty(a) || b == &gr_dfa_all)) return b;
    if ((op == GR_OR || op == GR_DIFF) && (gr_dfa_empty(b) || gr_dfa_empty(a))) return a;
    if (op == GR_DIFF && b == &gr_dfa_all) return &gr_dfa_none;
    if (op == GR_OR && a == &gr_dfa_all) return a;
    gr_intern states = {0}, pairs = {0};
    gr_dfa raw = {0};
    uint32_t cap_next = 0, cap_label = 1, start[2] = {a->start, b->start}, len;
    if (!pair_classes(cc, a, b, &raw, &pairs)) return NULL;
    raw.label = gr_new(cc, 1, sizeof *raw.label);
    cap_next = raw.n_cls;
    raw.next = gr_new(cc, cap_next, sizeof *raw.next);
    gr_intern_add(cc, &states, start, 2, NULL);
    for (uint32_t s = 0; cc->st == IG_OK && s < states.n; s++) {
        const uint32_t *key = gr_intern_key(&states, s, &len);
        uint32_t p = key[0], q = key[1];
        if (too_big(cc, states.n, raw.n_cls) || !gr_pay(cc, raw.n_cls)) return NULL;
        if (!gr_grow(cc, (void **)&raw.label, s + 1, &cap_label, sizeof *raw.label)) return NULL;
        while (cap_next < (s + 2) * raw.n_cls)
            if (!gr_grow(cc, (void **)&raw.next, cap_next, &cap_next, sizeof *raw.next)) return NULL;
        raw.label[s + 1] = op_label(op, a->label[p], b->label[q], bit);
        for (uint32_t c = 0; c < raw.n_cls; c++) {
            const uint32_t *cls = gr_intern_key(&pairs, c, &len);
            uint32_t to[2] = {a->next[(size_t)p * a->n_cls + cls[0]], b->next[(size_t)q * b->n_cls + cls[1]]};
            bool dead = op == GR_OR ? !to[0] && !to[1] : op == GR_AND ? !to[0] || !to[1] : !to[0];
            uint32_t t = dead ? 0 : gr_intern_add(cc, &states, to, 2, NULL) + 1;
            raw.next[(size_t)(s + 1) * raw.n_cls + c] = t;
        }
    }
    if (cc->st != IG_OK) return NULL;
    raw.n_states = states.n + 1;
    raw.start = 1;
    return gr_dfa_make(cc, raw);
}

const gr_dfa *gr_dfa_length(gr_cc *cc, uint32_t min, uint32_t max)
{
    if (cc->st != IG_OK || max < min) return cc->st == IG_OK ? &gr_dfa_none : NULL;
    bool open = max == UINT32_MAX;
    uint32_t top = open ? min : max;
    if (!top && open) return &gr_dfa_all;
    if (top >= GR_DFA_MAX || too_big(cc, top + 2, 1)) {
        gr_fail(cc, IG_TOO_LARGE, "a length of %u is above the limit of %u", top, (unsigned)GR_DFA_MAX);
        return NULL;
    }
    gr_dfa raw = {.n_states = top + 2, .n_cls = 1, .n_bounds = 1, .start = 1};
    raw.bound = gr_new(cc, 1, sizeof *raw.bound);
    raw.cls_of = gr_new(cc, 1, sizeof *raw.cls_of);
    raw.next = gr_new(cc, raw.n_states, sizeof *raw.next);
    raw.label = gr_new(cc, raw.n_states, sizeof *raw.label);
    if (!raw.label) return NULL;
    for (uint32_t i = 0; i <= top; i++) {
        raw.next[i + 1] = i < top ? i + 2 : open ? i + 1 : 0;
        raw.label[i + 1] = i >= min;
    }
    return gr_dfa_make(cc, raw);
}

/* Words as a trie. Classes: one for each code point that occurs, class 0 for all others. */
typedef struct words {
    gr_dfa raw;
    uint32_t *cps, n_cps, cap_next;
} words;

static bool cp_before(const void *a, const void *b, const void *ctx)
{
    (void)ctx;
    return *(const uint32_t *)a < *(const uint32_t *)b;
}

static bool words_classes(gr_cc *cc, words *w, const ig_str *list, uint32_t n)
{
    uint32_t cap = 0, n_all = 0, cp;
    for (uint32_t i = 0; i < n; i++)
        for (size_t at = 0, len; at < list[i].len; at += len) {
            if (!(len = ig_utf8_decode(list[i].ptr + at, list[i].len - at, &cp))) return false;
            if (!gr_grow(cc, (void **)&w->cps, n_all, &cap, sizeof *w->cps)) return false;
            w->cps[n_all++] = cp;
        }
    ig_sort(w->cps, n_all, sizeof *w->cps, cp_before, NULL);
    for (uint32_t i = 0; i < n_all; i++)
        if (!i || w->cps[i] != w->cps[i - 1]) w->cps[w->n_cps++] = w->cps[i];
    gr_dfa *d = &w->raw;
    d->bound = gr_new(cc, 2 * (size_t)w->n_cps + 1, sizeof *d->bound);
    d->cls_of = gr_new(cc, 2 * (size_t)w->n_cps + 1, sizeof *d->cls_of);
    if (!d->cls_of || w->n_cps >= UINT16_MAX - 1) return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < w->n_cps; i++) {
        if (w->cps[i] > at) d->bound[d->n_bounds] = at, d->cls_of[d->n_bounds++] = 0;
        d->bound[d->n_bounds] = w->cps[i], d->cls_of[d->n_bounds++] = (uint16_t)(i + 1);
        at = w->cps[i] + 1;
    }
    if (at <= GR_CP_MAX) d->bound[d->n_bounds] = at, d->cls_of[d->n_bounds++] = 0;
    d->n_cls = w->n_cps + 1;
    return true;
}

static uint32_t words_state(gr_cc *cc, words *w, uint32_t other, uint32_t label)
{
    gr_dfa *d = &w->raw;
    if (too_big(cc, d->n_states + 1, d->n_cls)) return 0;
    while (w->cap_next < (d->n_states + 1) * (d->n_cls + 1))
        if (!gr_grow(cc, (void **)&d->next, w->cap_next, &w->cap_next, sizeof *d->next)) return 0;
    for (uint32_t c = 0; c < d->n_cls; c++) d->next[(size_t)d->n_states * d->n_cls + c] = other;
    d->label[d->n_states] = label;
    return d->n_states++;
}

const gr_dfa *gr_dfa_words(gr_cc *cc, const ig_str *list, uint32_t n, bool others)
{
    words w = {0};
    size_t total = 3;
    for (uint32_t i = 0; i < n; i++) total += list[i].len;
    w.raw.label = gr_new(cc, total, sizeof *w.raw.label);
    if (!w.raw.label || !words_classes(cc, &w, list, n) || !gr_pay(cc, total)) {
        gr_fail(cc, IG_TOO_LARGE, "too many different characters in a list of texts");
        return NULL;
    }
    gr_dfa *d = &w.raw;
    words_state(cc, &w, 0, 0);
    uint32_t sink = others ? words_state(cc, &w, 1, GR_CLASS) : 0;
    uint32_t plain = others ? (uint32_t)GR_CLASS : 0;
    d->start = words_state(cc, &w, sink, plain);
    for (uint32_t i = 0; i < n && cc->st == IG_OK; i++) {
        uint32_t q = d->start, cp;
        for (size_t at = 0; at < list[i].len && cc->st == IG_OK;) {
            at += ig_utf8_decode(list[i].ptr + at, list[i].len - at, &cp);
            size_t cell = (size_t)q * d->n_cls + gr_dfa_class(d, cp);
            if (d->next[cell] == sink) {
                uint32_t t = words_state(cc, &w, sink, plain);
                d->next[cell] = t;
            }
            q = d->next[cell];
        }
        if (d->label[q] == plain) d->label[q] = i + 1;
    }
    return cc->st == IG_OK ? gr_dfa_make(cc, w.raw) : NULL;
}

static void *copy_array(ig_arena *mem, const void *p, size_t n, size_t size)
{
    void *q = ig_arena_alloc(mem, n, size);
    if (q) memcpy(q, p, n * size);
    return q;
}

/* Follows states whose edges all lead to one live state, until that ends or comes back to where it was. */
static void find_runs(gr_dfa *d)
{
    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t q = d->n_states; q-- > 1;) {
            const uint32_t *row = d->next + (size_t)q * d->n_cls;
            bool same = row[0] != 0;
            for (uint32_t c = 1; c < d->n_cls; c++) same = same && row[c] == row[0];
            uint32_t n = !same                          ? 0
                         : row[0] == q                  ? GR_RUN_MAX
                         : d->run[row[0]] == GR_RUN_MAX ? GR_RUN_MAX
                                                        : d->run[row[0]] + 1u;
            d->run[q] = (uint16_t)(n < GR_RUN_MAX || row[0] == q || d->run[row[0]] == GR_RUN_MAX ? n : GR_RUN_MAX - 1);
        }
}

const gr_dfa *gr_dfa_copy(ig_arena *mem, const gr_dfa *d)
{
    if (d == &gr_dfa_all || d == &gr_dfa_none) return d;
    gr_dfa *c = copy_array(mem, d, 1, sizeof *d);
    if (!c) return NULL;
    c->bound = copy_array(mem, d->bound, d->n_bounds, sizeof *d->bound);
    c->cls_of = copy_array(mem, d->cls_of, d->n_bounds, sizeof *d->cls_of);
    c->next = copy_array(mem, d->next, (size_t)d->n_states * d->n_cls, sizeof *d->next);
    c->label = copy_array(mem, d->label, d->n_states, sizeof *d->label);
    c->run = ig_arena_alloc(mem, d->n_states, sizeof *c->run);
    if (!c->bound || !c->cls_of || !c->next || !c->label || !c->run) return NULL;
    find_runs(c);
    return c;
}

const gr_dfa *gr_dfa_plain(gr_cc *cc, const gr_dfa *d)
{
    if (cc->st != IG_OK || !d) return NULL;
    gr_dfa raw = *d;
    size_t n = (size_t)d->n_states * d->n_cls;
    raw.next = gr_new(cc, n, sizeof *raw.next);
    raw.label = gr_new(cc, d->n_states, sizeof *raw.label);
    if (!raw.label) return NULL;
    memcpy(raw.next, d->next, n * sizeof *raw.next);
    for (uint32_t s = 0; s < d->n_states; s++) raw.label[s] = d->label[s] != 0;
    return gr_dfa_make(cc, raw);
}
