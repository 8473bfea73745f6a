/* Dialects: transcripts (tests/data/dialect) from the client's bytes to the worker's requests and from the worker's
 * events to the client's bytes, byte for byte; and what holds for any bytes and any events: limits, memory, the same
 * answer streamed or whole. With INGLE_WRITE=1 the transcripts are written anew from what the program does: read the
 * difference against the vendor's description before you keep it. */
#include <dirent.h>
#include <inttypes.h>

#include "base/fault.h"
#include "base/utf8.h"
#include "serve/dialect/dialect.h"
#include "tap.h"

#define START_NS 1700000000123456789u

static const char *const ops[] = {[IG_OP_GENERATE] = "generate",   [IG_OP_WORKER] = "worker",
                                  [IG_OP_LOAD] = "load",           [IG_OP_UNLOAD] = "unload",
                                  [IG_OP_ROOT] = "root",           [IG_OP_VERSION] = "version",
                                  [IG_OP_MODELS] = "models",       [IG_OP_MODEL] = "model",
                                  [IG_OP_TAGS] = "tags",           [IG_OP_PS] = "ps",
                                  [IG_OP_SHOW] = "show",           [IG_OP_PULL] = "pull",
                                  [IG_OP_PUSH] = "push",           [IG_OP_CREATE] = "create",
                                  [IG_OP_COPY] = "copy",           [IG_OP_DELETE] = "delete",
                                  [IG_OP_BLOB_HEAD] = "blob_head", [IG_OP_BLOB_PUT] = "blob_put",
                                  [IG_OP_HEALTH] = "health",       [IG_OP_READY] = "ready",
                                  [IG_OP_METRICS] = "metrics"};

/* ------------------------------------------------------------------------------------------------ one exchange */

typedef struct exchange {
    ig_match match;
    ig_request req;
    ig_emit_context context;
    ig_emitter *emitter;
    ig_problem problem;
    bool parsed; /* and matched */
} exchange;

static void exchange_open(exchange *x, const char *method, ig_str path, ig_str query, ig_str body)
{
    memset(x, 0, sizeof *x);
    x->parsed = ig_dialect_match(method, path, &x->match, &x->problem) &&
                ig_dialect_parse(&x->match, query, body, &x->req, &x->problem);
    if (x->parsed) x->parsed = ig_request_defaults(&x->req, NULL, &x->problem);
    const char *model = x->req.model && *x->req.model ? x->req.model : "tiny";
    x->context = (ig_emit_context){.id = "0123456789abcdef",
                                   .model = model,
                                   .digest = "sha256:00ff",
                                   .ran_on = "local",
                                   .device = "cpu",
                                   .version = "0.1.0",
                                   .n_ctx = 4096,
                                   .created_ns = START_NS,
                                   .load_ns = 5000000};
    if (x->parsed && x->match.route->emit) x->emitter = ig_emit_new(&x->req, &x->context);
}

static void exchange_close(exchange *x)
{
    ig_emit_free(x->emitter);
    ig_request_fini(&x->req);
}

/* "delta", "done", …; "ping" and "problem" are calls of the front. */
static void exchange_event(exchange *x, size_t part, const char *name, const json_t *body, uint64_t now, ig_buf *out)
{
    static const char *const names[] = {"progress", "delta", "done", "error", "result"};
    ig_problem p;
    if (!x->emitter) return;
    for (size_t i = 0; i < 5; i++)
        if (!strcmp(name, names[i])) ig_emit_event(x->emitter, part, (ig_event)i, body, now, out);
    if (!strcmp(name, "ping")) ig_emit_ping(x->emitter, now, out);
    if (strcmp(name, "overloaded") != 0) return;
    ig_problem_set(&p, IG_P_OVERLOADED, NULL, "the queue is full");
    ig_emit_problem(x->emitter, &p, now, out);
}

/* ------------------------------------------------------------------------------------------------ transcripts */

/* > METHOD PATH, the body; = what was understood; * PART EVENT BODY; < the head, then bytes until the line of dashes.
 */
typedef struct transcript {
    char *at;     /* rest of the file */
    ig_buf fresh; /* what the file should be */
    const char *file;
    unsigned n;
} transcript;

static char *next_line(transcript *t)
{
    if (!*t->at) return NULL;
    char *line = t->at, *end = strchr(line, '\n');
    t->at = end ? end + 1 : line + strlen(line);
    if (end) *end = 0;
    return line;
}

static void describe(const exchange *x, ig_buf *out)
{
    const ig_request *r = &x->req;
    json_t *o = json_pack("{s:s, s:s?, s:O}", "op", ops[r->op], "model", r->model, "parts", r->parts);
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"n", r->n == 1 ? 0 : r->n},
                   {"n_ctx", (int64_t)r->n_ctx},
                   {"predict_ms", (int64_t)r->predict_ms},
                   {"n_dimensions", r->n_dimensions},
                   {"top_n", r->top_n}};
    const struct {
        const char *name;
        bool value;
    } flags[] = {{"stream", r->stream},
                 {"include_usage", r->include_usage},
                 {"return_progress", r->return_progress},
                 {"base64", r->base64},
                 {"model_any", r->model_any}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value) json_object_set_new(o, numbers[i].name, json_integer(numbers[i].value));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].value) json_object_set_new(o, flags[i].name, json_true());
    if (r->has_keep_alive) json_object_set_new(o, "keep_alive_ms", json_integer(r->keep_alive_ms));
    if (r->manage) json_object_set(o, "manage", r->manage);
    if (r->arg[0]) json_object_set_new(o, "arg", json_string(r->arg));
    if (json_array_size(r->ignored)) json_object_set(o, "ignored", r->ignored);
    ig_json_write(o, out);
    json_decref(o);
}

