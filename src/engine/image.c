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

bool ig_session_image_put(const ig_session_image *image, ig_buf *out)
{
    return ig_buf_add(out, &image->seq, sizeof image->seq) &&
           ig_buf_add(out, image->tokens, image->seq.n_tokens * sizeof *image->tokens);
}

/* Could a sequence of this engine be so? */
static bool is_likely(const ingle_session *s, const ig_seq_image *image)
{
    ig_seq like = s->seq;
    ig_seq_image again;
    uint64_t pages = ((uint64_t)image->n_tokens + IG_PAGE_TOKENS - 1) / IG_PAGE_TOKENS;
    if (!image->n_tokens || image->n_tokens > ingle_engine_n_ctx(s->engine) || image->n_pages > like.n_pages_max ||
        image->n_pages < pages)
        return false;
    for (int g = 0; g < IG_KV_GROUPS; g++)
        if (image->first[g] > image->n_pages) return false;
    for (int k = 0; k < IG_SNAPSHOTS; k++)
        if (image->snapshot_at[k] > image->n_tokens) return false;
    like.n_pages = image->n_pages;
    memcpy(like.first, image->first, sizeof like.first);
    ig_seq_describe(s->engine->run, &like, &again);
    return again.n_bytes == image->n_bytes;
}

ig_session_image *ig_session_image_take(const ingle_session *s, const char *bytes, size_t n, size_t *n_used)
{
    ig_seq_image seq;
    if (n < sizeof seq) return NULL;
    memcpy(&seq, bytes, sizeof seq);
    if (!is_likely(s, &seq) || (n - sizeof seq) / sizeof(int32_t) < seq.n_tokens) return NULL;
    size_t n_tokens = seq.n_tokens * sizeof(int32_t);
    ig_session_image *image = ig_alloc(sizeof *image + n_tokens);
    if (!image) return NULL;
    image->seq = seq;
    memcpy(image->tokens, bytes + sizeof seq, n_tokens);
    *n_used = sizeof seq + n_tokens;
    return image;
}
