/* Importance data: for each weight matrix, how large the activations were that met each of its columns, as the mean of
 * their squares over many tokens. Gathered while a model runs over a text, kept in a file, used by the quantiser.
 *
 * Files: GGUF with general.type "imatrix" and, for a matrix NAME of n columns, tensors NAME.in_sum2 F32 [matrices, n]
 * (sums of squares) and NAME.counts F32 [matrices, 1] (how many activations); experts stacked in one tensor are so many
 * matrices. Also read: the older form (".dat", see importance.c). */
#ifndef IG_QUANT_IMPORTANCE_H
#define IG_QUANT_IMPORTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "format/format.h"

typedef struct ig_importance ig_importance;

ig_status ig_importance_new(ig_importance **out, ig_error *err);
void ig_importance_free(ig_importance *imp);

/* Adds the squares of n_rows activation rows x [n_rows, n], stride floats apart, that met matrix `matrix` of the
 * n_matrices of tensor `name`. Rows with a NaN or an infinity are left out. Not thread-safe. Errors: NO_MEMORY;
 * BAD_INPUT when the shape differs from an earlier call's. */
ig_status ig_importance_add(ig_importance *imp, ig_str name, size_t n, size_t n_matrices, size_t matrix, const float *x,
                            size_t stride, size_t n_rows, ig_error *err);

/* Errors: those of ig_format_open; BAD_INPUT names file, tensor and what was expected. */
ig_status ig_importance_read(const char *path, ig_importance **out, ig_error *err);
/* The same of borrowed bytes (tests, fuzzing); `name` appears in messages. */
ig_status ig_importance_read_memory(const char *name, const uint8_t *data, uint64_t size, ig_importance **out,
                                    ig_error *err);
/* Writes the GGUF form, tensors in the order of their first ig_importance_add. `dataset` names the text; n_chunks
 * pieces of chunk_tokens tokens were run. */
ig_status ig_importance_write(const ig_importance *imp, const char *path, const char *dataset, uint32_t n_chunks,
                              uint32_t chunk_tokens, ig_error *err);

size_t ig_importance_n(const ig_importance *imp); /* tensors */
uint32_t ig_importance_chunks(const ig_importance *imp);
/* Empty where the file names none. */
ig_str ig_importance_dataset(const ig_importance *imp);

bool ig_importance_has(const ig_importance *imp, ig_str name);
/* Weights w [ne[0]] for matrix `matrix` (0 .. ne[2] * ne[3] - 1) of tensor t: the means, divided by the largest, at
 * least a thousandth of their mean; all 1 for an expert that no token reached. *found false, w untouched: no data for
 * t. BAD_INPUT: shapes differ. */
ig_status ig_importance_prepare(const ig_importance *imp, const ig_tensor *t, uint64_t matrix, float *w, bool *found,
                                ig_error *err);

#endif
