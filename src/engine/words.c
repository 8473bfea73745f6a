/* A model's vocabulary as the grammars see it: the bytes of every token, indexed once. */
#include "engine/constrain.h"

enum { TEXT_BYTES_MAX = 1 << 30 };

static void words_free(ig_words *w)
{
    if (!w) return;
    ig_token_index_free(w->index);
    ig_free(w->text);
    ig_free(w->at);
    ig_free(w->end);
    ig_free(w->control);
    ig_free(w);
}

void ig_words_drop(ig_words *w)
{
    if (w && atomic_fetch_sub(&w->n_uses, 1) == 1) words_free(w);
}

/* Texts of all tokens into w->text; `plain` [n] gets the text as it stands in an answer: nothing for control tokens,
 * unless the family writes markers with them. */
static bool collect(const ig_vocab *v, ig_words *w, ig_str *plain)
{
    ig_buf text;
    ig_buf_init(&text, TEXT_BYTES_MAX);
    bool ok = true;
    for (uint32_t i = 0; ok && i < w->n; i++) {
        w->at[i] = (uint32_t)text.len;
        ok = ig_token_piece(v, (int32_t)i, true, &text);
        w->end[i] = ig_vocab_is_end(v, (int32_t)i);
        w->control[i] = ig_vocab_is_control(v, (int32_t)i);
    }
    w->at[w->n] = (uint32_t)text.len;
    w->text = text.ptr; /* taken over */
    for (uint32_t i = 0; ok && w->text && i < w->n; i++) {
        if (w->control[i] && w->family && !w->end[i] && ig_reply_is_marker(w->family, ig_word(w, i)))
            w->control[i] = false;
        plain[i] = w->control[i] ? (ig_str){NULL, 0} : ig_word(w, i);
    }
    return ok;
}

static ig_status words_new(const ingle_model *m, const ig_reply_family *family, ig_words **out, ig_error *err)
{
    ingle_model_info info;
    ingle_model_describe(m, &info);
    if (!m->vocab)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the file has no vocabulary, so no grammar can be applied",
                       ig_format_path(m->file));
    ig_words *w = ig_calloc(1, sizeof *w);
    if (!w) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the index of a vocabulary");
    atomic_init(&w->n_uses, 1);
    w->n = info.n_vocab;
    w->family = family;
    w->at = ig_calloc((size_t)w->n + 1, sizeof *w->at);
    w->end = ig_calloc(w->n, sizeof *w->end);
    w->control = ig_calloc(w->n, sizeof *w->control);
    ig_str *plain = ig_calloc(w->n, sizeof *plain);
    ig_status st = IG_NO_MEMORY;
    if (w->at && w->end && w->control && plain && collect(m->vocab, w, plain))
        st = ig_token_index_new(plain, w->end, w->control, w->n, &w->index, err);
    else
        ig_fail(err, st, 0, "out of memory for the index of a vocabulary of %u tokens", w->n);
    ig_free(plain);
    if (st == IG_OK)
        *out = w;
    else
        words_free(w);
    return st;
}

ig_status ig_words_of(const ingle_model *m, const ig_reply_family *family, ig_words **out, ig_error *err)
{
    ig_lazy *lazy = m->lazy;
    ig_status st = IG_OK;
    ig_words **place = family ? &lazy->marked : &lazy->plain;
    *out = NULL;
    pthread_mutex_lock(&lazy->lock);
    if (*place && (*place)->family != family) {
        ig_words_drop(*place);
        *place = NULL;
    }
    if (!*place) st = words_new(m, family, place, err);
    if (st == IG_OK) {
        *out = *place;
        atomic_fetch_add(&(*place)->n_uses, 1);
    }
    pthread_mutex_unlock(&lazy->lock);
    return st;
}

ig_lazy *ig_lazy_new(void)
{
    ig_lazy *lazy = ig_calloc(1, sizeof *lazy);
    if (lazy) pthread_mutex_init(&lazy->lock, NULL);
    return lazy;
}

void ig_lazy_free(ig_lazy *lazy)
{
    if (!lazy) return;
    ig_words_drop(lazy->plain);
    ig_words_drop(lazy->marked);
    pthread_mutex_destroy(&lazy->lock);
    ig_free(lazy);
}
