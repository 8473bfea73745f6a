#include "base/sort.h"

#include <string.h>

static void swap(char *a, char *b, size_t size)
{
    char t[64];
    memcpy(t, a, size);
    memcpy(a, b, size);
    memcpy(b, t, size);
}

/* Sinks element i of a heap whose root is the last of its elements. */
static void sink(char *p, size_t i, size_t n, size_t size, ig_before_fn before, const void *ctx)
{
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(p + c * size, p + (c + 1) * size, ctx)) c++;
        if (!before(p + i * size, p + c * size, ctx)) return;
        swap(p + i * size, p + c * size, size);
    }
}

void ig_sort(void *base, size_t n, size_t size, ig_before_fn before, const void *ctx)
{
    char *p = base;
    for (size_t i = n / 2; i-- > 0;) sink(p, i, n, size, before, ctx);
    for (size_t left = n; left-- > 1;) {
        swap(p, p + left * size, size);
        sink(p, 0, left, size, before, ctx);
    }
}
