#include "engine/vocab.h"

#include <ctype.h>
#include <stdio.h>

#include "base/os.h"
#include "model/model.h"

/* Keys tokenizer.ggml.<name>_token_id. Those without a place in the spec are checked all the same (rule G18). */
static const struct {
    const char *name;
    size_t offset;
} id_keys[] = {
#define KEY(name, field)                                                                                               \
    {                                                                                                                  \
        name, offsetof(ig_vocab_spec, field)                                                                           \
    }
#define CHECKED(name)                                                                                                  \
    {                                                                                                                  \
        name, SIZE_MAX                                                                                                 \
    }
    KEY("bos", bos),       KEY("eos", eos),       KEY("eot", eot),     KEY("eom", eom),    KEY("unknown", unk),
    KEY("separator", sep), KEY("seperator", sep), KEY("padding", pad), KEY("cls", cls),    KEY("mask", mask),
    CHECKED("fim_pre"),    CHECKED("fim_suf"),    CHECKED("fim_mid"),  CHECKED("fim_pad"), CHECKED("fim_rep"),
    CHECKED("fim_sep"),    CHECKED("prefix"),     CHECKED("suffix"),   CHECKED("middle"),
#undef KEY
#undef CHECKED
};

static const struct {
    const char *key;
    size_t offset;
} flag_keys[] = {
    {"tokenizer.ggml.add_bos_token", offsetof(ig_vocab_spec, add_bos)},
    {"tokenizer.ggml.add_eos_token", offsetof(ig_vocab_spec, add_eos)},
    {"tokenizer.ggml.add_sep_token", offsetof(ig_vocab_spec, add_sep)},
    {"tokenizer.ggml.add_space_prefix", offsetof(ig_vocab_spec, add_space_prefix)},
    {"tokenizer.ggml.remove_extra_whitespaces", offsetof(ig_vocab_spec, remove_extra_whitespaces)},
};

static ig_status read_ids(const ig_format *f, ig_vocab_spec *spec, ig_error *err)
{
    char key[96];
    for (size_t i = 0; i < sizeof id_keys / sizeof *id_keys; i++) {
        uint32_t id = 0;
        (void)snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", id_keys[i].name);
        if (!ig_format_meta(f, key)) continue;
        IG_TRY(ig_format_u32(f, key, false, &id, err));
        if (id >= spec->n_tokens)
            return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s is %u, expected less than the %zu tokens", ig_format_path(f),
                           key, id, spec->n_tokens);
        if (id_keys[i].offset != SIZE_MAX) *(int64_t *)(void *)((char *)spec + id_keys[i].offset) = id;
    }
    return IG_OK;
}

/* Lists of ids (tokens that a model must never write). */
static ig_status check_lists(const ig_format *f, const ig_vocab_spec *spec, ig_error *err)
{
    static const char *const keys[] = {"tokenizer.ggml.suppress_tokens", "tokenizer.ggml.begin_suppress_tokens",
                                       "tokenizer.ggml.eog_token_ids"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const ig_meta *list = NULL;
        IG_TRY(ig_format_array(f, keys[k], false, IG_META_I32, &list, err));
        for (uint64_t i = 0; list && i < list->n; i++) {
            int64_t id = ig_meta_int(list, i);
            if (id < 0 || (uint64_t)id >= spec->n_tokens)
                return ig_fail(err, IG_BAD_INPUT, i, "%s: entry %llu of %s is %lld, expected less than the %zu tokens",
                               ig_format_path(f), (unsigned long long)i, keys[k], (long long)id, spec->n_tokens);
        }
    }
    return IG_OK;
}

static ig_status read_flags(const ig_format *f, ig_vocab_spec *spec, ig_error *err)
{
    for (size_t i = 0; i < sizeof flag_keys / sizeof *flag_keys; i++) {
        bool value = false;
        int *out = (int *)(void *)((char *)spec + flag_keys[i].offset);
        *out = -1;
        if (!ig_format_meta(f, flag_keys[i].key)) continue;
        IG_TRY(ig_format_bool(f, flag_keys[i].key, false, &value, err));
        *out = value;
    }
    bool lower = true, strip = true;
    IG_TRY(ig_format_bool(f, "tokenizer.ggml.normalizer.lowercase", false, &lower, err));
    IG_TRY(ig_format_bool(f, "tokenizer.ggml.normalizer.strip_accents", false, &strip, err));
    spec->keep_case = !lower;
    spec->keep_accents = !strip;
    return IG_OK;
}

