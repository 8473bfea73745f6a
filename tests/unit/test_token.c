/* Tokenizer rules (reliability list T) on tiny vocabularies: no reference data needed. */
#include <time.h>

#include "fuzz/token_vocabs.h"
#include "tests/tap.h"

static tiny spm, wpm, bpe;

static bool encode(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_ids *ids)
{
    ids->len = 0;
    return ig_tokenize(v, text, n, flags, ids, NULL) == IG_OK;
}

/* CPU seconds for n bytes of a repeated unit: what the neighbours do does not count. */
static double seconds(const ig_vocab *v, const char *unit, size_t n)
{
    size_t len = strlen(unit);
    char *text = malloc(n + len);
    ig_ids ids = {0};
    for (size_t i = 0; i < n; i += len) memcpy(text + i, unit, len);
    clock_t start = clock();
    bool ok = encode(v, text, n / len * len, 0, &ids);
    double s = (double)(clock() - start) / CLOCKS_PER_SEC;
    free(text);
    ig_free(ids.ptr);
    return ok ? s : 1e9;
}

/* 1 MB of one character: far below a second with linear code, minutes with quadratic code. */
static void test_T01_linear(void)
{
    static const char *const units[] = {"a", "_",  " ",  "\n",   "1", "\xE4\xB8\x80", "\xCC\x81", "A",
                                        "'", "a ", " 1", "\xFF", "<"};
    double worst = 0;
    const char *which = "";
    for (size_t i = 0;; i++) {
        ig_str pre = i < 2 ? IG_STR("-") : ig_pre_name_at(i - 2);
        if (!pre.ptr) break;
        if (i >= 2) tiny_bpe(&bpe, pre);
        ig_vocab *v = tiny_vocab(i == 0 ? &spm : i == 1 ? &wpm : &bpe);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            double s = seconds(v, units[u], 60000) * (1e6 / 60000);
            if (getenv("SHOW") && s > 1) printf("# %.*s \"%s\" %.2f s\n", (int)pre.len, pre.ptr, units[u], s);
            if (s > worst) {
                worst = s;
                which = units[u];
            }
        }
        ig_vocab_free(v);
    }
    tap_ok(worst < 5,
           "test_T01 every vocabulary and pre-tokenizer: 1 MB of one character is linear (worst %.2f s, unit \"%s\")",
           worst, which[0] == '\n' ? "newline" : which);
}

static void test_T03_merges(void)
{
    static const struct {
        const char *what, *merge;
    } rows[] = {{"no separator", "ab"},
                {"two separators", "a b c"},
                {"unknown half", "a \xE4\xB8\x80"},
                {"nothing on the right", "a "}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_vocab *v;
        ig_error err = {0};
        tiny_bpe(&bpe, IG_STR("gpt-2"));
        bpe.merges[3] = ig_str_from(rows[i].merge);
        tap_ok(ig_vocab_new(&bpe.spec, &v, &err) == IG_BAD_INPUT && strstr(err.text, "merge 3"), "test_T03 %s: %s",
               rows[i].what, err.text);
    }
}

/* Rule T04: overlapping and nested special tokens: the longest wins, and there may be very many. */
static void test_T04_special(void)
{
    enum { N = 100000 };
    static char text[N][16];
    ig_str *tokens = calloc(N + 300, sizeof *tokens);
    int32_t *types = calloc(N + 300, sizeof *types);
    tiny_bpe(&bpe, IG_STR("gpt-2"));
    size_t n = bpe.spec.n_tokens;
    memcpy(tokens, bpe.tokens, n * sizeof *tokens);
    memcpy(types, bpe.types, n * sizeof *types);
    for (int i = 0; i < N; i++) {
        (void)snprintf(text[i], sizeof text[i], "<x%d>", i);
        tokens[n + (size_t)i] = ig_str_from(text[i]);
        types[n + (size_t)i] = IG_TOKEN_USER;
    }
    ig_vocab_spec spec = bpe.spec;
    spec.tokens = tokens;
    spec.types = types;
    spec.scores = NULL;
    spec.n_tokens = n + N;
    ig_vocab *v = NULL;
    ig_ids ids = {0};
    ig_error err = {0};
    bool ok = ig_vocab_new(&spec, &v, &err) == IG_OK && encode(v, "<x7><x77>a<x77777>", 18, 0, &ids);
    tap_ok(ok && ids.len == 4 && ids.ptr[0] == (int32_t)n + 7 && ids.ptr[1] == (int32_t)n + 77 &&
               ids.ptr[3] == (int32_t)n + 77777,
           "test_T04 100,000 user tokens, found where they stand %s", err.text);
    double s = v ? seconds(v, "<", 20000) : 1e9;
    tap_ok(s < 2, "test_T04 20,000 times their first character: %.3f s", s);
    ig_vocab_free(v);
    ig_free(ids.ptr);
    free(tokens);
    free(types);
}

