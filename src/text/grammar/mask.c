/* Masks over a vocabulary.
 *
 * The tokens stand in a trie, in preorder, so that walking it with the machine tries every common beginning once.
 * Tokens that are nothing but characters a JSON string may hold come first: where a string may go on with anything,
 * whole branches of them are allowed at once. What a thread allows is remembered by what it stands on, without the
 * stack below: tokens that fit wholly inside the current value (or frame), and tokens that leave it, with the bytes
 * that are left over. Only those are tried on the real stack; tokens with the same rest share one try. */
#include "base/hash.h"
#include "base/sort.h"
#include "base/utf8.h"
#include "exec.h"

enum { TOKEN_BYTES_MAX = 4096, ENTRIES_MAX = 1 << 16, SPARSE_MAX = 1024 };

typedef struct trie_node {
    uint32_t end;   /* node after the last one below */
    uint32_t token; /* first of the sorted tokens that pass through here; those that end here come first */
    uint16_t depth; /* bytes, 1.. */
    uint16_t rest;  /* most characters that follow in a token below */
    uint8_t byte;
    uint8_t ends; /* some token ends here */
} trie_node;

struct ig_token_index {
    size_t n_tokens, n_words, n_sorted, n_plain;
    uint32_t *sorted; /* [n_sorted] token ids by their bytes, the n_plain plain ones first */
    ig_str *bytes;    /* [n_sorted] in the same order, into text */
    char *text;
    trie_node *nodes; /* [n_nodes + 1], the last one is the end */
    uint32_t n_nodes, n_plain_nodes, depth_max, rest_max;
    uint64_t *end_mask, *plain_mask; /* [n_words] */
};

/* Whole characters that stand in a JSON string as they are. */
static bool is_plain(ig_str t)
{
    for (size_t i = 0; i < t.len; i++)
        if ((uint8_t)t.ptr[i] < 32 || t.ptr[i] == '"' || t.ptr[i] == '\\') return false;
    return ig_utf8_valid(t.ptr, t.len);
}

typedef struct order {
    const ig_str *tokens;
    const uint64_t *plain_mask;
} order;

static bool token_before(const void *a, const void *b, const void *ctx)
{
    const order *by = ctx;
    const ig_str *list = by->tokens;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    bool p = by->plain_mask[i / 64] >> (i % 64) & 1, q = by->plain_mask[k / 64] >> (k % 64) & 1;
    if (p != q) return p;
    size_t n = list[i].len < list[k].len ? list[i].len : list[k].len;
    int sign = n ? memcmp(list[i].ptr, list[k].ptr, n) : 0;
    if (sign) return sign < 0;
    return list[i].len != list[k].len ? list[i].len < list[k].len : i < k;
}

void ig_token_index_free(ig_token_index *x)
{
    if (!x) return;
    ig_free(x->sorted);
    ig_free(x->bytes);
    ig_free(x->text);
    ig_free(x->nodes);
    ig_free(x->end_mask);
    ig_free(x->plain_mask);
    ig_free(x);
}

size_t ig_token_index_words(const ig_token_index *x) { return x->n_words; }

/* Copies the bytes in sorted order; counts what the trie needs. */
static bool copy_tokens(ig_token_index *x, const ig_str *tokens, size_t *n_nodes)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < x->n_sorted; i++) total += tokens[x->sorted[i]].len;
    x->bytes = ig_calloc(x->n_sorted ? x->n_sorted : 1, sizeof *x->bytes);
    x->text = ig_alloc(total ? total : 1);
    if (!x->bytes || !x->text) return false;
    *n_nodes = 0;
    for (size_t i = 0; i < x->n_sorted; i++) {
        ig_str t = tokens[x->sorted[i]], last = i && i != x->n_plain ? x->bytes[i - 1] : (ig_str){NULL, 0};
        size_t same = 0;
        memcpy(x->text + at, t.ptr, t.len);
        x->bytes[i] = (ig_str){x->text + at, t.len};
        at += t.len;
        while (same < t.len && same < last.len && last.ptr[same] == t.ptr[same]) same++;
        *n_nodes += t.len - same;
        if (t.len > x->depth_max) x->depth_max = (uint32_t)t.len;
    }
    return *n_nodes < UINT32_MAX;
}