static void run_events(exchange *x, char **events, size_t n, ig_buf *bytes)
{
    for (size_t i = 0; i < n; i++) {
        char name[32];
        unsigned part;
        int used = 0;
        if (sscanf(events[i], "* %u %31s %n", &part, name, &used) != 2) {
            tap_ok(false, "an event cannot be read: %s", events[i]);
            return;
        }
        json_error_t error;
        json_t *body = used && events[i][used] ? json_loads(events[i] + used, 0, &error) : json_object();
        if (!body) tap_ok(false, "the body of an event is no JSON: %s: %s", error.text, events[i]);
        exchange_event(x, part, name, body, START_NS + (i + 1) * 1000000u, bytes);
        json_decref(body);
    }
}

/* Head and bytes of the answer, or of the problem. */
static void answer(exchange *x, char **events, size_t n, ig_buf *out)
{
    ig_buf bytes;
    ig_emit_head head = {0};
    ig_buf_init(&bytes, 1 << 24);
    if (!x->parsed) {
        head.status = ig_problem_status(&x->problem, x->match.route->dialect);
        head.content_type = "application/json";
        ig_dialect_problem(x->match.route->dialect, &x->problem, "req_1", &bytes);
    } else if (x->emitter) {
        run_events(x, events, n, &bytes);
        head = ig_emit_head_get(x->emitter);
        tap_ok(!ig_emit_failed(x->emitter) && ig_emit_ended(x->emitter) == (n > 0), "the answer ends where it should");
    }
    if (head.status && (n || !x->parsed)) {
        (void)ig_buf_printf(out, "< %u %s%s\n", head.status, head.content_type, head.stream ? " stream" : "");
        (void)ig_buf_add(out, bytes.ptr ? bytes.ptr : "", bytes.len);
        (void)ig_buf_printf(out, "\n");
    }
    tap_ok(bytes.len == 0 || ig_utf8_valid(bytes.ptr, bytes.len), "the answer is UTF-8");
    ig_buf_fini(&bytes);
}

/* One exchange behind its title; false at the end of the file. */
static bool replay(transcript *t)
{
    char *title = NULL, *line, *events[256], method[16], path[512], *text = NULL, *wanted = NULL;
    size_t n_events = 0, n_text = 0;
    while ((line = next_line(t)) && *line != '>') {
        if (*line == '#') title = line;
        (void)ig_buf_printf(&t->fresh, "%s\n", line);
    }
    if (!line) return false;
    if (sscanf(line, "> %15s %511s", method, path) != 2) return tap_ok(false, "a request cannot be read: %s", line);
    (void)ig_buf_printf(&t->fresh, "%s\n", line);
    while ((line = next_line(t)) && *line != '=' && *line != '*' && *line != '<' && strcmp(line, "-----") != 0) {
        if (!text) text = line;
        n_text = (size_t)(line + strlen(line) - text);
        if (line != text) line[-1] = '\n';
    }
    if (text) (void)ig_buf_printf(&t->fresh, "%.*s\n", (int)n_text, text);
    char *query = strchr(path, '?');
    exchange x;
    ig_str question = query ? ig_str_from(query + 1) : (ig_str){"", 0};
    ig_str where = {path, query ? (size_t)(query - path) : strlen(path)};
    exchange_open(&x, method, where, question, (ig_str){text, n_text});
    const size_t from = t->fresh.len;
    ig_buf seen;
    ig_buf_init(&seen, 1 << 24);
    if (x.parsed) {
        (void)ig_buf_printf(&t->fresh, "= ");
        describe(&x, &t->fresh);
        (void)ig_buf_printf(&t->fresh, "\n");
    }
    if (line && *line == '=') {
        (void)ig_buf_printf(&seen, "%s\n", line);
        line = next_line(t);
    }
    for (; line && *line == '*' && n_events < 256; line = next_line(t)) events[n_events++] = line;
    for (size_t i = 0; i < n_events; i++) {
        (void)ig_buf_printf(&seen, "%s\n", events[i]);
        (void)ig_buf_printf(&t->fresh, "%s\n", events[i]);
    }
    answer(&x, events, n_events, &t->fresh);
    for (; line && strcmp(line, "-----") != 0; line = next_line(t)) (void)ig_buf_printf(&seen, "%s\n", line);
    wanted = seen.ptr ? seen.ptr : "";
    const char *got = t->fresh.ptr + from;
    bool same = seen.len == t->fresh.len - from && !memcmp(wanted, got, seen.len);
    if (!tap_ok(same, "%s %u: %s", t->file, ++t->n, title ? title + 2 : path)) {
        fprintf(stderr, "wanted:\n%.*sgot:\n%.*s", (int)seen.len, wanted, (int)(t->fresh.len - from), got);
    }
    (void)ig_buf_printf(&t->fresh, "-----\n");
    ig_buf_fini(&seen);
    exchange_close(&x);
    return line != NULL;
}

