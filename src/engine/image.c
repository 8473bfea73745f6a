/* Sessions on disk. */
#include <string.h>

#include "engine/api.h"

struct ig_session_image {
    ig_seq_image seq;
    int32_t tokens[]; /* [seq.n_tokens] */
};

uint64_t ig_session_image_bytes(const ingle_session *s)
{
    ig_seq_image image;
    if (s->seq.n_tokens == 0 || s->seq.source) return 0;
    ig_seq_describe(s->engine->run, &s->seq, &image);
    return image.n_bytes;
}

ingle_status ig_session_save(const ingle_session *s, int fd, uint64_t offset, ig_session_image **out, ingle_error *err)
{
    ig_error e;
    size_t n = s->seq.n_tokens * sizeof *s->tokens;
    ig_session_image *image = ig_alloc(sizeof *image + n);
    *out = NULL;
    if (!image) return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a conversation on disk"), &e, err);
    ig_seq_describe(s->engine->run, &s->seq, &image->seq);
    memcpy(image->tokens, s->tokens, n);
    ig_status st = ig_seq_save(s->engine->run, &s->seq, fd, offset, &e);
    if (st == IG_OK)
        *out = image;
    else
        ig_free(image);
    return ig_pass(st, &e, err);
}

const int32_t *ig_session_image_tokens(const ig_session_image *image, uint32_t *n)
{
    *n = image->seq.n_tokens;
    return image->tokens;
}

ingle_status ig_session_load(ingle_session *s, const ig_session_image *image, int fd, uint64_t offset, ingle_error *err)
{
    ig_error e;
    (void)ig_session_keep(s, 0);
    ig_status st = ig_seq_load(s->engine->run, &s->seq, &image->seq, fd, offset, &e);
    if (st == IG_OK) memcpy(s->tokens, image->tokens, image->seq.n_tokens * sizeof *s->tokens);
    return ig_pass(st, &e, err);
}

void ig_session_image_free(ig_session_image *image) { ig_free(image); }
