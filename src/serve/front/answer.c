/* Answers of the front: header fields, problems in the dialect's form. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/os.h"
#include "serve/front/fr.h"

#define BODY_BYTES_MAX ((size_t)64 << 20)

uint64_t fr_wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * FR_NS_PER_S + (uint64_t)t.tv_nsec;
}

void fr_new_id(char out[25])
{
    static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint8_t raw[24];
    ig_random(raw, sizeof raw);
    for (size_t i = 0; i < sizeof raw; i++) out[i] = letters[raw[i] % 32];
    out[24] = 0;
}

void fr_fields_add(fr_fields *x, const char *name, const char *value)
{
    if (x->n < FR_FIELDS_MAX) x->field[x->n++] = (ig_http_field){ig_str_from(name), ig_str_from(value)};
}

void fr_fields_begin(const fr_front *f, fr_fields *x, const ig_exchange *ex, const char *type, const char *request_id)
{
    *x = (fr_fields){0};
    if (type) fr_fields_add(x, "Content-Type", type);
    if (!request_id) fr_new_id(x->id);
    if (!request_id) request_id = x->id;
    fr_fields_add(x, "X-Request-Id", request_id); /* read by OpenAI's clients */
    fr_fields_add(x, "Request-Id", request_id);   /* by Anthropic's */
    const ig_incoming *in = ig_exchange_request(ex);
    ig_str cors = {0};
    ig_error err;
    if (ig_access_check(&f->access, in->who, in->port, in->head, &cors, &err) != IG_OK || !cors.len) return;
    x->field[x->n++] = (ig_http_field){IG_STR("Access-Control-Allow-Origin"), cors};
    fr_fields_add(x, "Vary", "Origin");
}

/* Seconds until a place should be free: what waits by what is answered in a second, and up to half as much again, so
 * that those who were refused together do not come back together. */
static unsigned retry_seconds(const fr_front *f)
{
    double wait = f->rate > 0 ? (double)f->n_jobs / f->rate : 1;
    uint8_t random;
    ig_random(&random, 1);
    wait *= 1 + random / 512.0;
    return wait < 1 ? 1 : wait > 60 ? 60 : (unsigned)(wait + 0.5);
}

void fr_fields_problem(fr_front *f, fr_fields *x, const ig_problem *p, unsigned status)
{
    fr_fields_add(x, "X-Should-Retry", ig_problem_retry(p) ? "true" : "false");
    if (status == 429 || status == 503 || status == 529) {
        snprintf(x->retry, sizeof x->retry, "%u", retry_seconds(f));
        fr_fields_add(x, "Retry-After", x->retry);
    }
    if (status == 401) fr_fields_add(x, "WWW-Authenticate", "Bearer");
}

void fr_answer_problem(fr_front *f, ig_exchange *ex, const ig_route *route, const ig_problem *p)
{
    ig_dialect dialect = route ? route->dialect : IG_D_OPENAI;
    unsigned status = ig_problem_status(p, dialect);
    char id[25];
    fr_new_id(id);
    fr_fields x;
    fr_fields_begin(f, &x, ex, "application/json", id);
    fr_fields_problem(f, &x, p, status);
    const ig_incoming *in = ig_exchange_request(ex);
    if (status == 405 && in) {
        if (!fr_admin_knows(in->head->path, x.allow, sizeof x.allow))
            ig_dialect_methods(in->head->path, x.allow, sizeof x.allow);
        fr_fields_add(&x, "Allow", x.allow);
    }
    ig_buf body;
    ig_buf_init(&body, BODY_BYTES_MAX);
    ig_dialect_problem(dialect, p, id, &body);
    f->counts.refused++;
    ig_exchange_respond(ex, status, x.field, x.n, body.ptr, body.failed ? 0 : body.len);
    ig_buf_fini(&body);
}

static ig_problem_kind kind_of(unsigned status)
{
    static const struct {
        unsigned status;
        ig_problem_kind kind;
    } rows[] = {{408, IG_P_TOO_SLOW}, {413, IG_P_TOO_LARGE}, {431, IG_P_HEAD_TOO_LARGE},
                {500, IG_P_INTERNAL}, {501, IG_P_NOT_HERE},  {503, IG_P_UNAVAILABLE}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status) return rows[i].kind;
    return IG_P_BAD_REQUEST;
}

void fr_refused(void *ctx, ig_own_answer *r)
{
    fr_front *f = ctx;
    ig_match match = {0};
    ig_problem p, unused;
    fr_new_id(r->scratch);
    ig_problem_set(&p, kind_of(r->status), NULL, "%.400s", r->text);
    if (r->path.len) (void)ig_dialect_match("POST", r->path, &match, &unused);
    ig_dialect_problem(match.route ? match.route->dialect : IG_D_OPENAI, &p, r->scratch, r->body);
    r->type = "application/json";
    const ig_http_field fields[] = {
        {IG_STR("X-Request-Id"), ig_str_from(r->scratch)},
        {IG_STR("Request-Id"), ig_str_from(r->scratch)},
        {IG_STR("X-Should-Retry"), ig_problem_retry(&p) ? IG_STR("true") : IG_STR("false")}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) r->fields[r->n_fields++] = fields[i];
    f->counts.refused++;
    ig_str cors = {0};
    ig_error err;
    const ig_incoming *in = r->req;
    if (!in || ig_access_check(&f->access, in->who, in->port, in->head, &cors, &err) != IG_OK || !cors.len) return;
    r->fields[r->n_fields++] = (ig_http_field){IG_STR("Access-Control-Allow-Origin"), cors};
    r->fields[r->n_fields++] = (ig_http_field){IG_STR("Vary"), IG_STR("Origin")};
}

void fr_answer(fr_front *f, ig_exchange *ex, unsigned status, const char *type, ig_buf *body)
{
    fr_fields x;
    fr_fields_begin(f, &x, ex, type, NULL);
    f->counts.answered++;
    if (body->failed)
        ig_exchange_abort(ex);
    else
        ig_exchange_respond(ex, status, x.field, x.n, body->ptr, body->len);
    ig_buf_fini(body);
}

void fr_answer_json(fr_front *f, ig_exchange *ex, unsigned status, json_t *value)
{
    ig_buf body;
    ig_buf_init(&body, BODY_BYTES_MAX);
    if (value)
        ig_json_write(value, &body);
    else
        body.failed = true;
    json_decref(value);
    fr_answer(f, ex, status, "application/json", &body);
}