/* rest of every plain node: from the last to the first, a child counts itself when it begins a character. */
static void find_rests(ig_token_index *x)
{
    for (uint32_t i = x->n_plain_nodes; i-- > 0;) {
        uint32_t most = 0;
        for (uint32_t c = i + 1; c < x->nodes[i].end; c = x->nodes[c].end) {
            uint32_t n = x->nodes[c].rest + ((x->nodes[c].byte & 0xC0) != 0x80 ? 1u : 0u);
            most = n > most ? n : most;
        }
        x->nodes[i].rest = (uint16_t)most;
        if (x->nodes[i].depth == 1 && most + 1 > x->rest_max) x->rest_max = most + 1;
    }
}

static bool make_trie(ig_token_index *x, size_t n_nodes)
{
    uint32_t open[TOKEN_BYTES_MAX + 1], n = 0, depth = 0; /* open: nodes of the current token */
    x->nodes = ig_calloc(n_nodes + 1, sizeof *x->nodes);
    if (!x->nodes) return false;
    for (uint32_t i = 0; i < x->n_sorted; i++) {
        ig_str t = x->bytes[i], last = i && i != x->n_plain ? x->bytes[i - 1] : (ig_str){NULL, 0};
        uint32_t same = 0;
        if (i == x->n_plain) x->n_plain_nodes = n;
        while (same < t.len && same < last.len && last.ptr[same] == t.ptr[same]) same++;
        for (; depth > same; depth--) x->nodes[open[depth]].end = n;
        for (; depth < t.len; depth++) {
            open[depth + 1] = n;
            x->nodes[n++] = (trie_node){.token = i, .depth = (uint16_t)(depth + 1), .byte = (uint8_t)t.ptr[depth]};
        }
        x->nodes[open[depth]].ends = 1;
    }
    for (; depth > 0; depth--) x->nodes[open[depth]].end = n;
    x->n_nodes = n;
    if (x->n_plain == x->n_sorted) x->n_plain_nodes = n;
    find_rests(x);
    x->nodes[n] = (trie_node){.end = n, .token = (uint32_t)x->n_sorted};
    return true;
}

ig_status ig_token_index_new(const ig_str *tokens, const bool *end, const bool *special, size_t n, ig_token_index **out,
                             ig_error *err)
{
    size_t n_nodes;
    *out = NULL;
    if (n == 0 || n > INT32_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "a vocabulary of %zu tokens cannot be indexed", n);
    ig_token_index *x = ig_calloc(1, sizeof *x);
    if (!x) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the index of a vocabulary");
    x->n_tokens = n, x->n_words = (n + 63) / 64;
    x->sorted = ig_calloc(n, sizeof *x->sorted);
    x->end_mask = ig_calloc(x->n_words, sizeof *x->end_mask);
    x->plain_mask = ig_calloc(x->n_words, sizeof *x->plain_mask);
    bool ok = x->sorted && x->end_mask && x->plain_mask;
    for (size_t i = 0; ok && i < n; i++) {
        if (end && end[i])
            x->end_mask[i / 64] |= 1ull << (i % 64);
        else if (tokens[i].len && tokens[i].len <= TOKEN_BYTES_MAX && !(special && special[i]))
            x->sorted[x->n_sorted++] = (uint32_t)i;
        else
            continue;
        if (end && end[i]) continue;
        bool plain = is_plain(tokens[i]);
        if (plain) x->plain_mask[i / 64] |= 1ull << (i % 64);
        x->n_plain += plain;
    }
    if (ok) ig_sort(x->sorted, x->n_sorted, sizeof *x->sorted, token_before, &(order){tokens, x->plain_mask});
    ok = ok && copy_tokens(x, tokens, &n_nodes) && make_trie(x, n_nodes);
    if (!ok) {
        ig_token_index_free(x);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the index of a vocabulary");
    }
    *out = x;
    return IG_OK;
}

