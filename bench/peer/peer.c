/* peer: drives prebuilt llama.cpp libraries (0.5.0), so that ingle and its strongest peer can be compared on the same
 * file, on the same machine, in the same minute. `setup` beside this file installs them and compiles it; no part of the
 * product.
 *
 *   peer bench MODEL THREADS PROMPT GENERATE [DEPTH [STREAMS [RUNS]]]
 *       as `ingle bench`: a short run to warm up, then RUNS (3), each a line "run 1: prompt X t/s, generate Y t/s";
 *       "depth X t/s", the speed at which the depth was fed; "peak N bytes", the most that was resident
 *   peer first MODEL THREADS CTX TEXT               id of the first token after TEXT, printed as soon as it is known
 *   peer greedy MODEL IDS N                         N greedy ids after IDS (separated by commas)
 *   peer ppl MODEL FILE THREADS WINDOW              as `ingle eval --text --window`
 *   peer texts VOCABULARY.gguf FILE SPECIAL         ids of texts that each have a NUL behind them, a line for each;
 *                                                   SPECIAL 1: special tokens are added and found
 *   peer grammar VOCABULARY.gguf SAMPLES FILE.gbnf...     time of the mask of the next token, over random texts
 *
 * PEER_LIB in the environment: folder whose CPU libraries (libggml-cpu-*.so) may be chosen from; the best for the
 * machine is, so a folder with one of them fixes the level. The library's parameter structs are opaque blobs here; the
 * offsets were read off its own defaults. */
#define _GNU_SOURCE
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct {
    unsigned char b[80];
} model_params;
typedef struct {
    unsigned char b[160];
} context_params;
typedef struct {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos, *n_seq_id, **seq_id;
    int8_t *logits;
} llama_batch;
typedef void *ptr;

void ggml_backend_load_all_from_path(const char *dir);
void llama_log_set(void (*callback)(int, const char *, void *), void *user);
void llama_backend_init(void);
model_params llama_model_default_params(void);
context_params llama_context_default_params(void);
ptr llama_model_load_from_file(const char *path, model_params p);
ptr llama_init_from_model(ptr model, context_params p);
ptr llama_model_get_vocab(ptr model);
int32_t llama_vocab_n_tokens(ptr vocab);
llama_batch llama_batch_init(int32_t n, int32_t embd, int32_t n_seq);
void llama_batch_free(llama_batch b);
int32_t llama_decode(ptr context, llama_batch b);
float *llama_get_logits_ith(ptr context, int32_t i);
int32_t llama_tokenize(ptr vocab, const char *text, int32_t n, int32_t *out, int32_t n_max, bool add, bool parse);
ptr llama_get_memory(ptr context);
void llama_memory_clear(ptr memory, bool data);
bool llama_memory_seq_rm(ptr memory, int32_t seq, int32_t from, int32_t to);
void llama_synchronize(ptr context);
typedef struct {
    int32_t id;
    float logit, p;
} token_data;
typedef struct {
    token_data *data;
    size_t size;
    int64_t selected;
    bool sorted;
} token_data_array;
ptr llama_sampler_init_grammar(ptr vocab, const char *grammar, const char *root);
ptr llama_sampler_clone(ptr sampler);
void llama_sampler_apply(ptr sampler, token_data_array *tokens);
void llama_sampler_accept(ptr sampler, int32_t id);
void llama_sampler_free(ptr sampler);
bool llama_vocab_is_eog(ptr vocab, int32_t id);
int32_t llama_token_to_piece(ptr vocab, int32_t id, char *out, int32_t n, int32_t lstrip, bool special);

enum { M_GPU_LAYERS = 16, M_VOCAB_ONLY = 72, M_EXTRA_BUFTS = 74 };
enum {
    C_CTX = 0,
    C_BATCH = 4,
    C_UBATCH = 8,
    C_SEQ_MAX = 12,
    C_THREADS = 28,
    C_THREADS_BATCH = 32,
    C_FLASH = 52,
    C_TYPE_K = 104,
    C_TYPE_V = 108,
    C_SWA_FULL = 132
};
enum { CHUNK = 512 };