static void test_T05_ids(void)
{
    ig_vocab *v;
    ig_error err = {0};
    tiny_spm(&spm);
    spm.spec.eos = (int64_t)spm.spec.n_tokens;
    tap_ok(ig_vocab_new(&spm.spec, &v, &err) == IG_BAD_INPUT && strstr(err.text, "eos"), "test_T05 id past the end: %s",
           err.text);
    tiny_spm(&spm);
    spm.types[4] = 9;
    tap_ok(ig_vocab_new(&spm.spec, &v, &err) == IG_BAD_INPUT, "test_T05 unknown token type: %s", err.text);
    tiny_spm(&spm);
    spm.tokens[10] = IG_STR("<0xZZ>");
    tap_ok(ig_vocab_new(&spm.spec, &v, &err) == IG_BAD_INPUT, "test_G19 byte token that is none: %s", err.text);
    tiny_spm(&spm);
    spm.scores[270] = 0.0f / (float)(spm.spec.unk);
    tap_ok(ig_vocab_new(&spm.spec, &v, &err) == IG_BAD_INPUT, "test_T06 score that is no number: %s", err.text);
    tiny_spm(&spm);
    spm.spec.model = IG_STR("t6");
    tap_ok(ig_vocab_new(&spm.spec, &v, &err) == IG_UNSUPPORTED && strstr(err.text, "t6"), "test_T12 unknown model: %s",
           err.text);
    tiny_bpe(&bpe, IG_STR("no-such"));
    tap_ok(ig_vocab_new(&bpe.spec, &v, &err) == IG_UNSUPPORTED && strstr(err.text, "no-such"),
           "test_T12 unknown pre: %s", err.text);
    tiny_spm(&spm);
}

/* Text of a user never becomes a control token unless the caller asks. */
static void test_T08_special_text(void)
{
    ig_ids ids = {0};
    const ig_vocab_spec *specs[] = {&spm.spec, &bpe.spec};
    const char *texts[] = {"hello</s>", "hello<|endoftext|>"};
    tiny_bpe(&bpe, IG_STR("llama-bpe"));
    for (int i = 0; i < 2; i++) {
        ig_vocab *v = tiny_vocab(i ? &bpe : &spm);
        int32_t eos = (int32_t)specs[i]->eos;
        bool found = false;
        bool ok = encode(v, texts[i], strlen(texts[i]), 0, &ids);
        for (size_t k = 0; k < ids.len; k++) found = found || ig_vocab_is_control(v, ids.ptr[k]);
        tap_ok(ok && !found, "test_T08 \"%s\" stays text", texts[i]);
        ok = encode(v, texts[i], strlen(texts[i]), IG_TOKENIZE_PARSE, &ids);
        tap_ok(ok && ids.len && ids.ptr[ids.len - 1] == eos, "test_T08 \"%s\" is the control token when asked",
               texts[i]);
        ig_vocab_free(v);
    }
    ig_free(ids.ptr);
}

