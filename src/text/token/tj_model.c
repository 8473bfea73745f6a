/* Models of tokenizer.json: BPE, Unigram, WordPiece, WordLevel. Reading their vocabularies, and one piece to ids. */
#include "base/os.h"
#include "base/utf8.h"
#include "text/token/tj.h"

#include <math.h>

enum { TOKENS_MAX = 1 << 22, GAPS_MAX = 65536, CACHE_SLOTS = 4096, CACHE_BYTES = 24, CACHE_IDS = 6 };

/* ------------------------------------------------------------------------------------------------ vocabulary */

static ig_status too_many(size_t n, ig_error *err)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: the vocabulary has %zu tokens, expected 1 to %d", n,
                   TOKENS_MAX);
}

static ig_status bad_id(ig_str text, int64_t id, ig_error *err)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: the token \"%.*s\" has the id %lld, which is out of range",
                   IG_STR_ARG(text), (long long)id);
}

static ig_str key_of(const ig_tj_json *member) { return (ig_str){member->key, member->key_len}; }

/* Largest id of the model's object and of the added tokens, and how many there are. */
static ig_status count_ids(const ig_tj_json *vocab, const ig_tj_json *added, size_t *n, ig_error *err)
{
    size_t count = vocab->n, most = vocab->type == IG_JSON_ARRAY ? count : 0;
    for (const ig_tj_json *m = ig_tj_json_first(vocab); m && m->key; m = m->next) {
        int64_t id = m->type == IG_JSON_INT ? m->integer : -1;
        if (id < 0 || id >= TOKENS_MAX) return bad_id(key_of(m), id, err);
        if ((size_t)id >= most) most = (size_t)id + 1;
    }
    for (const ig_tj_json *a = ig_tj_json_first(added); a; a = a->next) {
        size_t id = 0;
        IG_TRY(ig_tj_size(a, "added_tokens", "id", true, TOKENS_MAX - 1, &id, err));
        count++;
        if (id >= most) most = id + 1;
    }
    if (most == 0 || most > TOKENS_MAX) return too_many(most, err);
    if (most > 2 * count + GAPS_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: the ids go up to %zu, but there are %zu tokens", most - 1,
                       count);
    *n = most;
    return IG_OK;
}

static ig_status set_token(ig_vocab *v, size_t id, ig_str text, ig_error *err)
{
    size_t n = text.len;
    if (n > IG_TJ_TEXT_MAX)
        return ig_fail(err, IG_TOO_LARGE, id, "tokenizer.json: token %zu has %zu bytes, expected at most %d", id, n,
                       IG_TJ_TEXT_MAX);
    if (v->types[id] != IG_TOKEN_UNUSED)
        return ig_fail(err, IG_BAD_INPUT, id, "tokenizer.json: the tokens \"%.*s\" and \"%.*s\" have the same id %zu",
                       IG_STR_ARG(v->tokens[id]), IG_STR_ARG(text), id);
    char *copy = ig_arena_copy(&v->tj->arena, text.ptr, n);
    if (!copy) return ig_tj_no_memory(err);
    v->tokens[id] = (ig_str){copy, n};
    v->types[id] = IG_TOKEN_NORMAL;
    if (n > v->longest) v->longest = n;
    return IG_OK;
}

static ig_status allocate(ig_vocab *v, ig_error *err)
{
    v->tokens = ig_calloc(v->n, sizeof *v->tokens);
    v->types = ig_calloc(v->n, 1);
    v->ends = ig_calloc(v->n, 1);
    v->tj->is_added = ig_calloc(v->n, 1);
    if (!v->tokens || !v->types || !v->ends || !v->tj->is_added || !ig_texts_init(v)) return ig_tj_no_memory(err);
    for (size_t i = 0; i < v->n; i++) {
        v->tokens[i] = IG_STR("");
        v->types[i] = IG_TOKEN_UNUSED;
    }
    return IG_OK;
}

