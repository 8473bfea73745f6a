/* Chat templates against the reference: every conversation through every real template byte for byte, the cases of the
 * language, and hostile templates that must end within their limits of time and memory. Without the large reference
 * data the few cases of tests/data/templates are run. SHOW=1 prints what differs. */
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#include "base/fault.h"
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

/* Time of the processor that this thread has used: others on the machine do not count. */
static double cpu_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
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
    printf("# %.*s: %s\n#   want %.*s\n#   have %s%.*s\n", (int)id.len, id.ptr, what,
           want.len < 3000 ? (int)want.len : 3000, want.ptr, o->err.text,
           o->status == IG_OK && o->result.text.len < 3000 ? (int)o->result.text.len : 0, o->result.text.ptr);
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
    tap_ok(t.n > 0 && t.wrong == 0, "%s: %zu of %zu cases as the reference (%zu errors of another wording), %.1f s",
           name, t.same, t.n, t.refused, seconds() - start);
}

/* ---------------------------------------------------------------------------------- 256 KiB of stack, and limits */

typedef struct small_stack {
    const char *name, *head, *open, *middle, *close,
        *tail; /* the source: head, n times open, middle, n times close, tail */
    size_t n;
    size_t json_depth; /* of the list that is the variable x */
    bool works;        /* must not be an error */
} small_stack;
#define ALONE(source)  source, "", "", "", "", 0
#define GROW(from, to) "{% set n = namespace(v=1, w=2) %}{% for i in range(" from ") %}" to "{% endfor %}"

