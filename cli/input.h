/* What several verbs need: a model from a path, text from an argument, a file or standard input, ids from text. */
#ifndef INGLE_CLI_INPUT_H
#define INGLE_CLI_INPUT_H

#include "args.h"
#include "base/mem.h"
#include "ingle.h"
#include "store/store.h"

typedef struct cli_ids {
    int32_t *ids; /* owned */
    size_t n;
} cli_ids;

/* A path, or the name or digest of a model of the store where no file of that name is there. */
ingle_status input_model(const char *path, bool vocab_only, ingle_model **out, ingle_error *err);
/* The same; *manifest (may be NULL) is what the store knows about it, NULL for a file. The caller frees it. */
ingle_status input_named_model(const char *path, bool vocab_only, ingle_model **out, ig_manifest **manifest,
                               ingle_error *err);
/* Value of --kv, or standard when it is absent. */
ingle_kv_type input_kv(const cli_call *call, ingle_kv_type standard);
const char *input_kv_name(ingle_kv_type kv);

/* Text of `text` when it is not NULL, else of the file, else of standard input. At most 1 GiB. */
ingle_status input_text(const char *text, const char *file, ig_buf *out, ingle_error *err);
ingle_status input_tokenize(const ingle_model *model, const char *text, size_t n, unsigned flags, cli_ids *out,
                            ingle_error *err);
/* The same with the veils of a template's text. */
ingle_status input_tokenize_veiled(const ingle_model *model, const char *text, size_t n, unsigned flags,
                                   const size_t *veils, size_t n_veils, cli_ids *out, ingle_error *err);
/* A question and a document, see ingle_tokenize_pair. */
ingle_status input_pair(const ingle_model *model, const char *query, const char *text, size_t n, cli_ids *out,
                        ingle_error *err);
/* Ids in text, separated by blanks, commas or newlines. Errors: BAD_INPUT names the word's number. */
ingle_status input_ids(const char *text, size_t n, cli_ids *out, ingle_error *err);
void input_ids_fini(cli_ids *ids);

/* Index of the largest of x [n], the lowest on a tie. */
int32_t input_argmax(const float *x, uint32_t n);

/* Copies an error of base into one of the public header. */
ingle_status input_error(const ig_error *from, ingle_error *err);

#endif
