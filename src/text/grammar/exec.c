/* One byte at a time through the machine. A thread is a reading of the text so far; most texts have one. */
#include "exec.h"

#include "base/hash.h"

/* Decoder of characters inside strings, keys and rules. */
enum {
    D_NONE,
    D_C1, /* continuation bytes missing */
    D_C2,
    D_C3,
    D_E0, /* the next byte is bounded, to keep out overlong forms and surrogates */
    D_ED,
    D_F0,
    D_F4,
    D_ESC, /* after a backslash */
    D_X0,  /* hexadecimal digits read after \u */
    D_X1,
    D_X2,
    D_X3,
    D_LS, /* a high surrogate was read; \uDC00 must follow */
    D_LU,
    D_L0,
    D_L1,
    D_L2,
    D_L3
};

ig_status gr_exec_init(gr_exec *x, const ig_grammar *g, bool strict)
{
    *x = (gr_exec){.g = g, .strict = strict};
    x->cap_th = 16, x->cap_slots = 16;
    x->th = ig_alloc(x->cap_th * sizeof *x->th);
    x->slots = ig_calloc(x->cap_slots, sizeof *x->slots);
    if (x->th && x->slots) return IG_OK;
    gr_exec_fini(x);
    return IG_NO_MEMORY;
}

void gr_exec_fini(gr_exec *x)
{
    ig_free(x->th);
    ig_free(x->slots);
    ig_free(x->links);
    ig_free(x->heads);
    ig_free(x->seen);
    ig_free(x->work);
    *x = (gr_exec){0};
}

static bool room(gr_exec *x, void **p, uint32_t *cap, uint64_t need, size_t size)
{
    if (need <= *cap) return true;
    uint64_t more = *cap ? *cap : 16;
    while (more < need) more *= 2;
    void *q = ig_realloc(*p, more, size);
    if (!q) x->st = IG_NO_MEMORY;
    if (!q) return false;
    *p = q;
    *cap = (uint32_t)more;
    return true;
}

bool gr_exec_copy(gr_exec *x, const gr_exec *from)
{
    x->st = from->st;
    x->n_th = 0, x->n_slots = 0;
    if (!room(x, (void **)&x->th, &x->cap_th, from->n_th, sizeof *x->th)) return false;
    if (!room(x, (void **)&x->slots, &x->cap_slots, from->n_slots, sizeof *x->slots)) return false;
    memcpy(x->th, from->th, from->n_th * sizeof *x->th);
    memcpy(x->slots, from->slots, from->n_slots * sizeof *x->slots);
    x->n_linked = 0;
    x->n_th = from->n_th, x->n_slots = from->n_slots, x->live_slots = from->live_slots, x->n_fed = from->n_fed;
    return true;
}

static uint64_t thread_hash(const gr_thread *t) { return ig_hash(t, sizeof *t, 0x9E3779B97F4A7C15u); }

static bool same_thread(const gr_thread *a, const gr_thread *b) { return !memcmp(a, b, sizeof *a); }

/* Whether the set has the thread; large sets are hashed. */
static bool in_set(gr_exec *x, const gr_thread *t)
{
    uint32_t n = x->n_th - x->out;
    if (n <= 24) {
        for (uint32_t i = x->out; i < x->n_th; i++)
            if (same_thread(&x->th[i], t)) return true;
        return false;
    }
    if (!x->n_seen) {
        x->seen = ig_calloc(4 * GR_THREADS_MAX, 2 * sizeof *x->seen);
        if (!x->seen) return x->st = IG_NO_MEMORY, true;
        x->n_seen = 4 * GR_THREADS_MAX;
    }
    uint32_t first = n == 25 ? x->out : x->n_th; /* on crossing the line all go in */
    if (n == 25) x->epoch++;
    for (uint32_t k = first; k <= x->n_th; k++) {
        const gr_thread *one = k < x->n_th ? &x->th[k] : t;
        uint32_t i = (uint32_t)thread_hash(one) & (x->n_seen - 1);
        for (; x->seen[2 * i] == x->epoch; i = (i + 1) & (x->n_seen - 1))
            if (same_thread(&x->th[x->seen[2 * i + 1]], one)) break;
        if (x->seen[2 * i] == x->epoch) {
            if (k == x->n_th) return true;
            continue;
        }
        x->seen[2 * i] = x->epoch, x->seen[2 * i + 1] = k;
    }
    return false;
}

void gr_exec_emit(gr_exec *x, gr_thread t)
{
    if (x->st != IG_OK) return;
    if (x->n_th - x->out >= GR_THREADS_MAX) {
        x->st = IG_TOO_LARGE;
        return;
    }
    if (!room(x, (void **)&x->th, &x->cap_th, (uint64_t)x->n_th + 1, sizeof *x->th)) return;
    if (!in_set(x, &t)) x->th[x->n_th++] = t;
}

uint32_t gr_slot_size(const gr_exec *x, uint32_t leaf)
{
    if (leaf & GR_RULE || !x->g->leaves[leaf].object) return 1;
    return 1 + (x->g->leaves[leaf].n_words + 1) / 3;
}

