/* What a model's files say about it, for whoever lists models without reading them: a part of READY. */
#include <string.h>

#include "text/template/template.h"
#include "worker/wk.h"

enum { TEXT_BYTES_MAX = 4096, META_MAX = 4096, ELEMENTS_MAX = 1 << 20, TENSORS_MAX = 1 << 16 };

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

/* Numbers and truth values as they are, texts as texts; long texts are left out: null. */
static void put_element(const wk *w, uint64_t i, uint64_t element, bool is_text, ig_buf *b)
{
    char text[TEXT_BYTES_MAX];
    size_t n = 0;
    if (!ingle_model_meta_text(w->model, i, element, text, sizeof text, &n) || n > sizeof text)
        ig_buf_printf(b, "null");
    else if (is_text)
        wk_put_broken(b, (ig_str){text, n});
    else if (n && strcspn(text, "in") < n && text[0] != 't' && text[0] != 'f')
        ig_buf_printf(b, "null"); /* inf, nan */
    else
        ig_buf_add(b, text, n);
}

/* arrays: they are there, else null. */
static void put_value(const wk *w, uint64_t i, const ingle_meta *m, bool arrays, ig_buf *b)
{
    const bool array = !strncmp(m->type, "array", 5);
    if (!array) {
        put_element(w, i, 0, !strcmp(m->type, "string"), b);
        return;
    }
    if (!arrays || m->n > ELEMENTS_MAX || !strncmp(m->type, "array of array", 14)) {
        ig_buf_printf(b, "null");
        return;
    }
    ig_buf_printf(b, "[");
    for (uint64_t k = 0; k < m->n && !b->failed; k++) {
        if (k) ig_buf_add(b, ",", 1);
        put_element(w, i, k, strstr(m->type, "string") != NULL, b);
    }
    ig_buf_printf(b, "]");
}

static void put_meta(const wk *w, bool arrays, ig_buf *b)
{
    ingle_meta m;
    const char *comma = "";
    ig_buf_printf(b, "{");
    for (uint64_t i = 0; i < META_MAX && ingle_model_meta(w->model, i, &m); i++) {
        ig_buf_printf(b, "%s", comma);
        wk_put_broken(b, ig_str_from(m.key));
        ig_buf_printf(b, ":");
        put_value(w, i, &m, arrays, b);
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
    put_meta(w, false, b);
}

void wk_put_all_facts(const wk *w, ig_buf *b)
{
    ingle_tensor t;
    ig_buf_printf(b, "{\"meta\":");
    put_meta(w, true, b);
    ig_buf_printf(b, ",\"tensors\":[");
    for (uint64_t i = 0; i < TENSORS_MAX && ingle_model_tensor(w->model, i, &t); i++) {
        ig_buf_printf(b, "%s{\"name\":", i ? "," : "");
        wk_put_broken(b, ig_str_from(t.name));
        ig_buf_printf(b, ",\"type\":\"%s\",\"shape\":[", t.type);
        for (uint32_t k = 0; k < t.n_dims && k < 4; k++)
            ig_buf_printf(b, "%s%llu", k ? "," : "", (unsigned long long)t.ne[k]);
        ig_buf_printf(b, "]}");
    }
    ig_buf_printf(b, "]}");
}
