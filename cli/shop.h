/* The verbs on the model store share this: opening the store, the check of a new model, progress. */
#ifndef INGLE_CLI_SHOP_H
#define INGLE_CLI_SHOP_H

#include <jansson.h>

#include "args.h"
#include "ingle.h"
#include "store/store.h"

/* The store that INGLE_STORE (--store sets it) or the standard place names. */
ig_status shop_open(bool read_only, ig_store **out, ig_error *err);
/* Opens a model of the store; the manifest is the caller's (may be NULL). */
ingle_status shop_model(const char *name, const ingle_model_options *options, ingle_model **out, ig_manifest **manifest,
                        ingle_error *err);

/* A folder of links to a model's files, open as descriptors of this process, for what reads paths: the path of its one
 * file, of its first part, or of the folder. Removed by shop_folder_fini. */
typedef struct shop_folder {
    char folder[300], path[600];
    ig_manifest *m;
    int *fds;
} shop_folder;
ig_status shop_folder_init(shop_folder *f, const char *name, ig_error *err);
void shop_folder_fini(shop_folder *f);
/* May be a name or a digest of the store: has no slash at its beginning, no file of that name is there. */
bool shop_is_name(const char *text);

/* Progress of a pull on stderr: a bar on terminals, plain lines otherwise. */
typedef struct shop_progress {
    bool quiet, sends;
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