static uint64_t *slot_word(gr_exec *x, uint32_t slot, uint32_t w)
{
    return w == 0 ? &x->slots[slot].bits : (uint64_t *)(void *)&x->slots[slot + 1] + (w - 1);
}

static void link_slot(gr_exec *x, uint32_t slot, uint32_t hash)
{
    uint32_t *head = &x->heads[hash & (x->n_heads - 1)];
    x->links[slot] = (gr_link){*head, hash};
    *head = slot;
}

static uint32_t slot_hash(const gr_slot *s, uint32_t size) { return (uint32_t)ig_hash(s, size * sizeof *s, 7); }

/* Puts all slots into their chains. Every one must be found again: a stack that is there twice becomes two readings,
 * and each of them more. */
static bool link_slots(gr_exec *x)
{
    if (!room(x, (void **)&x->links, &x->cap_links, x->cap_slots, sizeof *x->links)) return false;
    if (x->n_slots >= x->n_heads) {
        uint32_t n = x->n_heads ? x->n_heads : 64;
        while (n <= x->n_slots) n *= 2;
        uint32_t *heads = ig_calloc(n, sizeof *heads);
        if (!heads) return x->st = IG_NO_MEMORY, false;
        ig_free(x->heads);
        x->heads = heads, x->n_heads = n, x->n_linked = 1;
    } else if (x->n_linked == 0) {
        memset(x->heads, 0, x->n_heads * sizeof *x->heads);
        x->n_linked = 1;
    }
    while (x->n_linked < x->n_slots) {
        uint32_t size = gr_slot_size(x, x->slots[x->n_linked].leaf);
        link_slot(x, x->n_linked, slot_hash(&x->slots[x->n_linked], size));
        x->n_linked += size;
    }
    return true;
}

void gr_exec_cut(gr_exec *x, uint32_t n_slots)
{
    for (uint32_t i = n_slots; i < x->n_linked; i += gr_slot_size(x, x->slots[i].leaf)) {
        uint32_t *head = &x->heads[x->links[i].hash & (x->n_heads - 1)];
        while (*head >= n_slots) *head = x->links[*head].next;
    }
    if (x->n_linked > n_slots) x->n_linked = n_slots;
    x->n_slots = n_slots;
}

/* A new frame, or the one of the same content that is there. head: `size` slots. */
static uint32_t push(gr_exec *x, const gr_slot *head, uint32_t size)
{
    if (x->st != IG_OK) return 0;
    if (x->n_slots + size > GR_SLOTS_MAX || head->deep > GR_NESTED_MAX) return x->st = IG_TOO_LARGE, 0u;
    if (!room(x, (void **)&x->slots, &x->cap_slots, (uint64_t)x->n_slots + size, sizeof *x->slots)) return 0;
    if (!link_slots(x)) return 0;
    size_t bytes = size * sizeof *head;
    uint32_t hash = slot_hash(head, size);
    for (uint32_t i = x->heads[hash & (x->n_heads - 1)]; i; i = x->links[i].next)
        if (x->links[i].hash == hash && x->slots[i].leaf == head->leaf && !memcmp(&x->slots[i], head, bytes)) return i;
    memcpy(&x->slots[x->n_slots], head, bytes);
    link_slot(x, x->n_slots, hash);
    x->n_slots += size;
    x->n_linked = x->n_slots;
    return x->n_slots - size;
}

enum { FRAME_SLOTS = 1 + (4096 + 64) / 64 / 3 + 2 }; /* names and classes of the largest leaf */

static uint32_t new_frame(gr_exec *x, uint32_t parent, uint32_t leaf)
{
    gr_slot s[FRAME_SLOTS] = {{.parent = parent, .leaf = leaf}};
    s->deep = parent == GR_EXIT || parent == GR_ROOT ? 1 : x->slots[parent].deep + 1;
    return push(x, s, gr_slot_size(x, leaf));
}

static const gr_leaf *leaf_of(const gr_exec *x, uint32_t frame) { return &x->g->leaves[x->slots[frame].leaf]; }

static bool white(uint8_t b) { return b == ' ' || b == '\n' || b == '\t' || b == '\r'; }

/* White space that stays in the phase: any, or canonically the one space that may follow. */
static bool skip_space(gr_exec *x, const gr_thread *t, uint8_t b)
{
    gr_thread to = *t;
    if (x->strict ? b != ' ' || !t->space : !white(b)) return false;
    to.space = 0;
    gr_exec_emit(x, to);
    return true;
}

static void go(gr_exec *x, gr_phase phase, uint32_t frame, uint32_t id, uint32_t q, bool space)
{
    gr_exec_emit(x, (gr_thread){.frame = frame, .id = id, .q = q, .phase = (uint8_t)phase, .space = space});
}

