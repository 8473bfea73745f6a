#include "base/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

static _Atomic uint64_t n_calls;

static bool may_allocate(void)
{
    atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed);
    return !ig_fault_hit(IG_FAULT_ALLOC);
}

uint64_t ig_alloc_calls(void) { return atomic_load(&n_calls); }

void *ig_alloc(size_t n_bytes) { return may_allocate() ? malloc(n_bytes ? n_bytes : 1) : NULL; }

void *ig_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (!ig_mul_sz(n, size, &bytes) || !may_allocate()) return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *ig_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (!ig_mul_sz(n, size, &bytes) || bytes == 0 || !may_allocate()) return NULL;
    return realloc(p, bytes);
}

void *ig_alloc_aligned(size_t align, size_t size)
{
    size_t padded;
    if (!ig_add_sz(size ? size : 1, align - 1, &padded) || !may_allocate()) return NULL;
    padded &= ~(align - 1);
    void *p = aligned_alloc(align, padded);
    if (p) memset(p, 0, padded);
    return p;
}

void ig_free(void *p) { free(p); }

struct ig_arena_block {
    struct ig_arena_block *next;
    size_t used, cap;
    _Alignas(16) char data[];
};

void *ig_arena_alloc(ig_arena *arena, size_t n, size_t size)
{
    size_t bytes, total;
    if (!ig_mul_sz(n, size, &bytes) || !ig_add_sz(bytes, 15, &bytes)) return NULL;
    bytes &= ~(size_t)15;
    if (!ig_add_sz(arena->used_bytes, bytes, &total) || (arena->max_bytes && total > arena->max_bytes)) return NULL;
    struct ig_arena_block *b = arena->blocks;
    if (!b || b->cap - b->used < bytes) {
        size_t cap = bytes > 16384 ? bytes : 16384;
        b = ig_calloc(1, sizeof *b + cap);
        if (!b) return NULL;
        b->cap = cap;
        b->next = arena->blocks;
        arena->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += bytes;
    arena->used_bytes = total;
    return p;
}

char *ig_arena_copy(ig_arena *arena, const char *p, size_t n)
{
    size_t bytes;
    if (!ig_add_sz(n, 1, &bytes)) return NULL;
    char *copy = ig_arena_alloc(arena, bytes, 1);
    if (copy && n) memcpy(copy, p, n);
    return copy;
}

void ig_arena_fini(ig_arena *arena)
{
    for (struct ig_arena_block *b = arena->blocks; b;) {
        struct ig_arena_block *next = b->next;
        ig_free(b);
        b = next;
    }
    *arena = (ig_arena){.max_bytes = arena->max_bytes};
}

void ig_buf_init(ig_buf *buf, size_t max_bytes) { *buf = (ig_buf){.max_bytes = max_bytes}; }

static bool reserve(ig_buf *buf, size_t n)
{
    size_t need;
    if (buf->failed || !ig_add_sz(buf->len, n, &need) || need > buf->max_bytes) return !(buf->failed = true);
    if (need <= buf->cap) return true;
    size_t cap = buf->cap ? buf->cap : 64;
    while (cap < need) cap = cap > buf->max_bytes / 2 ? buf->max_bytes : cap * 2;
    char *p = ig_realloc(buf->ptr, cap, 1);
    if (!p) return !(buf->failed = true);
    buf->ptr = p;
    buf->cap = cap;
    return true;
}

bool ig_buf_add(ig_buf *buf, const void *p, size_t n)
{
    if (!reserve(buf, n)) return false;
    if (n) memcpy(buf->ptr + buf->len, p, n);
    buf->len += n;
    return true;
}

bool ig_buf_printf(ig_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = n >= 0 && reserve(buf, (size_t)n + 1);
    if (ok) {
        (void)vsnprintf(buf->ptr + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    }
    va_end(again);
    return ok;
}

void ig_buf_fini(ig_buf *buf)
{
    ig_free(buf->ptr);
    ig_buf_init(buf, buf->max_bytes);
}