/* Tokens that leave the part: all with the same rest, after which `from` goes on. */
typedef struct exit_group {
    gr_thread from;
    ig_str rest;       /* into the index */
    uint32_t first, n; /* of entry->exit_tokens */
} exit_group;

typedef struct entry {
    uint64_t *dense; /* [n_words] tokens allowed, or NULL and */
    uint32_t *sparse, n_sparse;
    exit_group *groups;
    uint32_t n_groups, *exit_tokens;
    size_t bytes;
} entry;

enum { KEY_WORDS = 80 };
typedef struct map_slot {
    uint32_t *key; /* [key[0] + 1]; NULL: free */
    entry e;
} map_slot;

struct ig_masker {
    const ig_grammar *g;
    const ig_token_index *index;
    gr_exec x;                  /* the state's threads and stacks */
    gr_exec part;               /* what is looked at alone */
    uint32_t *bound, *slots_at; /* [depth_max + 2] */
    map_slot *map;
    uint32_t n_map, n_entries;
    size_t bytes, bytes_max;
    /* scratch of making an entry */
    uint64_t *bits; /* [n_words] */
    struct raw_exit {
        gr_thread from;
        uint32_t token, offset; /* sorted token, where its rest begins */
    } * raw;
    uint32_t n_raw, cap_raw;
};

static void entry_fini(entry *e)
{
    ig_free(e->dense);
    ig_free(e->sparse);
    ig_free(e->groups);
    ig_free(e->exit_tokens);
}

static void forget(ig_masker *m)
{
    for (uint32_t i = 0; i < m->n_map; i++) {
        if (!m->map[i].key) continue;
        entry_fini(&m->map[i].e);
        ig_free(m->map[i].key);
        m->map[i] = (map_slot){0};
    }
    m->n_entries = 0, m->bytes = 0;
}

void ig_masker_free(ig_masker *m)
{
    if (!m) return;
    if (m->map) forget(m);
    gr_exec_fini(&m->x);
    gr_exec_fini(&m->part);
    ig_free(m->bound);
    ig_free(m->slots_at);
    ig_free(m->map);
    ig_free(m->bits);
    ig_free(m->raw);
    ig_free(m);
}

ig_status ig_masker_new(const ig_grammar *g, const ig_token_index *index, size_t cache_bytes, ig_masker **out,
                        ig_error *err)
{
    ig_masker *m = ig_calloc(1, sizeof *m);
    *out = NULL;
    bool ok = m != NULL;
    if (ok) {
        m->g = g, m->index = index, m->bytes_max = cache_bytes ? cache_bytes : (size_t)64 << 20;
        m->n_map = 2 * ENTRIES_MAX / 16;
        m->bound = ig_calloc(index->depth_max + 3, sizeof *m->bound);
        m->slots_at = ig_calloc(index->depth_max + 3, sizeof *m->slots_at);
        m->map = ig_calloc(m->n_map, sizeof *m->map);
        m->bits = ig_calloc(index->n_words, sizeof *m->bits);
        ok = m->bound && m->slots_at && m->map && m->bits && gr_exec_init(&m->x, g, true) == IG_OK &&
             gr_exec_init(&m->part, g, true) == IG_OK;
    }
    if (!ok) {
        ig_masker_free(m);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for masks");
    }
    *out = m;
    return IG_OK;
}