/* Labels that the next key may have, word w. */
static uint64_t allowed(gr_exec *x, const gr_leaf *l, uint32_t frame, uint32_t w)
{
    uint64_t bits = *slot_word(x, frame, w), may = l->usable[w] & ~bits;
    if (l->max == GR_NONE) return may;
    uint32_t count = x->slots[frame].count, missing = 0;
    if (count >= l->max) return 0;
    for (uint32_t i = 0; i < l->n_words; i++)
        missing += (uint32_t)__builtin_popcountll(l->need[i] & l->usable[i] & ~*slot_word(x, frame, i));
    return missing >= l->max - count ? may & l->need[w] : may;
}

static bool key_alive(gr_exec *x, const gr_thread *t, uint32_t q)
{
    const gr_leaf *l = &x->g->leaves[t->id];
    if (!q) return false;
    for (uint32_t w = 0; w < l->n_words; w++) {
        uint64_t reach = l->reach[(size_t)q * l->n_words + w];
        if (reach & (t->frame == GR_EXIT ? l->usable[w] : reach ? allowed(x, l, t->frame, w) : 0)) return true;
    }
    return false;
}

static bool another_key(gr_exec *x, const gr_leaf *l, uint32_t frame)
{
    for (uint32_t w = 0; w < l->n_words; w++)
        if (allowed(x, l, frame, w)) return true;
    return false;
}

static bool object_ends(gr_exec *x, const gr_leaf *l, uint32_t frame)
{
    for (uint32_t w = 0; w < l->n_words; w++)
        if (l->need[w] & ~*slot_word(x, frame, w)) return false;
    return x->slots[frame].count >= l->min;
}

enum { COUNT_BITS = 21 };
static uint32_t contains_count(uint64_t bits, uint32_t c)
{
    return (uint32_t)(bits >> (c * COUNT_BITS)) & ((1u << COUNT_BITS) - 1);
}

/* Whether items from index `count` on can still fulfil what contains wants. */
static bool items_can(const gr_leaf *l, uint32_t count, uint64_t bits)
{
    for (uint32_t c = 0; c < l->n_contains; c++) {
        uint32_t have = contains_count(bits, c), can = have;
        for (uint32_t i = count; can < l->contains[c].min && i < l->max && i <= l->n_prefix; i++) {
            const gr_forks *f = &l->forks[i];
            bool claims = false;
            if (!f->n) break;
            for (uint32_t k = 0; k < f->n; k++) claims = claims || f->list[k].claim >> c & 1;
            if (claims) can = i < l->n_prefix ? can + 1 : l->max == GR_NONE ? GR_NONE : can + (l->max - i);
        }
        if (count > l->n_prefix && can < l->contains[c].min) {
            const gr_forks *f = &l->forks[l->n_prefix];
            for (uint32_t k = 0; k < f->n; k++)
                if (f->list[k].claim >> c & 1)
                    can = l->max == GR_NONE ? GR_NONE : have + (l->max > count ? l->max - count : 0);
        }
        if (can < l->contains[c].min) return false;
    }
    return true;
}

/* The frame after one more item read as `fork`; 0 when that cannot be. */
static uint32_t item_frame(gr_exec *x, uint32_t frame, const gr_fork *fork)
{
    const gr_leaf *l = leaf_of(x, frame);
    gr_slot s = x->slots[frame];
    if (s.count < UINT32_MAX - 1) s.count++;
    /* Beyond all bounds the count no longer matters. */
    if (l->max == GR_NONE && s.count > l->min && s.count > l->n_prefix)
        s.count = (l->min > l->n_prefix ? l->min : l->n_prefix) + 1;
    for (uint32_t c = 0; c < l->n_contains; c++) {
        uint32_t have = contains_count(s.bits, c);
        if (!(fork->claim >> c & 1)) continue;
        if (have >= l->contains[c].max) return 0;
        if (have >= l->contains[c].min && l->contains[c].max == GR_NONE) return 0; /* the plain reading says the same */
        s.bits += 1ull << (c * COUNT_BITS);
    }
    return items_can(l, s.count, s.bits) ? push(x, &s, 1) : 0;
}

static const gr_forks *item_forks(const gr_leaf *l, uint32_t count)
{
    return &l->forks[count < l->n_prefix ? count : l->n_prefix];
}

static bool another_item(gr_exec *x, const gr_leaf *l, uint32_t frame)
{
    const gr_slot *s = &x->slots[frame];
    return s->count < l->max && item_forks(l, s->count)->n > 0;
}

static bool list_ends(gr_exec *x, const gr_leaf *l, uint32_t frame)
{
    const gr_slot *s = &x->slots[frame];
    for (uint32_t c = 0; c < l->n_contains; c++)
        if (contains_count(s->bits, c) < l->contains[c].min) return false;
    return s->count >= l->min;
}

static const char *const literals[] = {"null", "true", "false"};

