/* The two tables of a vocabulary: text -> id and pair of ids -> merge. Open addressing, linear probing, seeded at
 * random so that nobody can build a file whose keys collide. They are built at every start (a 128k vocabulary has 280k
 * merges), so slots are small and merges are looked up in batches: first all hashes with a prefetch, then the slots,
 * which have arrived by then. */
#include "base/os.h"
#include "text/token/token_priv.h"

enum { MERGES_MAX = 1 << 24, BATCH = 32 };

/* Two reads that overlap cover 4 to 8 bytes, so that short texts need no loop over bytes. */
static uint64_t hash_text(const char *p, size_t n, uint64_t seed)
{
    uint64_t h = n * 0x9E3779B97F4A7C15u, v = 0;
    uint32_t lo, hi;
    for (; n > 8; n -= 8, p += 8) {
        memcpy(&v, p, 8);
        h = ig_hash_u64(v ^ h, seed);
    }
    if (n >= 4) {
        memcpy(&lo, p, 4);
        memcpy(&hi, p + n - 4, 4);
        v = (uint64_t)hi << 32 | lo;
    } else if (n) {
        v = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n / 2] << 8 | (uint8_t)p[n - 1];
    }
    return ig_hash_u64(v ^ h, seed);
}

static const ig_text_slot *find_slot(const ig_vocab *v, ig_str text, uint64_t hash)
{
    for (size_t i = (size_t)hash & (v->n_slots - 1);; i = (i + 1) & (v->n_slots - 1)) {
        const ig_text_slot *s = &v->slots[i];
        if (s->id_plus_1 == 0 || (s->tag == (uint32_t)(hash >> 32) && ig_str_eq(v->tokens[s->id_plus_1 - 1], text)))
            return s;
    }
}

bool ig_texts_init(ig_vocab *v)
{
    v->n_slots = 16;
    while (v->n_slots / 2 < v->n) v->n_slots *= 2;
    v->slots = ig_calloc(v->n_slots, sizeof *v->slots);
    ig_random(&v->seed, sizeof v->seed);
    return v->slots != NULL;
}

void ig_texts_add(ig_vocab *v, uint32_t id)
{
    uint64_t hash = hash_text(v->tokens[id].ptr, v->tokens[id].len, v->seed);
    const ig_text_slot *s = find_slot(v, v->tokens[id], hash);
    if (s->id_plus_1 == 0)
        v->slots[s - v->slots] = (ig_text_slot){(uint32_t)(hash >> 32), id + 1};
    else
        v->has_twins = true;
}

int32_t ig_texts_get(const ig_vocab *v, ig_str text)
{
    if (text.len > v->longest) return -1;
    return (int32_t)find_slot(v, text, hash_text(text.ptr, text.len, v->seed))->id_plus_1 - 1;
}

int32_t ig_vocab_find(const ig_vocab *v, const char *p, size_t n)
{
    int32_t id = ig_texts_get(v, (ig_str){p, n});
    return id < 0 || v->types[id] == IG_TOKEN_CONTROL || v->types[id] == IG_TOKEN_UNKNOWN ? -1 : id;
}

static size_t merge_slot(const ig_vocab *v, int32_t left, int32_t right)
{
    return (size_t)ig_hash_u64((uint64_t)(uint32_t)left << 32 | (uint32_t)right, v->seed) & (v->n_merge_slots - 1);
}

const ig_merge *ig_vocab_merge(const ig_vocab *v, int32_t left, int32_t right)
{
    if (left < 0 || right < 0 || v->n_merge_slots == 0) return NULL;
    for (size_t i = merge_slot(v, left, right);; i = (i + 1) & (v->n_merge_slots - 1)) {
        const ig_merge *m = &v->merges[i];
        if (m->left < 0) return NULL;
        if (m->left == left && m->right == right) return m;
    }
}

typedef struct raw_merge { /* a line of the list on its way into the table */
    ig_str left, right;
    uint64_t left_hash, right_hash;
    size_t slot;
    ig_merge merge;
} raw_merge;

typedef struct reader {
    ig_vocab *v;
    ig_buf joined;
    const ig_merge_list *list;
    int32_t last; /* the result before: lists follow the order of the tokens, so it or the next one is likely */
} reader;

static ig_status split_text(ig_str text, uint32_t rank, raw_merge *out, ig_error *err)
{
    const char *space = text.len > 1 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
    size_t n = space ? (size_t)(space - text.ptr) : 0;
    if (!space || n + 1 == text.len)
        return ig_fail(err, IG_BAD_INPUT, rank, "merge %u reads \"%.*s\", expected two tokens and one space between",
                       rank, IG_STR_ARG(text));
    out->left = (ig_str){text.ptr, n};
    out->right = (ig_str){space + 1, text.len - n - 1};
    if (memchr(out->right.ptr, ' ', out->right.len))
        return ig_fail(err, IG_BAD_INPUT, rank, "merge %u reads \"%.*s\", expected exactly one space", rank,
                       IG_STR_ARG(text));
    return IG_OK;
}

