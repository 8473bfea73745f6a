/* The text of a generation: bytes of tokens go in, text that is certain comes out.
 *
 * Certain means: whole UTF-8 characters (a broken byte becomes U+FFFD once it is known to be broken), and nothing that
 * is or could still become part of a stop string. The stop that ends first in the text counts; of those that end
 * together the longest. Bounded memory, no allocation while pieces are at most piece_bytes long. */
#ifndef IG_ENGINE_STREAM_H
#define IG_ENGINE_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct ig_stream ig_stream;

enum { IG_STOPS_MAX = 64, IG_STOP_BYTES_MAX = 1024 };

/* stops [n_stops] NUL-terminated, copied. Errors: BAD_INPUT (an empty stop), TOO_LARGE (names the limit), NO_MEMORY. */
ig_status ig_stream_new(const char *const *stops, size_t n_stops, size_t piece_bytes, ig_stream **out, ig_error *err);
void ig_stream_free(ig_stream *s);
/* Takes n bytes. *text [*n_text] is valid until the next call; *stopped: a stop string came up, nothing more will come.
 */
ig_status ig_stream_push(ig_stream *s, const char *bytes, size_t n, const char **text, size_t *n_text, bool *stopped,
                         ig_error *err);
/* Index of the stop string that came up, n_stops when none did. */
size_t ig_stream_stop(const ig_stream *s);
/* The end of the text without a stop: gives out what was held back. */
ig_status ig_stream_finish(ig_stream *s, const char **text, size_t *n_text, ig_error *err);

#endif