static void begin_value(gr_exec *x, uint32_t node, uint32_t frame, uint8_t b)
{
    const gr_node *n = &x->g->nodes[node];
    const gr_dfa *num = n->num[x->strict];
    if (b == '"' && n->str->start) go(x, GR_P_STRING, frame, node, n->str->start, false);
    if ((b == '-' || (b >= '0' && b <= '9')) && num->start) {
        uint32_t q = gr_dfa_next(num, num->start, b);
        if (q) go(x, GR_P_NUMBER, frame, node, q, false);
    }
    for (uint32_t i = 0; i < 3; i++)
        if (n->lit >> i & 1 && b == (uint8_t)literals[i][0]) go(x, GR_P_LITERAL, frame, i, 1, false);
    if (b == '{')
        for (uint32_t i = 0; i < n->n_objects && x->st == IG_OK; i++)
            go(x, GR_P_OPEN, new_frame(x, frame, n->leaves[i]), n->leaves[i], 0, false);
    if (b == '[')
        for (uint32_t i = n->n_objects; i < n->n_leaves && x->st == IG_OK; i++)
            go(x, GR_P_LIST, new_frame(x, frame, n->leaves[i]), 0, 0, false);
}

static void leave_part(gr_exec *x, const gr_thread *t)
{
    if (x->n_exit < sizeof x->exit / sizeof *x->exit)
        x->exit[x->n_exit++] = *t;
    else
        x->st = IG_TOO_LARGE;
}

static void step_value(gr_exec *x, const gr_thread *t, uint8_t b)
{
    if (!skip_space(x, t, b)) begin_value(x, t->id, t->frame, b);
}

static void pop(gr_exec *x, uint32_t frame) { go(x, GR_P_AFTER, x->slots[frame].parent, 0, 0, false); }

static void step_rule(gr_exec *x, const gr_thread *t, uint8_t b);

bool gr_in_rule(const gr_exec *x, uint32_t frame, gr_thread *to)
{
    if (frame == GR_ROOT || frame == GR_EXIT || !(x->slots[frame].leaf & GR_RULE)) return false;
    *to = (gr_thread){.frame = x->slots[frame].parent, .q = x->slots[frame].leaf & ~GR_RULE, .phase = GR_P_RULE};
    return true;
}

static void step_after(gr_exec *x, const gr_thread *t, uint8_t b)
{
    gr_thread rule;
    if (t->frame == GR_EXIT) {
        bool follows = x->g->n_values && x->g->follow[b];
        if (b == ',' || b == '}' || b == ']' || follows || (!x->strict && white(b))) leave_part(x, t);
        return;
    }
    if (gr_in_rule(x, t->frame, &rule)) {
        step_rule(x, &rule, b);
        return;
    }
    if (skip_space(x, t, b) || t->frame == GR_ROOT) return;
    const gr_leaf *l = leaf_of(x, t->frame);
    if (l->object) {
        if (b == ',' && another_key(x, l, t->frame)) go(x, GR_P_NEXT_KEY, t->frame, x->slots[t->frame].leaf, 0, true);
        if (b == '}' && object_ends(x, l, t->frame)) pop(x, t->frame);
    } else {
        if (b == ',' && another_item(x, l, t->frame)) go(x, GR_P_ITEM, t->frame, 0, 0, true);
        if (b == ']' && list_ends(x, l, t->frame)) pop(x, t->frame);
    }
}

static void step_open(gr_exec *x, const gr_thread *t, uint8_t b)
{
    const gr_leaf *l = &x->g->leaves[t->id];
    if (skip_space(x, t, b)) return;
    if (b == '"' && another_key(x, l, t->frame)) go(x, GR_P_KEY, t->frame, t->id, l->key->start, false);
    if (b == '}' && t->phase == GR_P_OPEN && object_ends(x, l, t->frame)) pop(x, t->frame);
}

static void step_colon(gr_exec *x, const gr_thread *t, uint8_t b)
{
    if (!skip_space(x, t, b) && b == ':') go(x, GR_P_MEMBER, t->frame, t->id, 0, true);
}

static void step_member(gr_exec *x, const gr_thread *t, uint8_t b)
{
    if (skip_space(x, t, b)) return;
    const gr_leaf *l = leaf_of(x, t->frame);
    const gr_forks *f = &l->forks[t->id];
    for (uint32_t i = 0; i < f->n && x->st == IG_OK; i++) {
        gr_slot s[FRAME_SLOTS];
        uint32_t size = gr_slot_size(x, x->slots[t->frame].leaf), frame = t->frame;
        if (f->list[i].claim) {
            memcpy(s, &x->slots[frame], size * sizeof *s);
            for (uint32_t k = 0; k < l->n_exists; k++) {
                uint32_t bit = l->n_labels + k;
                uint64_t *word = bit < 64 ? &s->bits : (uint64_t *)(void *)&s[1] + (bit / 64 - 1);
                if (f->list[i].claim >> k & 1) *word |= 1ull << (bit % 64);
            }
            frame = push(x, s, size);
        }
        begin_value(x, f->list[i].node, frame, b);
    }
}

static void step_item(gr_exec *x, const gr_thread *t, uint8_t b)
{
    if (skip_space(x, t, b)) return;
    const gr_leaf *l = leaf_of(x, t->frame);
    if (b == ']') {
        if (t->phase == GR_P_LIST && list_ends(x, l, t->frame)) pop(x, t->frame);
        return;
    }
    if (!another_item(x, l, t->frame)) return;
    const gr_forks *f = item_forks(l, x->slots[t->frame].count);
    for (uint32_t i = 0; i < f->n && x->st == IG_OK; i++) {
        uint32_t frame = item_frame(x, t->frame, &f->list[i]);
        if (frame) begin_value(x, f->list[i].node, frame, b);
    }
}