static void put32(unsigned char *b, int at, int32_t v) { memcpy(b + at, &v, 4); }

static void quiet(int level, const char *text, void *user)
{
    (void)user;
    if (level == 4) fputs(text, stderr);
}

static void die(const char *what)
{
    fprintf(stderr, "peer: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ptr load(const char *path, bool exact, int *n_vocab)
{
    model_params p = llama_model_default_params();
    put32(p.b, M_GPU_LAYERS, 0);
    if (exact) p.b[M_EXTRA_BUFTS] = 0; /* no repacked weights */
    ptr model = llama_model_load_from_file(path, p);
    if (!model) die("the library cannot load the model");
    *n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    return model;
}

static ptr context(ptr model, int n_ctx, int n_batch, int n_threads, int n_seq, bool exact)
{
    context_params p = llama_context_default_params();
    put32(p.b, C_CTX, n_ctx);
    put32(p.b, C_BATCH, n_batch);
    put32(p.b, C_UBATCH, n_batch < CHUNK ? n_batch : CHUNK);
    put32(p.b, C_SEQ_MAX, n_seq);
    put32(p.b, C_THREADS, n_threads);
    put32(p.b, C_THREADS_BATCH, n_threads);
    p.b[C_SWA_FULL] = 0; /* windowed layers keep their window, as its own programs have it */
    if (exact) put32(p.b, C_FLASH, 0), put32(p.b, C_TYPE_K, 0), put32(p.b, C_TYPE_V, 0); /* float32 cache */
    ptr c = llama_init_from_model(model, p);
    if (!c) die("the library cannot make a context");
    return c;
}

static void decode_seq(ptr c, int seq, const int32_t *ids, int n, int pos, bool all)
{
    llama_batch b = llama_batch_init(n, 0, 1);
    b.n_tokens = n;
    for (int i = 0; i < n; i++) {
        b.token[i] = ids[i];
        b.pos[i] = pos + i;
        b.n_seq_id[i] = 1;
        b.seq_id[i][0] = seq;
        b.logits[i] = all || i == n - 1;
    }
    if (llama_decode(c, b)) die("decode failed");
    llama_batch_free(b);
}

static void decode(ptr c, const int32_t *ids, int n, int pos, bool all) { decode_seq(c, 0, ids, n, pos, all); }

static int argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static int32_t *parse_ids(const char *s, int *n)
{
    int32_t *ids = malloc((strlen(s) + 1) * sizeof *ids);
    if (!ids) die("out of memory");
    for (*n = 0; *s;) {
        char *end;
        ids[(*n)++] = (int32_t)strtol(s, &end, 10);
        if (end == s) die("ids are numbers separated by commas");
        s = *end == ',' ? end + 1 : end;
    }
    return ids;
}

static void feed_seq(ptr c, int seq, const int32_t *ids, int n, int pos)
{
    for (int at = 0; at < n; at += CHUNK)
        decode_seq(c, seq, ids + at, n - at < CHUNK ? n - at : CHUNK, pos + at, false);
    llama_synchronize(c);
}

static int feed(ptr c, const int32_t *ids, int n, int pos)
{
    feed_seq(c, 0, ids, n, pos);
    return pos + n;
}

typedef struct bench {
    ptr context;
    const int32_t *ids;
    int V, n_prompt, n_generate, depth, n_streams;
    bool filled;      /* the depth is in the context */
    double depth_tps; /* 0: not fed yet */
} bench;

/* Every stream holds the depth and nothing behind it. Memories that cannot go back are filled again. */
static void to_depth(bench *b)
{
    ptr memory = llama_get_memory(b->context);
    bool kept = b->filled && b->depth;
    for (int s = 0; s < b->n_streams && kept; s++) kept = llama_memory_seq_rm(memory, s, b->depth, -1);
    if (kept) return;
    llama_memory_clear(memory, true);
    double from = now();
    for (int s = 0; s < b->n_streams; s++) feed_seq(b->context, s, b->ids, b->depth, 0);
    if (b->depth && !b->filled) b->depth_tps = b->n_streams * b->depth / (now() - from);
    b->filled = true;
}

static void together(const bench *b, int n_generate, int pos)
{
    llama_batch batch = llama_batch_init(b->n_streams, 0, 1);
    batch.n_tokens = b->n_streams;
    for (int i = 0; i < n_generate; i++) {
        for (int s = 0; s < b->n_streams; s++) {
            batch.token[s] = i ? argmax(llama_get_logits_ith(b->context, s), b->V) : (s * 31 + 5) % b->V;
            batch.pos[s] = pos + i;
            batch.n_seq_id[s] = 1;
            batch.seq_id[s][0] = s;
            batch.logits[s] = 1;
        }
        if (llama_decode(b->context, batch)) die("decode failed");
    }
    for (int s = 0; s < b->n_streams; s++) argmax(llama_get_logits_ith(b->context, s), b->V);
    llama_batch_free(batch);
}

static void one_run(bench *b, int run)
{
    int n_prompt = run || b->n_prompt < 64 ? b->n_prompt : 64,
        n_generate = run || b->n_generate < 8 ? b->n_generate : 8;
    to_depth(b);
    double t0 = now();
    for (int s = 0; s < b->n_streams; s++) feed_seq(b->context, s, b->ids, n_prompt, b->depth);
    double t1 = now();
    together(b, n_generate, b->depth + n_prompt);
    double t2 = now();
    if (run)
        printf("run %d: prompt %.3f t/s, generate %.3f t/s\n", run, b->n_streams * n_prompt / (t1 - t0),
               b->n_streams * n_generate / (t2 - t1));
}

static int cmd_bench(char **a, int n_args)
{
    int n_threads = atoi(a[1]), n_runs = n_args > 6 ? atoi(a[6]) : 3;
    bench b = {.n_prompt = atoi(a[2]),
               .n_generate = atoi(a[3]),
               .depth = n_args > 4 ? atoi(a[4]) : 0,
               .n_streams = n_args > 5 ? atoi(a[5]) : 1};
    ptr model = load(a[0], false, &b.V);
    int each = (b.depth + b.n_prompt + b.n_generate + 255) / 256 * 256;
    b.context = context(model, b.n_streams * each, CHUNK, n_threads, b.n_streams, false);
    int most = b.n_prompt > b.depth ? b.n_prompt : b.depth;
    int32_t *ids = malloc((size_t)(most + 1) * sizeof *ids);
    if (!ids) die("out of memory");
    for (int i = 0; i <= most; i++) ids[i] = (int32_t)(((unsigned)i * 7919u + 13) % (unsigned)b.V);
    b.ids = ids;
    for (int run = 0; run <= n_runs; run++) one_run(&b, run); /* the first warms up */
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("depth %.3f t/s\npeak %lld bytes\n", b.depth_tps, 1024ll * usage.ru_maxrss);
    free(ids);
    return 0;
}

static int cmd_first(char **a, int n_args)
{
    int V, n_max = (int)strlen(a[3]) + 16, n_ctx = atoi(a[2]);
    ptr model = load(a[0], false, &V), c = context(model, n_ctx, CHUNK, atoi(a[1]), 1, false);
    int32_t *ids = malloc((size_t)n_max * sizeof *ids);
    (void)n_args;
    if (!ids) die("out of memory");
    int n = llama_tokenize(llama_model_get_vocab(model), a[3], (int32_t)strlen(a[3]), ids, n_max, true, false);
    if (n < 1) die("cannot tokenize");
    feed(c, ids, n, 0);
    printf("%d\n", argmax(llama_get_logits_ith(c, -1), V));
    fflush(stdout);
    free(ids);
    return 0;
}

static int cmd_greedy(char **a, int n_args)
{
    int V, n, n_more = atoi(a[2]);
    int32_t *ids = parse_ids(a[1], &n);
    ptr model = load(a[0], true, &V), c = context(model, n + n_more + 64, CHUNK, 1, 1, true);
    (void)n_args;
    feed(c, ids, n, 0);
    int32_t id = argmax(llama_get_logits_ith(c, -1), V);
    for (int i = 0; i < n_more; i++) {
        printf("%s%d", i ? " " : "", id);
        decode(c, &id, 1, n + i, true);
        id = argmax(llama_get_logits_ith(c, 0), V);
    }
    printf("\n");
    free(ids);
    return 0;
}

static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) die("cannot read the text");
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    if (!text || fread(text, 1, *n, f) != *n) die("cannot read the text");
    fclose(f);
    return text;
}

