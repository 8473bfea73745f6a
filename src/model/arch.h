/* The architecture table: one row describes one architecture by its parts. Loading and the plan read rows; nothing
 * outside arch.c knows an architecture by name. A new decoder of known parts is a new row. */
#ifndef IG_MODEL_ARCH_H
#define IG_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

typedef enum ig_rope_kind { IG_ROPE_NONE, IG_ROPE_NORM, IG_ROPE_NEOX } ig_rope_kind;

typedef struct ig_arch {
    const char *name;      /* general.architecture, and the prefix of its metadata keys */
    ig_rope_kind rope;     /* how pairs are laid out */
    bool full_rope;        /* rope.dimension_count must equal the head size */
    bool attn_temperature; /* q *= 1 + s * ln(1 + floor(p / n)): attention.temperature_scale, original context */
} ig_arch;

/* Row of a name, or NULL. */
const ig_arch *ig_arch_find(ig_str name);
/* Row i, or NULL past the end. */
const ig_arch *ig_arch_at(size_t i);

#endif
