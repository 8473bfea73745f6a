/* Private to src/quant: one tensor of the input decoded, quantised and written, piece by piece. */
#ifndef IG_QUANT_CONVERT_H
#define IG_QUANT_CONVERT_H

#include "base/pool.h"
#include "quant/quant.h"

typedef struct ig_converter ig_converter;

/* Buffers for the pool's threads; a few MiB a thread whatever the tensors are. */
ig_status ig_converter_new(ig_pool *pool, ig_gguf_writer *to, ig_converter **out, ig_error *err);
void ig_converter_free(ig_converter *s);

/* Told after every batch how many bytes of the input tensor are done; false: stop, CANCELLED. */
typedef bool (*ig_convert_fn)(void *user, uint64_t done);

/* Writes t as `type`. imp NULL: without importance; *weighed tells whether it was used. The tensor must have passed
 * ig_convert_can. path names the input in messages. */
ig_status ig_convert_tensor(ig_converter *s, const ig_tensor *t, uint32_t type, const ig_importance *imp,
                            const char *path, ig_convert_fn told, void *user, bool *weighed, ig_error *err);
/* OK when t can be written as `type`: kernels that decode it exist, its order of rows makes sense. */
ig_status ig_convert_can(const ig_tensor *t, uint32_t type, const char *path, ig_error *err);

#endif
