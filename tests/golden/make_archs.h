/* Tiny random models of architectures that the golden folder lacks, written from a table: the same bytes on every
 * machine, so that only the reference's logits are stored (tests/data/archs-extra). */
#ifndef IG_TESTS_MAKE_ARCHS_H
#define IG_TESTS_MAKE_ARCHS_H

#include <stdbool.h>
#include <stddef.h>

/* Name of case i, or NULL past the end. */
const char *arch_case_name(size_t i);
/* Writes the model of a case as a GGUF file; false: no such case, or the file cannot be written. */
bool arch_case_write(const char *name, const char *path);

#endif