static void step_number(gr_exec *x, const gr_thread *t, uint8_t b)
{
    const gr_dfa *d = x->g->nodes[t->id].num[x->strict];
    uint32_t q = b < 128 ? gr_dfa_next(d, t->q, b) : 0;
    gr_thread after = {.frame = t->frame, .phase = GR_P_AFTER};
    if (q)
        go(x, GR_P_NUMBER, t->frame, t->id, q, false);
    else if (d->label[t->q])
        step_after(x, &after, b);
}

static void step_literal(gr_exec *x, const gr_thread *t, uint8_t b)
{
    const char *word = literals[t->id];
    if (b != (uint8_t)word[t->q]) return;
    if (word[t->q + 1])
        go(x, GR_P_LITERAL, t->frame, t->id, t->q + 1, false);
    else
        go(x, GR_P_AFTER, t->frame, 0, 0, false);
}

/* UTF-8. Returns 1 with a character, 0 when more bytes are needed, -1 when the byte does not fit. */
static int decode_byte(gr_thread *t, uint8_t b, uint32_t *cp)
{
    static const struct {
        uint8_t lo, hi, then;
    } rows[] = {[D_C1] = {0x80, 0xBF, D_NONE}, [D_C2] = {0x80, 0xBF, D_C1}, [D_C3] = {0x80, 0xBF, D_C2},
                [D_E0] = {0xA0, 0xBF, D_C1},   [D_ED] = {0x80, 0x9F, D_C1}, [D_F0] = {0x90, 0xBF, D_C2},
                [D_F4] = {0x80, 0x8F, D_C2}};
    if (t->dec == D_NONE) {
        if (b < 0x80) return *cp = b, 1;
        if (b < 0xC2 || b > 0xF4) return -1;
        t->dec = b < 0xE0    ? D_C1
                 : b == 0xE0 ? D_E0
                 : b == 0xED ? D_ED
                 : b < 0xF0  ? D_C2
                 : b == 0xF0 ? D_F0
                 : b == 0xF4 ? D_F4
                             : D_C3;
        t->val = b < 0xE0 ? b & 31u : b < 0xF0 ? b & 15u : b & 7u;
        return 0;
    }
    if (b < rows[t->dec].lo || b > rows[t->dec].hi) return -1;
    t->val = t->val << 6 | (b & 63u);
    t->dec = rows[t->dec].then;
    if (t->dec != D_NONE) return 0;
    *cp = t->val;
    t->val = 0;
    return 1;
}

/* Characters that the bytes read so far can still become. */
static gr_range pending(const gr_thread *t)
{
    static const gr_range fixed[] = {
        [D_E0] = {0x800, 0xFFF}, [D_ED] = {0xD000, 0xD7FF}, [D_F0] = {0x10000, 0x3FFFF}, [D_F4] = {0x100000, 0x10FFFF}};
    if (t->dec >= D_E0 && t->dec <= D_F4) return fixed[t->dec];
    unsigned shift = 6u * t->dec;
    return (gr_range){t->val << shift, (t->val << shift) | ((1u << shift) - 1)};
}

static int hex_value(uint8_t b)
{
    return b >= '0' && b <= '9'   ? b - '0'
           : b >= 'a' && b <= 'f' ? b - 'a' + 10
           : b >= 'A' && b <= 'F' ? b - 'A' + 10
                                  : -1;
}

static const char escape_letters[] = "\"\\/bfnrt", escape_values[] = "\"\\/\b\f\n\r\t";

/* Control characters that are written as \u00XX canonically. */
static bool long_escape(uint32_t cp) { return cp < 32 && !(cp >= 8 && cp <= 13 && cp != 11); }

static int decode_hex(gr_thread *t, bool strict, uint8_t b, uint32_t *cp)
{
    int v = hex_value(b);
    if (v < 0 || (strict && b >= 'A' && b <= 'F')) return -1;
    bool low = t->dec >= D_L0, last = t->dec == D_X3 || t->dec == D_L3;
    uint32_t part = ((low ? t->val & 0xFFFF : t->val) << 4 | (uint32_t)v) & 0xFFFF;
    t->val = low ? (t->val & ~0xFFFFu) | part : part;
    if (!last) return t->dec++, 0;
    if (low) {
        if (part < 0xDC00 || part > 0xDFFF) return -1;
        *cp = 0x10000 + ((t->val >> 16) << 10) + (part - 0xDC00);
    } else if (part >= 0xD800 && part < 0xDC00) {
        t->dec = D_LS, t->val = (part - 0xD800) << 16;
        return 0;
    } else {
        *cp = part;
        if ((part >= 0xDC00 && part < 0xE000) || (strict && !long_escape(part))) return -1;
    }
    t->dec = D_NONE, t->val = 0;
    return 1;
}

