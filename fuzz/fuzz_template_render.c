/* Chat templates, rendering: the input is a template, a zero byte and a JSON text whose entries are the variables. Both
 * are strangers' bytes. The output is UTF-8 and within its limit, and the same the second time. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ig_template_options small = {
    .now = "2026-03-07T15:04:05", .steps_max = 100000, .memory_max = 16 << 20, .output_max = 1 << 18};

static void render(const ig_template *t, ig_tval vars)
{
    ig_template_result first = {0}, second = {0};
    ig_error err = {0};
    ig_status st = ig_template_render(t, vars, &small, &first, &err);
    if (st == IG_OK && (first.text.len > small.output_max || !ig_utf8_valid(first.text.ptr, first.text.len))) abort();
    if (st != IG_OK && ((!first.raised && (first.text.len || !err.text[0])) || st == IG_BUG)) abort();
    if (ig_template_render(t, vars, &small, &second, NULL) != st || second.text.len != first.text.len) abort();
    if (first.text.len && memcmp(first.text.ptr, second.text.ptr, first.text.len)) abort();
    ig_template_result_fini(&first);
    ig_template_result_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - data) : size, n_json = zero ? size - n - 1 : 0;
    ig_arena arena = {.max_bytes = 32 << 20};
    ig_template *t = NULL;
    ig_tval file, vars = {0};
    const char *now;
    ig_error err = {0};
    char *json = malloc(n_json ? n_json : 1); /* exact size: an overread is seen */
    if (n_json) memcpy(json, zero + 1, n_json);
    ig_status st = IG_OK;
    file = ig_tv_dict(&arena);
    if (n_json) st = ig_tv_from_json(&arena, json, n_json, &file, &err);
    free(json);
    if (st != IG_OK && !err.text[0]) abort();
    if (st == IG_OK) st = ig_template_variables(&arena, file, &vars, &now, &err);
    if (st == IG_OK && ig_template_compile((const char *)data, n, &t, &err) == IG_OK) render(t, vars);
    ig_template_free(t);
    ig_arena_fini(&arena);
    return 0;
}