static void note_exits(ig_masker *m, const trie_node *node)
{
    const gr_exec *x = &m->part;
    uint32_t end = m->index->nodes[node->end].token;
    for (uint32_t k = 0; k < x->n_exit; k++)
        for (uint32_t t = node->token; t < end; t++) {
            if (m->n_raw == m->cap_raw) {
                uint32_t more = m->cap_raw ? m->cap_raw * 2 : 1024;
                struct raw_exit *p = ig_realloc(m->raw, more, sizeof *p);
                if (!p) {
                    m->part.st = IG_NO_MEMORY;
                    return;
                }
                m->raw = p, m->cap_raw = more;
            }
            m->raw[m->n_raw++] = (struct raw_exit){x->exit[k], t, node->depth - 1u};
        }
}

static void allow(ig_masker *m, uint64_t *bits, uint32_t sorted)
{
    uint32_t id = m->index->sorted[sorted];
    bits[id / 64] |= 1ull << (id % 64);
}

/* The automaton of a string, or of a key that is looked at alone, between two characters; NULL elsewhere. */
static const gr_dfa *text_dfa(const gr_exec *x, const gr_thread *t)
{
    if (t->dec) return NULL;
    if (t->phase == GR_P_STRING) return x->g->nodes[t->id].str;
    return t->phase == GR_P_KEY && t->frame == GR_EXIT ? x->g->leaves[t->id].key : NULL;
}

/* Whether the set is one string that can go on with any n characters. */
static bool any_text(const gr_exec *x, uint32_t from, uint32_t to, uint32_t n)
{
    if (to - from != 1) return false;
    const gr_dfa *d = text_dfa(x, &x->th[from]);
    uint32_t run = d ? d->run[x->th[from].q] : 0;
    return d && (run == GR_RUN_MAX || run >= n);
}

/* A string with one reading, the usual case: true and *t stepped when the byte is plain text in it. */
static bool plain_step(const gr_exec *x, gr_thread *t, uint8_t b)
{
    const gr_dfa *d = text_dfa(x, t);
    if (!d || b < 32 || b >= 127 || b == '"' || b == '\\') return false;
    t->q = d->next[(size_t)t->q * d->n_cls + d->ascii[b]];
    return true;
}

/* Walks the trie with the threads of x [0, n_th): allowed tokens into bits, exits into raw. */
static void walk(ig_masker *m, gr_exec *x, uint64_t *bits)
{
    const trie_node *nodes = m->index->nodes;
    m->bound[0] = 0;
    m->bound[1] = x->n_th;
    m->slots_at[0] = x->n_slots;
    uint32_t i = 0;
    if (any_text(x, 0, x->n_th, m->index->rest_max)) {
        memcpy(bits, m->index->plain_mask, m->index->n_words * sizeof *bits);
        i = m->index->n_plain_nodes;
    }
    while (i < m->index->n_nodes && x->st == IG_OK) {
        const trie_node *node = &nodes[i];
        uint32_t d = node->depth, from = m->bound[d - 1], to = m->bound[d];
        gr_thread t = x->th[from];
        x->n_th = to;
        gr_exec_cut(x, m->slots_at[d - 1]);
        if (to - from == 1 && plain_step(x, &t, node->byte)) {
            if (t.q) x->out = x->n_th, gr_exec_emit(x, t);
        } else {
            gr_exec_step(x, from, to, node->byte);
            if (x->n_exit) note_exits(m, node);
        }
        if (x->n_th == to) {
            i = node->end;
            continue;
        }
        m->bound[d + 1] = x->n_th;
        m->slots_at[d] = x->n_slots;
        if (i < m->index->n_plain_nodes && any_text(x, to, x->n_th, node->rest)) {
            for (uint32_t k = node->token; k < nodes[node->end].token; k++) allow(m, bits, k);
            i = node->end;
            continue;
        }
        if (node->ends)
            for (uint32_t k = node->token; k < nodes[node->end].token && m->index->bytes[k].len == d; k++)
                allow(m, bits, k);
        i++;
    }
}

