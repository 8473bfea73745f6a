/* Guessing tokens never changes what comes out: text, ids, end, what the session holds, its logits bit for bit, and the
 * sampler's numbers afterwards are those of plain decoding. Models with full, windowed, sparse and latent attention,
 * recurrent state and mixtures of them (tests/data/archs); greedy and sampled, penalties, grammars, stop strings, ends
 * by the caller, shifts; guesses by look-up and by a smaller model. */
#include "engine/engine.h"
#include "ingle.h"
#include "tests/golden/draft_models.h"
#include "tests/tap.h"

#include <unistd.h>

enum { N_MAX = 100, TEXT_MAX = 1 << 14, VOCAB_MAX = 1024, ROUNDS = 2 };

static const char *const models[] = {"llama-dense", "gemma3", "cohere2", "qwen3next", "falcon-h1",
                                     "mamba",       "lfm2",   "glm-dsa", "deepseek2", "llama-moe"};

typedef struct setting {
    const char *name;
    ingle_sampler_options sampler;
    uint32_t n_max, n_ctx, n_batch;
    uint32_t caller_stops; /* after so many tokens, 0: never */
    const char *stop, *grammar;
    bool shift;
    ingle_kv_type kv;
} setting;

static const setting settings[] = {
    {.name = "greedy", .n_max = N_MAX},
    {.name = "greedy, Q8_0 cache", .n_max = N_MAX, .kv = INGLE_KV_Q8_0},
    {.name = "sampled", .sampler = {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .seed = 7}, .n_max = N_MAX},
    {.name = "sampled coldly", .sampler = {.temperature = 0.05f, .seed = 3}, .n_max = N_MAX},
    {.name = "penalties",
     .sampler = {.temperature = 0.1f, .repetition_penalty = 1.1f, .frequency_penalty = 0.1f, .seed = 5},
     .n_max = N_MAX},
    {.name = "ended by the caller", .n_max = N_MAX, .caller_stops = 37},
    {.name = "a full context", .n_ctx = 100},
    {.name = "shifts", .n_ctx = 100, .n_max = N_MAX, .shift = true},
    {.name = "steps of 3 tokens", .n_max = 40, .n_batch = 3},
    {.name = "steps of 1 token", .n_max = 20, .n_batch = 1},
};

typedef struct heard { /* what came out */
    char text[TEXT_MAX];
    size_t n_text, n_ids;
    int32_t ids[2 * ROUNDS * N_MAX];
    uint32_t stop_after, length[ROUNDS], n_drafted, n_accepted, n_generated;
    ingle_generate_result r[ROUNDS];
    float logits[ROUNDS][VOCAB_MAX];
    ingle_status status;
    ingle_error err;
} heard;

static bool on_text(void *user, const char *text, size_t n, int32_t id)
{
    heard *h = user;
    if (h->n_text + n < sizeof h->text) memcpy(h->text + h->n_text, text, n), h->n_text += n;
    if (h->n_ids < sizeof h->ids / sizeof *h->ids) h->ids[h->n_ids++] = id;
    return !h->stop_after || h->n_ids % h->stop_after;
}

/* Two answers, one behind the other, with one sampler. */
static ingle_status generate(const ingle_model *m, const setting *w, ingle_speculate how, ingle_session *s,
                             ingle_session *drafter, const ingle_grammar *grammar, heard *h)
{
    ingle_sampler *sampler = NULL;
    ingle_sampler_options so = w->sampler;
    ingle_model_info info;
    ingle_model_describe(m, &info);
    so.size = sizeof so;
    ingle_status st = ingle_sampler_new(m, &so, &sampler, &h->err);
    ingle_generate_options o = {.size = sizeof o,
                                .n_max = w->n_max,
                                .stops = &w->stop,
                                .n_stops = w->stop != NULL,
                                .ignore_end = !grammar,
                                .shift = w->shift,
                                .shift_keep = 1,
                                .on_text = on_text,
                                .user = h,
                                .grammar = grammar,
                                .speculate = how,
                                .drafter = drafter};
    h->stop_after = w->caller_stops;
    for (int i = 0; st == INGLE_OK && i < ROUNDS; i++) {
        ingle_generate_result *r = &h->r[i];
        st = ingle_generate(s, sampler, &o, r, &h->err);
        if (st != INGLE_OK) break;
        h->length[i] = ingle_session_length(s);
        h->n_drafted += r->n_drafted;
        h->n_accepted += r->n_accepted;
        h->n_generated += r->n_generated;
        r->n_drafted = r->n_accepted = 0;
        if (ingle_session_logits(s)) memcpy(h->logits[i], ingle_session_logits(s), info.n_vocab * sizeof(float));
        if (r->finish == INGLE_FINISH_CONTEXT) break;
        if (r->last_id >= 0) st = ingle_session_feed(s, &r->last_id, 1, &h->err);
    }
    ingle_sampler_free(sampler);
    return st;
}

