/* A whole model from one file into another: every tensor's type is chosen first, so that what cannot be done is refused
 * before anything is written; then the header, then tensor after tensor. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/pool.h"
#include "quant/convert.h"
#include "quant/mix.h"
#include "quant/quant.h"

typedef struct choice {
    uint32_t type, wanted; /* wanted differs where rows did not fit */
} choice;

typedef struct file_job {
    const ig_quantize_options *o;
    ig_quantize_report *report;
    const ig_mix *mix;
    ig_format *in, *vocabulary; /* vocabulary NULL: the input's own */
    ig_importance *importance;  /* NULL: none */
    ig_mix_model model;
    choice *choices; /* owned [n_tensors] */
    ig_gguf_writer *to;
    ig_pool *pool;
    ig_converter *stream;
    ig_quantize_step step;
    uint64_t done; /* bytes of earlier tensors */
} file_job;

void ig_quantize_types(char *out, size_t n) { ig_mix_names(out, n); }
bool ig_quantize_knows(const char *type) { return ig_mix_find(type) != NULL; }

/* ------------------------------------------------------------------------------------------------ choosing */

static bool is_float(uint32_t type) { return ig_dtype_row(type)->block_elems == 1; }

/* Matrices by the mixture; of the others floats become F32, which changes no value. */
static choice choose(const file_job *j, const ig_tensor *t)
{
    choice c;
    if (ig_mix_covers(t)) {
        c.type = ig_mix_type(j->mix, &j->model, t, &c.wanted);
        return c;
    }
    c.type = t->type == IG_F16 || t->type == IG_BF16 ? (uint32_t)IG_F32 : t->type;
    c.wanted = c.type;
    return c;
}

static ig_status quantised_already(const file_job *j, const ig_tensor *t, ig_error *err)
{
    return ig_fail(
        err, IG_BAD_INPUT, 0,
        "%.200s is quantised already: tensor \"%.*s\" is %s, expected F32, F16 or BF16; quantise the original "
        "model, or add --requantize and lose more",
        j->o->in, IG_STR_ARG(t->name), ig_dtype_row(t->type)->name);
}

static ig_status check_importance(const file_job *j, ig_error *err)
{
    for (size_t i = 0; j->importance && i < ig_format_n_tensors(j->in); i++)
        if (ig_importance_has(j->importance, ig_format_tensor_at(j->in, i)->name)) return IG_OK;
    if (!j->importance) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is of another model: none of its %zu tensors is in %.200s",
                   j->o->importance, ig_importance_n(j->importance), j->o->in);
}

static ig_status choose_all(file_job *j, ig_error *err)
{
    const size_t n = ig_format_n_tensors(j->in);
    const ig_tensor *quantised = NULL;
    size_t n_converted = 0;
    j->choices = ig_calloc(n, sizeof *j->choices);
    if (!j->choices) return ig_fail(err, IG_NO_MEMORY, 0, "%.200s: out of memory for %zu tensors", j->o->in, n);
    for (size_t i = 0; i < n; i++) {
        const ig_tensor *t = ig_format_tensor_at(j->in, i);
        const choice c = j->choices[i] = choose(j, t);
        const bool stored = ig_mix_covers(t) && !is_float(t->type);
        if (stored && !quantised) quantised = t;
        n_converted += ig_mix_covers(t) && c.type != t->type;
        if (stored && c.type != t->type && !j->o->requantize) return quantised_already(j, t, err);
        IG_TRY(ig_convert_can(t, c.type, j->o->in, err));
        j->step.all += t->n_bytes;
        if (c.type != c.wanted) j->report->n_fallback++;
    }
    return quantised && !n_converted && !j->o->requantize ? quantised_already(j, quantised, err) : IG_OK;
}

/* ------------------------------------------------------------------------------------------------ header */

/* Keys that describe the input file and not the model, or that are written anew; rows of halves are put in order. */
static bool is_dropped(const file_job *j, ig_str key)
{
    static const char *const dropped[] = {
        "general.alignment", "general.file_type",   "general.quantization_version", "split.no",
        "split.count",       "split.tensors.count", "ingle.rope.half_split"};
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        if (ig_str_is(key, dropped[i])) return true;
    if (j->o->drop_json && ig_str_starts(key, IG_STR("ingle.tokenizer."))) return true;
    for (size_t i = 0; j->vocabulary && i < ig_format_n_meta(j->vocabulary); i++)
        if (ig_str_eq(key, ig_format_meta_at(j->vocabulary, i)->key)) return true;
    return j->importance && ig_str_starts(key, IG_STR("quantize.imatrix."));
}