/* FILE: texts, each with a NUL behind it. One line of ids for each. */
static int cmd_texts(char **a, int n_args)
{
    size_t n, len;
    char *text = slurp(a[1], &n);
    bool special = atoi(a[2]) != 0;
    model_params p = llama_model_default_params();
    (void)n_args;
    put32(p.b, M_GPU_LAYERS, 0);
    p.b[M_VOCAB_ONLY] = 1;
    ptr model = llama_model_load_from_file(a[0], p);
    if (!model) die("the library cannot load the vocabulary");
    for (size_t at = 0; at < n; at += len + 1) {
        len = strnlen(text + at, n - at);
        int n_max = 4 * (int)len + 64;
        int32_t *ids = malloc((size_t)n_max * sizeof *ids);
        if (!ids) die("out of memory");
        int n_ids = llama_tokenize(llama_model_get_vocab(model), text + at, (int32_t)len, ids, n_max, special, special);
        if (n_ids < 0) die("cannot tokenize");
        for (int i = 0; i < n_ids; i++) printf("%s%d", i ? " " : "", ids[i]);
        printf("\n");
        free(ids);
    }
    return 0;
}

static int cmd_ppl(char **a, int n_args)
{
    int V, n_threads = atoi(a[2]), window = atoi(a[3]), n_scored = 0;
    size_t n_text;
    char *text = slurp(a[1], &n_text);
    ptr model = load(a[0], true, &V), c = context(model, window, window, n_threads, 1, true);
    int32_t *ids = malloc((n_text + 64) * sizeof *ids);
    if (!ids) die("out of memory");
    int n = llama_tokenize(llama_model_get_vocab(model), text, (int32_t)n_text, ids, (int)n_text + 64, true, false);
    double sum = 0;
    (void)n_args;
    for (int w = 0; w + window <= n; w += window) {
        llama_memory_clear(llama_get_memory(c), true);
        decode(c, ids + w, window, 0, true);
        for (int i = window / 2; i < window - 1; i++) {
            const float *l = llama_get_logits_ith(c, i);
            double max = l[argmax(l, V)], z = 0;
            for (int v = 0; v < V; v++) z += exp(l[v] - max);
            sum += max + log(z) - l[ids[w + i + 1]];
            n_scored++;
        }
    }
    printf("tokens %d window %d scored %d nll %.6f ppl %.4f\n", n, window, n_scored, sum / n_scored,
           exp(sum / n_scored));
    return 0;
}