static void answer(const ingle_model *m, const ingle_model *draft, const setting *w, ingle_speculate how,
                   const int32_t *prompt, size_t n_prompt, heard *h)
{
    ingle_model_info info;
    ingle_model_describe(m, &info);
    uint32_t n_ctx = w->n_ctx ? w->n_ctx : 400;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1, .n_batch = w->n_batch ? w->n_batch : 48, .kv = w->kv};
    o.n_ctx = n_ctx < info.n_ctx_train ? n_ctx : info.n_ctx_train;
    ingle_engine *e = NULL, *de = NULL;
    ingle_session *s = NULL, *ds = NULL;
    ingle_grammar *g = NULL;
    memset(h, 0, sizeof *h);
    ingle_status st = ingle_engine_new(m, &o, &e, &h->err);
    if (st == INGLE_OK) st = ingle_session_new(e, &s, &h->err);
    if (st == INGLE_OK && draft) st = ingle_engine_new(draft, &o, &de, &h->err);
    if (st == INGLE_OK && draft) st = ingle_session_new(de, &ds, &h->err);
    if (st == INGLE_OK && w->grammar)
        st = ingle_grammar_open(INGLE_GRAMMAR_GBNF, w->grammar, strlen(w->grammar), &g, &h->err);
    if (st == INGLE_OK) st = ingle_session_feed(s, prompt, n_prompt, &h->err);
    if (st == INGLE_OK) st = generate(m, w, how, s, ds, g, h);
    h->status = st;
    ingle_session_free(ds);
    ingle_engine_free(de);
    ingle_session_free(s);
    ingle_engine_free(e);
    ingle_grammar_close(g);
}

static bool same(const heard *a, const heard *b)
{
    return a->status == b->status && a->n_text == b->n_text && !memcmp(a->text, b->text, a->n_text) &&
           a->n_ids == b->n_ids && !memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids) &&
           !memcmp(a->length, b->length, sizeof a->length) && !memcmp(a->r, b->r, sizeof a->r) &&
           !memcmp(a->logits, b->logits, sizeof a->logits);
}

static heard plain, have;

/* Returns how many guesses came true. */
static uint32_t compare(const char *name, const ingle_model *m, const ingle_model *draft, const setting *w,
                        ingle_speculate how, const int32_t *prompt, size_t n_prompt)
{
    answer(m, NULL, w, INGLE_SPECULATE_OFF, prompt, n_prompt, &plain);
    answer(m, draft, w, how, prompt, n_prompt, &have);
    tap_ok(plain.status == INGLE_OK && same(&plain, &have) && plain.n_drafted == 0 &&
               have.n_accepted <= have.n_drafted && have.n_accepted <= have.n_generated,
           "%s: %s%s%s: %u tokens, %u guessed, %u came true %s", name, w->name,
           how == INGLE_SPECULATE_AUTO ? ", where it pays" : "", draft ? ", with a drafter" : "", have.n_generated,
           have.n_drafted, have.n_accepted,
           plain.status  ? plain.err.text
           : have.status ? have.err.text
                         : "");
    return have.n_accepted;
}

/* A prompt with repeats. */
static void check_model(const char *name, const ingle_model *m)
{
    ingle_model_info info;
    int32_t prompt[60];
    uint32_t right = 0;
    ingle_model_describe(m, &info);
    if (!info.has_vocab || info.n_vocab > VOCAB_MAX) {
        tap_skip(name, "it has no vocabulary, or a large one");
        return;
    }
    for (uint32_t i = 0; i < 60; i++) prompt[i] = (int32_t)((i % 13) * 7919u % 1009u * 31u % info.n_vocab);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        right += compare(name, m, NULL, &settings[i], INGLE_SPECULATE_NGRAM, prompt, 60);
    compare(name, m, NULL, &settings[2], INGLE_SPECULATE_AUTO, prompt, 60);
    compare(name, m, m, &settings[2], INGLE_SPECULATE_NGRAM, prompt, 5);
    tap_ok(right > 0, "%s: %u guesses came true", name, right);
}

static bool open_data(const char *name, ingle_model **out)
{
    char path[1280];
    ingle_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s", tap_data(), name);
    return tap_ok(ingle_model_open(path, NULL, out, &err) == INGLE_OK, "%s opens %s", name, err.text);
}

