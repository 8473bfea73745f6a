/* Dialects: byte 0 is the route (or, from 0x80, the first line is a path with its query), then the client's body up to
 * a NUL byte, then the worker's events, one a line: a digit for kind and part, a JSON value. Whatever comes, problems
 * have a sentence and a status, answers are UTF-8 and valid JSON in their framing, and the answer ends when every
 * choice has ended. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "serve/dialect/dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool good)
{
    if (!good) abort();
}

static void check_json(const char *p, size_t n)
{
    json_t *v = json_loadb(p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    need(v != NULL);
    json_decref(v);
}

/* Every line of a stream is a comment, an event's name, the end mark, or JSON. */
static void check_stream(const ig_buf *out)
{
    for (size_t at = 0; at < out->len;) {
        const char *line = out->ptr + at, *end = memchr(line, '\n', out->len - at);
        need(end != NULL);
        size_t n = (size_t)(end - line);
        at += n + 1;
        if (n == 0 || *line == ':' || (n > 7 && !memcmp(line, "event: ", 7))) continue;
        if (n == 12 && !memcmp(line, "data: [DONE]", 12)) continue;
        const size_t skip = n > 6 && !memcmp(line, "data: ", 6) ? 6 : 0;
        check_json(line + skip, n - skip);
    }
}

static void check_problem(ig_dialect dialect, const ig_problem *p)
{
    ig_buf out;
    ig_buf_init(&out, 1 << 16);
    unsigned status = ig_problem_status(p, dialect);
    need(p->message[0] && status >= 400 && status < 600);
    ig_dialect_problem(dialect, p, "id", &out);
    check_json(out.ptr, out.len);
    ig_buf_fini(&out);
}

/* One line of the script. */
static void play(ig_emitter *e, const char *line, size_t n, ig_buf *out)
{
    if (n == 0) return;
    const unsigned kind = (unsigned char)line[0] % 8, part = (unsigned char)line[0] / 64;
    json_t *body = json_loadb(line + 1, n - 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (kind <= IG_EV_RESULT) ig_emit_event(e, part, (ig_event)kind, body, 1700000000000000000u, out);
    if (kind == 6) ig_emit_ping(e, 1700000000000000000u, out);
    json_decref(body);
}

/* Lets every choice end, as a worker does at the latest when it is cancelled. */
static void finish(ig_emitter *e, const ig_request *req, ig_buf *out)
{
    ig_problem p;
    if (req->op != IG_OP_GENERATE) {
        ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "stopped");
        ig_emit_problem(e, &p, 1700000001000000000u, out);
        return;
    }
    for (size_t part = 0; part < json_array_size(req->parts); part++)
        for (unsigned c = 0; c < req->n; c++) {
            json_t *done = json_pack("{s:i, s:s}", "c", (int)c, "finish", "cancelled");
            ig_emit_event(e, part, IG_EV_DONE, done, 1700000001000000000u, out);
            json_decref(done);
        }
}

static void answer(const ig_request *req, const char *script, size_t n)
{
    const ig_emit_context context = {.id = "0123456789",
                                     .model = req->model ? req->model : "m",
                                     .digest = "sha256:00",
                                     .ran_on = "local",
                                     .device = "cpu",
                                     .version = "0",
                                     .n_ctx = 100,
                                     .created_ns = 1699999999000000000u};
    ig_buf out;
    ig_emitter *e = ig_emit_new(req, &context);
    if (!e) return;
    ig_buf_init(&out, 16u << 20);
    for (size_t at = 0; at < n;) {
        const char *end = memchr(script + at, '\n', n - at);
        size_t len = end ? (size_t)(end - script) - at : n - at;
        play(e, script + at, len, &out);
        at += len + 1;
    }
    finish(e, req, &out);
    need(ig_emit_ended(e));
    need(out.len == 0 || ig_utf8_valid(out.ptr, out.len));
    const ig_emit_head head = ig_emit_head_get(e);
    need(head.status >= 200 && head.content_type);
    if (!ig_emit_failed(e) && head.stream) check_stream(&out);
    if (!ig_emit_failed(e) && !head.stream && out.len) check_json(out.ptr, out.len);
    ig_emit_free(e);
    ig_buf_fini(&out);
}

/* The row that byte 0 names, or the path on the first line; moves *body behind it. */
static bool find(const uint8_t *data, ig_str *body, ig_str *query, ig_match *m, ig_problem *problem)
{
    size_t n;
    const ig_route *rows = ig_dialect_routes(&n), *row = &rows[data[0] % n];
    *query = (ig_str){"", 0};
    if (data[0] < 0x80) {
        char path[64];
        const size_t fixed = strcspn(row->path, "{");
        memcpy(path, row->path, fixed);
        memcpy(path + fixed, "a", 2);
        return ig_dialect_match(row->method, (ig_str){path, fixed + (row->path[fixed] != 0)}, m, problem);
    }
    const char *end = memchr(body->ptr, '\n', body->len);
    const size_t line = end ? (size_t)(end - body->ptr) : body->len;
    const char *mark = line ? memchr(body->ptr, '?', line) : NULL;
    ig_str path = {body->ptr, mark ? (size_t)(mark - body->ptr) : line};
    if (mark) *query = (ig_str){mark + 1, line - path.len - 1};
    *body = (ig_str){body->ptr + line + (end != NULL), body->len - line - (end != NULL)};
    return ig_dialect_match(data[0] % 2 ? "POST" : "GET", path, m, problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_match m;
    ig_request req;
    ig_problem problem;
    ig_str body, query;
    if (size < 1) return 0;
    const char *text = (const char *)data + 1, *nul = size > 1 ? memchr(text, 0, size - 1) : NULL;
    body = (ig_str){text, nul ? (size_t)(nul - text) : size - 1};
    const size_t n_script = nul ? size - 2 - body.len : 0;
    if (!find(data, &body, &query, &m, &problem)) {
        check_problem(m.route->dialect, &problem);
        return 0;
    }
    bool good = ig_dialect_parse(&m, query, body, &req, &problem) && ig_request_defaults(&req, NULL, &problem);
    if (!good) check_problem(m.route->dialect, &problem);
    if (good && m.route->emit) answer(&req, nul ? nul + 1 : "", n_script);
    ig_request_fini(&req);
    return 0;
}