/* The same walk as bench_grammar: a random allowed token, half of the time among those that close something; the first
 * part of the texts is not counted. Texts are shorter, for masks take long. A mask is one llama_sampler_apply over the
 * whole vocabulary. */
enum { STEPS_MAX = 60, TIMES_MAX = 1 << 20 };

static uint64_t rng = 88172645463325252u;
static uint64_t next_random(void)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int32_t pick(const token_data_array *t, const uint8_t *closes)
{
    for (int close = next_random() % 2 == 0; close >= 0; close--) {
        uint32_t n = 0;
        int32_t got = -1;
        for (size_t i = 0; i < t->size; i++) {
            if (!isfinite(t->data[i].logit) || (close && !closes[t->data[i].id])) continue;
            if (next_random() % ++n == 0) got = t->data[i].id;
        }
        if (got >= 0) return got;
    }
    return -1;
}

static size_t walk(ptr vocab, ptr start, int V, const uint8_t *closes, double *us, size_t n_us)
{
    token_data_array t = {.data = malloc((size_t)V * sizeof *t.data), .selected = -1};
    ptr s = llama_sampler_clone(start);
    if (!t.data) die("out of memory");
    for (int step = 0; step < STEPS_MAX && n_us < TIMES_MAX; step++) {
        t.size = (size_t)V;
        for (int i = 0; i < V; i++) t.data[i] = (token_data){i, 0, 0};
        double from = now();
        llama_sampler_apply(s, &t);
        us[n_us++] = 1e6 * (now() - from);
        int32_t id = pick(&t, closes);
        if (id < 0 || llama_vocab_is_eog(vocab, id)) break;
        llama_sampler_accept(s, id);
    }
    llama_sampler_free(s);
    free(t.data);
    return n_us;
}