static const small_stack deep[] = {
    {"a macro that calls itself", ALONE("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"), 0, false},
    {"a macro 60 deep",
     ALONE(
         "{% macro m(n) %}{% if n %}{% for x in [n] %}{{ m(n - 1) }}{% endfor %}{% endif %}{% endmacro %}{{ m(60) }}"),
     0, true},
    {"callers inside callers",
     ALONE("{% macro m() %}{{ caller() }}{% endmacro %}{% macro r() %}{% call m() %}{{ r() }}"
           "{% endcall %}{% endmacro %}{{ r() }}"),
     0, false},
    {"a recursive loop without end", ALONE("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), 0, false},
    {"defaults that call", ALONE("{% macro m(a=m()) %}{{ a }}{% endmacro %}{{ m() }}"), 0, false},
    {"a block that calls itself", ALONE("{% block b %}{{ self.b() }}{% endblock %}"), 0, false},
    {"90 brackets", "{{ ", "(", "1", ")", " }}", 90, 0, true},
    {"90 brackets and operators", "{{ ", "(1 + 2 * not 3 ~ -", "1", ")", " }}", 40, 0, false},
    {"100,000 brackets", "{{ ", "(", "1", ")", " }}", 100000, 0, false},
    {"80 lists", "{{ ", "[", "", "]", " }}", 80, 0, true},
    {"80 calls", "{% macro f(x) %}{{ x }}{% endmacro %}{{ ", "f(", "1", ")", " }}", 80, 0, true},
    {"80 signs", "{{ ", "- ", "1", "", " }}", 80, 0, true},
    {"100,000 signs", "{{ ", "- ", "1", "", " }}", 100000, 0, false},
    {"90 conditions", "", "{% if 1 %}", "x", "{% endif %}", "", 90, 0, true},
    {"90 loops", "", "{% for x in [1] %}", "x", "{% endfor %}", "", 90, 0, true},
    {"a macro that nests 90 loops around itself", "{% macro m() %}", "{% for x in [1] %}", "{{ m() }}", "{% endfor %}",
     "{% endmacro %}{{ m() }}", 90, 0, false},
    {"a macro that nests 80 lists around itself", "{% macro m() %}{{ ", "[", "m()", "]", " }}{% endmacro %}{{ m() }}",
     80, 0, false},
    {"a macro that nests 40 filters around itself", "{% macro m() %}{{ ", "(", "m()", ")|replace('a', 'b')|list",
     " }}{% endmacro %}{{ m() }}", 40, 0, false},
    {"100,000 conditions", "", "{% if 1 %}", "x", "{% endif %}", "", 100000, 0, false},
    {"50,000 elif", "{% if 0 %}", "{% elif 0 %}", "", "", "{% endif %}", 50000, 0, true},
    {"50,000 conditional values", "{{ 1", " if 0 else 1", "", "", " }}", 50000, 0, true},
    {"100,000 subscripts", "{{ x", "[0]", "", "", " }}", 100000, 1, false},
    {"100,000 filters", "{{ x", "|e", "", "", " }}", 100000, 1, false},
    {"400 filters", "{{ x", "|string", "", "", " }}", 400, 1, true},
    {"60 maps", "{{ [[1]]|map(", "'map', ", "'first')|list", "", " }}", 60, 0, false},
    {"a list inside itself 300 times, printed", ALONE(GROW("300", "{% set n.v = [n.v] %}") "{{ n.v }}"), 0, false},
    {"a list inside itself 300 times, as JSON", ALONE(GROW("300", "{% set n.v = {'a': n.v} %}") "{{ n.v|tojson }}"), 0,
     false},
    {"lists inside lists compared",
     ALONE(GROW("9999", "{% set n.v = [n.v] %}{% set n.w = [n.w] %}") "{{ n.v == n.w }}"), 0, false},
    {"lists inside lists ordered", ALONE(GROW("9999", "{% set n.v = [n.v] %}{% set n.w = [n.w] %}") "{{ n.v < n.w }}"),
     0, false},
    {"tuples inside tuples as a key", ALONE(GROW("9999", "{% set n.v = (n.v,) %}") "{{ {n.v: 1} }}"), 0, false},
    {"a namespace inside itself", ALONE("{% set n = namespace() %}{% set n.v = [n] %}{{ n.v }}"), 0, false},
    {"a list 198 deep in JSON", ALONE("{{ x|tojson|length }}{{ x|string|length }}{{ x|pprint|length if 0 }}"), 198,
     true},
    {"a list 100,000 deep in JSON", ALONE("{{ x }}"), 100000, false},
    {"big numbers", ALONE(GROW("99999", "{% set n.w = n.w * n.w // 3 + 10 ** 4000 %}")), 0, false},
    {"searching backwards", ALONE("{{ ('a' * 900000).rfind('a' * 300000 ~ 'b') }}"), 0, false},
    {"splitting backwards", ALONE("{{ ('a' * 900000).rsplit('b' ~ 'a' * 300000)|length }}"), 0, false},
    /* No longer text: sanitizers look at all of the rest at every match. */
    {"replacing", ALONE("{% set x = 'a' * 50000 %}" GROW("99999", "{% set y = x.replace('a', 'b') %}")), 0, false},
    {"sorting", ALONE(GROW("99999", "{% set y = range(99999)|reverse|sort %}")), 0, false},
    {"sorting long lists", ALONE("{% set a = range(99999)|list %}{{ [a + [1], a + [0]]|batch(1)|list|sort|length }}"),
     0, true},
    {"steps in filters", ALONE(GROW("99999", "{% set y = range(99999)|map('string')|join %}")), 0, false},
    {"stripping", ALONE("{{ ('a' * 9000000).strip('b' * 9000000 ~ 'a') }}"), 0, false},
    {"comparing long texts",
     ALONE("{% set x = 'a' * 9000000 %}{% set y = x ~ 'b' %}" GROW("99999", "{% set z = x < y %}")), 0, false},
    {"unpacking", ALONE(GROW("99999", "{% set y = dict(range(99999)|map('string')|batch(2)) %}")), 0, false},
};

/* {"x": [[[...]]]}, n deep; {"x": ""} for 0. */
static void nested_json(ig_buf *out, size_t n)
{
    (void)ig_buf_add(out, "{\"x\": ", 6);
    if (!n) (void)ig_buf_add(out, "\"\"", 2);
    for (size_t i = 0; i < n; i++) (void)ig_buf_add(out, "[", 1);
    for (size_t i = 0; i < n; i++) (void)ig_buf_add(out, "]", 1);
    (void)ig_buf_add(out, "}", 1);
}

typedef struct deep_run {
    const small_stack *row;
    outcome o;
    double took;
} deep_run;

static void *run_deep(void *p)
{
    deep_run *d = p;
    const small_stack *s = d->row;
    ig_arena arena = {0};
    ig_template *t = NULL;
    ig_tval file, vars;
    ig_template_options options = {0};
    ig_buf source, json;
    double start = cpu_seconds();
    ig_buf_init(&source, 1 << 24);
    ig_buf_init(&json, 1 << 24);
    (void)ig_buf_add(&source, s->head, strlen(s->head));
    for (size_t i = 0; i < s->n; i++) (void)ig_buf_add(&source, s->open, strlen(s->open));
    (void)ig_buf_add(&source, s->middle, strlen(s->middle));
    for (size_t i = 0; i < s->n; i++) (void)ig_buf_add(&source, s->close, strlen(s->close));
    (void)ig_buf_add(&source, s->tail, strlen(s->tail));
    nested_json(&json, s->json_depth);
    ig_status st = ig_template_compile(source.ptr, source.len, &t, &d->o.err);
    if (st == IG_OK) st = ig_tv_from_json(&arena, json.ptr, json.len, &file, &d->o.err);
    if (st == IG_OK) st = ig_template_variables(&arena, file, &vars, &options.now, &d->o.err);
    if (st == IG_OK) st = ig_template_render(t, vars, &options, &d->o.result, &d->o.err);
    d->o.status = st;
    ig_template_free(t);
    ig_arena_fini(&arena);
    ig_buf_fini(&source);
    ig_buf_fini(&json);
    d->took = cpu_seconds() - start;
    return NULL;
}

static void check_deep(void)
{
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        deep_run d = {.row = &deep[i]};
        pthread_t thread;
        pthread_attr_t attr;
        (void)pthread_attr_init(&attr);
        if (!tap_sanitized) (void)pthread_attr_setstacksize(&attr, 256 * 1024);
        if (pthread_create(&thread, &attr, run_deep, &d)) return (void)tap_ok(false, "a thread starts");
        (void)pthread_join(thread, NULL);
        (void)pthread_attr_destroy(&attr);
        bool ok = d.o.status == IG_OK || (d.o.err.text[0] && d.o.status != IG_BUG);
        if (deep[i].works) ok = d.o.status == IG_OK;
        tap_ok(ok && d.took < (tap_sanitized ? 60 : 8), "%s, with 256 KiB of stack: %s, %.2f s", deep[i].name,
               d.o.status == IG_OK ? "works" : d.o.err.text, d.took);
        ig_template_result_fini(&d.o.result);
    }
}

/* ------------------------------------------------------------------------------------------ what errors say */

static void check_errors(void)
{
    static const struct {
        const char *source, *says[2];
    } table[] = {
        {"a\n{{ x.y }}", {"line 2", "'x' is undefined"}},
        {"\n\n{% if 1 %}", {"line 3", "endif"}},
        {"{{ 1 | nosuch }}", {"line 1", "no filter \"nosuch\""}},
        {"\n{{ 1 is nosuch }}", {"line 2", "no test \"nosuch\""}},
        {"\n{% include 'x' %}", {"line 2", "include"}},
        {"{% import 'x' as y %}", {"line 1", "import"}},
        {"{% do x %}", {"line 1", "{% do %}"}},
        {"{% endfor %}", {"line 1", "endfor"}},
        {"{{ 'abc }}", {"line 1", "not closed"}},
        {"{{ (1 }}", {"line 1", "expected"}},
        {"x{# y", {"line 1", "comment"}},
        {"\xff", {"line 1", "UTF-8"}},
        {"{{ 'a' + 1 }}", {"line 1", "str and int"}},
        {"{{ [].append(1) }}", {"append", "unsafe"}},
        {"{{ raise_exception('as it is') }}", {"as it is", ""}},
        {"{{ range(10**6) }}", {"line 1", "range() has more than"}},
        {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
         {"line 1", "too many steps"}},
        {"{{ lipsum() }}", {"line 1", "not supported"}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        ig_template *t = NULL;
        ig_error err = {0};
        ig_template_result result = {0};
        ig_status st = ig_template_compile(table[i].source, strlen(table[i].source), &t, &err);
        if (st == IG_OK) st = ig_template_render(t, ig_tv_none(), NULL, &result, &err);
        bool ok = st != IG_OK && strstr(err.text, table[i].says[0]) && strstr(err.text, table[i].says[1]);
        tap_ok(ok, "an error that says where and what: %s", err.text);
        ig_template_result_fini(&result);
        ig_template_free(t);
    }
}

/* Call number k to the allocator fails, for every k: an error, no leak, no crash. */
static void check_memory(void)
{
    static const char source[] =
        "{% macro m(a, b=2) %}{{ a ~ b }}{% endmacro %}{% for x in l|sort %}{{ m(x) }}{{ {'k': x}|tojson }}{% endfor %}"
        "{{ '%s' % 'a' }}{{ l|map('string')|join(',') }}{% set s %}x{% endset %}{{ s|upper }}{{ ('ab' * 30000)|length "
        "}}"
        "{{ range(9999)|list|length }}";
    static const char json[] = "{\"l\": [3, 1, 2], \"d\": {\"a\": {\"b\": \"c\"}}}";
    size_t failed = 0;
    bool wrong = false, done = false;
    for (uint64_t k = 1; !done && k < 1000; k++) {
        ig_arena arena = {0};
        ig_template *t = NULL;
        ig_tval vars;
        ig_error err = {0};
        ig_template_result result = {0};
        ig_fault_set(IG_FAULT_ALLOC, k, ENOMEM, true);
        ig_status st = ig_template_compile(source, sizeof source - 1, &t, &err);
        if (st == IG_OK) st = ig_tv_from_json(&arena, json, sizeof json - 1, &vars, &err);
        if (st == IG_OK) st = ig_template_render(t, vars, NULL, &result, &err);
        done = ig_fault_calls(IG_FAULT_ALLOC) < k;
        ig_fault_reset();
        wrong = wrong || (st != IG_OK && (!err.text[0] || result.text.len)) || (st == IG_OK) != done;
        failed += st != IG_OK;
        ig_template_result_fini(&result);
        ig_template_free(t);
        ig_arena_fini(&arena);
    }
    tap_ok(done && failed > 5 && !wrong, "memory that runs out is an error at each of %zu places", failed);
}

static void check_default(void)
{
    static const char json[] =
        "[{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": null}, {\"role\": "
        "\"user\", "
        "\"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", \"text\": \"b\"}]}]";
    static const char want[] = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
                               "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n";
    ig_arena arena = {0};
    ig_template *t = NULL;
    ig_tval file, vars;
    ig_template_options options = {0};
    ig_template_result result = {0};
    ig_error err = {0};
    bool ok = ig_template_compile(ig_template_default, strlen(ig_template_default), &t, &err) == IG_OK &&
              ig_tv_from_json(&arena, json, sizeof json - 1, &file, &err) == IG_OK &&
              ig_template_variables(&arena, file, &vars, &options.now, &err) == IG_OK &&
              ig_template_render(t, vars, &options, &result, &err) == IG_OK;
    tap_ok(ok && same_text(&result.text, (ig_str){want, sizeof want - 1}), "the default template is ChatML %s",
           err.text);
    tap_ok(t && ig_template_mentions(t, "messages") && ig_template_mentions(t, "add_generation_prompt") &&
               ig_template_mentions(t, "content") && ig_template_mentions(t, "text") &&
               !ig_template_mentions(t, "tools"),
           "what a template mentions can be asked");
    ig_template_result_fini(&result);
    ig_template_free(t);
    ig_arena_fini(&arena);
}

int main(void)
{
    show = getenv("SHOW") != NULL;
    (void)snprintf(root, sizeof root, "%s/templates", tap_data());
    run_file("synthetic.jsonl", false);
    run_file("hostile.jsonl", true);
    check_default();
    check_errors();
    check_memory();
    check_deep();
    (void)snprintf(root, sizeof root, "%s/templates", tap_golden());
    run_file("synthetic.jsonl", false);
    run_file("real.jsonl", false);
    run_file("hostile.jsonl", true);
    return tap_done();
}