/* A trained model: stories, of which parts stand in the prompt. */
static void check_stories(void)
{
    static const char text[] = "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
                               "park. One day, she saw a big, red ball. Once upon a time, there was a little";
    static const setting more[] = {
        {.name = "a stop string", .n_max = N_MAX, .stop = "named"},
        {.name = "a stop string that is never whole", .n_max = N_MAX, .stop = "named Lily. She lovedX"},
        {.name = "a grammar", .n_max = N_MAX, .grammar = "root ::= ([a-z]+ \" \")+ \".\""},
        {.name = "a grammar, sampled",
         .n_max = N_MAX,
         .grammar = "root ::= (\" girl named Lily. \" [a-zA-Z ,]+ \".\")+",
         .sampler = {.temperature = 0.7f, .seed = 11}},
        {.name = "one token", .n_max = 1},
        {.name = "two tokens", .n_max = 2},
    };
    ingle_model *m = NULL, *small = NULL, *other = NULL;
    int32_t ids[256];
    size_t n = 0;
    ingle_error err = {0};
    if (!open_data("stories260K.gguf", &m) || !open_data("stories260K.q4_0.gguf", &small)) return;
    check_model("stories", m);
    ingle_tokenize(m, text, strlen(text), INGLE_ADD_SPECIAL, ids, 256, &n, &err);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        compare("stories", m, NULL, &more[i], INGLE_SPECULATE_NGRAM, ids, n);
    uint32_t right = compare("stories", m, small, &settings[0], INGLE_SPECULATE_NGRAM, ids, n);
    tap_ok(right * 2 > have.n_generated, "stories: of %u tokens %u were guessed with a drafter", have.n_generated,
           right);
    compare("stories", m, small, &settings[3], INGLE_SPECULATE_AUTO, ids, n);
    compare("stories", m, small, &settings[7], INGLE_SPECULATE_NGRAM, ids, n);
    if (open_data("archs/gemma3.gguf", &other)) {
        answer(m, other, &settings[0], INGLE_SPECULATE_AUTO, ids, n, &have);
        tap_ok(have.status == INGLE_UNSUPPORTED && strstr(have.err.text, "vocabulary"), "another vocabulary: %s",
               have.err.text);
    }
    ingle_model_close(other);
    ingle_model_close(small);
    ingle_model_close(m);
}

/* The decision alone, with made-up costs: step(n) = base + n * each. Returns the guesses for a text that repeats itself
 * after `wrong` of them failed. */
static uint32_t decide(double base, double each, uint32_t n_wrong, bool recurrent, uint32_t n_others)
{
    ig_spec *s;
    ig_costs costs = {0};
    int32_t tokens[64], out[IG_SPEC_ROWS];
    uint32_t n = 0;
    ig_spec_ask ask;
    ig_error err;
    ig_spec_room room = {.n_due = 1, .most = IG_SPEC_ROWS - 1, .recurrent = recurrent, .n_others = n_others};
    for (int i = 0; i < 64; i++) tokens[i] = i % 8;
    for (uint32_t i = 1; i <= 2 * IG_SPEC_ROWS; i++) ig_costs_note(&costs, i, base + each * i);
    if (ig_spec_new(64, INGLE_SPECULATE_AUTO, &s, &err) != IG_OK) return UINT32_MAX;
    for (uint32_t i = 0; i < n_wrong; i++)
        if ((n = ig_spec_guess(s, &costs, &room, tokens, 60, out, &ask)) > 0) ig_spec_judge(s, n, 0, true);
    n = ig_spec_guess(s, &costs, &room, tokens, 60, out, &ask);
    for (uint32_t i = 0; i < n; i++)
        if (out[i] != (int32_t)((60 + i) % 8)) n = UINT32_MAX - 1;
    ig_spec_free(s);
    return n;
}

/* Who is asked: nobody, the head or the smaller model, for a text without repeats. */
static ig_spec_ask whom(double head_ms, double drafter_ms, uint32_t n_wrong)
{
    ig_spec *s;
    ig_costs costs = {0};
    int32_t tokens[64], out[IG_SPEC_ROWS];
    ig_spec_ask ask = {0};
    ig_error err;
    ig_spec_room room = {.n_due = 1,
                         .most = 8,
                         .head = head_ms > 0,
                         .head_ms = head_ms,
                         .drafter = drafter_ms > 0,
                         .drafter_ms = drafter_ms};
    for (int i = 0; i < 64; i++) tokens[i] = i;
    for (uint32_t i = 1; i <= 2 * IG_SPEC_ROWS; i++) ig_costs_note(&costs, i, 10 + 0.2 * i);
    if (ig_spec_new(64, INGLE_SPECULATE_AUTO, &s, &err) != IG_OK) return ask;
    for (uint32_t i = 0; i <= n_wrong; i++) {
        if (i) ig_spec_judge(s, ask.n, 0, true);
        if (ig_spec_guess(s, &costs, &room, tokens, 60, out, &ask) || ask.n == 0) break;
    }
    ig_spec_free(s);
    return ask;
}