/* A byte inside a JSON string: as decode_byte. */
static int decode_json(gr_thread *t, bool strict, uint8_t b, uint32_t *cp)
{
    if (t->dec >= D_X0 && t->dec != D_LS && t->dec != D_LU) return decode_hex(t, strict, b, cp);
    if (t->dec == D_LS) return b == '\\' ? (t->dec = D_LU, 0) : -1;
    if (t->dec == D_LU) return b == 'u' ? (t->dec = D_L0, 0) : -1;
    if (t->dec == D_ESC) {
        const char *at = b ? strchr(escape_letters, b) : NULL;
        if (b == 'u') return t->dec = D_X0, t->val = 0, 0;
        if (!at || (strict && b == '/')) return -1;
        t->dec = D_NONE;
        *cp = (uint32_t)escape_values[at - escape_letters];
        return 1;
    }
    if (t->dec == D_NONE && b < 32) return -1;
    if (t->dec == D_NONE && b == '\\') return t->dec = D_ESC, 0;
    return decode_byte(t, b, cp);
}

/* Whether some character in the range leads on. */
static bool range_leads(gr_exec *x, const gr_thread *t, const gr_dfa *d, uint32_t lo, uint32_t hi)
{
    if (lo > hi) return false;
    for (uint32_t i = 0; i < d->n_bounds; i++) {
        uint32_t end = i + 1 < d->n_bounds ? d->bound[i + 1] - 1 : GR_CP_MAX;
        if (end < lo) continue;
        if (d->bound[i] > hi) break;
        uint32_t q = d->next[(size_t)t->q * d->n_cls + d->cls_of[i]];
        if (q && (t->phase != GR_P_KEY || key_alive(x, t, q))) return true;
    }
    return false;
}

static bool hex_leads(gr_exec *x, const gr_thread *t, const gr_dfa *d)
{
    unsigned missing = 4u * (4u - (unsigned)(t->dec - D_X0));
    uint32_t lo = t->val << missing, hi = lo | ((1u << missing) - 1);
    if (x->strict) {
        for (uint32_t cp = lo; cp <= hi && cp < 32; cp++)
            if (long_escape(cp) && range_leads(x, t, d, cp, cp)) return true;
        return false;
    }
    if (range_leads(x, t, d, lo, hi < 0xD7FF ? hi : 0xD7FF)) return true;
    if (hi >= 0xE000 && range_leads(x, t, d, lo > 0xE000 ? lo : 0xE000, hi)) return true;
    uint32_t a = lo > 0xD800 ? lo : 0xD800, b = hi < 0xDBFF ? hi : 0xDBFF;
    return a <= b && range_leads(x, t, d, 0x10000 + ((a - 0xD800) << 10), 0x10000 + ((b - 0xD800) << 10) + 0x3FF);
}

static bool pair_leads(gr_exec *x, const gr_thread *t, const gr_dfa *d)
{
    uint32_t base = 0x10000 + ((t->val >> 16) << 10), lo = 0xDC00, hi = 0xDFFF;
    if (t->dec > D_L0) {
        unsigned missing = 4u * (4u - (unsigned)(t->dec - D_L0));
        uint32_t from = (t->val & 0xFFFF) << missing, to = from | ((1u << missing) - 1);
        lo = from > lo ? from : lo, hi = to < hi ? to : hi;
    }
    return lo <= hi && range_leads(x, t, d, base + (lo - 0xDC00), base + (hi - 0xDC00));
}

static bool part_leads(gr_exec *x, const gr_thread *t, const gr_dfa *d)
{
    if (t->dec == D_ESC) {
        if (!x->strict) return range_leads(x, t, d, 0, GR_CP_MAX);
        return range_leads(x, t, d, 0, 31) || range_leads(x, t, d, '"', '"') || range_leads(x, t, d, '\\', '\\');
    }
    if (t->dec >= D_LS) return pair_leads(x, t, d);
    if (t->dec >= D_X0) return hex_leads(x, t, d);
    gr_range r = pending(t);
    return range_leads(x, t, d, r.lo, r.hi);
}

static void end_key(gr_exec *x, const gr_thread *t)
{
    const gr_leaf *l = &x->g->leaves[t->id];
    uint32_t label = l->label_of[t->q];
    if (t->frame == GR_EXIT) {
        leave_part(x, t);
        return;
    }
    if (label == GR_NONE || !(allowed(x, l, t->frame, label / 64) >> (label % 64) & 1)) return;
    gr_slot s[FRAME_SLOTS];
    uint32_t size = gr_slot_size(x, t->id);
    memcpy(s, &x->slots[t->frame], size * sizeof *s);
    if (l->max != GR_NONE || s->count < l->min) s->count++;
    if (label < l->n_names) {
        uint64_t *word = label < 64 ? &s->bits : (uint64_t *)(void *)&s[1] + (label / 64 - 1);
        *word |= 1ull << (label % 64);
    }
    uint32_t frame = push(x, s, size);
    if (x->st == IG_OK) go(x, GR_P_COLON, frame, label, 0, false);
}