static ig_status same_length(const ig_format *f, const char *key, const ig_meta *m, size_t n, ig_error *err)
{
    if (!m || m->n == n) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s has %llu entries, expected one for each of %zu tokens",
                   ig_format_path(f), key, (unsigned long long)m->n, n);
}

typedef struct arrays { /* decoded copies of the file's unaligned arrays; owned */
    ig_str *tokens, *merges;
    float *scores;
    int32_t *types;
} arrays;

static ig_status read_arrays(const ig_format *f, ig_vocab_spec *spec, arrays *a, ig_error *err)
{
    const ig_meta *tokens, *scores = NULL, *types = NULL, *merges = NULL;
    IG_TRY(ig_format_array(f, "tokenizer.ggml.tokens", true, IG_META_STRING, &tokens, err));
    IG_TRY(ig_format_array(f, "tokenizer.ggml.scores", false, IG_META_F32, &scores, err));
    IG_TRY(ig_format_array(f, "tokenizer.ggml.token_type", false, IG_META_I32, &types, err));
    IG_TRY(ig_format_array(f, "tokenizer.ggml.merges", ig_str_is(spec->model, "gpt2"), IG_META_STRING, &merges, err));
    spec->n_tokens = (size_t)tokens->n;
    spec->n_merges = merges ? (size_t)merges->n : 0;
    IG_TRY(same_length(f, "tokenizer.ggml.scores", scores, spec->n_tokens, err));
    IG_TRY(same_length(f, "tokenizer.ggml.token_type", types, spec->n_tokens, err));
    a->tokens = ig_calloc(spec->n_tokens, sizeof *a->tokens);
    a->merges = ig_calloc(spec->n_merges, sizeof *a->merges);
    a->scores = scores ? ig_calloc(spec->n_tokens, sizeof *a->scores) : NULL;
    a->types = types ? ig_calloc(spec->n_tokens, sizeof *a->types) : NULL;
    if (!a->tokens || !a->merges || (scores && !a->scores) || (types && !a->types))
        return ig_fail(err, IG_NO_MEMORY, 0, "%s: out of memory for a vocabulary of %zu tokens", ig_format_path(f),
                       spec->n_tokens);
    ig_meta_strings(tokens, a->tokens);
    if (merges) ig_meta_strings(merges, a->merges);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        if (scores) a->scores[i] = (float)ig_meta_float(scores, i);
        int64_t type = types ? ig_meta_int(types, i) : 0;
        if (types) a->types[i] = type < 0 || type > INT32_MAX ? INT32_MAX : (int32_t)type;
    }
    spec->tokens = a->tokens;
    spec->merges = a->merges;
    spec->scores = a->scores;
    spec->types = a->types;
    return IG_OK;
}

/* True when the value of key holds one of the words, in any case. */
static bool holds(const ig_format *f, const char *key, const char *const *words)
{
    ig_str text = IG_STR("");
    char low[256] = {0};
    if (ig_format_str(f, key, false, &text, NULL) != IG_OK) return false;
    for (size_t i = 0; i < text.len && i < sizeof low - 1; i++) low[i] = (char)tolower((unsigned char)text.ptr[i]);
    for (; *words; words++)
        if (strstr(low, *words)) return true;
    return false;
}

/* White space beside special tokens that the reference drops for some models; their training counts on it. */
static void read_strips(const ig_format *f, ig_vocab_spec *spec)
{
    static const char *const jina[] = {"jina-v2-de", "jina-v2-es", "jina-v2-code", NULL};
    static const char *const phi[] = {"phi-3", "phi3", NULL}, *const modern[] = {"modern-bert", NULL};
    const char *strip = ig_model_strips_left(f);
    if (strip || holds(f, "tokenizer.ggml.pre", jina))
        spec->strip_left = strip ? ig_str_from(strip) : IG_STR("<mask>");
    else if (holds(f, "general.name", phi))
        spec->strip_right = true;
    else if (holds(f, "general.name", modern))
        spec->strip_left = IG_STR("[MASK]");
}

const char *ig_vocab_strips(const ig_format *f)
{
    ig_vocab_spec spec = {0};
    read_strips(f, &spec);
    if (spec.strip_right) return "</s> <unk> <s> <|endoftext|>";
    return spec.strip_left.len ? spec.strip_left.ptr : NULL;
}

