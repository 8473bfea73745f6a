#include "input.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "out.h"
#include "shop.h"

enum { TEXT_BYTES_MAX = 1 << 30 };

ingle_status input_error(const ig_error *from, ingle_error *err)
{
    err->status = (ingle_status)from->status; /* the same list (base/status.h) */
    err->sys_errno = from->sys_errno;
    err->offset = from->offset;
    memcpy(err->text, from->text, sizeof err->text);
    return err->status;
}

static ingle_status no_memory(ingle_error *err)
{
    ig_error e;
    ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the text or its tokens");
    return input_error(&e, err);
}

ingle_status input_named_model(const char *path, bool vocab_only, ingle_model **out, ig_manifest **manifest,
                               ingle_error *err)
{
    ingle_model_options options = {.size = sizeof options, .vocab_only = vocab_only};
    if (manifest) *manifest = NULL;
    ingle_status st = shop_is_name(path) ? shop_model(path, &options, out, manifest, err)
                                         : ingle_model_open(path, &options, out, err);
    const char *note;
    if (st == INGLE_OK && ingle_kernels(&note) && note) cli_note("ingle: warning: %s\n", note);
    return st;
}

ingle_status input_model(const char *path, bool vocab_only, ingle_model **out, ingle_error *err)
{
    return input_named_model(path, vocab_only, out, NULL, err);
}

static const char *const kv_names[] = {[INGLE_KV_F16] = "f16", [INGLE_KV_F32] = "f32", [INGLE_KV_Q8_0] = "q8_0"};

ingle_kv_type input_kv(const cli_call *call, ingle_kv_type standard)
{
    const char *name = cli_text(call, "kv");
    for (size_t i = 0; name && i < sizeof kv_names / sizeof *kv_names; i++)
        if (!strcmp(kv_names[i], name)) return (ingle_kv_type)i;
    return standard;
}

const char *input_kv_name(ingle_kv_type kv) { return kv_names[kv]; }

ingle_status input_text(const char *text, const char *file, ig_buf *out, ingle_error *err)
{
    ig_error e;
    ig_buf_init(out, TEXT_BYTES_MAX);
    if (text) return ig_buf_add(out, text, strlen(text)) ? INGLE_OK : no_memory(err);
    ig_status st = file ? ig_file_read(file, out, &e) : ig_fd_read_all(0, "standard input", out, &e);
    return st == IG_OK ? INGLE_OK : input_error(&e, err);
}

ingle_status input_tokenize(const ingle_model *model, const char *text, size_t n, unsigned flags, cli_ids *out,
                            ingle_error *err)
{
    return input_tokenize_veiled(model, text, n, flags, NULL, 0, out, err);
}

ingle_status input_tokenize_veiled(const ingle_model *model, const char *text, size_t n, unsigned flags,
                                   const size_t *veils, size_t n_veils, cli_ids *out, ingle_error *err)
{
    size_t capacity = n + 16; /* seldom is a text more tokens than bytes; where it is, the call says how many */
    *out = (cli_ids){0};
    for (;;) {
        out->ids = ig_alloc(capacity * sizeof *out->ids);
        if (!out->ids) return no_memory(err);
        ingle_status st =
            ingle_tokenize_veiled(model, text, n, flags, veils, n_veils, out->ids, capacity, &out->n, err);
        if (st == INGLE_OK) return st;
        input_ids_fini(&(cli_ids){.ids = out->ids});
        size_t needed = out->n;
        *out = (cli_ids){0};
        if (st != INGLE_TOO_LARGE || needed <= capacity) return st;
        capacity = needed;
    }
}

ingle_status input_pair(const ingle_model *model, const char *query, const char *text, size_t n, cli_ids *out,
                        ingle_error *err)
{
    size_t n_query = strlen(query), needed;
    *out = (cli_ids){0};
    ingle_status st = ingle_tokenize_pair(model, query, n_query, text, n, NULL, 0, &needed, err);
    if (st != INGLE_OK) return st;
    out->ids = ig_alloc((needed + 1) * sizeof *out->ids);
    if (!out->ids) return no_memory(err);
    return ingle_tokenize_pair(model, query, n_query, text, n, out->ids, needed + 1, &out->n, err);
}

static bool is_separator(char c) { return c == ' ' || c == ',' || c == '\n' || c == '\t' || c == '\r'; }

ingle_status input_ids(const char *text, size_t n, cli_ids *out, ingle_error *err)
{
    *out = (cli_ids){.ids = ig_alloc((n / 2 + 1) * sizeof *out->ids)};
    if (!out->ids) return no_memory(err);
    for (size_t i = 0; i < n;) {
        size_t len = 0;
        uint64_t id;
        if (is_separator(text[i])) {
            i++;
            continue;
        }
        while (i + len < n && !is_separator(text[i + len])) len++;
        if (!cli_parse_count(text + i, len, INT32_MAX, &id)) {
            ig_error e;
            ig_fail(&e, IG_BAD_INPUT, i,
                    "word %zu of the ids is no token id, expected whole numbers separated by blanks or commas",
                    out->n + 1);
            input_ids_fini(out);
            return input_error(&e, err);
        }
        out->ids[out->n++] = (int32_t)id;
        i += len;
    }
    return INGLE_OK;
}

void input_ids_fini(cli_ids *ids)
{
    ig_free(ids->ids);
    *ids = (cli_ids){0};
}

int32_t input_argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}
