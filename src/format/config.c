/* config.json to metadata: finds the row of model_type, reads the numbers that the row names, and refuses what would
 * change the computation without anybody here knowing how. Rotation is in hf_rope.c. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "format/hf.h"
#include "format/json.h"

/* ------------------------------------------------------------------------------------------------ values */

const json_t *ig_hf_value(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

/* Compact JSON of a value; the caller frees. */
static char *dump(const json_t *value) { return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS); }

ig_status ig_hf_bad(const ig_hf *h, const char *key, const json_t *value, const char *expected)
{
    char *text = value ? dump(value) : NULL;
    ig_status st;
    if (!value)
        st = ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: \"%s\" is missing, expected %.120s", h->path, key, expected);
    else
        st = ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: \"%s\" is %.80s, expected %.120s", h->path, key,
                     text ? text : "?", expected);
    free(text);
    return st;
}

ig_status ig_hf_unsupported(const ig_hf *h, const char *key, const json_t *value, const char *expected)
{
    (void)ig_hf_bad(h, key, value, expected);
    if (h->err) h->err->status = IG_UNSUPPORTED;
    return IG_UNSUPPORTED;
}

ig_status ig_hf_size(const ig_hf *h, const json_t *object, const char *key, uint32_t *out)
{
    const json_t *v = ig_hf_value(object, key);
    if (!v) return IG_OK;
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
    if (n < 1 || n > IG_HF_SIZE_MAX) return ig_hf_bad(h, key, v, "a whole number from 1 to 16777216");
    *out = (uint32_t)n;
    return IG_OK;
}

ig_status ig_hf_real(const ig_hf *h, const json_t *object, const char *key, double *out)
{
    const json_t *v = ig_hf_value(object, key);
    if (!v) return IG_OK;
    double x = json_is_number(v) ? json_number_value(v) : 0;
    if (!(x > 0) || !isfinite((float)x) || (float)x == 0)
        return ig_hf_bad(h, key, v, "a number above 0 that fits into 32 bits");
    *out = x;
    return IG_OK;
}

ig_status ig_hf_flag(const ig_hf *h, const json_t *object, const char *key, bool *out)
{
    const json_t *v = ig_hf_value(object, key);
    if (v && !json_is_boolean(v)) return ig_hf_bad(h, key, v, "true or false");
    if (v) *out = json_is_true(v);
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ row and refusals */

static ig_status find_row(ig_hf *h)
{
    const json_t *type = ig_hf_value(h->root, "model_type");
    if (!json_is_string(type)) return ig_hf_bad(h, "model_type", type, "the name of a kind of model");
    h->row = ig_hf_row_find((ig_str){json_string_value(type), json_string_length(type)});
    if (h->row) return IG_OK;
    ig_buf names;
    ig_buf_init(&names, 512);
    for (size_t i = 0; ig_hf_row_at(i); i++)
        (void)ig_buf_printf(&names, "%s%s", i ? ", " : "", ig_hf_row_at(i)->model_type);
    ig_status st = ig_fail(h->err, IG_UNSUPPORTED, 0, "%.200s: model_type \"%.60s\" is not known, expected one of %.*s",
                           h->path, json_string_value(type), (int)names.len, names.ptr ? names.ptr : "");
    ig_buf_fini(&names);
    return st;
}

static bool is_off(const json_t *v)
{
    if (json_is_array(v)) return json_array_size(v) == 0;
    if (json_is_object(v)) return json_object_size(v) == 0;
    if (json_is_string(v)) return json_string_length(v) == 0;
    return !v || json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0);
}

static ig_status refuse_set(const ig_hf *h, const json_t *object)
{
    for (const char *const *key = ig_hf_off_keys; *key; key++) {
        const json_t *v = ig_hf_value(object, *key);
        if (!is_off(v)) return ig_hf_unsupported(h, *key, v, "none: this version does not compute it");
    }
    for (const char *const *key = ig_hf_one_keys; *key; key++) {
        const json_t *v = ig_hf_value(object, *key);
        if (v && !(json_is_number(v) && json_number_value(v) == 1))
            return ig_hf_unsupported(h, *key, v, "1 or none: this version does not compute it");
    }
    return IG_OK;
}

static bool equals(const json_t *v, const char *want)
{
    char *text = dump(v);
    bool same = text && !strcmp(text, want);
    free(text);
    return same;
}

