/* A question and a document as a reranking model was trained to read them: by the prompt that its file holds, or as the
 * pair of texts that encoders know. Neither text can bring in control tokens. */
#include "engine/api.h"

typedef struct pair {
    const ig_vocab *vocab;
    ig_str query, document;
    ig_buf text; /* of the prompt so far, not tokenized yet */
    ig_ids ids;
    bool apart; /* the two texts are tokenized by themselves */
} pair;

static ig_status no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tokens"); }

/* Would reading control tokens in this text find one? */
static ig_status holds_control(const ig_vocab *v, ig_str text, bool *holds, ig_error *err)
{
    ig_ids ids = {0};
    ig_status st = ig_tokenize(v, text.ptr, text.len, IG_TOKENIZE_PARSE, &ids, err);
    for (size_t i = 0; i < ids.len; i++) *holds = *holds || ig_vocab_is_control(v, ids.ptr[i]);
    ig_free(ids.ptr);
    return st;
}

static ig_status flush(pair *p, ig_error *err)
{
    ig_status st = ig_tokenize(p->vocab, p->text.ptr, p->text.len, IG_TOKENIZE_PARSE, &p->ids, err);
    p->text.len = 0;
    return st;
}

/* Together with the prompt around it, so that a word and the blank before it become one token as in training; by itself
 * where it would be read as more than text. */
static ig_status add_user_text(pair *p, ig_str text, ig_error *err)
{
    if (!p->apart) return ig_buf_add(&p->text, text.ptr, text.len) ? IG_OK : no_memory(err);
    IG_TRY(flush(p, err));
    return ig_tokenize(p->vocab, text.ptr, text.len, 0, &p->ids, err);
}

static ig_status by_prompt(pair *p, ig_str prompt, ig_error *err)
{
    const ig_str names[] = {IG_STR("{query}"), IG_STR("{document}")}, values[] = {p->query, p->document};
    IG_TRY(holds_control(p->vocab, p->query, &p->apart, err));
    IG_TRY(holds_control(p->vocab, p->document, &p->apart, err));
    for (size_t at = 0; at < prompt.len;) {
        ig_str rest = {prompt.ptr + at, prompt.len - at};
        size_t k = ig_str_starts(rest, names[0]) ? 0 : ig_str_starts(rest, names[1]) ? 1 : 2;
        if (k < 2)
            IG_TRY(add_user_text(p, values[k], err));
        else if (!ig_buf_add(&p->text, rest.ptr, 1))
            return no_memory(err);
        at += k < 2 ? names[k].len : 1;
    }
    return flush(p, err);
}

static bool add_id(ig_ids *ids, int32_t id)
{
    if (ids->len == ids->cap) {
        size_t cap = 2 * ids->cap + 16;
        int32_t *more = ig_realloc(ids->ptr, cap, sizeof *more);
        if (!more) return false;
        ids->ptr = more;
        ids->cap = cap;
    }
    ids->ptr[ids->len++] = id;
    return true;
}

/* The first token is BERT's [CLS] or RoBERTa's <s>, behind which families join texts differently. */
static bool is_roberta(const ig_vocab *v, int32_t first)
{
    ig_buf text;
    ig_buf_init(&text, 4096);
    bool is = ig_token_piece(v, first, true, &text) && ig_str_is((ig_str){text.ptr, text.len}, "<s>");
    ig_buf_fini(&text);
    return is;
}

/* [CLS] query [SEP] document [SEP], or <s> query </s></s> document </s>: both texts as they are framed alone, the
 * second without its first token or with an end in its place. */
static ig_status by_frames(pair *p, ig_error *err)
{
    ig_ids second = {0};
    ig_status st = ig_tokenize(p->vocab, p->query.ptr, p->query.len, IG_TOKENIZE_ADD, &p->ids, err);
    if (st == IG_OK) st = ig_tokenize(p->vocab, p->document.ptr, p->document.len, IG_TOKENIZE_ADD, &second, err);
    size_t from = 0;
    if (st == IG_OK && p->ids.len && second.len && p->ids.ptr[0] == second.ptr[0] &&
        ig_vocab_is_control(p->vocab, second.ptr[0])) {
        from = 1;
        if (is_roberta(p->vocab, second.ptr[0]) && !add_id(&p->ids, p->ids.ptr[p->ids.len - 1])) st = no_memory(err);
    }
    for (size_t i = from; st == IG_OK && i < second.len; i++)
        if (!add_id(&p->ids, second.ptr[i])) st = no_memory(err);
    ig_free(second.ptr);
    return st;
}

static ig_status join(const ingle_model *m, pair *p, ig_error *err)
{
    ig_str prompt = {NULL, 0};
    IG_TRY(ig_need_vocab(m, err));
    p->vocab = m->vocab;
    IG_TRY(ig_format_str(m->file, "tokenizer.chat_template.rerank", false, &prompt, err));
    if (prompt.len) return by_prompt(p, prompt, err);
    if (m->net && !ig_model_hparams(m->net)->causal) return by_frames(p, err);
    return ig_fail(err, IG_UNSUPPORTED, 0,
                   "%s: the file does not say how a question and a document are put together "
                   "(tokenizer.chat_template.rerank is missing), give the whole text instead",
                   ig_format_path(m->file));
}

ingle_status ingle_tokenize_pair(const ingle_model *model, const char *query, size_t n_query, const char *document,
                                 size_t n_document, int32_t *out, size_t capacity, size_t *n_out, ingle_error *err)
{
    ig_error e;
    pair p = {.query = {query, n_query}, .document = {document, n_document}};
    ig_buf_init(&p.text, SIZE_MAX / 2);
    *n_out = 0;
    ig_status st = join(model, &p, &e);
    if (st == IG_OK) st = ig_give_ids(&p.ids, out, capacity, n_out, &e);
    ig_buf_fini(&p.text);
    ig_free(p.ids.ptr);
    return ig_pass(st, &e, err);
}