static bool exit_before(const void *a, const void *b, const void *ctx)
{
    const ig_token_index *index = ctx;
    const struct raw_exit *x = a, *y = b;
    int sign = memcmp(&x->from, &y->from, sizeof x->from);
    if (sign) return sign < 0;
    ig_str p = index->bytes[x->token], q = index->bytes[y->token];
    size_t n = p.len - x->offset, k = q.len - y->offset;
    sign = memcmp(p.ptr + x->offset, q.ptr + y->offset, n < k ? n : k);
    return sign ? sign < 0 : n != k ? n < k : x->token < y->token;
}

static ig_str rest_of(const ig_token_index *index, const struct raw_exit *r)
{
    return (ig_str){index->bytes[r->token].ptr + r->offset, index->bytes[r->token].len - r->offset};
}

static bool group_exits(ig_masker *m, entry *e)
{
    ig_sort(m->raw, m->n_raw, sizeof *m->raw, exit_before, m->index);
    e->groups = m->n_raw ? ig_calloc(m->n_raw, sizeof *e->groups) : NULL;
    e->exit_tokens = m->n_raw ? ig_calloc(m->n_raw, sizeof *e->exit_tokens) : NULL;
    if (m->n_raw && (!e->groups || !e->exit_tokens)) return false;
    for (uint32_t i = 0; i < m->n_raw; i++) {
        ig_str rest = rest_of(m->index, &m->raw[i]);
        exit_group *last = e->n_groups ? &e->groups[e->n_groups - 1] : NULL;
        if (!last || memcmp(&last->from, &m->raw[i].from, sizeof last->from) != 0 || !ig_str_eq(last->rest, rest))
            e->groups[e->n_groups++] = (exit_group){m->raw[i].from, rest, i, 0};
        e->groups[e->n_groups - 1].n++;
        e->exit_tokens[i] = m->index->sorted[m->raw[i].token];
    }
    e->bytes += m->n_raw * (sizeof *e->groups + sizeof *e->exit_tokens);
    return true;
}

/* Moves the scratch mask into the entry, as a list when few tokens are allowed. */
static bool keep_bits(ig_masker *m, entry *e)
{
    uint32_t n = 0;
    for (size_t w = 0; w < m->index->n_words; w++) n += (uint32_t)__builtin_popcountll(m->bits[w]);
    if (n > SPARSE_MAX) {
        e->dense = ig_alloc(m->index->n_words * sizeof *e->dense);
        if (e->dense) memcpy(e->dense, m->bits, m->index->n_words * sizeof *e->dense);
        e->bytes += m->index->n_words * sizeof *e->dense;
        return e->dense != NULL;
    }
    e->sparse = ig_calloc(n ? n : 1, sizeof *e->sparse);
    if (!e->sparse) return false;
    for (size_t w = 0; w < m->index->n_words; w++)
        for (uint64_t rest = m->bits[w]; rest; rest &= rest - 1)
            e->sparse[e->n_sparse++] = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(rest);
    e->bytes += n * sizeof *e->sparse;
    return true;
}

/* Whether the thread is looked at without its frame: it is inside a value or a rule, or in a key that may be any. */
static bool without_frame(const ig_masker *m, const gr_thread *t)
{
    switch (t->phase) {
    case GR_P_VALUE:
    case GR_P_STRING:
    case GR_P_NUMBER:
    case GR_P_LITERAL:
    case GR_P_RULE: return true;
    case GR_P_KEY: {
        const gr_leaf *l = &m->g->leaves[t->id];
        return l->all_open && l->max == GR_NONE;
    }
    default: return false;
    }
}

/* What the entry depends on; returns the number of words after key[0], 0 when it is too much to remember. */
static uint32_t make_key(ig_masker *m, const gr_thread *t, uint32_t *key)
{
    const gr_exec *x = &m->x;
    bool alone = without_frame(m, t);
    key[1] =
        (uint32_t)t->phase << 24 | (uint32_t)t->dec << 16 | (uint32_t)t->space << 8 | (x->strict ? 2u : 0u) | alone;
    key[2] = t->id, key[3] = t->q, key[4] = t->val;
    key[0] = 4;
    if (alone || t->frame == GR_ROOT) return key[0];
    const gr_slot *s = &x->slots[t->frame];
    uint32_t size = gr_slot_size(x, s->leaf), words = (size - 1) * 6;
    if (words + 8 >= KEY_WORDS) return 0;
    key[5] = s->leaf, key[6] = s->count, key[7] = (uint32_t)s->bits, key[8] = (uint32_t)(s->bits >> 32);
    if (words) memcpy(key + 9, s + 1, words * sizeof *key);
    key[0] = 8 + words;
    return key[0];
}

