/* From a model file's metadata to a vocabulary. */
#ifndef IG_ENGINE_VOCAB_H
#define IG_ENGINE_VOCAB_H

#include "format/format.h"
#include "text/token/token.h"

/* *out is NULL and the status OK when the file has no vocabulary (no tokenizer.ggml.model, or no_vocab, or none). Token
 * texts are borrowed from the file, which must outlive the vocabulary. Errors: BAD_INPUT, UNSUPPORTED (name the key),
 * NO_MEMORY. */
ig_status ig_vocab_from_format(const ig_format *f, ig_vocab **out, ig_error *err);

#endif