/* Strings and keys. */
static void step_string(gr_exec *x, const gr_thread *t, uint8_t b)
{
    bool key = t->phase == GR_P_KEY;
    const gr_dfa *d = key ? x->g->leaves[t->id].key : x->g->nodes[t->id].str;
    gr_thread to = *t;
    uint32_t cp = 0;
    if (b == '"' && t->dec == D_NONE) {
        if (key)
            end_key(x, t);
        else if (d->label[t->q])
            go(x, GR_P_AFTER, t->frame, 0, 0, false);
        return;
    }
    int got = decode_json(&to, x->strict, b, &cp);
    if (got < 0) return;
    if (got == 0) {
        if (part_leads(x, &to, d)) gr_exec_emit(x, to);
        return;
    }
    to.q = gr_dfa_next(d, t->q, cp);
    if (to.q && (!key || key_alive(x, t, to.q))) gr_exec_emit(x, to);
}

static bool spend(gr_exec *x)
{
    if (x->spent++ < GR_WORK_MAX) return true;
    if (x->st == IG_OK) x->st = IG_TOO_LARGE;
    return false;
}

/* Rules of GBNF. */

static void work_add(gr_exec *x, uint32_t *n, uint32_t q, uint32_t frame)
{
    uint32_t look = *n > 64 ? *n - 64 : 0; /* doubles beyond only cost time */
    for (uint32_t i = look; i < *n; i++)
        if (x->work[i][0] == q && x->work[i][1] == frame) return;
    if (*n >= 4 * GR_THREADS_MAX) {
        x->st = IG_TOO_LARGE;
        return;
    }
    if (!room(x, (void **)&x->work, &x->cap_work, (uint64_t)*n + 1, sizeof *x->work)) return;
    x->work[*n][0] = q, x->work[*n][1] = frame;
    ++*n;
}

static bool bare(const gr_rtn_state *s) { return s->accept && !s->n_arcs && !s->n_calls; }

/* All arcs that are reached from (q, frame) without a character and meet [lo, hi]: their ends are added (emit), or it
 * is told whether there is one. exits: the character begins here and can follow a call, so an exit counts. */
static bool closure(gr_exec *x, const gr_thread *t, gr_range r, bool emit, bool exits)
{
    uint32_t n = 0;
    bool found = false;
    work_add(x, &n, t->q, t->frame);
    for (uint32_t i = 0; i < n && x->st == IG_OK && spend(x); i++) {
        uint32_t q = x->work[i][0], frame = x->work[i][1];
        const gr_rtn_state *s = &x->g->states[q];
        for (uint32_t k = s->arcs; k < s->arcs + s->n_arcs; k++) {
            const gr_arc *a = &x->g->arcs[k];
            if (a->lo > r.hi || a->hi < r.lo) continue;
            found = true;
            if (emit) go(x, GR_P_RULE, frame, 0, a->to, false);
        }
        for (uint32_t k = s->calls; k < s->calls + s->n_calls; k++) {
            const gr_call *c = &x->g->calls[k];
            if (c->start & GR_VALUE && (!emit || r.lo > 127)) continue;
            uint32_t back = bare(&x->g->states[c->back]) ? frame : new_frame(x, frame, c->back | GR_RULE);
            if (!(c->start & GR_VALUE)) {
                work_add(x, &n, c->start, back);
                continue;
            }
            const gr_forks *v = &x->g->values[c->start & ~GR_VALUE];
            for (uint32_t m = 0; m < v->n && x->st == IG_OK; m++) begin_value(x, v->list[m].node, back, (uint8_t)r.lo);
        }
        if (!s->accept || frame == GR_ROOT) continue;
        if (frame != GR_EXIT)
            work_add(x, &n, x->slots[frame].leaf & ~GR_RULE, x->slots[frame].parent);
        else if (exits)
            leave_part(x, &(gr_thread){.frame = GR_EXIT, .phase = GR_P_AFTER});
    }
    return found;
}

static void step_rule(gr_exec *x, const gr_thread *t, uint8_t b)
{
    gr_thread to = *t;
    uint32_t cp;
    int got = decode_byte(&to, b, &cp);
    if (got < 0) return;
    gr_range r = got ? (gr_range){cp, cp} : pending(&to);
    bool leads = closure(x, t, r, got == 1, t->dec == D_NONE && x->g->follow[b]);
    if (!got && leads) gr_exec_emit(x, to);
}

static void (*const steps[GR_PHASES])(gr_exec *, const gr_thread *, uint8_t) = {
    [GR_P_VALUE] = step_value, [GR_P_STRING] = step_string, [GR_P_NUMBER] = step_number, [GR_P_LITERAL] = step_literal,
    [GR_P_AFTER] = step_after, [GR_P_OPEN] = step_open,     [GR_P_NEXT_KEY] = step_open, [GR_P_KEY] = step_string,
    [GR_P_COLON] = step_colon, [GR_P_MEMBER] = step_member, [GR_P_LIST] = step_item,     [GR_P_ITEM] = step_item,
    [GR_P_RULE] = step_rule,
};

