/* Chat templates, compiling: any bytes give a template or an error that says something. What compiles is rendered with
 * nothing, within small limits. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_template *t = NULL;
    ig_error err = {0};
    char *source = malloc(size ? size : 1); /* exact size: an overread is seen */
    if (size) memcpy(source, data, size);
    ig_status st = ig_template_compile(source, size, &t, &err);
    free(source); /* nothing of it may be kept */
    if (st != IG_OK) {
        if (t || !err.text[0] || st == IG_BUG) abort();
        return 0;
    }
    static const ig_template_options small = {
        .now = "2026-03-07T15:04:05", .steps_max = 20000, .memory_max = 4 << 20, .output_max = 1 << 16};
    ig_template_result result = {0};
    st = ig_template_render(t, ig_tv_none(), &small, &result, &err);
    if (st == IG_OK && (result.text.len > small.output_max || !ig_utf8_valid(result.text.ptr, result.text.len)))
        abort();
    if (st != IG_OK && !result.raised && (!err.text[0] || result.text.len)) abort();
    ig_template_result_fini(&result);
    ig_template_free(t);
    return 0;
}