/* [text, score] of a Unigram model. */
static ig_status read_scored(ig_vocab *v, const ig_tj_json *vocab, ig_error *err)
{
    double least = 0;
    v->tj->scores = ig_calloc(v->n, sizeof *v->tj->scores);
    if (!v->tj->scores) return ig_tj_no_memory(err);
    size_t i = 0;
    for (const ig_tj_json *row = ig_tj_json_first(vocab); row; row = row->next, i++) {
        const ig_tj_json *text = ig_tj_json_first(row), *score = text ? text->next : NULL;
        if (!ig_tj_json_is(row, IG_JSON_ARRAY) || row->n != 2 || text->type != IG_JSON_STRING ||
            !ig_tj_json_number(score, &v->tj->scores[i]))
            return ig_fail(err, IG_BAD_INPUT, i,
                           "tokenizer.json: entry %zu of the vocabulary is no pair of text and score", i);
        IG_TRY(set_token(v, i, ig_tj_json_text(text), err));
        if (i == 0 || v->tj->scores[i] < least) least = v->tj->scores[i];
    }
    v->tj->unk_score = least - IG_TJ_UNK_PENALTY;
    return IG_OK;
}

static ig_status read_vocab(ig_vocab *v, const ig_tj_json *vocab, const ig_tj_json *added, ig_error *err)
{
    IG_TRY(count_ids(vocab, added, &v->n, err));
    IG_TRY(allocate(v, err));
    if (vocab->type == IG_JSON_ARRAY)
        IG_TRY(read_scored(v, vocab, err));
    else
        for (const ig_tj_json *m = ig_tj_json_first(vocab); m; m = m->next)
            IG_TRY(set_token(v, (size_t)m->integer, key_of(m), err));
    for (size_t i = 0; i < v->n; i++) {
        if (v->types[i] != IG_TOKEN_NORMAL) continue;
        ig_texts_add(v, (uint32_t)i);
        if (v->has_twins && vocab->type == IG_JSON_OBJECT)
            return ig_fail(err, IG_BAD_INPUT, i, "tokenizer.json: the token \"%.*s\" stands twice in the vocabulary",
                           IG_STR_ARG(v->tokens[i]));
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ models */

static int32_t lookup(const ig_vocab *v, ig_str t) { return t.ptr ? ig_texts_get(v, t) : -1; }

static void find_bytes(ig_vocab *v)
{
    static const char digits[] = "0123456789ABCDEF";
    for (int b = 0; b < 256; b++) {
        char utf8[4], text[7] = "<0x..>";
        text[3] = digits[b >> 4];
        text[4] = digits[b & 15];
        v->tj->hex_id[b] = ig_texts_get(v, (ig_str){text, 6});
        v->byte_id[b] = ig_texts_get(v, (ig_str){utf8, ig_utf8_encode(ig_byte_to_char((uint8_t)b), utf8)});
    }
}

/* Lists of merges as views of the parsed file: ["a b", ...] or [["a", "b"], ...]. */
static ig_status read_merges(ig_vocab *v, const ig_tj_json *list, ig_error *err)
{
    size_t n = list->n, i = 0;
    bool pairs = ig_tj_json_is(ig_tj_json_first(list), IG_JSON_ARRAY);
    ig_str *left = ig_calloc(n, sizeof *left), *right = ig_calloc(n, sizeof *right);
    ig_status st = left && right ? IG_OK : ig_tj_no_memory(err);
    for (const ig_tj_json *row = ig_tj_json_first(list); st == IG_OK && row; row = row->next, i++) {
        const ig_tj_json *a = pairs ? ig_tj_json_first(row) : row, *b = pairs && a ? a->next : row;
        if (!ig_tj_json_is(a, IG_JSON_STRING) || !ig_tj_json_is(b, IG_JSON_STRING) || (pairs && row->n != 2))
            st = ig_fail(err, IG_BAD_INPUT, i, "tokenizer.json: merge %zu is no %s", i,
                         pairs ? "pair of texts" : "text");
        else {
            left[i] = ig_tj_json_text(a);
            right[i] = ig_tj_json_text(b);
        }
    }
    ig_merge_list merges = {left, pairs ? right : NULL, n, v->tj->subword_prefix.len, true};
    ig_error e;
    if (st == IG_OK && (st = ig_merges_read(v, &merges, &e)) != IG_OK)
        ig_fail(err, st, e.offset, "tokenizer.json: %s", e.text);
    ig_free(left);
    ig_free(right);
    return st;
}

/* Words may be merged one by one where no token holds a marker behind something else, so that no merge joins two. */
static bool can_cut_words(const ig_vocab *v)
{
    if (v->tj->byte_level || v->tj->word_suffix.len || v->tj->subword_prefix.len) return false;
    if (ig_texts_get(v, IG_STR(IG_MARKER)) < 0) return false;
    for (size_t i = 0; i < v->n; i++)
        if (v->types[i] == IG_TOKEN_NORMAL && ig_marker_inside(v->tokens[i])) return false;
    return true;
}

static ig_status check_dropout(const ig_tj_json *o, ig_error *err)
{
    const ig_tj_json *d = ig_tj_json_get(o, "dropout");
    double p = 1;
    if (!d || d->type == IG_JSON_NULL || (ig_tj_json_number(d, &p) && !(p > 0))) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0, "tokenizer.json: model BPE: dropout is not supported, expected null");
}

static bool all_bytes(const int32_t *ids)
{
    for (int b = 0; b < 256; b++)
        if (ids[b] < 0) return false;
    return true;
}

static ig_status missing_unk(const char *model, ig_str unk, ig_error *err)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: model %s: the unk_token \"%.*s\" is not in the vocabulary",
                   model, IG_STR_ARG(unk));
}