void gr_exec_step(gr_exec *x, uint32_t from, uint32_t to, uint8_t byte)
{
    x->out = x->n_th;
    x->n_exit = 0;
    for (uint32_t i = from; i < to && x->st == IG_OK && spend(x); i++) {
        gr_thread t = x->th[i];
        steps[t.phase](x, &t, byte);
    }
}

/* Keeps the slots that threads stand on. */
static void compact(gr_exec *x)
{
    uint32_t *map = ig_calloc(x->n_slots, sizeof *map), n = 1;
    if (!map) return;
    for (uint32_t i = 0; i < x->n_th; i++)
        for (uint32_t f = x->th[i].frame; f != GR_ROOT && f != GR_EXIT && !map[f]; f = x->slots[f].parent) map[f] = 1;
    for (uint32_t i = 1; i < x->n_slots;) {
        uint32_t size = gr_slot_size(x, x->slots[i].leaf);
        if (map[i]) {
            memmove(&x->slots[n], &x->slots[i], size * sizeof *x->slots);
            uint32_t parent = x->slots[n].parent;
            if (parent != GR_EXIT) x->slots[n].parent = map[parent];
            map[i] = n;
            n += size;
        }
        i += size;
    }
    for (uint32_t i = 0; i < x->n_th; i++)
        if (x->th[i].frame != GR_EXIT) x->th[i].frame = map[x->th[i].frame];
    x->n_slots = x->live_slots = n;
    x->n_linked = 0;
    ig_free(map);
}

/* Plain ASCII in a string with one reading, the common case. */
static size_t feed_plain(gr_exec *x, const uint8_t *p, size_t n)
{
    gr_thread *t = &x->th[0];
    size_t i = 0;
    if (x->n_th != 1 || t->phase != GR_P_STRING || t->dec != D_NONE) return 0;
    const gr_dfa *d = x->g->nodes[t->id].str;
    for (; i < n && p[i] >= 32 && p[i] < 128 && p[i] != '"' && p[i] != '\\'; i++) {
        uint32_t q = d->next[(size_t)t->q * d->n_cls + d->ascii[p[i]]];
        if (!q) break;
        t->q = q;
    }
    return i;
}

void gr_exec_feed(gr_exec *x, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n && x->n_th && x->st == IG_OK; i++) {
        size_t plain = feed_plain(x, p + i, n - i);
        i += plain;
        x->n_fed += plain;
        if (i == n) break;
        uint32_t was = x->n_th;
        x->spent = 0;
        gr_exec_step(x, 0, was, p[i]);
        memmove(x->th, x->th + was, (x->n_th - was) * sizeof *x->th);
        x->n_th -= was;
        x->n_fed += x->n_th > 0;
        if (x->n_slots > 2 * x->live_slots + 256) compact(x);
    }
    if (x->st != IG_OK) x->n_th = 0;
}

void gr_exec_start(gr_exec *x)
{
    x->n_th = x->out = 0;
    x->n_fed = 0;
    x->n_slots = x->live_slots = 1;
    x->n_linked = 0;
    if (!x->g->live) return;
    if (x->g->json)
        go(x, GR_P_VALUE, GR_ROOT, x->g->root, 0, false);
    else
        go(x, GR_P_RULE, GR_ROOT, 0, x->g->root, false);
}

/* Walks without characters: through calls that may be empty, and up the stack. */
static bool rule_accepts(gr_exec *x, const gr_thread *t)
{
    uint32_t n = 0, slots = x->n_slots;
    bool yes = false;
    if (t->dec != D_NONE) return false;
    work_add(x, &n, t->q, t->frame);
    for (uint32_t i = 0; i < n && !yes && x->st == IG_OK; i++) {
        uint32_t q = x->work[i][0], frame = x->work[i][1];
        const gr_rtn_state *s = &x->g->states[q];
        yes = s->accept && frame == GR_ROOT;
        if (s->accept && frame != GR_ROOT && frame != GR_EXIT)
            work_add(x, &n, x->slots[frame].leaf & ~GR_RULE, x->slots[frame].parent);
        for (uint32_t k = s->calls; k < s->calls + s->n_calls; k++) {
            const gr_call *c = &x->g->calls[k];
            if (c->start & GR_VALUE) continue; /* no value is empty */
            work_add(x, &n, c->start, bare(&x->g->states[c->back]) ? frame : new_frame(x, frame, c->back | GR_RULE));
        }
    }
    gr_exec_cut(x, slots);
    return yes;
}

bool gr_exec_accepts(gr_exec *x)
{
    for (uint32_t i = 0; i < x->n_th; i++) {
        const gr_thread *t = &x->th[i];
        if (t->phase == GR_P_RULE) {
            if (rule_accepts(x, t)) return true;
            continue;
        }
        bool ends =
            t->phase == GR_P_AFTER || (t->phase == GR_P_NUMBER && x->g->nodes[t->id].num[x->strict]->label[t->q]);
        gr_thread rule;
        if (ends && (t->frame == GR_ROOT || (gr_in_rule(x, t->frame, &rule) && rule_accepts(x, &rule)))) return true;
    }
    return false;
}