static void put_metadata(const file_job *j)
{
    for (size_t i = 0; i < ig_format_n_meta(j->in); i++) {
        const ig_meta *m = ig_format_meta_at(j->in, i);
        if (!is_dropped(j, m->key)) ig_gguf_put_meta(j->to, m);
    }
    for (size_t i = 0; j->vocabulary && i < ig_format_n_meta(j->vocabulary); i++)
        ig_gguf_put_meta(j->to, ig_format_meta_at(j->vocabulary, i));
    /* A tokenizer.json alone goes along as it is. Engines that do not know that key are told that there is no
     * vocabulary of theirs, so that they read the file. */
    if (ig_format_meta(j->in, "ingle.tokenizer.json") && !ig_format_meta(j->in, "tokenizer.ggml.model") &&
        !j->vocabulary)
        ig_gguf_put_str(j->to, "tokenizer.ggml.model", IG_STR("no_vocab"));
    ig_gguf_put_u32(j->to, "general.file_type", ig_mix_file_type(j->mix));
    ig_gguf_put_u32(j->to, "general.quantization_version", 2);
    if (!j->importance) return;
    const char *slash = strrchr(j->o->importance, '/'); /* no folder names of this machine in a file to be passed on */
    ig_str dataset = ig_importance_dataset(j->importance);
    ig_gguf_put_str(j->to, "quantize.imatrix.file", ig_str_from(slash ? slash + 1 : j->o->importance));
    if (dataset.len) ig_gguf_put_str(j->to, "quantize.imatrix.dataset", dataset);
    ig_gguf_put_u32(j->to, "quantize.imatrix.entries_count", (uint32_t)ig_importance_n(j->importance));
    ig_gguf_put_u32(j->to, "quantize.imatrix.chunks_count", ig_importance_chunks(j->importance));
}

/* ------------------------------------------------------------------------------------------------ tensors */

static bool on_progress(void *user, uint64_t done)
{
    file_job *j = user;
    j->step.done = j->done + done;
    return !j->o->progress || j->o->progress(j->o->user, &j->step);
}

/* Embeddings are looked up and outputs seldom gathered: only layers are expected to have importance. */
static bool is_layer(const ig_tensor *t) { return ig_str_starts(t->name, IG_STR("blk.")); }

static ig_status write_tensor(file_job *j, size_t i, ig_error *err)
{
    const ig_tensor *t = ig_format_tensor_at(j->in, i);
    const choice c = j->choices[i];
    const bool matrix = ig_mix_covers(t);
    bool weighed = false;
    j->step.name = t->name;
    j->step.ne = t->ne;
    j->step.idx = i;
    j->step.from = ig_dtype_row(t->type)->name;
    j->step.to = ig_dtype_row(c.type)->name;
    j->step.wanted = c.type != c.wanted ? ig_dtype_row(c.wanted)->name : NULL;
    if (!on_progress(j, 0)) return ig_fail(err, IG_CANCELLED, 0, "interrupted, nothing was written");
    IG_TRY(ig_convert_tensor(j->stream, t, c.type, matrix ? j->importance : NULL, j->o->in, on_progress, j, &weighed,
                             err));
    j->done += t->n_bytes;
    ig_quantize_report *r = j->report;
    uint64_t bytes;
    (void)ig_dtype_row_bytes(c.type, t->ne[0], &bytes);
    r->bytes_in += t->n_bytes;
    r->bytes_out += bytes * t->ne[1] * t->ne[2] * t->ne[3];
    r->n_weights += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    r->n_by_type[c.type]++;
    r->n_tensors++;
    if (j->importance && is_layer(t) && matrix && !weighed && c.type != t->type && ig_quant_weighs(c.type))
        r->n_unweighed++;
    return IG_OK;
}

static ig_status write_all(file_job *j, ig_error *err)
{
    const size_t n = ig_format_n_tensors(j->in);
    put_metadata(j);
    for (size_t i = 0; i < n; i++) {
        const ig_tensor *t = ig_format_tensor_at(j->in, i);
        ig_gguf_put_tensor(j->to, t->name, j->choices[i].type, t->n_dims, t->ne);
    }
    IG_TRY(ig_gguf_begin_data(j->to, err));
    j->step.n = n;
    for (size_t i = 0; i < n; i++) IG_TRY(write_tensor(j, i, err));
    return ig_gguf_commit(j->to, err);
}

static ig_status run(file_job *j, ig_error *err)
{
    const unsigned n_threads = j->o->n_threads ? j->o->n_threads : ig_cores();
    IG_TRY(ig_format_open(j->o->in, &j->in, err));
    if (ig_format_n_tensors(j->in) == 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s has no tensors to quantise", j->o->in);
    if (j->o->vocabulary)
        IG_TRY(ig_format_open_memory("the vocabulary", j->o->vocabulary, j->o->n_vocabulary, &j->vocabulary, err));
    if (j->o->importance) IG_TRY(ig_importance_read(j->o->importance, &j->importance, err));
    IG_TRY(ig_mix_model_init(&j->model, j->in, j->importance != NULL, err));
    IG_TRY(check_importance(j, err));
    IG_TRY(choose_all(j, err));
    IG_TRY(ig_pool_new(n_threads, &j->pool, err));
    IG_TRY(ig_gguf_writer_new(j->o->out, &j->to, err));
    IG_TRY(ig_converter_new(j->pool, j->to, &j->stream, err));
    return write_all(j, err);
}

ig_status ig_quantize_file(const ig_quantize_options *options, ig_quantize_report *report, ig_error *err)
{
    file_job j = {.o = options, .report = report, .mix = ig_mix_find(options->type)};
    *report = (ig_quantize_report){0};
    if (!j.mix) {
        char names[320];
        ig_mix_names(names, sizeof names);
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.40s\" is no type to quantise to, expected one of %s", options->type,
                       names);
    }
    report->type = ig_mix_name(j.mix);
    ig_status st = run(&j, err);
    ig_converter_free(j.stream);
    ig_gguf_writer_free(j.to);
    ig_pool_free(j.pool);
    ig_mix_model_fini(&j.model);
    ig_importance_free(j.importance);
    ig_format_close(j.in);
    ig_format_close(j.vocabulary);
    ig_free(j.choices);
    return st;
}
