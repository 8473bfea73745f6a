/* Unigram vocabularies of GGUF files ("t5"): the same pipeline as of a tokenizer.json, put together from metadata. */
#include <math.h>

#include "text/token/tj.h"

static ig_status add_tokens(ig_vocab *v, ig_error *err)
{
    ig_tj *tj = v->tj;
    tj->added = ig_calloc(v->special.n + 1, sizeof *tj->added);
    tj->is_added = ig_calloc(v->n, 1);
    if (!tj->added || !tj->is_added) return ig_tj_no_memory(err);
    for (size_t i = 0; i < v->special.n; i++) {
        uint32_t id = v->special.ids[i];
        bool special = v->types[id] != IG_TOKEN_USER;
        tj->added[tj->n_added++] =
            (ig_added){.id = (int32_t)id, .text = v->tokens[id], .pattern = v->tokens[id], .special = special};
        tj->is_added[id] = 1;
    }
    IG_TRY(ig_tj_finder_init(&tj->raw, tj->added, tj->n_added, false, err));
    return ig_tj_finder_init(&tj->normalized, tj->added, tj->n_added, true, err);
}

/* Normal, user-defined and unused tokens are pieces; user-defined ones cost nothing. */
static ig_status add_scores(ig_vocab *v, const float *scores, ig_error *err)
{
    ig_tj *tj = v->tj;
    double least = INFINITY;
    tj->scores = ig_calloc(v->n, sizeof *tj->scores);
    if (!tj->scores) return ig_tj_no_memory(err);
    for (size_t i = 0; i < v->n; i++) {
        uint8_t type = v->types[i];
        double score = scores ? (double)scores[i] : 0;
        if (type == IG_TOKEN_NORMAL && score < least) least = score;
        tj->scores[i] = type == IG_TOKEN_USER ? 0 : score;
        bool piece = type == IG_TOKEN_NORMAL || type == IG_TOKEN_USER || type == IG_TOKEN_UNUSED;
        if (piece && v->tokens[i].len && !ig_tj_trie_add(&tj->trie, v->tokens[i], (int32_t)i))
            return ig_tj_no_memory(err);
    }
    tj->unk_score = (isfinite(least) ? least : 0) - IG_TJ_UNK_PENALTY;
    return IG_OK;
}

static void add_frame(ig_vocab *v)
{
    ig_tj *tj = v->tj;
    if (v->add_bos && v->bos >= 0) tj->front[tj->n_front++] = v->bos;
    if (v->add_eos && v->eos >= 0) tj->back[tj->n_back++] = v->eos;
}

static void add_steps(ig_vocab *v, const ig_vocab_spec *spec)
{
    ig_tj *tj = v->tj;
    bool merge = spec->remove_extra_whitespaces > 0;
    unsigned flags = (v->space_prefix ? (unsigned)IG_SPACES_PREFIX : 0u) | (merge ? (unsigned)IG_SPACES_MERGE : 0u);
    if (tj->charsmap.n_units)
        tj->norm[tj->n_norm++] = (ig_norm){.kind = IG_NORM_CHARSMAP, .flags = IG_CHARSMAP_LONGEST};
    tj->norm[tj->n_norm++] = (ig_norm){.kind = IG_NORM_SPACES, .flags = flags};
    tj->dec[tj->n_dec++] =
        (ig_dec_step){.kind = IG_DEC_REPLACE, .pattern = {.text = IG_STR(IG_MARKER)}, .content = IG_STR(" ")};
    tj->dec[tj->n_dec++] = (ig_dec_step){.kind = IG_DEC_FUSE};
    if (v->space_prefix) tj->dec[tj->n_dec++] = (ig_dec_step){.kind = IG_DEC_STRIP, .text = IG_STR(" "), .start = 1};
    tj->has_decoder = true;
}

ig_status ig_tj_from_spec(ig_vocab *v, const ig_vocab_spec *spec, ig_error *err)
{
    v->tj = ig_calloc(1, sizeof *v->tj);
    if (!v->tj) return ig_tj_no_memory(err);
    v->tj->model = IG_TJ_UNIGRAM;
    v->tj->from_gguf = true;
    if (v->unk < 0)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "tokenizer.ggml.unknown_token_id is missing, a vocabulary of the model t5 needs it");
    IG_TRY(ig_charsmap_read(spec->charsmap, &v->tj->arena, &v->tj->charsmap, err));
    IG_TRY(add_tokens(v, err));
    IG_TRY(add_scores(v, spec->scores, err));
    add_frame(v);
    add_steps(v, spec);
    IG_TRY(ig_tj_make_pieces(v, err));
    v->bytes += ig_tj_bytes(v->tj);
    return IG_OK;
}
