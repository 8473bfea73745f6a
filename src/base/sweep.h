/* Reading memory for nothing but the time it takes: what `ingle bench` and the bench's limits call the machine's rate.
 */
#ifndef IG_BASE_SWEEP_H
#define IG_BASE_SWEEP_H

#include <stddef.h>
#include <stdint.h>

/* Reads `bytes` from data on (32 bytes aligned, a multiple of n_pages times 4 KiB) from one end to the other, a line of
 * each of n_pages small pages by turns: some processors' prefetchers end with a page. The result depends on all of it,
 * so that nothing can be left out. */
static inline uint64_t ig_sweep(const void *data, size_t bytes, size_t n_pages)
{
    typedef uint64_t lanes __attribute__((vector_size(32)));
    enum { PAGE = 4096 / sizeof(lanes) };
    const lanes *p = data, *end = p + bytes / sizeof *p;
    lanes a = {0}, b = {0}, c = {0}, d = {0};
    for (; p < end; p += n_pages * PAGE) {
        for (size_t i = 0; i < PAGE; i += 4) {
            for (const lanes *at = p + i, *last = at + n_pages * PAGE; at < last; at += PAGE) {
                a += at[0];
                b += at[1];
                c += at[2];
                d += at[3];
            }
        }
    }
    a += b + c + d;
    return a[0] + a[1] + a[2] + a[3];
}

#endif