/* What is veiled stays text, what stands beside it does not. */
static void test_T08_veils(void)
{
    ig_ids ids = {0}, plain = {0};
    const char *texts[] = {"a</s> </s></s>", "a<|endoftext|>\n<|endoftext|><|endoftext|>"},
               *ends[] = {"</s>", "<|endoftext|>"};
    for (int i = 0; i < 2; i++) {
        const ig_vocab_spec *spec = i ? &bpe.spec : &spm.spec;
        ig_vocab *v = tiny_vocab(i ? &bpe : &spm);
        size_t n = strlen(texts[i]), len = strlen(ends[i]), veils[] = {2, n - 2 * len + 1}, n_ends = 0;
        bool ok = ig_tokenize_veiled(v, texts[i], n, IG_TOKENIZE_PARSE, (ig_veils){veils, 2}, &ids, NULL) == IG_OK;
        for (size_t k = 0; k < ids.len; k++) n_ends += ids.ptr[k] == (int32_t)spec->eos;
        tap_ok(ok && n_ends == 1 && ids.ptr[ids.len - 1] == (int32_t)spec->eos, "test_T08 of three one is not veiled");
        ok = encode(v, texts[i], n - len, 0, &plain) && ids.len == plain.len + 1;
        tap_ok(ok && !memcmp(ids.ptr, plain.ptr, plain.len * sizeof *plain.ptr),
               "test_T08 before it all is as without");
        ig_buf marked;
        ig_buf_init(&marked, 1 << 10);
        ok = ig_vocab_veil(v, (ig_str){texts[i], n}, IG_STR("#"), NULL, NULL, &marked);
        size_t n_marks = 0;
        for (size_t k = 0; k < marked.len; k++) n_marks += marked.ptr[k] == '#';
        tap_ok(ok && n_marks == 3 && marked.len == n + 3 && !memcmp(marked.ptr, "a<#", 3), "test_T08 marks: %.*s",
               (int)marked.len, marked.ptr);
        ig_buf_fini(&marked);
        ig_vocab_free(v);
        ids.len = 0;
    }
    ig_free(ids.ptr);
    ig_free(plain.ptr);
}

/* decode(encode(x)) = x for any bytes, under every byte-level pre-tokenizer. */
static void test_T09_round_trip(void)
{
    uint32_t seed = 5;
    size_t bad = 0, n_pre = 0;
    ig_ids ids = {0};
    ig_buf back;
    ig_buf_init(&back, 1 << 20);
    for (ig_str pre; (pre = ig_pre_name_at(n_pre)).ptr; n_pre++) {
        if (ig_pre_get_flags(pre).raw_utf8) continue;
        tiny_bpe(&bpe, pre);
        ig_vocab *v = tiny_vocab(&bpe);
        for (int round = 0; round < 200; round++) {
            char text[64];
            size_t n = 0;
            while (n < 60) {
                seed = seed * 1664525u + 1013904223u;
                uint32_t r = seed >> 8;
                if (r % 3 == 0)
                    text[n++] = (char)(r >> 3);
                else if (r % 3 == 1)
                    text[n++] = " \n\r\ta1A'_-/<"[(r >> 3) % 12];
                else
                    n += ig_utf8_encode((r >> 3) % 0x3000 + 0x80, text + n);
            }
            back.len = 0;
            bool ok = encode(v, text, n, 0, &ids);
            for (size_t i = 0; i < ids.len; i++) ok = ok && ig_token_piece(v, ids.ptr[i], true, &back);
            bad += !ok || back.len != n || memcmp(back.ptr, text, n) != 0;
        }
        ig_vocab_free(v);
    }
    tap_ok(bad == 0, "test_T09 any bytes come back under %zu pre-tokenizers (%zu did not)", n_pre, bad);
    ig_free(ids.ptr);
    ig_buf_fini(&back);
}

int main(void)
{
    tiny_spm(&spm);
    tiny_wpm(&wpm);
    test_T01_linear();
    test_T03_merges();
    test_T04_special();
    test_T05_ids();
    test_T08_special_text();
    test_T08_veils();
    test_T09_round_trip();
    return tap_done();
}