static ig_status read_bpe(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const char where[] = "model BPE";
    ig_tj *tj = v->tj;
    const ig_tj_json *merges;
    ig_str unk = {NULL, 0};
    tj->model = IG_TJ_BPE;
    IG_TRY(check_dropout(o, err));
    IG_TRY(ig_tj_bool(o, where, "fuse_unk", &tj->fuse_unk, err));
    IG_TRY(ig_tj_bool(o, where, "byte_fallback", &tj->byte_fallback, err));
    IG_TRY(ig_tj_bool(o, where, "ignore_merges", &tj->ignore_merges, err));
    IG_TRY(ig_tj_str(o, where, "continuing_subword_prefix", false, &tj->arena, &tj->subword_prefix, err));
    IG_TRY(ig_tj_str(o, where, "end_of_word_suffix", false, &tj->arena, &tj->word_suffix, err));
    IG_TRY(ig_tj_str(o, where, "unk_token", false, &tj->arena, &unk, err));
    IG_TRY(ig_tj_list(o, where, "merges", true, &merges, err));
    /* The last pre-tokenizer turns bytes into characters one to one: bytes are looked up as they are instead. */
    tj->byte_level = tj->n_pre && tj->pre[tj->n_pre - 1].kind == IG_PRE_ALPHABET && !tj->byte_fallback &&
                     !tj->word_suffix.len && !tj->subword_prefix.len && all_bytes(v->byte_id);
    for (size_t i = 0; i + 1 < tj->n_pre; i++) tj->byte_level = tj->byte_level && tj->pre[i].kind != IG_PRE_ALPHABET;
    for (size_t i = 0; i < tj->n_norm; i++) tj->byte_level = tj->byte_level && tj->norm[i].kind != IG_NORM_ALPHABET;
    if (tj->byte_level) tj->n_pre--;
    v->flags.raw_utf8 = !tj->byte_level;
    v->unk = lookup(v, unk);
    if (unk.len && v->unk < 0 && !tj->byte_level) return missing_unk("BPE", unk, err);
    IG_TRY(read_merges(v, merges, err));
    tj->cut_words = can_cut_words(v);
    return IG_OK;
}

