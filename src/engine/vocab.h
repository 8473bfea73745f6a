/* From a model file's metadata, or a directory's tokenizer files, to a vocabulary. */
#ifndef IG_ENGINE_VOCAB_H
#define IG_ENGINE_VOCAB_H

#include "format/format.h"
#include "text/token/token.h"

/* A file whose metadata holds the text of a tokenizer.json ("ingle.tokenizer.json", and "ingle.tokenizer.config"
 * where there is one) is read from that. *out is NULL and the status OK when the file has no vocabulary (no
 * tokenizer.ggml.model, or no_vocab, or none). Token texts are borrowed from the file, which must outlive the
 * vocabulary. Errors: BAD_INPUT, UNSUPPORTED (name the key), NO_MEMORY. */
ig_status ig_vocab_from_format(const ig_format *f, ig_vocab **out, ig_error *err);

/* Where readers of the file, ingle among them, drop white space beside special tokens, for the model's name or kind:
 * the tokens that they then insist on, separated by blanks. Else NULL. */
const char *ig_vocab_strips(const ig_format *f);

/* True where `path` is a directory that holds tokenizer.json and no config.json: a tokenizer without a model. */
bool ig_vocab_is_directory(const char *path);
/* Reads tokenizer.json and, where it is there, tokenizer_config.json of a directory. Nothing is borrowed. Errors: those
 * of ig_file_map and ig_vocab_from_json; the text names the directory. */
ig_status ig_vocab_from_directory(const char *path, ig_vocab **out, ig_error *err);

#endif
