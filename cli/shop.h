/* The verbs on the model store share this: opening the store, the check of a new model, progress. */
#ifndef INGLE_CLI_SHOP_H
#define INGLE_CLI_SHOP_H

#include <jansson.h>

#include "args.h"
#include "ingle.h"
#include "store/store.h"

/* The store that INGLE_STORE (--store sets it) or the standard place names. */
ig_status shop_open(bool read_only, ig_store **out, ig_error *err);
/* Opens a model in a child process, so that a file that crashes the reader costs nothing else, and tells what it is. */
ig_status shop_check(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err);

/* Opens a model of the store; the manifest is the caller's (may be NULL). */
ingle_status shop_model(const char *name, const ingle_model_options *options, ingle_model **out, ig_manifest **manifest,
                        ingle_error *err);
/* May be a name or a digest of the store: has no slash at its beginning, no file of that name is there. */
bool shop_is_name(const char *text);

/* Progress of a pull on stderr: a bar on terminals, plain lines otherwise. */
typedef struct shop_progress {
    bool quiet;
    char last[80];
    ig_pull_phase phase;
    bool begun;
} shop_progress;
bool shop_tell(void *ctx, const ig_pull_progress *p);
/* Ctrl-C ends a pull at the next piece, so that what was loaded is kept. */
void shop_catch_interrupt(void);
bool shop_interrupted(void);

/* Exit code for a failure whose sentence is printed: 130 when it was cancelled. */
int shop_fail(const ig_error *err);
/* "3 weeks ago" into out[32]. */
const char *shop_age(int64_t then_s, char out[32]);
json_t *shop_manifest_json(const ig_manifest *m);

#endif