static void check_whom(void)
{
    ig_spec_ask head = whom(0.5, 0, 0), small = whom(0, 0.5, 0), both = whom(0.5, 3, 0), dear = whom(9, 0, 0);
    tap_ok(head.by == IG_SPEC_BY_HEAD && head.n > 0, "a head is asked for %u", head.n);
    tap_ok(small.by == IG_SPEC_BY_DRAFTER && small.n > 0, "a smaller model is asked for %u", small.n);
    tap_ok(both.by == IG_SPEC_BY_HEAD, "of both the cheaper one");
    tap_ok(dear.by == IG_SPEC_BY_NONE && dear.n == 0, "one that takes as long as the model is not asked");
    tap_ok(whom(0.5, 0, 60).n == 0, "nor one that keeps being wrong");
    tap_ok(whom(0.5, 0.6, 30).by != IG_SPEC_BY_HEAD, "the other one instead, while it promises more");
}

static void check_decision(void)
{
    uint32_t free_rows = decide(10, 0, 0, false, 0), cheap = decide(10, 1, 0, false, 0);
    tap_ok(free_rows == IG_SPEC_ROWS - 1, "more tokens cost nothing: %u guesses", free_rows);
    tap_ok(cheap > 1 && cheap < free_rows, "they cost a little: %u guesses", cheap);
    tap_ok(decide(10, 1, 0, true, 0) <= cheap, "less or as many with recurrent state: %u", decide(10, 1, 0, true, 0));
    tap_ok(decide(0, 10, 0, false, 0) == 0, "every token costs the same: none");
    tap_ok(decide(10, 1, 40, false, 0) == 0, "guesses keep failing: none");
    tap_ok(decide(10, 1, 0, false, 12) < cheap, "fewer beside 12 others: %u", decide(10, 1, 0, false, 12));
    ig_costs unknown = {0};
    tap_ok(ig_costs_of(&unknown, 3) == 0, "nothing is known of costs");
    ig_costs_note(&unknown, 1, 10);
    ig_costs_note(&unknown, 9, 18);
    tap_ok(ig_costs_of(&unknown, 5) > 13.9 && ig_costs_of(&unknown, 5) < 14.1, "between what was measured: %g",
           ig_costs_of(&unknown, 5));
}

/* Guesses by a head of the model's own that is right now and then. */
static void check_heads(void)
{
    static const char *const bases[] = {"deepseek2", "glm-dsa", "qwen3next"};
    static const float rests[] = {0, 0.2f, 1};
    char path[] = "/tmp/ingle-heads-XXXXXX", from[1280], name[64];
    int fd = mkstemp(path);
    if (!tap_ok(fd >= 0, "a file for models with heads")) return;
    close(fd);
    for (size_t i = 0; i < sizeof bases / sizeof *bases * 3; i++) {
        uint32_t right = 0;
        ingle_model *m = NULL;
        ingle_error err = {0};
        int32_t prompt[60];
        draft_change change = {.perfect = i % 3 < 2, .rest = rests[i % 3]};
        (void)snprintf(from, sizeof from, "%s/archs/%s.gguf", tap_data(), bases[i / 3]);
        (void)snprintf(name, sizeof name, "%s with a head, %s", bases[i / 3],
                       i % 3 == 0   ? "always right"
                       : i % 3 == 1 ? "often right"
                                    : "random");
        if (!tap_ok(draft_model_write(from, path, &change) && ingle_model_open(path, NULL, &m, &err) == INGLE_OK,
                    "%s opens %s", name, err.text))
            continue;
        for (uint32_t k = 0; k < 60; k++) prompt[k] = (int32_t)((k % 13) * 7919u % 1009u * 31u % 121);
        for (size_t k = 0; k < (i % 3 == 2 ? 4 : sizeof settings / sizeof *settings); k++)
            right += compare(name, m, NULL, &settings[k], INGLE_SPECULATE_HEAD, prompt, k % 2 ? 60 : 1);
        compare(name, m, NULL, &settings[2], INGLE_SPECULATE_AUTO, prompt, 60);
        compare(name, m, m, &settings[2], INGLE_SPECULATE_AUTO, prompt, 60);
        tap_ok(i % 3 == 2 || right > 100, "%s: %u guesses came true", name, right);
        ingle_model_close(m);
    }
    remove(path);
}

int main(void)
{
    check_decision();
    check_whom();
    check_stories();
    check_heads();
    for (size_t i = 0; i < sizeof models / sizeof *models; i += tap_sanitized ? 3 : 1) {
        char name[64];
        ingle_model *m = NULL;
        (void)snprintf(name, sizeof name, "archs/%s.gguf", models[i]);
        if (open_data(name, &m)) check_model(models[i], m);
        ingle_model_close(m);
    }
    return tap_done();
}
