/* Chat templates against the reference: every conversation through every real template byte for byte, the cases of the
 * language, and hostile templates that must end within their limits of time and memory. Without the large reference
 * data the few cases of tests/data/templates are run. SHOW=1 prints what differs. */
#include <sys/resource.h>
#include <time.h>

#include "tests/tap.h"
#include "text/template/template.h"

static char root[1024];
static bool show;

typedef struct tally {
    size_t n, same, refused, wrong; /* refused: other errors than the template's own, where the reference refuses too */
} tally;

static ig_str text_of(ig_tval v, const char *key)
{
    ig_tval at;
    ig_str s = {NULL, 0};
    if (ig_tv_get(v, ig_str_from(key), &at)) (void)ig_tv_as_text(at, &s);
    return s;
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The source of a case: its own text or a file beside. The caller frees. */
static char *source_of(ig_tval c, size_t *n)
{
    char path[2048];
    ig_str own = text_of(c, "source"), name = text_of(c, "template");
    if (own.ptr) {
        char *copy = malloc(own.len + 1);
        memcpy(copy, own.ptr, own.len);
        *n = own.len;
        return copy;
    }
    (void)snprintf(path, sizeof path, "%s/jinja/%.*s", root, (int)name.len, name.ptr);
    return tap_read(path, n);
}

typedef struct outcome {
    ig_status status;
    ig_template_result result;
    ig_error err;
} outcome;

static void run_case(ig_arena *arena, ig_tval c, outcome *o)
{
    ig_template *t = NULL;
    ig_tval vars;
    ig_template_options options = {0};
    size_t n;
    *o = (outcome){0};
    char *source = source_of(c, &n);
    if (!source) {
        o->status = ig_fail(&o->err, IG_NOT_FOUND, 0, "the template cannot be read");
        return;
    }
    o->status = ig_template_compile(source, n, &t, &o->err);
    free(source); /* nothing of it may be kept */
    if (o->status == IG_OK) o->status = ig_template_variables(arena, c, &vars, &options.now, &o->err);
    if (o->status == IG_OK) o->status = ig_template_render(t, vars, &options, &o->result, &o->err);
    ig_template_free(t);
}

static void tell(ig_str id, const outcome *o, const char *what, ig_str want)
{
    if (!show) return;
    printf("# %.*s: %s\n#   want %.*s\n#   have %s%.*s\n", (int)id.len, id.ptr, what, want.len < 3000 ? (int)want.len : 3000, want.ptr,
           o->err.text, o->status == IG_OK && o->result.text.len < 3000 ? (int)o->result.text.len : 0, o->result.text.ptr);
}

static bool same_text(const ig_buf *b, ig_str want)
{
    return b->len == want.len && (want.len == 0 || !memcmp(b->ptr, want.ptr, want.len));
}

static void judge(ig_tval c, const outcome *o, tally *t)
{
    ig_str id = text_of(c, "id"), expect = text_of(c, "expect"), error = text_of(c, "expect_error");
    bool ok;
    if (expect.ptr) {
        ok = o->status == IG_OK && same_text(&o->result.text, expect);
        if (!ok) tell(id, o, "another text", expect);
    } else if (ig_str_is(text_of(c, "error_kind"), "raise")) {
        ok = o->status != IG_OK && o->result.raised && same_text(&o->result.text, error);
        if (!ok) tell(id, o, "another message", error);
    } else {
        ok = o->status != IG_OK && !o->result.raised && o->result.text.len == 0 && o->err.text[0];
        t->refused += ok;
        if (!ok) tell(id, o, "no error", error);
    }
    t->same += ok;
    t->wrong += !ok;
}

/* Output that a hostile case may have. */
static bool allowed(ig_tval c, const ig_buf *out)
{
    ig_tval list;
    if (ig_str_is(text_of(c, "must"), "error")) return false;
    if (!ig_tv_get(c, IG_STR("allow_output"), &list)) return out->len <= 64;
    ig_tval item;
    ig_str s;
    for (size_t i = 0; ig_tv_at(list, i, &item); i++)
        if (ig_tv_as_text(item, &s) && same_text(out, s)) return true;
    return false;
}

static void judge_hostile(ig_tval c, const outcome *o, double took, tally *t)
{
    ig_str id = text_of(c, "id");
    struct rusage use;
    (void)getrusage(RUSAGE_SELF, &use);
    bool ok = o->status != IG_OK ? o->result.text.len == 0 && o->err.text[0] != 0 : allowed(c, &o->result.text);
    bool slow = took > 5.0 * (tap_sanitized ? 6 : 1), large = !tap_sanitized && use.ru_maxrss > 512 * 1024;
    if (!ok) tell(id, o, "an output that is not allowed", IG_STR(""));
    if (slow || large || (show && took > 0.5))
        printf("# %.*s: %.2f s, %ld MiB\n", (int)id.len, id.ptr, took, use.ru_maxrss / 1024);
    ok = ok && !slow && !large;
    t->same += ok;
    t->wrong += !ok;
}

static bool run_line(const char *line, size_t n, bool hostile, tally *t)
{
    ig_arena arena = {0};
    ig_tval c;
    ig_error err;
    outcome o;
    if (ig_tv_from_json(&arena, line, n, &c, &err) != IG_OK) {
        printf("# %s: %.100s\n", err.text, line);
        ig_arena_fini(&arena);
        return t->n++, t->wrong++, false;
    }
    double start = seconds();
    run_case(&arena, c, &o);
    if (hostile)
        judge_hostile(c, &o, seconds() - start, t);
    else
        judge(c, &o, t);
    t->n++;
    ig_template_result_fini(&o.result);
    ig_arena_fini(&arena);
    return true;
}

static void run_file(const char *name, bool hostile)
{
    char path[2048];
    size_t n;
    tally t = {0};
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    char *data = tap_read(path, &n);
    if (!data) return tap_skip(name, "no reference data at %s", path);
    double start = seconds();
    for (char *p = data; p < data + n;) {
        char *end = memchr(p, '\n', (size_t)(data + n - p));
        size_t len = end ? (size_t)(end - p) : (size_t)(data + n - p);
        if (len) (void)run_line(p, len, hostile, &t);
        p += len + 1;
    }
    free(data);
    tap_ok(t.n > 0 && t.wrong == 0, "%s: %zu of %zu cases as the reference (%zu errors of another wording), %.1f s", name,
           t.same, t.n, t.refused, seconds() - start);
}

int main(void)
{
    show = getenv("SHOW") != NULL;
    (void)snprintf(root, sizeof root, "%s/templates", tap_golden());
    run_file("synthetic.jsonl", false);
    run_file("real.jsonl", false);
    run_file("hostile.jsonl", true);
    return tap_done();
}
