/* Stand-in: ChatML with content in strings. The interpreter of templates (src/text/template) takes its place. */
#include "worker/chat.h"

#include <string.h>

struct wk_chat {
    ig_str system;
};

ig_status wk_chat_new(ig_str source, ig_str system, ig_str bos, ig_str eos, wk_chat **out, ig_error *err)
{
    (void)source;
    (void)bos;
    (void)eos;
    *out = ig_calloc(1, sizeof **out);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a chat template");
    (*out)->system = system;
    return IG_OK;
}

void wk_chat_free(wk_chat *c) { ig_free(c); }

static void add(ig_buf *out, ig_str role, ig_str text, bool open)
{
    ig_buf_add(out, "<|im_start|>", 12);
    ig_buf_add(out, role.ptr, role.len);
    ig_buf_add(out, "\n", 1);
    ig_buf_add(out, text.ptr, text.len);
    if (!open) ig_buf_add(out, "<|im_end|>\n", 11);
}

static ig_status add_message(const json_t *m, size_t i, bool open, ig_buf *out, ig_error *err)
{
    const json_t *role = json_object_get(m, "role"), *content = json_object_get(m, "content");
    if (!json_is_string(role))
        return ig_fail(err, IG_BAD_INPUT, 0, "messages[%zu] has no role, expected \"user\" or the like", i);
    if (content && !json_is_string(content) && !json_is_null(content))
        return ig_fail(err, IG_UNSUPPORTED, 0, "messages[%zu].content is no string", i);
    ig_str text = content && json_is_string(content)
                      ? (ig_str){json_string_value(content), json_string_length(content)}
                      : IG_STR("");
    add(out, (ig_str){json_string_value(role), json_string_length(role)}, text, open);
    return IG_OK;
}

ig_status wk_chat_render(const wk_chat *c, const json_t *body, bool add_prompt, ig_buf *out, const char **param,
                         ig_error *err)
{
    const json_t *list = json_object_get(body, "messages"), *tools = json_object_get(body, "tools");
    size_t n = json_array_size(list);
    bool prefix = json_is_true(json_object_get(body, "continue_last"));
    *param = "messages";
    if (n == 0) return ig_fail(err, IG_BAD_INPUT, 0, "there are no messages, expected a list of at least one");
    if (json_array_size(tools)) {
        *param = "tools";
        return ig_fail(err, IG_UNSUPPORTED, 0, "the model's chat template knows no tools");
    }
    const json_t *role = json_object_get(json_array_get(list, 0), "role");
    bool has_system = json_is_string(role) && !strcmp(json_string_value(role), "system");
    if (!has_system && c->system.len) add(out, IG_STR("system"), c->system, false);
    for (size_t i = 0; i < n; i++) IG_TRY(add_message(json_array_get(list, i), i, prefix && i + 1 == n, out, err));
    if (add_prompt && !prefix) ig_buf_add(out, "<|im_start|>assistant\n", 22);
    return out->failed ? ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the text of %zu messages", n) : IG_OK;
}
