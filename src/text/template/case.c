/* The file form of a conversation: one object whose entries are the template's variables, or just the messages. */
#include "text/template/value.h"

/* Entries of a file that say something about it and are no variables. */
static const char *const reserved[] = {"id",         "kind", "feature",      "template",    "source",
                                       "tier",       "now",  "note",         "expect",      "expect_error",
                                       "error_kind", "must", "allow_output", "max_seconds", "max_mib"};

static bool is_reserved(ig_str key)
{
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (ig_str_is(key, reserved[i])) return true;
    return false;
}

static bool add_standard(ig_arena *arena, ig_tval vars, const char *name, ig_tval value)
{
    ig_tval old;
    return ig_tv_get(vars, ig_str_from(name), &old) || ig_tv_put(arena, vars, ig_str_from(name), value);
}

ig_status ig_template_variables(ig_arena *arena, ig_tval file, ig_tval *out, const char **now, ig_error *err)
{
    ig_tval vars = ig_tv_dict(arena), time;
    bool ok = vars.kind != TV_FAIL;
    *now = NULL;
    if (file.kind == TV_LIST) {
        ok = ok && ig_tv_put(arena, vars, IG_STR("messages"), file) &&
             ig_tv_put(arena, vars, IG_STR("add_generation_prompt"), ig_tv_bool(true));
    } else if (file.kind != TV_DICT) {
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "expected a JSON list of messages or an object with the entry \"messages\", got %s",
                       ig_tv_type(file));
    }
    const ig_tdict *d = file.kind == TV_DICT ? tv_d(file) : NULL;
    for (uint32_t i = 0; ok && d && i < d->n; i++)
        if (!is_reserved(tv_str(d->e[i].key))) ok = ig_td_set(arena, tv_d(vars), d->e[i].key, d->e[i].value);
    ok = ok && add_standard(arena, vars, "tools", ig_tv_none()) && add_standard(arena, vars, "documents", ig_tv_none());
    if (ok && ig_tv_get(file, IG_STR("now"), &time) && time.kind == TV_STR)
        ok = (*now = ig_arena_copy(arena, tv_s(time)->p, tv_s(time)->n)) != NULL;
    if (!ok) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the conversation");
    *out = vars;
    return IG_OK;
}
