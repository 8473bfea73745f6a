/* The face of the engine inside ingle: the public header, and what the worker needs beyond it. */
#ifndef IG_ENGINE_ENGINE_H
#define IG_ENGINE_ENGINE_H

#include "base/mem.h"
#include "base/str.h"
#include "engine/spec.h"
#include "engine/stream.h"
#include "ingle.h"
#include "text/template/template.h"

/* Asks the system for what kernels want of it, for a process that is about to give up its rights: later it would be too
 * late. No error: what is refused is not used (ingle_kernels). */
void ig_engine_prepare(void);
/* Opens a model from descriptors, which stay the caller's and are not needed afterwards: names [n] are file names
 * without folders (src/format/format.h). Errors as ingle_model_open. Opens no file itself. */
ingle_status ig_model_open_fds(const char *const *names, const int *fds, size_t n, const ingle_model_options *options,
                               ingle_model **out, ingle_error *err);
/* Mapped file i of the model, false past the last. */
bool ig_model_map(const ingle_model *m, size_t i, const uint8_t **data, uint64_t *size);
/* A text of the metadata, borrowed from the model; false where it is absent or no text. */
bool ig_model_text(const ingle_model *m, const char *key, ig_str *out);
/* A whole number of the metadata in 0..INT32_MAX; -1 where it is absent or none. */
int32_t ig_model_number(const ingle_model *m, const char *key);
/* Appends the text of one token as it stands inside a text; control tokens have none unless `special`. */
bool ig_model_piece(const ingle_model *m, int32_t id, bool special, ig_buf *out);
bool ig_model_is_control(const ingle_model *m, int32_t id);

/* What strangers wrote in a conversation stays text (guard.c): marks in the variables of a template what reads like a
 * control token of the model; source: the template's text. mark: a NUL-terminated text that then stands in what the
 * template writes, "" when the model has no vocabulary. Errors: BAD_INPUT (no character is free), NO_MEMORY. */
ig_status ig_guard_variables(const ingle_model *m, ig_str source, ig_arena *arena, ig_tval *vars, char mark[4],
                             ig_error *err);
/* Takes the marks out of the text again; where they stood: *veils [*n], rising, freed by ig_free. Errors: NO_MEMORY. */
ig_status ig_guard_lift(ig_buf *text, const char mark[4], size_t **veils, size_t *n, ig_error *err);
/* ingle_tokenize with veils: offsets that no control token is found over. */
ingle_status ig_model_tokenize(const ingle_model *m, const char *text, size_t n_text, unsigned flags,
                               const size_t *veils, size_t n_veils, int32_t *out, size_t capacity, size_t *n_out,
                               ingle_error *err);

typedef struct ig_engine_use {
    uint64_t weights, kv, workspace; /* bytes: mapped; of all pages; of activations */
    uint32_t kv_pages, kv_pages_used;
} ig_engine_use;
/* Touches no file, unlike ingle_model_memory. */
void ig_engine_measure(const ingle_engine *engine, ig_engine_use *out);

/* The tokens that the session holds, [ingle_session_length]; valid until it changes. */
const int32_t *ig_session_tokens(const ingle_session *s);
/* How many of the first n tokens could be kept without evaluating anything: n for most models, fewer where recurrent
 * state or a window reaches back to a page end alone. */
uint32_t ig_session_reach(const ingle_session *s, uint32_t n);
/* Forgets all behind what ig_session_reach says and returns it: ingle_session_truncate without evaluating. */
uint32_t ig_session_keep(ingle_session *s, uint32_t n);
/* Makes `to`, another session of the engine, a copy of the first n tokens of `from` or of what is within reach; returns
 * how many it holds then: 0 also where there are not enough pages. What `to` held is forgotten. */
uint32_t ig_session_copy(ingle_session *to, const ingle_session *from, uint32_t n);

/* For going back to where the session is now although it has recurrent state (ig_session_keep); its memory is taken at
 * the first call, false: there is none. Nothing for others. */
bool ig_session_mark(ingle_session *s);
/* After ig_session_keep has gone back to less than n tokens that the session held: evaluates them again up to n, without
 * logits. On failure it is shorter. */
void ig_session_catch_up(ingle_session *s, uint32_t n);
bool ig_session_is_recurrent(const ingle_session *s);
/* The model brings a layer that guesses tokens ahead, and the engine keeps it up. */
bool ig_session_has_head(const ingle_session *s);
/* What it takes for one guess, 0: not known. */
double ig_engine_head_ms(const ingle_engine *engine);
/* Asks it for at most `most` tokens behind due [n_due], n_due >= 1, which come behind those that the session holds.
 * Returns how many it gives; the session stays as it is. */
uint32_t ig_head_guess(ingle_session *s, const int32_t *due, uint32_t n_due, uint32_t most, int32_t *out);
/* What the engine's steps have cost (spec.h). */
ig_costs *ig_engine_costs(ingle_engine *engine);

/* A session on disk: what it holds but for bytes in a file. The bytes may be anybody's: what they say are numbers of keys
 * and values, never where something lies. */
typedef struct ig_session_image ig_session_image;
/* Bytes in the file that the session would take; 0: it is empty, or cannot be kept (encoder-decoder models). */
uint64_t ig_session_image_bytes(const ingle_session *s);
/* Writes the session at an offset of the file. Freed by ig_session_image_free. Errors: IO, NO_MEMORY. */
ingle_status ig_session_save(const ingle_session *s, int fd, uint64_t offset, ig_session_image **out, ingle_error *err);
/* The tokens that were saved; borrowed. */
const int32_t *ig_session_image_tokens(const ig_session_image *image, uint32_t *n);
/* Makes the session what was saved from one of the same engine, bit for bit; what it held is forgotten. Errors: IO,
 * NO_MEMORY (no KV pages); the session is empty then. */
ingle_status ig_session_load(ingle_session *s, const ig_session_image *image, int fd, uint64_t offset,
                             ingle_error *err);
void ig_session_image_free(ig_session_image *image);
/* As bytes, for another process of the same program with the same model. False: out has no room. */
bool ig_session_image_put(const ig_session_image *image, ig_buf *out);
/* The other way; *n_used: bytes read. NULL: this is no image of a session that an engine like that of s has made, or out
 * of memory. s: an empty session of the engine that will load it. */
ig_session_image *ig_session_image_take(const ingle_session *s, const char *bytes, size_t n, size_t *n_used);

#endif