/* Puts the thread alone into m->part. */
static void isolate(ig_masker *m, const gr_thread *t)
{
    gr_exec *p = &m->part;
    gr_thread only = *t;
    p->strict = m->x.strict;
    p->st = IG_OK;
    p->n_th = p->out = 0;
    p->n_slots = p->live_slots = 1;
    p->n_linked = 0;
    p->spent = 0;
    if (without_frame(m, t)) {
        only.frame = GR_EXIT;
    } else if (t->frame != GR_ROOT) {
        uint32_t size = gr_slot_size(&m->x, m->x.slots[t->frame].leaf);
        while (p->cap_slots < size + 1) {
            gr_slot *slots = ig_realloc(p->slots, (size_t)p->cap_slots * 2, sizeof *slots);
            if (!slots) {
                p->st = IG_NO_MEMORY;
                return;
            }
            p->slots = slots, p->cap_slots *= 2;
        }
        memcpy(&p->slots[1], &m->x.slots[t->frame], size * sizeof *p->slots);
        p->slots[1].parent = GR_EXIT;
        p->n_slots = p->live_slots = 1 + size;
        only.frame = 1;
    }
    gr_exec_emit(p, only);
}

static bool build_entry(ig_masker *m, const gr_thread *t, entry *e)
{
    *e = (entry){.bytes = sizeof *e};
    memset(m->bits, 0, m->index->n_words * sizeof *m->bits);
    m->n_raw = 0;
    isolate(m, t);
    walk(m, &m->part, m->bits);
    return m->part.st == IG_OK && group_exits(m, e) && keep_bits(m, e);
}

/* The entry of a thread, from memory or made now; *own when the caller must free it. */
static entry *find_entry(ig_masker *m, const gr_thread *t, entry *own, bool *is_own)
{
    uint32_t key[KEY_WORDS], n = make_key(m, t, key);
    *is_own = false;
    if (n) {
        uint32_t i = (uint32_t)ig_hash(key, (n + 1) * sizeof *key, 11) & (m->n_map - 1);
        for (; m->map[i].key; i = (i + 1) & (m->n_map - 1))
            if (m->map[i].key[0] == n && !memcmp(m->map[i].key, key, (n + 1) * sizeof *key)) return &m->map[i].e;
    }
    if (!build_entry(m, t, own)) {
        entry_fini(own);
        return NULL;
    }
    uint32_t *copy = n ? ig_alloc((n + 1) * sizeof *copy) : NULL;
    if (!copy) return *is_own = true, own;
    memcpy(copy, key, (n + 1) * sizeof *key);
    if (m->bytes + own->bytes > m->bytes_max || m->n_entries * 2 >= m->n_map) forget(m);
    uint32_t i = (uint32_t)ig_hash(key, (n + 1) * sizeof *key, 11) & (m->n_map - 1);
    while (m->map[i].key) i = (i + 1) & (m->n_map - 1);
    m->map[i] = (map_slot){copy, *own};
    m->bytes += own->bytes + n * sizeof *key;
    m->n_entries++;
    return &m->map[i].e;
}

/* Where a thread that left its part goes on in the real state; false when nowhere. */
static bool resume(const ig_masker *m, const gr_thread *t, const gr_thread *from, gr_thread *to)
{
    *to = *from;
    to->frame = t->frame;
    if (!without_frame(m, t)) to->frame = t->frame == GR_ROOT ? GR_ROOT : m->x.slots[t->frame].parent;
    if (m->g->json) return true;
    if (to->frame == GR_ROOT) return false;
    (void)gr_in_rule(&m->x, to->frame, to);
    return true;
}