static ig_status check_fixed(const ig_hf *h)
{
    for (const ig_hf_fixed *x = h->row->fixed; x && x->key; x++) {
        const json_t *v = ig_hf_value(h->config, x->key);
        bool same = v ? equals(v, x->value) : !x->required;
        if (json_is_array(v)) {
            same = true;
            for (size_t i = 0; i < json_array_size(v); i++) same = same && equals(json_array_get(v, i), x->value);
        }
        if (!same) return ig_hf_unsupported(h, x->key, v, x->value);
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ numbers */

static ig_status read_key(ig_hf *h, const ig_hf_key *k)
{
    bool given = json_object_get(h->config, k->from) != NULL, null = given && !ig_hf_value(h->config, k->from);
    bool arch = strncmp(k->to, "tokenizer.", 10) != 0;
    uint32_t n = (uint32_t)k->value;
    double x = k->value;
    if (k->kind == IG_HF_CONSTANT || k->kind == IG_HF_NO) {
        if (k->kind == IG_HF_NO)
            ig_hf_put_bool(h, arch, k->to, false);
        else
            ig_hf_put_u32(h, arch, k->to, n);
        return IG_OK;
    }
    if ((!given || null) && k->need == IG_HF_REQUIRED) return ig_hf_bad(h, k->from, NULL, "a number");
    if (null || (!given && k->need == IG_HF_OPTIONAL)) return IG_OK;
    if (k->kind == IG_HF_SIZE) {
        IG_TRY(ig_hf_size(h, h->config, k->from, &n));
        ig_hf_put_u32(h, arch, k->to, n);
        if (!strcmp(k->to, "expert_count")) h->n_experts = n;
    } else {
        IG_TRY(ig_hf_real(h, h->config, k->from, &x));
        ig_hf_put_f32(h, arch, k->to, x);
    }
    return IG_OK;
}

/* A size that the row may have a default for. */
static ig_status need_size(const ig_hf *h, const char *key, uint32_t standard, uint32_t *out)
{
    *out = standard;
    IG_TRY(ig_hf_size(h, h->config, key, out));
    return *out ? IG_OK : ig_hf_bad(h, key, NULL, "a whole number");
}

static ig_status read_heads(ig_hf *h)
{
    const ig_hf_row *row = h->row;
    bool null_kv = json_is_null(json_object_get(h->config, "num_key_value_heads"));
    IG_TRY(need_size(h, "num_attention_heads", row->heads, &h->n_heads));
    IG_TRY(need_size(h, "num_key_value_heads", row->flags & IG_HF_HEADS_KV || null_kv ? h->n_heads : row->heads_kv,
                     &h->n_heads_kv));
    if (h->n_heads % h->n_heads_kv)
        return ig_fail(h->err, IG_BAD_INPUT, 0,
                       "%.200s: \"num_key_value_heads\" is %u, expected a divisor of the %u \"num_attention_heads\"",
                       h->path, h->n_heads_kv, h->n_heads);
    if (!json_object_get(h->config, "head_dim")) h->head_size = row->head_size;
    IG_TRY(ig_hf_size(h, h->config, "head_dim", &h->head_size));
    if (!h->head_size && h->n_embd % h->n_heads)
        return ig_fail(h->err, IG_BAD_INPUT, 0,
                       "%.200s: \"num_attention_heads\" is %u, expected a divisor of \"hidden_size\" %u", h->path,
                       h->n_heads, h->n_embd);
    if (!h->head_size) h->head_size = h->n_embd / h->n_heads;
    if (h->head_size > IG_HF_HEAD_SIZE_MAX)
        return ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: heads have %u values (\"head_dim\"), expected at most %u",
                       h->path, h->head_size, IG_HF_HEAD_SIZE_MAX);
    ig_hf_put_u32(h, true, "attention.head_count", h->n_heads);
    if (row->flags & IG_HF_ENCODER) return IG_OK;
    ig_hf_put_u32(h, true, "attention.head_count_kv", h->n_heads_kv);
    ig_hf_put_u32(h, true, "attention.key_length", h->head_size);
    ig_hf_put_u32(h, true, "attention.value_length", h->head_size);
    return IG_OK;
}

static ig_status read_sizes(ig_hf *h)
{
    IG_TRY(need_size(h, "max_position_embeddings", h->row->n_ctx, &h->n_ctx));
    IG_TRY(need_size(h, "hidden_size", 0, &h->n_embd));
    IG_TRY(need_size(h, "num_hidden_layers", 0, &h->n_layers));
    IG_TRY(need_size(h, "vocab_size", h->row->n_vocab, &h->n_vocab));
    if (h->n_layers > IG_HF_LAYERS_MAX)
        return ig_fail(h->err, IG_BAD_INPUT, 0, "%.200s: \"num_hidden_layers\" is %u, expected at most %u", h->path,
                       h->n_layers, IG_HF_LAYERS_MAX);
    ig_hf_put_u32(h, true, "context_length", h->n_ctx);
    ig_hf_put_u32(h, true, "embedding_length", h->n_embd);
    ig_hf_put_u32(h, true, "block_count", h->n_layers);
    ig_hf_put_u32(h, true, "vocab_size", h->n_vocab);
    IG_TRY(read_heads(h));
    for (size_t i = 0; i < sizeof h->row->keys / sizeof *h->row->keys && h->row->keys[i]; i++)
        for (const ig_hf_key *k = h->row->keys[i]; k->from; k++) IG_TRY(read_key(h, k));
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ functions */

static const struct {
    const char *name, *function;
} activations[] = {
    {"silu", "silu"},
    {"swish", "silu"},
    {"gelu", "gelu_erf"},
    {"gelu_python", "gelu_erf"},
    {"gelu_pytorch_tanh", "gelu"},
    {"gelu_new", "gelu"},
    {"gelu_fast", "gelu"},
};

static const char *activation(const char *name)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (!strcmp(name, activations[i].name)) return activations[i].function;
    return "";
}

/* The engine's own GELU is the one with tanh; where the exact one is meant, a key says so. */
static ig_status read_activation(ig_hf *h)
{
    const char *key = h->row->act_key ? h->row->act_key : "hidden_act";
    const json_t *v = ig_hf_value(h->config, key);
    if (v && !json_is_string(v)) return ig_hf_bad(h, key, v, "the name of a function");
    const char *have = activation(v ? json_string_value(v) : h->row->act), *want = activation(h->row->act);
    bool gelu = !strncmp(want, "gelu", 4);
    if (gelu ? strncmp(have, "gelu", 4) != 0 : strcmp(have, want) != 0)
        return ig_hf_unsupported(h, key, v, gelu ? "gelu, gelu_new or gelu_pytorch_tanh" : "silu");
    if (!strcmp(have, "gelu_erf")) ig_hf_put_str(h, false, "ingle.activation", IG_STR("gelu_erf"));
    return IG_OK;
}

static ig_status read_scale(ig_hf *h)
{
    double scalar = 256;
    if (!(h->row->flags & IG_HF_SCALE_KEY)) return IG_OK;
    IG_TRY(ig_hf_real(h, h->config, "query_pre_attn_scalar", &scalar));
    if (scalar != (double)h->head_size) ig_hf_put_f32(h, true, "attention.scale", 1 / sqrt(scalar));
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ windows */

static bool by_pattern(uint32_t pattern, uint32_t layer) { return pattern == 1 || layer % pattern != pattern - 1; }

/* layer_types into windowed[n_layers]; *given false when it is absent. */
static ig_status read_layer_types(const ig_hf *h, uint8_t *windowed, bool *given)
{
    const json_t *types = ig_hf_value(h->config, "layer_types");
    *given = types != NULL;
    if (!types) return IG_OK;
    if (!json_is_array(types) || json_array_size(types) != h->n_layers)
        return ig_hf_bad(h, "layer_types", types, "an array with one entry for each layer");
    for (uint32_t i = 0; i < h->n_layers; i++) {
        const json_t *type = json_array_get(types, i);
        const char *name = json_is_string(type) ? json_string_value(type) : "";
        windowed[i] = !strcmp(name, "sliding_attention");
        if (!windowed[i] && strcmp(name, "full_attention") != 0)
            return ig_hf_bad(h, "layer_types", type, "full_attention or sliding_attention");
    }
    return IG_OK;
}

/* Which layers of a row without windows would have one all the same. */
static ig_status refuse_windows(const ig_hf *h, const uint8_t *windowed, bool given)
{
    bool use = false;
    uint32_t first = 0;
    for (uint32_t i = 0; i < h->n_layers; i++)
        if (given && windowed[i])
            return ig_hf_unsupported(h, "layer_types", json_array_get(ig_hf_value(h->config, "layer_types"), i),
                                     "full_attention: this kind of model has no windows here");
    if (given || !(h->row->flags & IG_HF_WINDOW_KEY)) return IG_OK;
    IG_TRY(ig_hf_flag(h, h->config, "use_sliding_window", &use));
    const json_t *layers = ig_hf_value(h->config, "max_window_layers");
    if (layers && json_is_integer(layers) && json_integer_value(layers) >= h->n_layers) first = h->n_layers;
    if (!use || first == h->n_layers || !ig_hf_value(h->config, "sliding_window")) return IG_OK;
    return ig_hf_unsupported(h, "use_sliding_window", ig_hf_value(h->config, "use_sliding_window"),
                             "false: this kind of model has no windows here");
}

static ig_status put_windows(ig_hf *h, uint8_t *windowed, bool given)
{
    uint32_t standard = h->row->window_pattern, pattern = standard, window = 0;
    bool any = false, usual = standard > 1; /* what the architecture does without the key */
    if (!json_object_get(h->config, "sliding_window")) window = h->row->window;
    IG_TRY(ig_hf_size(h, h->config, "sliding_window", &window));
    if (standard > 1) IG_TRY(ig_hf_size(h, h->config, "sliding_window_pattern", &pattern));
    for (uint32_t i = 0; i < h->n_layers; i++) {
        if (!given) windowed[i] = window && by_pattern(pattern, i);
        any = any || windowed[i];
        usual = usual && windowed[i] == by_pattern(standard, i);
    }
    if (!any || (standard == 1 && window >= h->n_ctx)) return IG_OK;
    if (!window) return ig_hf_bad(h, "sliding_window", NULL, "the window of the layers with sliding_attention");
    ig_hf_put_u32(h, true, "attention.sliding_window", window);
    if (!usual) ig_hf_put_array(h, true, "attention.sliding_window_pattern", IG_META_BOOL, windowed, h->n_layers);
    return IG_OK;
}

static ig_status read_windows(ig_hf *h)
{
    bool given;
    uint8_t *windowed = ig_calloc(h->n_layers, 1);
    if (!windowed) return ig_fail(h->err, IG_NO_MEMORY, 0, "%.200s: out of memory for its layers", h->path);
    ig_status st = read_layer_types(h, windowed, &given);
    if (st == IG_OK) st = h->row->window_pattern ? put_windows(h, windowed, given) : refuse_windows(h, windowed, given);
    ig_free(windowed);
    return st;
}

/* ------------------------------------------------------------------------------------------------ all of it */

/* Whether the class in "architectures" ends so: "Model" is the bare model, without what turns its vectors into logits.
 */
static bool is_class(const ig_hf *h, const char *end)
{
    const json_t *name = json_array_get(ig_hf_value(h->root, "architectures"), 0);
    size_t n = json_string_length(name), n_end = strlen(end);
    return n > n_end && !strcmp(json_string_value(name) + n - n_end, end);
}

static ig_status read_tied(ig_hf *h)
{
    h->headless = is_class(h, "Model") || h->row->flags & IG_HF_ENCODER;
    h->judges = is_class(h, "ForSequenceClassification");
    h->tied = h->row->flags & IG_HF_TIED;
    IG_TRY(ig_hf_flag(h, h->root, "tie_word_embeddings", &h->tied));
    return ig_hf_flag(h, h->config, "tie_word_embeddings", &h->tied);
}

ig_status ig_hf_config_read(ig_hf *h)
{
    IG_TRY(find_row(h));
    h->config = h->row->part ? ig_hf_value(h->root, h->row->part) : h->root;
    if (!json_is_object(h->config)) return ig_hf_bad(h, h->row->part, h->config, "an object");
    IG_TRY(refuse_set(h, h->root));
    IG_TRY(refuse_set(h, h->config));
    IG_TRY(check_fixed(h));
    ig_hf_put_str(h, false, "general.architecture", ig_str_from(h->row->arch));
    ig_hf_put_str(h, false, "general.type", IG_STR("model"));
    IG_TRY(read_sizes(h));
    IG_TRY(read_activation(h));
    IG_TRY(read_tied(h));
    if (h->row->flags & IG_HF_ENCODER) return IG_OK;
    IG_TRY(ig_hf_rope_read(h));
    IG_TRY(read_scale(h));
    return read_windows(h);
}