static ig_status read_unigram(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    size_t unk = SIZE_MAX;
    v->tj->model = IG_TJ_UNIGRAM;
    IG_TRY(ig_tj_bool(o, "model Unigram", "byte_fallback", &v->tj->byte_fallback, err));
    IG_TRY(ig_tj_size(o, "model Unigram", "unk_id", true, v->n - 1, &unk, err));
    if (!v->tj->scores)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "tokenizer.json: model Unigram: \"vocab\" is no array of texts and scores");
    v->unk = (int32_t)unk;
    return IG_OK;
}

static ig_status read_unk(ig_vocab *v, const ig_tj_json *o, const char *where, ig_error *err)
{
    ig_str unk = IG_STR("");
    IG_TRY(ig_tj_str(o, where, "unk_token", true, &v->tj->arena, &unk, err));
    v->unk = lookup(v, unk);
    return v->unk < 0 ? missing_unk(where + strlen("model "), unk, err) : IG_OK;
}

static ig_status read_wordpiece(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const char where[] = "model WordPiece";
    ig_tj *tj = v->tj;
    tj->model = IG_TJ_WORDPIECE;
    tj->max_chars = 100;
    tj->subword_prefix = IG_STR("##");
    IG_TRY(ig_tj_size(o, where, "max_input_chars_per_word", false, SIZE_MAX / 2, &tj->max_chars, err));
    IG_TRY(ig_tj_str(o, where, "continuing_subword_prefix", false, &tj->arena, &tj->subword_prefix, err));
    return read_unk(v, o, where, err);
}

static ig_status read_wordlevel(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    v->tj->model = IG_TJ_WORDLEVEL;
    return read_unk(v, o, "model WordLevel", err);
}

ig_status ig_tj_read_model(ig_vocab *v, const ig_tj_json *o, const ig_tj_json *added, ig_error *err)
{
    static const ig_tj_component table[] = {{"BPE", read_bpe},
                                            {"Unigram", read_unigram},
                                            {"WordPiece", read_wordpiece},
                                            {"WordLevel", read_wordlevel},
                                            {NULL, NULL}};
    const ig_tj_json *vocab = ig_tj_json_get(o, "vocab");
    bool scored = ig_str_is(ig_tj_json_text(ig_tj_json_get(o, "type")), "Unigram");
    if (!ig_tj_json_is(vocab, scored ? IG_JSON_ARRAY : IG_JSON_OBJECT))
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: model: \"vocab\" is missing or of another type");
    IG_TRY(read_vocab(v, vocab, added, err));
    find_bytes(v);
    /* Old files name no type where there are merges. */
    if (!ig_tj_json_get(o, "type") && ig_tj_json_get(o, "merges")) return read_bpe(v, o, err);
    return ig_tj_components(v, o, "model", "models", table, err);
}