static void replay_file(const char *folder, const char *name)
{
    char path[4096];
    size_t n;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    char *text = tap_read(path, &n);
    if (!text) {
        tap_ok(false, "%s cannot be read", path);
        return;
    }
    transcript t = {.at = text, .file = name};
    ig_buf_init(&t.fresh, 1 << 24);
    while (replay(&t)) {}
    FILE *f = getenv("INGLE_WRITE") ? fopen(path, "wb") : NULL;
    if (f) {
        (void)fwrite(t.fresh.ptr, 1, t.fresh.len, f);
        (void)fclose(f);
    }
    ig_buf_fini(&t.fresh);
    free(text);
}

static int text_first(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void test_transcripts(void)
{
    char folder[4000], *names[64];
    size_t n = 0;
    (void)snprintf(folder, sizeof folder, "%s/dialect", tap_data());
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) && n < 64;)
        if (strstr(e->d_name, ".txt")) names[n++] = strdup(e->d_name);
    if (d) closedir(d);
    tap_ok(n >= 6, "%zu files of transcripts", n);
    qsort(names, n, sizeof *names, text_first);
    for (size_t i = 0; i < n; i++) {
        replay_file(folder, names[i]);
        free(names[i]);
    }
}

/* ------------------------------------------------------------------------------------------------ hostile bytes */

static bool parse_text(const char *path, ig_str body, ig_problem *problem)
{
    ig_match m;
    ig_request req;
    bool good = ig_dialect_match("POST", ig_str_from(path), &m, problem);
    if (!good) return false;
    good = ig_dialect_parse(&m, (ig_str){"", 0}, body, &req, problem);
    ig_request_fini(&req);
    return good;
}

static void test_limits(void)
{
    ig_problem p;
    ig_buf b;
    ig_buf_init(&b, 64u << 20);
    for (int i = 0; i < 100000; i++) (void)ig_buf_add(&b, "{\"a\":[", 6);
    tap_ok(!parse_text("/v1/chat/completions", (ig_str){b.ptr, b.len}, &p) && strstr(p.message, "nested"), "depth: %s",
           p.message);
    b.len = 0;
    (void)ig_buf_printf(&b, "{\"stop\":[");
    for (unsigned i = 0; i <= IG_BODY_VALUES_MAX; i++) (void)ig_buf_add(&b, "1,", 2);
    (void)ig_buf_printf(&b, "1]}");
    tap_ok(!parse_text("/api/chat", (ig_str){b.ptr, b.len}, &p) && p.kind == IG_P_TOO_LARGE, "values: %s", p.message);
    b.len = 0;
    (void)ig_buf_printf(&b, "{");
    for (unsigned i = 0; i <= IG_BODY_MEMBERS_MAX; i++) (void)ig_buf_printf(&b, "\"%x\":1,", i);
    (void)ig_buf_printf(&b, "\"x\":1}");
    tap_ok(!parse_text("/api/chat", (ig_str){b.ptr, b.len}, &p) && p.kind == IG_P_TOO_LARGE, "members: %s", p.message);
    b.len = 0;
    (void)ig_buf_printf(&b, "{\"prompt\":\"");
    while (b.len <= IG_BODY_BYTES_MAX) (void)ig_buf_add(&b, "aaaaaaaaaaaaaaaa", 16);
    (void)ig_buf_printf(&b, "\"}");
    tap_ok(!parse_text("/completion", (ig_str){b.ptr, b.len}, &p) && p.kind == IG_P_TOO_LARGE, "bytes: %s", p.message);
    ig_buf_fini(&b);
}

/* Bodies that are no request; no answer may repeat what may be a prompt. */
static void test_secrets(void)
{
    static const char *const bodies[] = {
        "{\"model\":\"m\",\"prompt\":\"SECRET",
        "{\"model\":\"m\",\"prompt\":\"SECRET\" \"SECRET\"}",
        "{\"model\":\"m\",\"messages\":\"SECRET\",\"input\":9,\"max_tokens\":5}",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"SECRET\",\"content\":1}],\"max_tokens\":1}",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":{\"SECRET\":1}}]}",
        "{\"model\":\"m\",\"prompt\":{\"SECRET\":1}}",
        "{\"SECRET\":1,\"SECRET\":2}",
        "SECRET",
        "[\"SECRET\"]",
        "\"SECRET\"",
        "{\"prompt\":\"SECRET\xff\"}",
        ""};
    static const char *const paths[] = {
        "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages", "/api/chat",
        "/api/generate",        "/completion",     "/infill",       "/v1/rerank",     "/api/create"};
    ig_problem p;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (size_t k = 0; k < sizeof bodies / sizeof *bodies; k++) {
            bool empty = !strcmp(paths[i], "/api/chat") || !strcmp(paths[i], "/api/generate"); /* these may load */
            bool good = parse_text(paths[i], ig_str_from(bodies[k]), &p);
            if (good && !empty) wrong++;
            if (!good && (strstr(p.message, "SECRET") || strstr(p.param, "SECRET") || !p.message[0])) wrong++;
            if (!good && (strstr(p.message, "SECRET") || !p.message[0]))
                fprintf(stderr, "%s %s: %s\n", paths[i], bodies[k], p.message);
        }
    tap_ok(wrong == 0, "bodies that are no request are refused without repeating them (%zu wrong)", wrong);
}

