/* Post-processors: the ids in front of and behind a text. */
#include "text/token/hf.h"

static ig_status frame(ig_vocab *v, int32_t *list, size_t *n, bool at_start, int32_t id, ig_error *err)
{
    if (*n == IG_HF_FRAME_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: the post-processor adds more than %d ids",
                       IG_HF_FRAME_MAX);
    if (id < 0 || (size_t)id >= v->n)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: the post-processor adds id %d, expected less than %zu",
                       id, v->n);
    if (at_start) memmove(list + 1, list, *n * sizeof *list);
    list[at_start ? 0 : *n] = id;
    ++*n;
    return IG_OK;
}

static ig_status add_back(ig_vocab *v, int32_t id, ig_error *err)
{
    return frame(v, v->hf->back, &v->hf->n_back, false, id, err);
}

static ig_status add_front(ig_vocab *v, int32_t id, ig_error *err)
{
    return frame(v, v->hf->front, &v->hf->n_front, true, id, err);
}

/* Byte offsets are all that it changes. */
static ig_status read_byte_level(ig_vocab *v, const json_t *o, ig_error *err)
{
    (void)v;
    (void)o;
    (void)err;
    return IG_OK;
}

/* [text, id] */
static ig_status pair(const json_t *o, const char *where, const char *key, int32_t *id, ig_error *err)
{
    const json_t *p = json_object_get(o, key), *n = json_array_get(p, 1);
    if (!json_is_array(p) || json_array_size(p) != 2 || !json_is_integer(n) || json_integer_value(n) < 0 ||
        json_integer_value(n) > INT32_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"%s\" is no pair of text and id", where, key);
    *id = (int32_t)json_integer_value(n);
    return IG_OK;
}

/* BertProcessing and RobertaProcessing frame one text alike. */
static ig_status read_bert(ig_vocab *v, const json_t *o, ig_error *err)
{
    int32_t cls, sep;
    IG_TRY(pair(o, "post-processor", "cls", &cls, err));
    IG_TRY(pair(o, "post-processor", "sep", &sep, err));
    IG_TRY(add_front(v, cls, err));
    return add_back(v, sep, err);
}

/* The ids of a special token that the template names. */
static ig_status special_ids(const json_t *o, const json_t *name, const json_t **ids, ig_error *err)
{
    const char *key = json_string_value(json_object_get(name, "id"));
    const json_t *row = key ? json_object_get(json_object_get(o, "special_tokens"), key) : NULL;
    *ids = json_object_get(row, "ids");
    if (json_is_array(*ids)) return IG_OK;
    return ig_fail(
        err, IG_BAD_INPUT, 0,
        "tokenizer.json: post-processor TemplateProcessing: the token \"%.100s\" is not among special_tokens",
        key ? key : "");
}

static ig_status add_special(ig_vocab *v, const json_t *o, const json_t *name, bool behind, ig_error *err)
{
    const json_t *ids;
    IG_TRY(special_ids(o, name, &ids, err));
    size_t n = json_array_size(ids);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, behind ? i : n - 1 - i);
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value > INT32_MAX) value = -1;
        IG_TRY(behind ? add_back(v, (int32_t)value, err) : add_front(v, (int32_t)value, err));
    }
    return IG_OK;
}

/* `single` alone counts: pairs of texts are not encoded here. */
static ig_status read_template(ig_vocab *v, const json_t *o, ig_error *err)
{
    const json_t *list;
    size_t text = SIZE_MAX, n_texts = 0;
    IG_TRY(ig_json_list(o, "post-processor TemplateProcessing", "single", true, &list, err));
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        if (json_object_get(item, "Sequence")) {
            text = i;
            n_texts++;
        } else if (!json_object_get(item, "SpecialToken"))
            return ig_fail(err, IG_UNSUPPORTED, 0,
                           "tokenizer.json: post-processor TemplateProcessing: item %zu of \"single\" is neither "
                           "Sequence nor SpecialToken",
                           i);
    }
    if (n_texts != 1)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "tokenizer.json: post-processor TemplateProcessing: \"single\" holds the text %zu times, "
                       "expected once",
                       n_texts);
    for (size_t i = text; i-- > 0;)
        IG_TRY(add_special(v, o, json_object_get(json_array_get(list, i), "SpecialToken"), false, err));
    for (size_t i = text + 1; i < n; i++)
        IG_TRY(add_special(v, o, json_object_get(json_array_get(list, i), "SpecialToken"), true, err));
    return IG_OK;
}

ig_status ig_hf_read_post(ig_vocab *v, const json_t *o, ig_error *err)
{
    static const ig_hf_component table[] = {{"TemplateProcessing", read_template},
                                            {"BertProcessing", read_bert},
                                            {"RobertaProcessing", read_bert},
                                            {"ByteLevel", read_byte_level},
                                            {NULL, NULL}};
    return ig_hf_components(v, o, "post-processor", "processors", table, err);
}
