/* Added tokens: found in a text before it is normalized, or behind the normalizer. The leftmost match counts, and of
 * several at one place the longest. They lie in the order of their bytes, so that narrowing a range byte by byte walks
 * a trie. */
#include "base/sort.h"
#include "base/utf8.h"
#include "text/token/tj.h"

static bool by_bytes(const void *a, const void *b, const void *ctx)
{
    const ig_added *i = *(const ig_added *const *)a, *j = *(const ig_added *const *)b;
    size_t n = i->pattern.len < j->pattern.len ? i->pattern.len : j->pattern.len;
    int c = memcmp(i->pattern.ptr, j->pattern.ptr, n);
    (void)ctx;
    if (c) return c < 0;
    return i->pattern.len != j->pattern.len ? i->pattern.len < j->pattern.len : i < j;
}

ig_status ig_tj_finder_init(ig_finder *f, const ig_added *added, size_t n, bool normalized, ig_error *err)
{
    f->list = ig_calloc(n + 1, sizeof *f->list);
    if (!f->list) return ig_tj_no_memory(err);
    for (size_t i = 0; i < n; i++)
        if (added[i].normalized == normalized && added[i].pattern.len) f->list[f->n++] = &added[i];
    ig_sort(f->list, f->n, sizeof *f->list, by_bytes, NULL);
    for (size_t i = 0; i < f->n; i++) f->first[(uint8_t)f->list[i]->pattern.ptr[0] + 1]++;
    for (size_t b = 0; b < 256; b++) f->first[b + 1] += f->first[b];
    return IG_OK;
}

/* First index of [lo, hi) whose byte `at` is not below c; all of the range are longer than `at`. */
static size_t lower_bound(const ig_finder *f, size_t lo, size_t hi, size_t at, unsigned c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((uint8_t)f->list[mid]->pattern.ptr[at] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static const ig_added *longest(const ig_finder *f, const char *text, size_t n, bool parse, size_t limit)
{
    const ig_added *found = NULL;
    size_t lo = f->first[(uint8_t)text[0]], hi = f->first[(uint8_t)text[0] + 1];
    for (size_t at = 1; lo < hi; at++) {
        bool taken = false;
        for (; lo < hi && f->list[lo]->pattern.len == at; lo++) {
            if (taken || (f->list[lo]->special && (!parse || at > limit))) continue;
            found = f->list[lo];
            taken = true;
        }
        if (at == n) break;
        unsigned c = (uint8_t)text[at];
        lo = lower_bound(f, lo, hi, at, c);
        hi = lower_bound(f, lo, hi, at, c + 1);
    }
    return found;
}

static bool begins(const ig_finder *f, const char *text, size_t n, bool (*skip)(const void *ctx, ig_str token),
                   const void *ctx)
{
    size_t lo = f->first[(uint8_t)text[0]], hi = f->first[(uint8_t)text[0] + 1];
    for (size_t at = 1; lo < hi; at++) {
        for (; lo < hi && f->list[lo]->pattern.len == at; lo++)
            if (f->list[lo]->special && (!skip || !skip(ctx, f->list[lo]->text))) return true;
        if (at == n) break;
        lo = lower_bound(f, lo, hi, at, (uint8_t)text[at]);
        hi = lower_bound(f, lo, hi, at, (unsigned)(uint8_t)text[at] + 1);
    }
    return false;
}

bool ig_tj_special_begins(const ig_tj *tj, const char *text, size_t n, bool (*skip)(const void *ctx, ig_str token),
                          const void *ctx)
{
    return begins(&tj->raw, text, n, skip, ctx) || begins(&tj->normalized, text, n, skip, ctx);
}

/* The character that ends at text[at], its length in *n; U+FFFD where there is none. */
static uint32_t char_before(const char *text, size_t from, size_t at, size_t *n)
{
    uint32_t cp = 0xFFFD;
    for (*n = 1; *n <= 4 && *n <= at - from; ++*n)
        if (((uint8_t)text[at - *n] & 0xC0) != 0x80) {
            if (ig_utf8_decode(text + at - *n, *n, &cp) == *n) return cp;
            break;
        }
    *n = 1;
    return 0xFFFD;
}

static bool word_beside(const char *text, size_t n, size_t at, size_t end)
{
    uint32_t cp;
    size_t len;
    if (at > 0 && ig_char_is_word(char_before(text, 0, at, &len))) return true;
    return end < n && ig_utf8_decode(text + end, n - end, &cp) && ig_char_is_word(cp);
}

static size_t spaces_before(const char *text, size_t from, size_t at)
{
    size_t len;
    while (at > from && (ig_char_class(char_before(text, from, at, &len)) & IG_CHAR_SPACE)) at -= len;
    return at;
}

static size_t spaces_behind(const char *text, size_t n, size_t at)
{
    uint32_t cp;
    for (size_t len; at < n; at += len) {
        len = ig_utf8_decode(text + at, n - at, &cp);
        if (!len || !(ig_char_class(cp) & IG_CHAR_SPACE)) break;
    }
    return at;
}

const ig_added *ig_tj_find_added(const ig_finder *f, const char *text, size_t n, size_t from, bool parse,
                                 ig_veils veils, size_t *at, size_t *end)
{
    if (f->n == 0) return NULL;
    for (size_t i = from; i < n; i++) {
        uint8_t b = (uint8_t)text[i];
        if (f->first[b] == f->first[b + 1u]) continue;
        const ig_added *a = longest(f, text + i, n - i, parse, veils.n ? ig_veil_limit(veils, i) : SIZE_MAX);
        if (!a) continue;
        *end = i + a->pattern.len;
        if (a->single_word && word_beside(text, n, i, *end)) {
            i = *end - 1;
            continue;
        }
        *at = a->lstrip ? spaces_before(text, from, i) : i;
        if (a->rstrip) *end = spaces_behind(text, n, *end);
        return a;
    }
    return NULL;
}