static int cmd_grammar(char **a, int n_args)
{
    model_params p = llama_model_default_params();
    p.b[M_VOCAB_ONLY] = 1;
    ptr model = llama_model_load_from_file(a[0], p);
    if (!model) die("the library cannot load the vocabulary");
    ptr vocab = llama_model_get_vocab(model);
    int V = llama_vocab_n_tokens(vocab), n_samples = atoi(a[1]);
    uint8_t *closes = calloc((size_t)V, 1);
    double *us = malloc(TIMES_MAX * sizeof *us);
    if (!closes || !us) die("out of memory");
    for (int i = 0; i < V; i++) {
        char text[256];
        int n = llama_token_to_piece(vocab, i, text, sizeof text, 0, false);
        for (int k = 0; k < n; k++) closes[i] |= text[k] && strchr("\"]}", text[k]);
        closes[i] |= llama_vocab_is_eog(vocab, i);
    }
    size_t n = 0;
    for (int f = 2; f < n_args; f++) {
        size_t n_text;
        char *text = slurp(a[f], &n_text);
        text[n_text] = 0;
        ptr s = llama_sampler_init_grammar(vocab, text, "root");
        if (!s) die("the library refuses a grammar");
        for (int i = 0; i < n_samples; i++) {
            size_t more = walk(vocab, s, V, closes, us, n);
            if (i * 4 >= n_samples) n = more;
        }
        llama_sampler_free(s);
        free(text);
    }
    if (n == 0) die("no mask was measured");
    qsort(us, n, sizeof *us, by_value);
    printf("%zu masks, median %.1f us, p90 %.1f, p99 %.1f, max %.1f\n", n, us[n / 2], us[n * 9 / 10], us[n * 99 / 100],
           us[n - 1]);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int n_args_min;
        int (*run)(char **args, int n_args);
    } commands[] = {{"bench", 4, cmd_bench}, {"first", 4, cmd_first}, {"greedy", 3, cmd_greedy},
                    {"ppl", 4, cmd_ppl},     {"texts", 3, cmd_texts}, {"grammar", 3, cmd_grammar}};
    llama_log_set(quiet, NULL);
    const char *libraries = getenv("PEER_LIB");
    ggml_backend_load_all_from_path(libraries && *libraries ? libraries : PEER_LIB);
    llama_backend_init();
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name) && argc - 2 >= commands[i].n_args_min)
            return commands[i].run(argv + 2, argc - 2);
    fprintf(stderr, "usage: see the head of peer.c\n");
    return 2;
}