static void test_match(void)
{
    static const struct {
        const char *method, *path, *row, *arg;
        int problem; /* -1: none */
    } rows[] = {
        {"GET", "/v1/models/hf.co/org/repo:Q4_K_M", "/v1/models/{id}", "hf.co/org/repo:Q4_K_M", -1},
        {"HEAD", "/", "/", "", -1},
        {"HEAD", "/api/tags", "/api/tags", "", -1},
        {"GET", "/v1/models/a\nb", "/v1/models/{id}", NULL, IG_P_BAD_REQUEST},
        {"GET", "/v1/models/a\xc3", "/v1/models/{id}", NULL, IG_P_BAD_REQUEST},
        {"GET", "/v1/models/a%41", "/v1/models/{id}", "a%41", -1}, /* its escapes were undone before */
        {"GET", "/v1/models/", "/v1/models", NULL, IG_P_NO_ROUTE},
        {"GET", "/v1/chat/completions", "/v1/chat/completions", NULL, IG_P_METHOD},
        {"DELETE", "/", "/", NULL, IG_P_METHOD},
        {"GET", "/api/nothing", "/api/tags", NULL, IG_P_NO_ROUTE},
        {"POST", "/v1/messages/batches", "/v1/messages", NULL, IG_P_NO_ROUTE},
        {"GET", "", "/v1/models", NULL, IG_P_NO_ROUTE},
        {"GET", "/metrics", "/metrics", "", -1},
        {"GET", "/v1/health", "/v1/health", "", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_match m;
        ig_problem p;
        bool good = ig_dialect_match(rows[i].method, ig_str_from(rows[i].path), &m, &p);
        bool right = good ? rows[i].problem < 0 && !strcmp(m.arg, rows[i].arg) : (int)p.kind == rows[i].problem;
        tap_ok(right && m.route && !strcmp(m.route->path, rows[i].row), "%s %s: %s%s%s", rows[i].method, rows[i].path,
               m.route ? m.route->path : "no row", good ? "" : ": ", good ? "" : p.message);
    }
    char longest[600] = "/v1/models/";
    memset(longest + 11, 'a', sizeof longest - 12);
    longest[sizeof longest - 1] = 0;
    ig_match m;
    ig_problem p;
    tap_ok(!ig_dialect_match("GET", ig_str_from(longest), &m, &p) && p.kind == IG_P_BAD_REQUEST, "a name of 588 bytes");
}

/* ------------------------------------------------------------------------------------------------ any events */

static const struct {
    const char *path, *body;
} generators[] = {
    {"/v1/chat/completions",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":%s,\"n\":2}"},
    {"/v1/completions", "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"stream\":%s}"},
    {"/v1/responses", "{\"model\":\"m\",\"input\":\"x\",\"stream\":%s,\"include\":[\"reasoning.encrypted_content\"]}"},
    {"/v1/messages",
     "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":%s}"},
    {"/api/chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":%s}"},
    {"/api/generate", "{\"model\":\"m\",\"prompt\":\"x\",\"stream\":%s}"},
    {"/completion", "{\"prompt\":\"x\",\"stream\":%s,\"return_progress\":true}"},
    {"/infill", "{\"input_prefix\":\"a\",\"input_suffix\":\"b\",\"stream\":%s}"},
};
enum { N_GENERATORS = sizeof generators / sizeof *generators };

static void open_generator(exchange *x, size_t i, bool stream)
{
    char body[512];
    (void)snprintf(body, sizeof body, generators[i].body, stream ? "true" : "false");
    exchange_open(x, "POST", ig_str_from(generators[i].path), (ig_str){"", 0}, ig_str_from(body));
}

/* What a worker that was taken over might send. */
static const char *const strange[] = {
    "null",
    "{}",
    "{\"c\":-1}",
    "{\"c\":9}",
    "{\"c\":\"0\"}",
    "{\"c\":0,\"k\":7,\"t\":7}",
    "{\"c\":0,\"k\":\"tool\"}",
    "{\"c\":0,\"k\":\"tool\",\"args\":\"x\"}",
    "{\"c\":0,\"k\":\"tool\",\"i\":99,\"args\":\"x\"}",
    "{\"c\":0,\"k\":\"tool\",\"i\":-9,\"name\":5,\"id\":{}}",
    "{\"c\":0,\"k\":\"tool\",\"i\":0,\"name\":\"f\",\"id\":\"c\"}",
    "{\"c\":0,\"k\":\"text\",\"t\":\"a\",\"lp\":7,\"ids\":7}",
    "{\"c\":0,\"k\":\"text\",\"t\":\"a\",\"lp\":[7,{\"top\":[3,{}]}],\"ids\":[\"x\"]}",
    "{\"c\":0,\"finish\":3,\"usage\":[],\"timings\":7,\"stop\":1,\"flag\":[]}",
    "{\"c\":0,\"finish\":\"odd\",\"usage\":{\"prompt\":-5,\"completion\":9223372036854775807,\"cached\":9e300}}",
    "{\"type\":7,\"message\":[],\"param\":1,\"n_prompt\":-1}",
    "{\"embeddings\":7,\"scores\":{},\"slots\":7,\"tokens\":{}}",
    "{\"embeddings\":[[],7,[\"x\"]],\"scores\":[\"x\"],\"usage\":{\"prompt\":3}}",
    "{\"phase\":\"prompt\",\"done\":-1,\"total\":\"x\"}",
    "{\"phase\":\"a very long name of a phase\",\"share\":1e300}"};

static void test_strange_events(void)
{
    size_t n_routes, n = 0, bad = 0;
    const ig_route *routes = ig_dialect_routes(&n_routes);
    uint64_t seed = 1;
    for (unsigned round = 0; round < 400; round++)
        for (size_t i = 0; i < N_GENERATORS; i++) {
            exchange x;
            ig_buf out;
            ig_buf_init(&out, 1 << 22);
            open_generator(&x, i, round % 2);
            for (unsigned k = 0; k < 12; k++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                json_t *body =
                    json_loads(strange[(seed >> 33) % (sizeof strange / sizeof *strange)], JSON_DECODE_ANY, NULL);
                static const char *const names[] = {"progress", "delta", "delta",  "delta",
                                                    "done",     "error", "result", "ping"};
                exchange_event(&x, (seed >> 50) % 3, names[(seed >> 40) % 8 & (k < 6 ? 3 : 7)], body, START_NS, &out);
                json_decref(body);
                n++;
            }
            if (!x.parsed || (out.len && !ig_utf8_valid(out.ptr, out.len))) bad++;
            exchange_close(&x);
            ig_buf_fini(&out);
        }
    (void)routes;
    tap_ok(bad == 0, "%zu strange events on %zu of %zu routes", n, (size_t)N_GENERATORS, n_routes);
}

/* ------------------------------------------------------------------------------------------------ streamed and whole
 */

/* Appends every string found under one of the keys, in order of the document. */
static void gather(const json_t *v, const char *const *keys, ig_buf *out)
{
    const char *key;
    json_t *child;
    size_t i;
    json_object_foreach((json_t *)v, key, child)
    {
        for (size_t k = 0; keys[k]; k++)
            if (!strcmp(key, keys[k]) && json_is_string(child))
                (void)ig_buf_add(out, json_string_value(child), json_string_length(child));
        gather(child, keys, out);
    }
    json_array_foreach(v, i, child) gather(child, keys, out);
}

/* Text that a client puts together from a stream: deltas alone. */
static void gather_stream(char *bytes, const char *const *keys, ig_buf *out)
{
    static const char *const skip[] = {"\"response.output_text.done\"", "\"response.content_part.done\"",
                                       "\"response.output_item.done\"", "\"response.completed\""};
    for (char *line = strtok(bytes, "\n"); line; line = strtok(NULL, "\n")) {
        bool drop = *line != '{' && strncmp(line, "data: {", 7) != 0;
        for (size_t i = 0; i < 4; i++) drop = drop || strstr(line, skip[i]);
        json_t *v = drop ? NULL : json_loads(strchr(line, '{'), 0, NULL);
        gather(v, keys, out);
        json_decref(v);
    }
}

static void test_same_text(void)
{
    static const char *const pieces[] = {"Once",     " upon", " \xC3\xA4\xE2\x82\xAC", " a\n",
                                         "\"time\\", "\x01",  "\xF0\x9F\x8F\xA0"};
    static const char *const keys[] = {"content", "text", "delta", "response", NULL};
    for (size_t i = 0; i < N_GENERATORS; i++) {
        ig_buf got[2], text[2];
        for (int stream = 0; stream < 2; stream++) {
            exchange x;
            ig_buf_init(&got[stream], 1 << 22);
            ig_buf_init(&text[stream], 1 << 22);
            open_generator(&x, i, stream != 0);
            for (size_t part = 0; part < json_array_size(x.req.parts); part++)
                for (unsigned c = 0; c < x.req.n; c++) {
                    for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
                        json_t *body = json_pack("{s:i, s:s, s:s}", "c", (int)c, "k", "text", "t", pieces[k]);
                        exchange_event(&x, part, "delta", body, START_NS, &got[stream]);
                        json_decref(body);
                    }
                    json_t *body = json_pack("{s:i, s:s}", "c", (int)c, "finish", "stop");
                    exchange_event(&x, part, "done", body, START_NS, &got[stream]);
                    json_decref(body);
                }
            (void)ig_buf_add(&got[stream], "", 1);
            if (stream) {
                gather_stream(got[stream].ptr, keys, &text[stream]);
            } else {
                json_t *v = json_loads(got[stream].ptr, 0, NULL);
                static const char *const whole[] = {"content", "text", "response", NULL};
                gather(v, whole, &text[stream]);
                json_decref(v);
            }
            exchange_close(&x);
        }
        tap_ok(text[0].len > 10 && text[0].len == text[1].len && !memcmp(text[0].ptr, text[1].ptr, text[0].len),
               "%s: the text of the stream is the text of the whole answer (%zu and %zu bytes)", generators[i].path,
               text[1].len, text[0].len);
        for (int stream = 0; stream < 2; stream++) {
            ig_buf_fini(&got[stream]);
            ig_buf_fini(&text[stream]);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ memory */

static uint64_t tree_calls, tree_fail_at; /* allocations of trees; 0: none fails */

static void *tree_alloc(size_t n) { return ++tree_calls == tree_fail_at ? NULL : malloc(n); }

/* Call k of either allocator fails: a problem, a failed emitter, or an answer that ends (an optional member may be
 * missing); never a crash. Sanitizers see leaks. */
static void walk(size_t generator, bool stream, bool trees)
{
    static const char *const script[][2] = {
        {"progress", "{\"phase\":\"prompt\",\"done\":4,\"total\":9,\"cached\":2}"},
        {"delta", "{\"c\":0,\"k\":\"reasoning\",\"t\":\"hm\"}"},
        {"delta", "{\"c\":0,\"k\":\"text\",\"t\":\"a\",\"ids\":[5],\"lp\":[{\"id\":5,\"token\":\"a\",\"bytes\":[97],"
                  "\"logprob\":-0.5,"
                  "\"top\":[{\"id\":5,\"token\":\"a\",\"bytes\":[97],\"logprob\":-0.5}]}]}"},
        {"delta", "{\"c\":0,\"k\":\"tool\",\"i\":0,\"id\":\"call_1\",\"name\":\"f\"}"},
        {"delta", "{\"c\":0,\"k\":\"tool\",\"i\":0,\"args\":\"{\\\"a\\\":1}\"}"},
        {"done", "{\"c\":0,\"finish\":\"tool_calls\",\"stop\":\"x\",\"usage\":{\"prompt\":3,\"completion\":4}}"},
        {"done", "{\"c\":1,\"finish\":\"length\"}"}};
    enum { N = sizeof script / sizeof *script };
    json_t *bodies[N];
    size_t n_wrong = 0;
    uint64_t k = 0;
    bool over = false;
    for (size_t i = 0; i < N; i++) bodies[i] = json_loads(script[i][1], 0, NULL);
    for (; !over && k < 20000; k++) {
        exchange x;
        ig_buf out;
        ig_buf_init(&out, 1 << 20);
        if (trees) json_set_alloc_funcs(tree_alloc, free);
        tree_calls = 0;
        tree_fail_at = trees ? k : 0;
        if (!trees && k) ig_fault_set(IG_FAULT_ALLOC, k, 12, false);
        open_generator(&x, generator, stream);
        for (size_t i = 0; i < 2 * N; i++) exchange_event(&x, i / N, script[i % N][0], bodies[i % N], START_NS, &out);
        if (k) over = trees ? tree_calls < k : ig_fault_calls(IG_FAULT_ALLOC) < k;
        if (!trees) ig_fault_reset();
        tree_fail_at = 0;
        const bool told = !x.parsed || !x.emitter || ig_emit_failed(x.emitter);
        if (told ? k == 0 || over : !ig_emit_ended(x.emitter) || out.len == 0) n_wrong++;
        exchange_close(&x);
        ig_buf_fini(&out);
    }
    json_set_alloc_funcs(malloc, free);
    for (size_t i = 0; i < N; i++) json_decref(bodies[i]);
    tap_ok(over && n_wrong == 0, "%s %s: %s fails at each of %" PRIu64 " allocations", generators[generator].path,
           stream ? "streamed" : "whole", trees ? "a tree" : "memory", k);
}

static void test_memory(void)
{
    for (size_t i = 0; i < N_GENERATORS; i++)
        for (int which = 0; which < 4; which++) walk(i, which & 1, which & 2);
}

/* ------------------------------------------------------------------------------------------------ listings */

static void expect(const char *what, ig_buf *got, const char *wanted);

/* Whose work runs in the slots is told to its owner and to those who may manage, else only that it runs. */
static void test_slots(void)
{
    static const char *const users[] = {"1000", "1001", "1001"};
    static const char seen[] =
        "[{\"id\":0,\"n_ctx\":64,\"is_processing\":true,\"id_task\":7,\"params\":{},\"next_token\":{\"has_next_token\":"
        "true,\"n_remain\":-1,\"n_decoded\":4},\"state\":\"generate\",\"user\":\"1000\",\"n_prompt\":5,\"cached\":2},"
        "{\"id\":1,\"n_ctx\":64,\"is_processing\":false}]";
    static const char hidden[] =
        "[{\"id\":0,\"n_ctx\":64,\"is_processing\":true},{\"id\":1,\"n_ctx\":64,\"is_processing\":false}]";
    json_t *result =
        json_loads("{\"slots\":[{\"id\":0,\"state\":\"generate\",\"tokens\":9,\"n_ctx\":64,\"user\":\"1000\","
                   "\"request\":7,\"c\":0,\"n_prompt\":5,\"cached\":2,\"generated\":4},{\"id\":1,\"state\":"
                   "\"idle\",\"tokens\":9,\"n_ctx\":64,\"user\":\"1001\"}]}",
                   0, NULL);
    for (int i = 0; i < 3; i++) {
        exchange x;
        ig_buf b;
        ig_buf_init(&b, 1 << 16);
        exchange_open(&x, "GET", ig_str_from("/slots"), (ig_str){"", 0}, (ig_str){"", 0});
        json_object_set_new(json_array_get(x.req.parts, 0), "user", json_string(users[i]));
        if (i == 2) json_object_set_new(x.req.echo, "all_slots", json_true());
        exchange_event(&x, 0, "result", result, START_NS, &b);
        expect(i == 0   ? "slots: one's own work"
               : i == 1 ? "slots: not other people's"
                        : "slots: all for who may manage",
               &b, i == 1 ? hidden : seen);
        exchange_close(&x);
        ig_buf_fini(&b);
    }
    json_decref(result);
}

static void expect(const char *what, ig_buf *got, const char *wanted)
{
    (void)ig_buf_add(got, "", 1);
    if (!tap_ok(!got->failed && !strcmp(got->ptr, wanted), "%s", what)) fprintf(stderr, "%s\n", got->ptr);
    got->len = 0;
}

static const char *const abilities[] = {"completion", "tools", NULL};

/* info: borrowed. */
static ig_model_row a_row(const json_t *info)
{
    return (ig_model_row){.name = "qwen3:8b",
                          .digest = "00ff",
                          .format = "gguf",
                          .family = "qwen3",
                          .parameter_size = "8.2B",
                          .quantization = "Q4_K_M",
                          .state = "loaded",
                          .capabilities = abilities,
                          .size_bytes = 5000000000u,
                          .modified_ns = START_NS,
                          .n_ctx_max = 40960,
                          .n_ctx_load = 16384,
                          .n_ctx_loaded = 8192,
                          .n_embd = 4096,
                          .n_params = 8190735360u,
                          .n_vocab = 151936,
                          .license = "Apache License",
                          .template_text = "{{ .Prompt }}",
                          .parameters_text = "num_ctx 8192",
                          .model_info = info};
}

#define DETAILS                                                                                                        \
    "\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"qwen3\",\"families\":[\"qwen3\"],"            \
    "\"parameter_size\":\"8.2B\",\"quantization_level\":\"Q4_K_M\",\"context_length\":40960,\"embedding_length\":"     \
    "4096}"

static void test_ollama_lists(void)
{
    json_t *info = json_pack("{s:s, s:i, s:[s,s]}", "general.architecture", "qwen3", "qwen3.context_length", 40960,
                             "tokenizer.ggml.tokens", "a", "b");
    const ig_model_row row = a_row(info);
    ig_buf b;
    ig_buf_init(&b, 1 << 20);
    ig_list_tags(&row, 1, &b);
    expect(
        "/api/tags", &b,
        "{\"models\":[{\"name\":\"qwen3:8b\",\"model\":\"qwen3:8b\",\"modified_at\":\"2023-11-14T22:13:20.123456789Z\","
        "\"size\":5000000000,\"digest\":\"00ff\"," DETAILS ",\"capabilities\":[\"completion\",\"tools\"]}]}");
    ig_list_ps(&row, 1, &b);
    expect("/api/ps", &b,
           "{\"models\":[{\"name\":\"qwen3:8b\",\"model\":\"qwen3:8b\",\"size\":5000000000,\"digest\":\"00ff\"," DETAILS
           ",\"expires_at\":\"2262-04-11T23:47:16.854775807Z\",\"size_vram\":0,\"context_length\":8192}]}");
    ig_list_show(&row, false, &b);
    expect("/api/show", &b,
           "{\"license\":\"Apache License\",\"modelfile\":\"\",\"parameters\":\"num_ctx 8192\",\"template\":\"{{ "
           ".Prompt }}\"," DETAILS ",\"model_info\":{\"general.architecture\":\"qwen3\",\"qwen3.context_length\":40960,"
           "\"tokenizer.ggml.tokens\":null,\"general.parameter_count\":8190735360,"
           "\"general.basename\":\"qwen3:8b\"},\"capabilities\":[\"completion\",\"tools\"],"
           "\"modified_at\":\"2023-11-14T22:13:20.123456789Z\"}");
    ig_list_show(&row, true, &b);
    tap_ok(b.len && memmem(b.ptr, b.len, "[\"a\",\"b\"]", 9), "/api/show verbose has arrays");
    b.len = 0;
    tap_ok(json_is_array(json_object_get(info, "tokenizer.ggml.tokens")), "the caller's tree is left alone");
    ig_list_version("0.13.0", "0.1.0", &b);
    expect("/api/version", &b, "{\"version\":\"0.13.0\",\"ingle\":\"0.1.0\"}");
    ig_buf_fini(&b);
    json_decref(info);
}

static void test_lists(void)
{
    const ig_model_row row = a_row(NULL);
    ig_buf b;
    ig_buf_init(&b, 1 << 20);
    ig_list_openai(&row, 1, &b);
    expect(
        "/v1/models", &b,
        "{\"object\":\"list\",\"data\":[{\"id\":\"qwen3:8b\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":"
        "\"ingle\",\"meta\":{\"n_ctx_train\":40960,\"n_embd\":4096,\"n_params\":8190735360,\"size\":5000000000,"
        "\"n_vocab\":151936},\"architecture\":{\"input_modalities\":[\"text\"],\"output_modalities\":[\"text\"]},"
        "\"status\":{\"value\":\"loaded\"},\"max_context_length\":40960,\"context_length\":8192,\"quantization\":"
        "\"Q4_K_M\",\"ingle\":{\"digest\":\"00ff\",\"n_ctx_max\":40960,\"n_ctx_load\":16384,\"n_ctx_loaded\":8192,"
        "\"capabilities\":[\"completion\",\"tools\"]},\"loaded_context_length\":8192}]}");
    ig_list_openai(NULL, 0, &b);
    expect("/v1/models without models", &b, "{\"object\":\"list\",\"data\":[]}");
    ig_list_anthropic(&row, 1, false, &b);
    expect(
        "/v1/models for Anthropic", &b,
        "{\"data\":[{\"type\":\"model\",\"id\":\"qwen3:8b\",\"display_name\":\"qwen3:8b\",\"created_at\":"
        "\"2023-11-14T22:13:20.123456789Z\"}],\"has_more\":false,\"first_id\":\"qwen3:8b\",\"last_id\":\"qwen3:8b\"}");
    const ig_model_row rows[] = {
        {0}, {.name = "\xff", .family = "\xc3", .license = "\xff\xfe", .system = "a\xf0", .quantization = "\xe2"}};
    for (size_t i = 0; i < 2; i++) {
        ig_list_show(&rows[i], true, &b);
        ig_list_openai_one(&rows[i], &b);
        ig_list_anthropic(&rows[i], 1, true, &b);
        ig_list_tags(&rows[i], 1, &b);
        ig_list_ps(&rows[i], 1, &b);
        tap_ok(!b.failed && ig_utf8_valid(b.ptr, b.len), i ? "a row of broken bytes" : "a row without anything");
    }
    ig_buf_fini(&b);
}

static void test_pages(void)
{
    static const struct {
        const char *query;
        size_t from, n;
        bool more;
        const char *wrong; /* name of the field */
    } cases[] = {
        {"", 0, 20, true, NULL},
        {"limit=1000", 0, 25, false, NULL},
        {"limit=25", 0, 25, false, NULL},
        {"limit=24", 0, 24, true, NULL},
        {"limit=3&after_id=m5", 6, 3, true, NULL},
        {"after_id=m5&limit=19", 6, 19, false, NULL},
        {"after_id=m24", 25, 0, false, NULL},
        {"before_id=m5&limit=3", 2, 3, true, NULL},
        {"before_id=m3&limit=3", 0, 3, false, NULL},
        {"before_id=m0", 0, 0, false, NULL},
        {"after_id=&before_id=", 0, 20, true, NULL},
        {"after_id=m%31", 2, 20, true, NULL},
        {"limit=0", 0, 0, false, "limit"},
        {"limit=1001", 0, 0, false, "limit"},
        {"limit=18446744073709551617", 0, 0, false, "limit"},
        {"limit=-1", 0, 0, false, "limit"},
        {"limit=2x", 0, 0, false, "limit"},
        {"limit=", 0, 0, false, "limit"},
        {"after_id=nobody", 0, 0, false, "after_id"},
        {"before_id=m", 0, 0, false, "before_id"},
        {"before_id=m3&after_id=m1", 0, 0, false, "before_id"},
    };
    ig_model_row rows[25] = {{0}};
    char names[25][8];
    for (size_t i = 0; i < 25; i++) {
        snprintf(names[i], sizeof names[i], "m%zu", i);
        rows[i].name = names[i];
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ig_page page = {0};
        ig_problem p = {0};
        bool good = ig_page_anthropic(ig_str_from(cases[i].query), rows, 25, &page, &p);
        if (cases[i].wrong)
            tap_ok(!good && !strcmp(p.param, cases[i].wrong), "a page of models ?%s is refused", cases[i].query);
        else
            tap_ok(good && page.from == cases[i].from && page.n == cases[i].n && page.more == cases[i].more,
                   "a page of models ?%s: %zu from %zu", cases[i].query, page.n, page.from);
    }
    ig_page page;
    ig_problem p;
    tap_ok(ig_page_anthropic(IG_STR(""), rows, 0, &page, &p) && !page.n && !page.more, "a page of no models");
}

/* ------------------------------------------------------------------------------------------------ the rest */

static void test_defaults(void)
{
    static const char body[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_p\":0.5}";
    ig_match m;
    ig_request req;
    ig_problem p = {0};
    json_t *model = json_pack("{s:f, s:f, s:i, s:i, s:[s], s:s}", "temperature", 0.1, "top_p", 0.2, "num_predict", 7,
                              "num_ctx", 2048, "stop", "END", "odd", "x");
    bool good = ig_dialect_match("POST", ig_str_from("/v1/chat/completions"), &m, &p) &&
                ig_dialect_parse(&m, (ig_str){"", 0}, IG_STR(body), &req, &p) && ig_request_defaults(&req, model, &p);
    ig_buf b;
    ig_buf_init(&b, 1 << 16);
    if (good) ig_json_write(req.parts, &b);
    expect("the client before the model before the dialect", &b,
           "[{\"op\":\"generate\",\"top_p\":0.5,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"kind\":\"chat\","
           "\"temperature\":0.1,\"max_tokens\":7,\"stop\":[\"END\"]}]");
    tap_ok(req.n_ctx == 2048, "the model's context where the client names none");
    ig_request_fini(&req);
    ig_buf_fini(&b);
    json_decref(model);
}

static void test_numbers(void)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0.5, "0.5"},   {1, "1.0"}, {-0.1, "-0.1"}, {1e300, "1e+300"}, {0.1 + 0.2, "0.30000000000000004"},
                {1e-7, "1e-07"}};
    ig_buf b;
    ig_buf_init(&b, 1 << 10);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *v = json_real(rows[i].value);
        ig_json_write(v, &b);
        expect(rows[i].text, &b, rows[i].text);
        json_decref(v);
    }
    json_t *deep = json_array();
    for (int i = 0; i < 200; i++) deep = json_pack("[o]", deep);
    ig_json_write(deep, &b);
    tap_ok(b.failed, "a tree of 200 levels is not written");
    json_decref(deep);
    ig_buf_fini(&b);
}

int main(void)
{
    test_transcripts();
    test_limits();
    test_secrets();
    test_match();
    test_strange_events();
    test_same_text();
    test_slots();
    test_ollama_lists();
    test_lists();
    test_pages();
    test_defaults();
    test_numbers();
    test_memory();
    return tap_done();
}
