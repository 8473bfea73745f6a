/* Vocabulary: checks and tables. Token texts are borrowed from the model file; everything else is compact arrays and
 * two open-addressing tables (text -> id, pair of ids -> merge), because a 128k vocabulary is built at every start. */
#include "base/sort.h"
#include "base/utf8.h"
#include "text/token/tj.h"

#include <math.h>

enum { TOKENS_MAX = 1 << 24, TOKEN_BYTES_MAX = 65536 };

uint32_t ig_byte_to_char(uint8_t byte)
{
    if ((byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE) return byte;
    if (byte <= ' ') return 256u + byte;
    if (byte <= 0xA0) return 256u + 33 + (byte - 0x7Fu);
    return 256 + 67; /* 0xAD */
}

int ig_char_to_byte(uint32_t cp)
{
    if (cp < 256) return ig_byte_to_char((uint8_t)cp) == cp ? (int)cp : -1;
    if (cp <= 256 + 32) return (int)cp - 256;
    if (cp <= 256 + 66) return (int)cp - 256 - 33 + 0x7F;
    return cp == 256 + 67 ? 0xAD : -1;
}

bool ig_ids_add(ig_ids *ids, int32_t id)
{
    if (ids->len == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64;
        int32_t *p = ig_realloc(ids->ptr, cap, sizeof *p);
        if (!p) return false;
        ids->ptr = p;
        ids->cap = cap;
    }
    ids->ptr[ids->len++] = id;
    return true;
}

static ig_status no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the vocabulary"); }

/* Gemma 4 names its model after itself and then needs no pre-tokenizer. */
static bool is_gemma4(const ig_vocab_spec *spec) { return ig_str_is(spec->model, "gemma4"); }
static ig_str pre_name(const ig_vocab_spec *spec) { return is_gemma4(spec) ? spec->model : spec->pre; }

static ig_status read_kind(ig_vocab *v, const ig_vocab_spec *spec, ig_error *err)
{
    static const struct {
        const char *name;
        ig_vocab_kind kind;
    } kinds[] = {{"llama", IG_VOCAB_SPM},
                 {"gpt2", IG_VOCAB_BPE},
                 {"gemma4", IG_VOCAB_BPE},
                 {"bert", IG_VOCAB_WPM},
                 {"t5", IG_VOCAB_TJ}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!ig_str_is(spec->model, kinds[i].name)) continue;
        v->kind = kinds[i].kind;
        if (v->kind != IG_VOCAB_BPE) return IG_OK;
        v->pre = ig_pre_find(pre_name(spec));
        if (v->pre) return IG_OK;
        return ig_fail(err, IG_UNSUPPORTED, 0, "tokenizer.ggml.pre is \"%.*s\", which is not known",
                       IG_STR_ARG(spec->pre));
    }
    return ig_fail(err, IG_UNSUPPORTED, 0, "tokenizer.ggml.model is \"%.*s\", expected llama, gpt2, gemma4, bert or t5",
                   IG_STR_ARG(spec->model));
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* Value of "<0xNN>", or -1. */
static int byte_token(ig_str s)
{
    if (s.len != 6 || memcmp(s.ptr, "<0x", 3) || s.ptr[5] != '>') return -1;
    int hi = hex(s.ptr[3]), lo = hex(s.ptr[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

static ig_status check_token(const ig_vocab_spec *spec, size_t id, ig_error *err)
{
    ig_str t = spec->tokens[id];
    int32_t type = spec->types ? spec->types[id] : IG_TOKEN_NORMAL;
    if (t.len > TOKEN_BYTES_MAX)
        return ig_fail(err, IG_BAD_INPUT, id, "token %zu has %zu bytes, expected at most %d", id, t.len,
                       TOKEN_BYTES_MAX);
    if (type < 0 || type > IG_TOKEN_BYTE)
        return ig_fail(err, IG_BAD_INPUT, id, "tokenizer.ggml.token_type of token %zu is %d, expected 1 to 6", id,
                       type);
    if (type == IG_TOKEN_BYTE && byte_token(t) < 0)
        return ig_fail(err, IG_BAD_INPUT, id, "token %zu is of the type byte and reads \"%.*s\", expected <0xNN>", id,
                       IG_STR_ARG(t));
    if (type == IG_TOKEN_USER && t.len == 0)
        return ig_fail(err, IG_BAD_INPUT, id, "token %zu is user-defined and empty, expected at least one byte", id);
    if (spec->scores && !isfinite(spec->scores[id]))
        return ig_fail(err, IG_BAD_INPUT, id, "tokenizer.ggml.scores of token %zu is no finite number", id);
    return IG_OK;
}

bool ig_marker_inside(ig_str t)
{
    size_t at = 0;
    while (t.len - at >= 3 && !memcmp(t.ptr + at, IG_MARKER, 3)) at += 3;
    return t.len > at && memmem(t.ptr + at, t.len - at, IG_MARKER, 3);
}

/* Several tokens of one text: the first keeps the text, as deterministic as the file's order. */
static ig_status read_tokens(ig_vocab *v, const ig_vocab_spec *spec, ig_error *err)
{
    if (spec->n_tokens == 0 || spec->n_tokens > TOKENS_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.ggml.tokens has %zu entries, expected 1 to %d", spec->n_tokens,
                       TOKENS_MAX);
    v->n = spec->n_tokens;
    v->tokens = ig_calloc(v->n, sizeof *v->tokens);
    v->types = ig_calloc(v->n, 1);
    v->ends = ig_calloc(v->n, 1);
    v->scores = v->kind == IG_VOCAB_SPM ? ig_calloc(v->n, sizeof *v->scores) : NULL;
    if (!v->tokens || !v->types || !v->ends || (v->kind == IG_VOCAB_SPM && !v->scores) || !ig_texts_init(v))
        return no_memory(err);
    memset(v->byte_id, 0xFF, sizeof v->byte_id);
    v->words = v->kind == IG_VOCAB_SPM;
    for (size_t i = 0; i < v->n; i++) {
        IG_TRY(check_token(spec, i, err));
        v->tokens[i] = spec->tokens[i];
        v->types[i] = (uint8_t)(spec->types && spec->types[i] ? spec->types[i] : IG_TOKEN_NORMAL);
        if (v->scores && spec->scores) v->scores[i] = spec->scores[i];
        if (v->tokens[i].len > v->longest) v->longest = v->tokens[i].len;
        if (v->words && ig_marker_inside(v->tokens[i])) v->words = false;
        /* A text with a NUL is never looked up: the reference holds C strings and does not find it either. */
        if (memchr(v->tokens[i].ptr, 0, v->tokens[i].len))
            v->has_twins = true;
        else
            ig_texts_add(v, (uint32_t)i);
    }
    return IG_OK;
}

static void find_bytes(ig_vocab *v)
{
    bool alphabet = v->kind == IG_VOCAB_BPE && !v->flags.raw_utf8;
    for (int b = 0; b < 256; b++) {
        char text[8];
        size_t n;
        if (alphabet)
            n = ig_utf8_encode(ig_byte_to_char((uint8_t)b), text);
        else {
            static const char digits[] = "0123456789ABCDEF";
            memcpy(text, "<0x", 3);
            text[3] = digits[b >> 4];
            text[4] = digits[b & 15];
            text[5] = '>';
            n = 6;
        }
        v->byte_id[b] = ig_texts_get(v, (ig_str){text, n});
    }
}

static void default_id(const ig_vocab *v, int32_t *id, int32_t standard)
{
    if (*id < 0 && standard >= 0 && (size_t)standard < v->n) *id = standard;
}

static ig_status read_ids(ig_vocab *v, const ig_vocab_spec *spec, ig_error *err)
{
    const struct {
        const char *name;
        int64_t id;
        int32_t *out;
    } ids[] = {{"bos", spec->bos, &v->bos}, {"eos", spec->eos, &v->eos},     {"eot", spec->eot, &v->eot},
               {"eom", spec->eom, &v->eom}, {"unknown", spec->unk, &v->unk}, {"separator", spec->sep, &v->sep},
               {"cls", spec->cls, &v->cls}, {"padding", spec->pad, NULL},    {"mask", spec->mask, NULL}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].id < -1 || ids[i].id >= (int64_t)v->n)
            return ig_fail(err, IG_BAD_INPUT, 0,
                           "tokenizer.ggml.%s_token_id is %lld, expected less than the %zu tokens", ids[i].name,
                           (long long)ids[i].id, v->n);
        if (ids[i].out) *ids[i].out = (int32_t)ids[i].id;
    }
    bool spm = v->kind == IG_VOCAB_SPM, wpm = v->kind == IG_VOCAB_WPM;
    if (spm || wpm) { /* the numbers of the first models of these kinds, which files may leave out */
        default_id(v, &v->bos, spm ? 1 : v->cls >= 0 ? v->cls : 101);
        default_id(v, &v->eos, spm ? 2 : -1);
        default_id(v, &v->unk, spm ? 0 : 100);
        default_id(v, &v->sep, spm ? -1 : 102);
    }
    return IG_OK;
}

/* Tokens that end a turn or frame a gap to fill, by the names that models use; files do not always name or type them.
 * They are control tokens whatever their type says, as the reference has it. */
#define DEEPSEEK_BAR "\xEF\xBD\x9C"
#define LOW_BLOCK    "\xE2\x96\x81"
static const char *const turn_ends[] = {
    "<|eot_id|>",    "<|im_end|>",
    "<|end|>",       "<end_of_turn>",
    "<|endoftext|>", "<EOT>",
    "_<EOT>",        "<" DEEPSEEK_BAR "end" LOW_BLOCK "of" LOW_BLOCK "sentence" DEEPSEEK_BAR ">",
    "<turn|>"};
static const char *const other_ends[] = {"<|eom_id|>",
                                         "<|end_of_text|>",
                                         "<end_of_utterance>",
                                         "<|return|>",
                                         "<|call|>",
                                         "<|calls|>",
                                         "<|flush|>",
                                         "<|eot|>",
                                         "<|eom|>",
                                         "</s>",
                                         "<eos>",
                                         "[EOT]",
                                         "[EOS]",
                                         "[e~["};
static const char *const gap_marks[] = {"<|fim_prefix|>",
                                        "<fim-prefix>",
                                        "<fim_prefix>",
                                        "<" DEEPSEEK_BAR "fim" LOW_BLOCK "begin" DEEPSEEK_BAR ">",
                                        "<PRE>",
                                        LOW_BLOCK "<PRE>",
                                        "<|code_prefix|>",
                                        "<|fim_suffix|>",
                                        "<fim-suffix>",
                                        "<fim_suffix>",
                                        "<" DEEPSEEK_BAR "fim" LOW_BLOCK "hole" DEEPSEEK_BAR ">",
                                        "<SUF>",
                                        LOW_BLOCK "<SUF>",
                                        "<|code_suffix|>",
                                        "<|fim_middle|>",
                                        "<fim-middle>",
                                        "<fim_middle>",
                                        "<" DEEPSEEK_BAR "fim" LOW_BLOCK "end" DEEPSEEK_BAR ">",
                                        "<MID>",
                                        LOW_BLOCK "<MID>",
                                        "<|code_middle|>",
                                        "<|fim_pad|>",
                                        "<fim-pad>",
                                        "<fim_pad>",
                                        "<PAD>",
                                        "<|fim_repo|>",
                                        "<|repo_name|>",
                                        "<fim-repo>",
                                        "<REPO>",
                                        "<reponame>",
                                        "<|file_sep|>"};

const char *ig_end_name(size_t i, bool *turn)
{
    size_t n = sizeof turn_ends / sizeof *turn_ends;
    *turn = i < n;
    if (*turn) return turn_ends[i];
    return i - n < sizeof other_ends / sizeof *other_ends ? other_ends[i - n] : NULL;
}

static int32_t mark_control(ig_vocab *v, const char *name, bool end)
{
    int32_t id = ig_texts_get(v, ig_str_from(name));
    if (id < 0) return -1;
    v->types[id] = IG_TOKEN_CONTROL;
    v->ends[id] = v->ends[id] || end;
    return id;
}

static void find_control(ig_vocab *v)
{
    for (size_t i = 0; i < sizeof turn_ends / sizeof *turn_ends; i++) {
        int32_t id = mark_control(v, turn_ends[i], true);
        if (v->eot < 0) v->eot = id;
    }
    for (size_t i = 0; i < sizeof other_ends / sizeof *other_ends; i++) (void)mark_control(v, other_ends[i], true);
    for (size_t i = 0; i < sizeof gap_marks / sizeof *gap_marks; i++) (void)mark_control(v, gap_marks[i], false);
    const int32_t known[] = {v->eos, v->eot, v->eom};
    for (int i = 0; i < 3; i++)
        if (known[i] >= 0) v->ends[known[i]] = 1;
}

static int flag(int key, bool standard) { return key < 0 ? standard : key; }

static void read_flags(ig_vocab *v, const ig_vocab_spec *spec)
{
    bool spm = v->kind == IG_VOCAB_SPM, wpm = v->kind == IG_VOCAB_WPM;
    v->add_bos = flag(spec->add_bos, wpm || spm || v->flags.add_bos || is_gemma4(spec));
    v->add_eos = flag(spec->add_eos, v->kind == IG_VOCAB_TJ);
    v->add_sep = flag(spec->add_sep, wpm || v->flags.add_sep);
    v->space_prefix = flag(spec->add_space_prefix, spm || v->kind == IG_VOCAB_TJ);
    v->clean_spaces = wpm || (v->kind == IG_VOCAB_BPE && v->flags.clean_spaces);
    v->keep_case = spec->keep_case;
    v->keep_accents = spec->keep_accents;
    v->strip_right = spec->strip_right;
    v->strip_left = spec->strip_left.len ? ig_texts_get(v, spec->strip_left) : -1;
}

static ig_status build(ig_vocab *v, const ig_vocab_spec *spec, ig_error *err)
{
    IG_TRY(read_kind(v, spec, err));
    if (v->pre) v->flags = ig_pre_get_flags(pre_name(spec));
    IG_TRY(read_tokens(v, spec, err));
    IG_TRY(read_ids(v, spec, err));
    find_bytes(v);
    ig_merge_list merges = {.left = spec->merges, .n = spec->n_merges};
    if (v->kind == IG_VOCAB_BPE) IG_TRY(ig_merges_read(v, &merges, err));
    read_flags(v, spec);
    find_control(v);
    IG_TRY(ig_special_index(v, err));
    v->bytes = sizeof *v + v->n * (sizeof(ig_str) + 2) + v->n_slots * sizeof(ig_text_slot) +
               v->n_merge_slots * sizeof(ig_merge) + v->special.n * 2 * sizeof(uint32_t) +
               (v->scores ? v->n * sizeof(float) : 0);
    return v->kind == IG_VOCAB_TJ ? ig_tj_from_spec(v, spec, err) : IG_OK;
}

ig_status ig_vocab_new(const ig_vocab_spec *spec, ig_vocab **out, ig_error *err)
{
    *out = NULL;
    ig_vocab *v = ig_calloc(1, sizeof *v);
    if (!v) return no_memory(err);
    ig_status st = build(v, spec, err);
    if (st != IG_OK) {
        ig_vocab_free(v);
        return st;
    }
    *out = v;
    return IG_OK;
}

void ig_vocab_free(ig_vocab *v)
{
    if (!v) return;
    ig_tj_free(v->tj);
    ig_free(v->tokens);
    ig_free(v->scores);
    ig_free(v->types);
    ig_free(v->ends);
    ig_free(v->merges);
    ig_free(v->special.ids);
    ig_free(v->special.ranks);
    ig_free(v->slots);
    ig_free(v);
}

size_t ig_vocab_size(const ig_vocab *v) { return v->n; }
bool ig_vocab_is_json(const ig_vocab *v) { return v->tj && !v->tj->from_gguf; }
size_t ig_vocab_bytes(const ig_vocab *v) { return v->bytes; }
int32_t ig_vocab_bos(const ig_vocab *v) { return v->bos; }
int32_t ig_vocab_eos(const ig_vocab *v) { return v->eos; }
int32_t ig_vocab_eot(const ig_vocab *v) { return v->eot; }
bool ig_vocab_is_end(const ig_vocab *v, int32_t id) { return id >= 0 && (size_t)id < v->n && v->ends[id]; }
bool ig_vocab_is_control(const ig_vocab *v, int32_t id)
{
    return id >= 0 && (size_t)id < v->n && v->types[id] == IG_TOKEN_CONTROL;
}
