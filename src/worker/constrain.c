/* Stand-in: every rule is refused. The grammars (src/text/grammar) take its place. */
#include "worker/constrain.h"

ig_status wk_constrainer_new(const ingle_model *m, wk_constrainer **out, ig_error *err)
{
    (void)m;
    (void)err;
    *out = NULL;
    return IG_OK;
}

void wk_constrainer_free(wk_constrainer *c) { (void)c; }

static bool is_forced(const json_t *body)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    return json_is_object(choice) || (json_is_string(choice) && json_string_value(choice)[0] == 'r');
}

ig_status wk_rule_new(wk_constrainer *c, const json_t *body, wk_rule **out, const char **param, ig_error *err)
{
    static const char *const fields[] = {"grammar", "json_schema", "json_object"};
    (void)c;
    *out = NULL;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *v = json_object_get(body, fields[i]);
        if (!v || json_is_null(v) || json_is_false(v)) continue;
        *param = fields[i];
        return ig_fail(err, IG_UNSUPPORTED, 0, "this version cannot hold an answer to \"%s\"", fields[i]);
    }
    if (!is_forced(body)) return IG_OK;
    *param = "tool_choice";
    return ig_fail(err, IG_UNSUPPORTED, 0, "this version cannot force a tool call");
}

void wk_rule_free(wk_rule *r) { (void)r; }

ig_status wk_constraint_new(const wk_rule *r, wk_constraint **out, ig_error *err)
{
    (void)r;
    (void)err;
    *out = NULL;
    return IG_OK;
}

void wk_constraint_free(wk_constraint *c) { (void)c; }

ig_status wk_constraint_mask(wk_constraint *c, float *logits, size_t n_vocab, ig_error *err)
{
    (void)c;
    (void)logits;
    (void)n_vocab;
    (void)err;
    return IG_OK;
}

ig_status wk_constraint_accept(wk_constraint *c, int32_t id, const char *bytes, size_t n, ig_error *err)
{
    (void)c;
    (void)id;
    (void)bytes;
    (void)n;
    (void)err;
    return IG_OK;
}
