/* Thread pool: one persistent pool an engine. Work is a number of pieces that does not depend on the number of threads,
 * so results do not either. A thread takes pieces that follow each other, then helps the others. Idle threads park on a
 * futex after a short spin; a job ends without those that did not wake in time. */
#ifndef IG_BASE_POOL_H
#define IG_BASE_POOL_H

#include <stddef.h>

#include "base/status.h"

typedef struct ig_pool ig_pool;
/* fn is called once for each piece 0..n_pieces-1, on any thread; thread_idx in 0..n_threads-1 selects scratch memory.
 */
typedef void (*ig_piece_fn)(void *ctx, size_t piece, unsigned thread_idx);

/* n_threads >= 1 counts the calling thread. Errors: NO_MEMORY, IO (thread cannot be created). */
ig_status ig_pool_new(unsigned n_threads, ig_pool **out, ig_error *err);
void ig_pool_free(ig_pool *pool);
unsigned ig_pool_threads(const ig_pool *pool);
/* Returns when all pieces are done. One caller at a time; not from inside a piece. */
void ig_pool_run(ig_pool *pool, ig_piece_fn fn, void *ctx, size_t n_pieces);

#endif
