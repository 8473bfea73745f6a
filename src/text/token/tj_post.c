/* Post-processors: the ids in front of and behind a text. */
#include "text/token/tj.h"

/* Puts id at `place` of a list. */
static ig_status frame(ig_vocab *v, int32_t *list, size_t *n, size_t place, int32_t id, ig_error *err)
{
    if (*n == IG_TJ_FRAME_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: the post-processor adds more than %d ids",
                       IG_TJ_FRAME_MAX);
    if (id < 0 || (size_t)id >= v->n)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: the post-processor adds id %d, expected less than %zu",
                       id, v->n);
    memmove(list + place + 1, list + place, (*n - place) * sizeof *list);
    list[place] = id;
    ++*n;
    return IG_OK;
}

static ig_status add_back(ig_vocab *v, int32_t id, ig_error *err)
{
    return frame(v, v->tj->back, &v->tj->n_back, v->tj->n_back, id, err);
}

static ig_status add_front(ig_vocab *v, size_t place, int32_t id, ig_error *err)
{
    return frame(v, v->tj->front, &v->tj->n_front, place, id, err);
}

/* Byte offsets are all that it changes. */
static ig_status read_byte_level(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)v;
    (void)o;
    (void)err;
    return IG_OK;
}

/* [text, id] */
static ig_status pair(const ig_tj_json *o, const char *where, const char *key, int32_t *id, ig_error *err)
{
    const ig_tj_json *p = ig_tj_json_get(o, key), *text = ig_tj_json_first(p), *n = text ? text->next : NULL;
    if (!ig_tj_json_is(p, IG_JSON_ARRAY) || p->n != 2 || !ig_tj_json_is(n, IG_JSON_INT) || n->integer < 0 ||
        n->integer > INT32_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"%s\" is no pair of text and id", where, key);
    *id = (int32_t)n->integer;
    return IG_OK;
}

/* BertProcessing and RobertaProcessing frame one text alike. */
static ig_status read_bert(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    int32_t cls, sep;
    IG_TRY(pair(o, "post-processor", "cls", &cls, err));
    IG_TRY(pair(o, "post-processor", "sep", &sep, err));
    IG_TRY(add_front(v, 0, cls, err));
    return add_back(v, sep, err);
}

/* The ids of a special token that the template names. */
static ig_status special_ids(const ig_tj_json *o, const ig_tj_json *name, const ig_tj_json **ids, ig_error *err)
{
    ig_str key = ig_tj_json_text(ig_tj_json_get(name, "id"));
    const ig_tj_json *row = ig_tj_json_first(ig_tj_json_get(o, "special_tokens"));
    while (row && !(row->key && ig_str_eq(key, (ig_str){row->key, row->key_len}))) row = row->next;
    *ids = ig_tj_json_get(row, "ids");
    if (key.ptr && ig_tj_json_is(*ids, IG_JSON_ARRAY)) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0,
                   "tokenizer.json: post-processor TemplateProcessing: the token \"%.*s\" is not among special_tokens",
                   IG_STR_ARG(key));
}

static ig_status add_special(ig_vocab *v, const ig_tj_json *o, const ig_tj_json *name, bool behind, size_t *place,
                             ig_error *err)
{
    const ig_tj_json *ids;
    IG_TRY(special_ids(o, name, &ids, err));
    for (const ig_tj_json *id = ig_tj_json_first(ids); id; id = id->next) {
        int64_t value = id->type == IG_JSON_INT && id->integer <= INT32_MAX ? id->integer : -1;
        IG_TRY(behind ? add_back(v, (int32_t)value, err) : add_front(v, (*place)++, (int32_t)value, err));
    }
    return IG_OK;
}

/* `single` alone counts: pairs of texts are not encoded here. */
static ig_status read_template(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    const ig_tj_json *list;
    size_t n_texts = 0;
    IG_TRY(ig_tj_list(o, "post-processor TemplateProcessing", "single", true, &list, err));
    for (const ig_tj_json *item = ig_tj_json_first(list); item; item = item->next) {
        if (ig_tj_json_get(item, "Sequence"))
            n_texts++;
        else if (!ig_tj_json_get(item, "SpecialToken"))
            return ig_fail(err, IG_UNSUPPORTED, 0,
                           "tokenizer.json: post-processor TemplateProcessing: an item of \"single\" is neither "
                           "Sequence nor SpecialToken");
    }
    if (n_texts != 1)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "tokenizer.json: post-processor TemplateProcessing: \"single\" holds the text %zu times, "
                       "expected once",
                       n_texts);
    size_t place = 0; /* in front, before what an earlier post-processor put there */
    bool behind = false;
    for (const ig_tj_json *item = ig_tj_json_first(list); item; item = item->next) {
        const ig_tj_json *name = ig_tj_json_get(item, "SpecialToken");
        if (name)
            IG_TRY(add_special(v, o, name, behind, &place, err));
        else
            behind = true;
    }
    return IG_OK;
}

ig_status ig_tj_read_post(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const ig_tj_component table[] = {{"TemplateProcessing", read_template},
                                            {"BertProcessing", read_bert},
                                            {"RobertaProcessing", read_bert},
                                            {"ByteLevel", read_byte_level},
                                            {NULL, NULL}};
    return ig_tj_components(v, o, "post-processor", "processors", table, err);
}
