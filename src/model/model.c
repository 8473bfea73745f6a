#include "model/model.h"

#include <stdio.h>

#include "model/plan.h"

static ig_status list_architectures(const ig_format *f, ig_str name, ig_error *err)
{
    ig_buf names;
    ig_buf_init(&names, 256);
    for (size_t i = 0; ig_arch_at(i); i++)
        if (i == 0 || strcmp(ig_arch_at(i)->name, ig_arch_at(i - 1)->name) != 0)
            (void)ig_buf_printf(&names, "%s%s", i ? ", " : "", ig_arch_at(i)->name);
    ig_status st = ig_fail(err, IG_UNSUPPORTED, 0, "%s: architecture \"%.*s\" is not known, expected one of %.*s",
                           ig_format_path(f), IG_STR_ARG(name), (int)names.len, names.ptr ? names.ptr : "");
    ig_buf_fini(&names);
    return st;
}

/* The row of a name may depend on the number of layers and experts. */
static ig_status find_row(ig_model *m, ig_str name, ig_error *err)
{
    uint32_t n_layers = 0, n_experts = 0;
    char key[160];
    if (name.len < 96) {
        (void)snprintf(key, sizeof key, "%.*s.block_count", IG_STR_ARG(name));
        (void)ig_format_u32(m->file, key, false, &n_layers, NULL);
        (void)snprintf(key, sizeof key, "%.*s.expert_count", IG_STR_ARG(name));
        (void)ig_format_u32(m->file, key, false, &n_experts, NULL);
        m->arch = ig_arch_find(name, n_layers, n_experts);
    }
    return m->arch ? IG_OK : list_architectures(m->file, name, err);
}

const char *ig_model_strips_left(const ig_format *f)
{
    ig_str name = IG_STR("");
    (void)ig_format_str(f, "general.architecture", false, &name, NULL);
    for (size_t i = 0; ig_arch_at(i); i++)
        if (ig_str_is(name, ig_arch_at(i)->name)) return ig_arch_at(i)->strip_left;
    return NULL;
}

static ig_status load(ig_model *m, size_t n_vocab_min, ig_error *err)
{
    ig_str name, type = IG_STR("model");
    IG_TRY(ig_format_str(m->file, "general.type", false, &type, err));
    if (!ig_str_is(type, "model"))
        return ig_fail(
            err, IG_UNSUPPORTED, 0,
            "%s: general.type is \"%.*s\", expected \"model\": adapters and other parts cannot be opened alone",
            ig_format_path(m->file), IG_STR_ARG(type));
    IG_TRY(ig_format_str(m->file, "general.architecture", true, &name, err));
    IG_TRY(find_row(m, name, err));
    IG_TRY(ig_hparams_read(m->file, m, err));
    IG_TRY(ig_layers_init(m, err));
    IG_TRY(ig_weights_bind(m, n_vocab_min, err));
    IG_TRY(ig_rope_init(m, err));
    IG_TRY(ig_plan_build(m, err));
    m->takes_turns = ig_plan_takes_turns(m);
    return IG_OK;
}

ig_status ig_model_new(const ig_format *f, const ig_kernels *kernels, size_t n_vocab_min, ig_model **out, ig_error *err)
{
    *out = NULL;
    ig_model *m = ig_calloc(1, sizeof *m);
    if (!m) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the model");
    m->file = f;
    m->kernels = kernels;
    ig_status st = load(m, n_vocab_min, err);
    if (st != IG_OK) {
        ig_model_free(m);
        return st;
    }
    *out = m;
    return IG_OK;
}

void ig_model_free(ig_model *m)
{
    if (!m) return;
    ig_arena_fini(&m->arena);
    ig_free(m);
}

const ig_hparams *ig_model_hparams(const ig_model *m) { return &m->hp; }
const ig_kernels *ig_model_kernels(const ig_model *m) { return m->kernels; }
uint64_t ig_model_n_params(const ig_model *m) { return m->n_params; }
uint64_t ig_model_weight_bytes(const ig_model *m) { return m->weight_bytes; }
