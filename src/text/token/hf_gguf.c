/* Unigram vocabularies of GGUF files ("t5"): the same pipeline as of a tokenizer.json, put together from metadata. */
#include <math.h>

#include "text/token/hf.h"

static ig_status add_tokens(ig_vocab *v, ig_error *err)
{
    ig_hf *hf = v->hf;
    hf->added = ig_calloc(v->special.n + 1, sizeof *hf->added);
    hf->is_added = ig_calloc(v->n, 1);
    if (!hf->added || !hf->is_added) return ig_hf_no_memory(err);
    for (size_t i = 0; i < v->special.n; i++) {
        uint32_t id = v->special.ids[i];
        bool special = v->types[id] != IG_TOKEN_USER;
        hf->added[hf->n_added++] =
            (ig_added){.id = (int32_t)id, .text = v->tokens[id], .pattern = v->tokens[id], .special = special};
        hf->is_added[id] = 1;
    }
    IG_TRY(ig_hf_finder_init(&hf->raw, hf->added, hf->n_added, false, err));
    return ig_hf_finder_init(&hf->normalized, hf->added, hf->n_added, true, err);
}

/* Normal, user-defined and unused tokens are pieces; user-defined ones cost nothing. */
static ig_status add_scores(ig_vocab *v, const float *scores, ig_error *err)
{
    ig_hf *hf = v->hf;
    double least = INFINITY;
    hf->scores = ig_calloc(v->n, sizeof *hf->scores);
    if (!hf->scores) return ig_hf_no_memory(err);
    for (size_t i = 0; i < v->n; i++) {
        uint8_t type = v->types[i];
        double score = scores ? (double)scores[i] : 0;
        if (type == IG_TOKEN_NORMAL && score < least) least = score;
        hf->scores[i] = type == IG_TOKEN_USER ? 0 : score;
        bool piece = type == IG_TOKEN_NORMAL || type == IG_TOKEN_USER || type == IG_TOKEN_UNUSED;
        if (piece && v->tokens[i].len && !ig_hf_trie_add(&hf->trie, v->tokens[i], (int32_t)i))
            return ig_hf_no_memory(err);
    }
    hf->unk_score = (isfinite(least) ? least : 0) - IG_HF_UNK_PENALTY;
    return IG_OK;
}

static void add_frame(ig_vocab *v)
{
    ig_hf *hf = v->hf;
    if (v->add_bos && v->bos >= 0) hf->front[hf->n_front++] = v->bos;
    if (v->add_eos && v->eos >= 0) hf->back[hf->n_back++] = v->eos;
}

static void add_steps(ig_vocab *v, const ig_vocab_spec *spec)
{
    ig_hf *hf = v->hf;
    bool merge = spec->remove_extra_whitespaces > 0;
    unsigned flags = (v->space_prefix ? (unsigned)IG_SPACES_PREFIX : 0u) | (merge ? (unsigned)IG_SPACES_MERGE : 0u);
    if (hf->charsmap.n_units)
        hf->norm[hf->n_norm++] = (ig_norm){.kind = IG_NORM_CHARSMAP, .flags = IG_CHARSMAP_LONGEST};
    hf->norm[hf->n_norm++] = (ig_norm){.kind = IG_NORM_SPACES, .flags = flags};
    hf->dec[hf->n_dec++] =
        (ig_dec_step){.kind = IG_DEC_REPLACE, .pattern = {.text = IG_STR(IG_MARKER)}, .content = IG_STR(" ")};
    hf->dec[hf->n_dec++] = (ig_dec_step){.kind = IG_DEC_FUSE};
    if (v->space_prefix) hf->dec[hf->n_dec++] = (ig_dec_step){.kind = IG_DEC_STRIP, .text = IG_STR(" "), .start = 1};
    hf->has_decoder = true;
}

ig_status ig_hf_from_spec(ig_vocab *v, const ig_vocab_spec *spec, ig_error *err)
{
    v->hf = ig_calloc(1, sizeof *v->hf);
    if (!v->hf) return ig_hf_no_memory(err);
    v->hf->model = IG_HF_UNIGRAM;
    v->hf->from_gguf = true;
    if (v->unk < 0)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "tokenizer.ggml.unknown_token_id is missing, a vocabulary of the model t5 needs it");
    IG_TRY(ig_charsmap_read(spec->charsmap, &v->hf->arena, &v->hf->charsmap, err));
    IG_TRY(add_tokens(v, err));
    IG_TRY(add_scores(v, spec->scores, err));
    add_frame(v);
    add_steps(v, spec);
    IG_TRY(ig_hf_make_pieces(v, err));
    v->bytes += ig_hf_bytes(v->hf);
    return IG_OK;
}