/* An array of bytes, kept by some files as unsigned and by some as signed. */
static ig_status read_charsmap(const ig_format *f, ig_vocab_spec *spec, ig_error *err)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const ig_meta *m = NULL;
    IG_TRY(ig_format_array(f, key, false, IG_META_U8, &m, err));
    if (!m) return IG_OK;
    if (m->elem != IG_META_U8 && m->elem != IG_META_I8)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: %s is no array of bytes", ig_format_path(f), key);
    spec->charsmap = (ig_str){(const char *)m->data, (size_t)m->n};
    return IG_OK;
}

static ig_status build(const ig_format *f, ig_vocab_spec *spec, arrays *a, ig_vocab **out, ig_error *err)
{
    ig_error e;
    IG_TRY(ig_format_str(f, "tokenizer.ggml.pre", false, &spec->pre, err));
    IG_TRY(read_arrays(f, spec, a, err));
    IG_TRY(read_ids(f, spec, err));
    IG_TRY(check_lists(f, spec, err));
    IG_TRY(read_flags(f, spec, err));
    if (ig_str_is(spec->model, "t5")) IG_TRY(read_charsmap(f, spec, err));
    read_strips(f, spec);
    ig_status st = ig_vocab_new(spec, out, &e);
    return st == IG_OK ? IG_OK : ig_fail(err, st, e.offset, "%s: %s", ig_format_path(f), e.text);
}

static ig_status from_json(const char *path, ig_str json, ig_str config, ig_vocab **out, ig_error *err)
{
    ig_error e;
    ig_status st = ig_vocab_from_json(json.ptr, json.len, config.ptr, config.len, out, &e);
    return st == IG_OK ? IG_OK : ig_fail(err, st, e.offset, "%.200s: %s", path, e.text);
}

/* Path of a file in a directory; too long ones are cut and then not found. */
static const char *inside(const char *dir, const char *file, char out[4096])
{
    (void)snprintf(out, 4096, "%s/%s", dir, file);
    return out;
}

static bool is_there(const char *dir, const char *file)
{
    char path[4096];
    ig_file f;
    ig_status st = ig_file_map(inside(dir, file, path), &f, NULL);
    ig_file_unmap(&f);
    return st != IG_NOT_FOUND;
}

bool ig_vocab_is_directory(const char *path)
{
    return is_there(path, "tokenizer.json") && !is_there(path, "config.json");
}

ig_status ig_vocab_from_directory(const char *path, ig_vocab **out, ig_error *err)
{
    char name[4096];
    ig_file json, config = {0};
    *out = NULL;
    IG_TRY(ig_file_map(inside(path, "tokenizer.json", name), &json, err));
    ig_status st = IG_OK;
    if (is_there(path, "tokenizer_config.json"))
        st = ig_file_map(inside(path, "tokenizer_config.json", name), &config, err);
    if (st == IG_OK)
        st = from_json(path, (ig_str){(const char *)json.data, (size_t)json.size},
                       (ig_str){(const char *)config.data, (size_t)config.size}, out, err);
    ig_file_unmap(&json);
    ig_file_unmap(&config);
    return st;
}

/* The raw tokenizer files that the reader of a model directory passes on. *has false: there are none. */
static ig_status read_json(const ig_format *f, bool *has, ig_vocab **out, ig_error *err)
{
    ig_str json = {NULL, 0}, config = {NULL, 0};
    IG_TRY(ig_format_str(f, "ingle.tokenizer.json", false, &json, err));
    IG_TRY(ig_format_str(f, "ingle.tokenizer.config", false, &config, err));
    *has = json.ptr != NULL;
    return *has ? from_json(ig_format_path(f), json, config, out, err) : IG_OK;
}

ig_status ig_vocab_from_format(const ig_format *f, ig_vocab **out, ig_error *err)
{
    ig_vocab_spec spec = {
        .bos = -1, .eos = -1, .eot = -1, .eom = -1, .unk = -1, .sep = -1, .pad = -1, .cls = -1, .mask = -1};
    arrays a = {0};
    bool has_json = false;
    *out = NULL;
    IG_TRY(read_json(f, &has_json, out, err));
    if (has_json || !ig_format_meta(f, "tokenizer.ggml.model")) return IG_OK;
    IG_TRY(ig_format_str(f, "tokenizer.ggml.model", true, &spec.model, err));
    if (ig_str_is(spec.model, "no_vocab") || ig_str_is(spec.model, "none")) return IG_OK;
    ig_status st = build(f, &spec, &a, out, err);
    ig_free(a.tokens);
    ig_free(a.merges);
    ig_free(a.scores);
    ig_free(a.types);
    return st;
}
