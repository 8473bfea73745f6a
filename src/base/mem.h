/* Memory: the one place where ingle allocates, so that a test can count calls and make call k fail (base/fault.h).
 * Checked size arithmetic lives here too: numbers that come from a file are combined with these functions only. */
#ifndef IG_BASE_MEM_H
#define IG_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All return NULL when the size overflows, is 0 bytes in total for realloc, or memory is short. */
void *ig_alloc(size_t n_bytes);
void *ig_calloc(size_t n, size_t size);            /* zeroed */
void *ig_realloc(void *p, size_t n, size_t size);  /* p stays valid on failure */
void *ig_alloc_aligned(size_t align, size_t size); /* zeroed; align a power of two; freed by ig_free */
void ig_free(void *p);
/* Calls of the four above so far in this process; a test compares before and after. */
uint64_t ig_alloc_calls(void);

static inline bool ig_mul_sz(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool ig_add_sz(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool ig_mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool ig_add_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
/* Rounds up to a multiple of align (a power of two); false when that wraps. */
static inline bool ig_round_up(uint64_t a, uint64_t align, uint64_t *out)
{
    if (!ig_add_u64(a, align - 1, out)) return false;
    *out &= ~(align - 1);
    return true;
}

/* Arena: many small objects with one lifetime, freed whole. Zero-initialised is empty and valid. Not thread-safe. */
typedef struct ig_arena {
    struct ig_arena_block *blocks;
    size_t used_bytes, max_bytes; /* max_bytes 0: unlimited */
} ig_arena;
/* Zeroed, 16-byte aligned; NULL when memory is short or max_bytes would be exceeded. */
void *ig_arena_alloc(ig_arena *arena, size_t n, size_t size);
/* Copies n bytes and adds a NUL. */
char *ig_arena_copy(ig_arena *arena, const char *p, size_t n);
void ig_arena_fini(ig_arena *arena);

/* Growing buffer with a maximum that is stated at init; appending past it or without memory sets `failed` and changes
 * nothing else, so that a writer checks once at the end. */
typedef struct ig_buf {
    char *ptr; /* owned */
    size_t len, cap, max_bytes;
    bool failed;
} ig_buf;
void ig_buf_init(ig_buf *buf, size_t max_bytes);
bool ig_buf_add(ig_buf *buf, const void *p, size_t n);
bool ig_buf_printf(ig_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ig_buf_fini(ig_buf *buf);

#endif
