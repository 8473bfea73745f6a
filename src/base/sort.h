/* Sorting without allocation or recursion: heap sort, n log n in the worst case (qsort may allocate and has no
 * context). */
#ifndef IG_BASE_SORT_H
#define IG_BASE_SORT_H

#include <stdbool.h>
#include <stddef.h>

/* True when a stands before b; must be a strict total order for a deterministic result. */
typedef bool (*ig_before_fn)(const void *a, const void *b, const void *ctx);
/* Sorts n elements of `size` bytes (at most 64). */
void ig_sort(void *base, size_t n, size_t size, ig_before_fn before, const void *ctx);

#endif
