/* Whether a model can be used, asked of a sandboxed worker before its name becomes visible. */
#ifndef IG_SERVE_CHECK_H
#define IG_SERVE_CHECK_H

#include "store/store.h"

/* For ig_check: ctx is the path of this program (char *), NULL: /proc/self/exe. Starts a worker that loads the model as
 * the service would (plan built, shapes checked, tokenizer and template read) and ends. Appends what it found out to
 * about. Blocks; any thread. Errors: the worker's own sentence; IO where it died. */
ig_status ig_model_check(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err);

#endif