static ig_status split_merge(const reader *r, size_t i, raw_merge *out, ig_error *err)
{
    uint32_t rank = (uint32_t)i;
    if (r->list->right) {
        out->left = r->list->left[i];
        out->right = r->list->right[i];
    } else
        IG_TRY(split_text(r->list->left[i], rank, out, err));
    out->left_hash = hash_text(out->left.ptr, out->left.len, r->v->seed);
    out->right_hash = hash_text(out->right.ptr, out->right.len, r->v->seed);
    __builtin_prefetch(&r->v->slots[out->left_hash & (r->v->n_slots - 1)]);
    __builtin_prefetch(&r->v->slots[out->right_hash & (r->v->n_slots - 1)]);
    out->merge.rank = rank;
    return IG_OK;
}

static bool is_joined(const ig_vocab *v, int32_t id, ig_str left, ig_str right)
{
    if (id < 0 || (size_t)id >= v->n || v->tokens[id].len != left.len + right.len) return false;
    const char *p = v->tokens[id].ptr;
    return !memcmp(p, left.ptr, left.len) && !memcmp(p + left.len, right.ptr, right.len);
}

/* Id of the joined text, -1: no token. */
static ig_status find_result(reader *r, raw_merge *m, ig_error *err)
{
    const ig_vocab *v = r->v;
    ig_str right = m->right;
    if (r->list
            ->cut) { /* never more than the right half has: it is a token that begins with the prefix, or a bad one */
        size_t cut = r->list->cut < right.len ? r->list->cut : right.len;
        right = (ig_str){right.ptr + cut, right.len - cut};
    }
    for (int32_t id = r->last; id <= r->last + 1; id++) {
        if (!is_joined(v, id, m->left, right)) continue;
        /* Of several tokens with one text the table's counts: ask it where there can be several. */
        m->merge.result = r->last = v->has_twins ? ig_texts_get(v, v->tokens[id]) : id;
        return IG_OK;
    }
    r->joined.len = 0;
    if (!ig_buf_add(&r->joined, m->left.ptr, m->left.len) || !ig_buf_add(&r->joined, right.ptr, right.len))
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the vocabulary");
    m->merge.result = ig_texts_get(v, (ig_str){r->joined.ptr, r->joined.len});
    if (m->merge.result >= 0)
        r->last = m->merge.result;
    else if (r->list->strict)
        return ig_fail(err, IG_BAD_INPUT, m->merge.rank, "merge %u joins \"%.*s\" and \"%.*s\" to no token",
                       m->merge.rank, IG_STR_ARG(m->left), IG_STR_ARG(m->right));
    return IG_OK;
}

static ig_status resolve_merge(reader *r, raw_merge *m, ig_error *err)
{
    ig_vocab *v = r->v;
    m->merge.left = (int32_t)find_slot(v, m->left, m->left_hash)->id_plus_1 - 1;
    m->merge.right = (int32_t)find_slot(v, m->right, m->right_hash)->id_plus_1 - 1;
    if (m->merge.left < 0 || m->merge.right < 0)
        return ig_fail(err, IG_BAD_INPUT, m->merge.rank, "merge %u reads \"%.*s %.*s\", but a half of it is no token",
                       m->merge.rank, IG_STR_ARG(m->left), IG_STR_ARG(m->right));
    m->slot = merge_slot(v, m->merge.left, m->merge.right);
    __builtin_prefetch(&v->merges[m->slot], 1);
    return find_result(r, m, err);
}

static void insert_merge(ig_vocab *v, const raw_merge *m)
{
    size_t i = m->slot;
    for (; v->merges[i].left >= 0; i = (i + 1) & (v->n_merge_slots - 1))
        if (v->merges[i].left == m->merge.left && v->merges[i].right == m->merge.right) return; /* the first counts */
    v->merges[i] = m->merge;
}

static ig_status read_batch(reader *r, size_t from, size_t n, ig_error *err)
{
    raw_merge batch[BATCH];
    for (size_t i = 0; i < n; i++) IG_TRY(split_merge(r, from + i, &batch[i], err));
    for (size_t i = 0; i < n; i++) IG_TRY(resolve_merge(r, &batch[i], err));
    for (size_t i = 0; i < n; i++) insert_merge(r->v, &batch[i]);
    return IG_OK;
}

ig_status ig_merges_read(ig_vocab *v, const ig_merge_list *list, ig_error *err)
{
    size_t n = list->n;
    if (n > MERGES_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "there are %zu merges, expected at most %d", n, MERGES_MAX);
    v->n_merges = n;
    v->n_merge_slots = 16;
    while (v->n_merge_slots / 4 * 3 < n) v->n_merge_slots *= 2;
    v->merges = ig_alloc(v->n_merge_slots * sizeof *v->merges);
    if (!v->merges) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the vocabulary");
    memset(v->merges, 0xFF, v->n_merge_slots * sizeof *v->merges);
    reader r = {.v = v, .list = list, .last = -1};
    ig_buf_init(&r.joined, SIZE_MAX / 2);
    ig_status st = IG_OK;
    for (size_t i = 0; i < n && st == IG_OK; i += BATCH) st = read_batch(&r, i, n - i < BATCH ? n - i : BATCH, err);
    ig_buf_fini(&r.joined);
    return st;
}