/* Control tokens are no part of the models: text never becomes one by accident. */
ig_status ig_tj_index_model(ig_vocab *v, ig_error *err)
{
    ig_tj *tj = v->tj;
    if (tj->model != IG_TJ_UNIGRAM && tj->model != IG_TJ_WORDPIECE) return IG_OK;
    for (size_t i = 0; i < v->n; i++) {
        bool mine = v->types[i] != IG_TOKEN_UNUSED && v->types[i] != IG_TOKEN_CONTROL;
        mine = mine && ig_texts_get(v, v->tokens[i]) == (int32_t)i;
        if (mine && v->tokens[i].len && !ig_tj_trie_add(&tj->trie, v->tokens[i], (int32_t)i))
            return ig_tj_no_memory(err);
    }
    for (size_t i = 0; i < tj->subword_prefix.len; i++) {
        tj->prefix_node = ig_tj_trie_step(&tj->trie, tj->prefix_node, (uint8_t)tj->subword_prefix.ptr[i]);
        if (!tj->prefix_node) break;
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ BPE */

typedef struct start { /* the symbols of a piece that is being read */
    const ig_vocab *v;
    ig_work *w;
    int32_t count;
    bool unk_open; /* the last symbol is an unknown one that more may join */
} start;

static void symbol(start *s, size_t at, size_t n, int32_t id)
{
    s->w->symbols[s->count] = (ig_symbol){(uint32_t)at, (uint32_t)n, s->count - 1, s->count + 1, id};
    s->count++;
    s->unk_open = false;
}

static void unknown(start *s, const char *piece, size_t at, size_t n)
{
    const ig_tj *tj = s->v->tj;
    bool bytes = tj->byte_fallback;
    for (size_t i = 0; bytes && i < n; i++) bytes = tj->hex_id[(uint8_t)piece[at + i]] >= 0;
    for (size_t i = 0; bytes && i < n; i++) symbol(s, at + i, 1, tj->hex_id[(uint8_t)piece[at + i]]);
    if (bytes || s->v->unk < 0) return;
    if (s->unk_open && tj->fuse_unk) {
        s->w->symbols[s->count - 1].n += (uint32_t)n;
        return;
    }
    symbol(s, at, n, s->v->unk);
    s->unk_open = true;
}

/* A character's token, with the prefix of what continues a word and the suffix of what ends it. */
static int32_t char_id(const ig_vocab *v, ig_work *w, const char *p, size_t n, bool first, bool last)
{
    const ig_tj *tj = v->tj;
    if ((first || !tj->subword_prefix.len) && (!last || !tj->word_suffix.len)) return ig_vocab_find(v, p, n);
    ig_buf *b = &w->text;
    b->len = 0;
    if (!first) (void)ig_buf_add(b, tj->subword_prefix.ptr, tj->subword_prefix.len);
    (void)ig_buf_add(b, p, n);
    if (last) (void)ig_buf_add(b, tj->word_suffix.ptr, tj->word_suffix.len);
    return b->failed ? -1 : ig_vocab_find(v, b->ptr, b->len);
}

static int32_t start_chars(const ig_vocab *v, ig_work *w, const char *piece, size_t n)
{
    start s = {.v = v, .w = w};
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(piece + at, n - at, &cp);
        if (len == 0) len = 1;
        int32_t id = char_id(v, w, piece + at, len, at == 0, at + len == n);
        if (id >= 0)
            symbol(&s, at, len, id);
        else
            unknown(&s, piece, at, len);
        at += len;
    }
    return s.count;
}

static int32_t start_bytes(const ig_vocab *v, ig_work *w, const char *piece, size_t n)
{
    start s = {.v = v, .w = w};
    for (size_t at = 0; at < n; at++) symbol(&s, at, 1, v->byte_id[(uint8_t)piece[at]]);
    return s.count;
}

static bool bpe_merge(const ig_vocab *v, ig_work *w, const char *piece, size_t n, ig_ids *out)
{
    if (!ig_work_symbols(w, n)) return false;
    int32_t count = v->tj->byte_level ? start_bytes(v, w, piece, n) : start_chars(v, w, piece, n);
    if (w->text.failed) return false;
    if (count == 0) return true;
    w->symbols[count - 1].next = -1;
    if (!ig_bpe_join(v, w, count)) return false;
    for (int32_t i = 0; i >= 0; i = w->symbols[i].next)
        if (!ig_ids_add(out, w->symbols[i].id)) return false;
    return true;
}

/* Pieces come again and again: the ids of short ones are kept for the length of a call. */
struct ig_cache_slot {
    char text[CACHE_BYTES];
    int32_t ids[CACHE_IDS];
    uint8_t n, n_ids; /* n 0: empty */
};

static struct ig_cache_slot *cache_slot(ig_tj_work *w, const char *piece, size_t n)
{
    uint64_t lo = 0, mid = 0, hi = 0;
    if (n > CACHE_BYTES || !w->cache) return NULL;
    if (n > 16) {
        memcpy(&lo, piece, 8);
        memcpy(&mid, piece + 8, 8);
        memcpy(&hi, piece + 16, n - 16);
    } else if (n > 8) {
        memcpy(&lo, piece, 8);
        memcpy(&mid, piece + 8, n - 8);
    } else
        memcpy(&lo, piece, n);
    uint64_t h = ig_hash_u64(lo ^ ig_hash_u64(mid ^ ig_hash_u64(hi ^ n, 0x9E37), 0x79B9), 0x7F4A);
    return &w->cache[h & (CACHE_SLOTS - 1)];
}

static bool bpe_piece(const ig_vocab *v, ig_tj_work *w, const char *piece, size_t n, ig_ids *out)
{
    struct ig_cache_slot *slot = cache_slot(w, piece, n);
    if (slot && slot->n == n && !memcmp(slot->text, piece, n)) {
        for (size_t i = 0; i < slot->n_ids; i++)
            if (!ig_ids_add(out, slot->ids[i])) return false;
        return true;
    }
    size_t before = out->len;
    if (!bpe_merge(v, &w->work, piece, n, out)) return false;
    size_t n_ids = out->len - before;
    if (!slot || n_ids > CACHE_IDS) return true;
    memcpy(slot->text, piece, n);
    if (n_ids) memcpy(slot->ids, out->ptr + before, n_ids * sizeof *slot->ids);
    slot->n = (uint8_t)n;
    slot->n_ids = (uint8_t)n_ids;
    return true;
}

static bool marker_at(const char *text, size_t at, size_t n) { return n - at >= 3 && !memcmp(text + at, IG_MARKER, 3); }

static bool encode_bpe(const ig_vocab *v, ig_tj_work *w, const char *piece, size_t n, ig_ids *out)
{
    size_t from = 0, at = 0;
    if (v->tj->ignore_merges) {
        int32_t id = ig_bpe_whole(v, piece, n);
        if (id >= 0) return ig_ids_add(out, id);
    }
    while (v->tj->cut_words && at < n) {
        bool marker = marker_at(piece, at, n);
        at += marker ? 3 : 1;
        if (marker || at >= n || piece[at] != IG_MARKER[0] || !marker_at(piece, at, n)) continue;
        if (!bpe_piece(v, w, piece + from, at - from, out)) return false;
        from = at;
    }
    return bpe_piece(v, w, piece + from, n - from, out);
}

/* ------------------------------------------------------------------------------------------------ Unigram */

/* Fills w->lattice with the best way to every character's end (Viterbi). */
static bool walk(const ig_vocab *v, ig_tj_work *w, const char *p, size_t n)
{
    const ig_tj *tj = v->tj;
    if (!ig_tj_room(&w->lattice, &w->lattice_cap, n + 1, sizeof *w->lattice)) return false;
    ig_lattice_node *best = w->lattice;
    for (size_t i = 0; i <= n; i++) best[i] = (ig_lattice_node){0, UINT32_MAX, -1};
    for (size_t at = 0; at < n;) {
        uint32_t cp, node = 0;
        size_t len = ig_utf8_decode(p + at, n - at, &cp);
        bool single = false;
        double here = best[at].score;
        if (len == 0) len = 1;
        for (size_t end = at; end < n && (node = ig_tj_trie_step(&tj->trie, node, (uint8_t)p[end])) != 0;) {
            int32_t id = tj->trie.ids[node];
            end++;
            if (id < 0) continue;
            double score = here + tj->scores[id];
            if (best[end].from == UINT32_MAX || score > best[end].score)
                best[end] = (ig_lattice_node){score, (uint32_t)at, id};
            single = single || end - at == len;
        }
        double score = here + tj->unk_score;
        if (!single && (best[at + len].from == UINT32_MAX || score > best[at + len].score))
            best[at + len] = (ig_lattice_node){score, (uint32_t)at, v->unk};
        at += len;
    }
    return true;
}

/* An unknown stretch: its token where it has one after all, its bytes, or one unknown token. */
static bool write_unknown(const ig_vocab *v, const char *p, size_t n, ig_ids *out)
{
    const ig_tj *tj = v->tj;
    int32_t id = ig_vocab_find(v, p, n);
    if (id >= 0) return ig_ids_add(out, id);
    bool bytes = tj->byte_fallback;
    for (size_t i = 0; bytes && i < n; i++) bytes = tj->hex_id[(uint8_t)p[i]] >= 0;
    for (size_t i = 0; bytes && i < n; i++)
        if (!ig_ids_add(out, tj->hex_id[(uint8_t)p[i]])) return false;
    return bytes || ig_ids_add(out, v->unk);
}

static bool encode_unigram(const ig_vocab *v, ig_tj_work *w, const char *p, size_t n, ig_ids *out)
{
    if (!walk(v, w, p, n)) return false;
    ig_lattice_node *best = w->lattice;
    size_t next = 0;
    for (size_t at = n; at > 0;) { /* turn the way round: best[end].from becomes the end of the piece behind, 0: none */
        size_t from = best[at].from;
        best[at].from = (uint32_t)next;
        next = at;
        at = from;
    }
    for (size_t at = 0, end = next; end;) {
        size_t after = best[end].from;
        if (best[end].id != v->unk) {
            if (!ig_ids_add(out, best[end].id)) return false;
        } else {
            for (; after && best[after].id == v->unk; after = best[end].from) end = after; /* one unknown stretch */
            if (!write_unknown(v, p + at, end - at, out)) return false;
        }
        at = end;
        end = after;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ words */

static bool encode_wordpiece(const ig_vocab *v, const char *p, size_t n, ig_ids *out)
{
    const ig_tj *tj = v->tj;
    size_t before = out->len, chars = 0;
    for (size_t i = 0; i < n && chars <= tj->max_chars; i++) chars += ((uint8_t)p[i] & 0xC0) != 0x80;
    bool bad = chars > tj->max_chars;
    for (size_t at = 0; !bad && at < n;) {
        uint32_t node = at ? tj->prefix_node : 0;
        size_t best = 0;
        int32_t id = -1;
        bool open = at == 0 || node || !tj->subword_prefix.len;
        for (size_t end = at; open && end < n && (node = ig_tj_trie_step(&tj->trie, node, (uint8_t)p[end])) != 0;) {
            end++;
            bool whole = end == n || ((uint8_t)p[end] & 0xC0) != 0x80;
            if (tj->trie.ids[node] < 0 || !whole) continue;
            best = end;
            id = tj->trie.ids[node];
        }
        bad = id < 0;
        if (!bad && !ig_ids_add(out, id)) return false;
        at = best;
    }
    if (!bad) return true;
    out->len = before; /* one stretch without a piece makes the whole word unknown */
    return ig_ids_add(out, v->unk);
}

bool ig_tj_encode_piece(const ig_vocab *v, ig_tj_work *w, const char *piece, size_t n, ig_ids *out)
{
    int32_t id;
    switch (v->tj->model) {
    case IG_TJ_BPE: return encode_bpe(v, w, piece, n, out);
    case IG_TJ_UNIGRAM: return encode_unigram(v, w, piece, n, out);
    case IG_TJ_WORDPIECE: return encode_wordpiece(v, piece, n, out);
    case IG_TJ_WORDLEVEL: break;
    }
    id = ig_vocab_find(v, piece, n);
    return ig_ids_add(out, id < 0 ? v->unk : id);
}

bool ig_tj_cache_init(ig_tj_work *w)
{
    w->cache = ig_calloc(CACHE_SLOTS, sizeof *w->cache);
    return w->cache != NULL;
}
