/* Character maps of SentencePiece (precompiled_charsmap): a double-array trie over UTF-8 texts and what each becomes.
 */
#ifndef IG_TEXT_TOKEN_CHARSMAP_H
#define IG_TEXT_TOKEN_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

typedef struct ig_charsmap { /* zero-initialised maps nothing */
    uint32_t *units;         /* [n_units], owned by the arena, as texts */
    size_t n_units;
    ig_str texts; /* NUL-terminated replacements, a value is an offset in here */
} ig_charsmap;

/* The bytes: size of the trie as u32, the trie, the replacements. Everything is copied. Errors: BAD_INPUT, NO_MEMORY.
 */
ig_status ig_charsmap_read(ig_str bytes, ig_arena *arena, ig_charsmap *out, ig_error *err);
/* The same from base64 text (RFC 4648). */
ig_status ig_charsmap_read_base64(ig_str text, ig_arena *arena, ig_charsmap *out, ig_error *err);

/* Appends what text becomes. As SentencePiece does it: at each place the longest text of the map. */
bool ig_charsmap_longest(const ig_charsmap *map, ig_str text, ig_buf *out);
/* As Hugging Face's library does it: grapheme by grapheme, a short one as a whole by the first text of the map that
 * begins it, else its characters one by one. */
bool ig_charsmap_graphemes(const ig_charsmap *map, ig_str text, ig_buf *out);

#endif