/* Tries the rests of the tokens that leave the part. Neighbouring rests share their beginnings. */
static void try_exits(ig_masker *m, const gr_thread *t, const entry *e, uint64_t *mask)
{
    gr_exec *x = &m->x;
    uint32_t base = x->n_th, n_slots = x->n_slots, good = 0,
             bad = 0; /* bytes of the last rest that fit; at which it failed */
    for (uint32_t i = 0; i < e->n_groups && x->st == IG_OK; i++) {
        const exit_group *group = &e->groups[i];
        uint32_t same = 0;
        bool fresh = !i || memcmp(&group->from, &e->groups[i - 1].from, sizeof group->from) != 0;
        if (fresh) {
            gr_thread start;
            x->n_th = x->out = base;
            gr_exec_cut(x, n_slots);
            good = 0, bad = GR_NONE;
            if (resume(m, t, &group->from, &start))
                gr_exec_emit(x, start);
            else
                bad = 0;
            m->bound[0] = base, m->bound[1] = x->n_th, m->slots_at[0] = x->n_slots;
        } else {
            ig_str last = e->groups[i - 1].rest;
            while (same < group->rest.len && same < last.len && last.ptr[same] == group->rest.ptr[same]) same++;
        }
        if (bad != GR_NONE && (same > bad || (bad == 0 && m->bound[1] == base))) continue;
        uint32_t at = same < good ? same : good;
        for (bad = GR_NONE; at < group->rest.len && bad == GR_NONE && x->st == IG_OK; at++) {
            x->n_th = m->bound[at + 1];
            gr_exec_cut(x, m->slots_at[at]);
            gr_exec_step(x, m->bound[at], m->bound[at + 1], (uint8_t)group->rest.ptr[at]);
            if (x->n_th == m->bound[at + 1]) {
                bad = at;
                break;
            }
            m->bound[at + 2] = x->n_th, m->slots_at[at + 1] = x->n_slots;
        }
        good = at;
        if (bad != GR_NONE) continue;
        for (uint32_t k = group->first; k < group->first + group->n; k++)
            mask[e->exit_tokens[k] / 64] |= 1ull << (e->exit_tokens[k] % 64);
    }
    x->n_th = base;
    gr_exec_cut(x, n_slots);
}

ig_status ig_masker_mask(ig_masker *m, const ig_grammar_state *s, uint64_t *mask, ig_error *err)
{
    size_t n_words = m->index->n_words;
    memset(mask, 0, n_words * sizeof *mask);
    m->x.strict = s->x.strict;
    if (!gr_exec_copy(&m->x, &s->x)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a mask");
    m->x.spent = 0;
    for (uint32_t i = 0, n = s->x.n_th; i < n; i++) {
        entry own, *e;
        bool is_own;
        gr_thread t = s->x.th[i];
        e = find_entry(m, &t, &own, &is_own);
        if (!e)
            return ig_fail(err, m->part.st == IG_OK ? IG_NO_MEMORY : m->part.st, 0,
                           "the mask cannot be computed: out of memory, or too many readings");
        for (size_t w = 0; e->dense && w < n_words; w++) mask[w] |= e->dense[w];
        for (uint32_t k = 0; k < e->n_sparse; k++) mask[e->sparse[k] / 64] |= 1ull << (e->sparse[k] % 64);
        try_exits(m, &t, e, mask);
        if (is_own) entry_fini(&own);
        if (m->x.st != IG_OK)
            return ig_fail(err, m->x.st, 0, "the mask cannot be computed: too many readings of the text");
    }
    if (gr_exec_accepts(&m->x))
        for (size_t w = 0; w < n_words; w++) mask[w] |= m->index->end_mask[w];
    return IG_OK;
}
