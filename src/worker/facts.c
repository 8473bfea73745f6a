/* What a model's files say about it, for whoever lists models without reading them: a part of READY. */
#include <string.h>

#include "text/template/template.h"
#include "worker/wk.h"

enum { TEXT_BYTES_MAX = 4096, META_MAX = 4096 };

/* "Q4_K - Medium" as people write it in names: Q4_K_M. */
static void put_quantization(const char *file_type, ig_buf *b)
{
    const char *dash = strstr(file_type, " - ");
    if (!dash)
        wk_put_z(b, file_type);
    else
        ig_buf_printf(b, "\"%.*s_%c\"", (int)(dash - file_type), file_type, dash[3]);
}

static void put_capabilities(const wk *w, ig_buf *b)
{
    const struct {
        const char *name;
        bool has;
    } list[] = {{"completion", w->generates},
                {"embedding", !w->generates},
                {"tools", w->generates && wk_chat_knows(w->chat, "tools")},
                {"thinking", w->generates && wk_chat_thinks(w->chat)},
                {"insert", w->generates && wk_fills_gaps(w)}};
    const char *comma = "";
    ig_buf_printf(b, "[");
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (!list[i].has) continue;
        ig_buf_printf(b, "%s\"%s\"", comma, list[i].name);
        comma = ",";
    }
    ig_buf_printf(b, "]");
}

/* Numbers and truth values as they are, texts as texts; arrays and long texts are left out: null. */
static void put_value(const wk *w, uint64_t i, const ingle_meta *m, ig_buf *b)
{
    char text[TEXT_BYTES_MAX];
    size_t n = 0;
    bool array = !strncmp(m->type, "array", 5), is_text = !strcmp(m->type, "string");
    if (array || !ingle_model_meta_text(w->model, i, 0, text, sizeof text, &n) || n > sizeof text)
        ig_buf_printf(b, "null");
    else if (is_text)
        wk_put_broken(b, (ig_str){text, n});
    else if (n && strcspn(text, "in") < n && text[0] != 't' && text[0] != 'f')
        ig_buf_printf(b, "null"); /* inf, nan */
    else
        ig_buf_add(b, text, n);
}

static void put_meta(const wk *w, ig_buf *b)
{
    ingle_meta m;
    const char *comma = "";
    ig_buf_printf(b, "{");
    for (uint64_t i = 0; i < META_MAX && ingle_model_meta(w->model, i, &m); i++) {
        ig_buf_printf(b, "%s", comma);
        wk_put_broken(b, ig_str_from(m.key));
        ig_buf_printf(b, ":");
        put_value(w, i, &m, b);
        comma = ",";
    }
    ig_buf_printf(b, "}");
}

void wk_put_facts(const wk *w, ig_buf *b)
{
    ig_str template = w->template_source.len ? w->template_source : ig_str_from(ig_template_default);
    ig_buf_printf(b, ",\"format\":\"%s\",\"quantization\":", w->info.gguf_version ? "gguf" : "safetensors");
    put_quantization(w->info.file_type, b);
    ig_buf_printf(b, ",\"capabilities\":");
    put_capabilities(w, b);
    ig_buf_printf(b, ",\"template\":");
    wk_put_broken(b, template);
    ig_buf_printf(b, ",\"meta\":");
    put_meta(w, b);
}
