/* ingle audit: verify, export or show the audit log. */
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "base/mem.h"
#include "base/os.h"
#include "out.h"
#include "policy/audit.h"
#include "store/store.h"
#include "verbs.h"

enum { SHOWN = 20 };

typedef struct audit_job {
    const char *since, *until, *user; /* or NULL */
    bool json, show, stopped;
    json_t *problems;
    uint64_t n;      /* records that fit */
    uint64_t skip;   /* of them, from the first */
    uint64_t n_seen; /* in this walk */
} audit_job;

static void on_problem(void *ctx, const char *file, uint64_t offset, const char *sentence)
{
    audit_job *a = ctx;
    if (a->json)
        (void)json_array_append_new(
            a->problems, json_pack("{s:s, s:I, s:s}", "file", file, "offset", (json_int_t)offset, "problem", sentence));
    else if (*file)
        cli_outf("%s, offset %llu: %s\n", file, (unsigned long long)offset, sentence);
    else
        cli_outf("%s\n", sentence);
}

static void on_noted(void *ctx, const char *file, uint64_t offset, const char *sentence)
{
    (void)ctx;
    cli_note("%s%s%llu: %s", file, *file ? ", offset " : "", (unsigned long long)offset, sentence);
}

/* Days compare as texts do. */
static bool fits(const audit_job *a, const ig_audit_line *l)
{
    char who[300];
    if (a->since && strncmp(l->at.ptr, a->since, 10) < 0) return false;
    if (a->until && strncmp(l->at.ptr, a->until, 10) > 0) return false;
    if (!a->user) return true;
    ig_audit_value(ig_audit_field(l, "who"), who, sizeof who);
    return !strcmp(who, a->user);
}

static bool on_count(void *ctx, const ig_audit_line *l)
{
    audit_job *a = ctx;
    a->n += fits(a, l);
    return true;
}

static bool on_export(void *ctx, const ig_audit_line *l)
{
    audit_job *a = ctx;
    if (!fits(a, l)) return true;
    a->stopped = !cli_out(l->text.ptr, l->text.len) || !cli_out("\n", 1);
    return !a->stopped;
}

static void put_column(const ig_audit_line *l, const char *name, int wide)
{
    char text[300];
    ig_audit_value(ig_audit_field(l, name), text, sizeof text);
    cli_outf(wide ? "  %-*s" : "%-*s", wide, text);
}

static bool on_show(void *ctx, const ig_audit_line *l)
{
    static const char *const rest[] = {"op",      "model",    "tokens_in", "tokens_cached", "tokens_out",
                                       "took_ms", "decision", "result",    "rule",          "app",
                                       "request", "note",     "ran_on"};
    audit_job *a = ctx;
    char text[300];
    if (!fits(a, l) || a->n_seen++ < a->skip) return true;
    if (a->json) return on_export(ctx, l);
    cli_outf("%llu  %.*s", (unsigned long long)l->seq, (int)l->at.len, l->at.ptr);
    put_column(l, "kind", 8);
    put_column(l, "who", 10);
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        ig_str value = ig_audit_field(l, rest[i]);
        if (!value.len) continue;
        ig_audit_value(value, text, sizeof text);
        cli_outf("  %s=%s", rest[i], text);
    }
    return cli_outf("\n");
}

static json_t *check_json(const ig_audit_check *c, json_t *problems)
{
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:i, s:b, s:s, s:s, s:o}", "ok", c->n_problems == 0, "records",
                     (json_int_t)c->n_records, "first", (json_int_t)c->first_seq, "last", (json_int_t)c->last_seq,
                     "seals", (json_int_t)c->n_seals, "sealed_to", (json_int_t)c->sealed_seq, "files", (int)c->n_files,
                     "in_use", c->live, "last_hash", c->last_hash, "key", c->key_id, "problems", problems);
}

static int do_verify(const char *folder, ig_audit_verify_options *o, audit_job *a)
{
    ig_audit_check c;
    ig_error err;
    o->problem = on_problem;
    a->problems = a->json ? json_array() : NULL;
    if (ig_audit_verify(folder, o, &c, &err) != IG_OK) {
        json_decref(a->problems);
        return cli_fail(err.text);
    }
    int code = c.n_problems ? CLI_NO : CLI_DONE;
    if (a->json) {
        json_t *all = check_json(&c, a->problems);
        cli_out_json(all);
        json_decref(all);
        return code;
    }
    cli_outf("%llu records in %u files, %llu seals by key %s, sealed to record %llu%s\n",
             (unsigned long long)c.n_records, c.n_files, (unsigned long long)c.n_seals, c.key_id,
             (unsigned long long)c.sealed_seq, c.live ? " (in use now)" : "");
    if (c.n_problems)
        cli_outf("%llu problems: this log cannot be trusted\n", (unsigned long long)c.n_problems);
    else
        cli_outf("the log is whole; last hash %s\n", c.last_hash);
    return code;
}

static int do_read(const cli_call *call, const char *folder, ig_audit_verify_options *o, audit_job *a)
{
    ig_audit_check c;
    ig_error err;
    if (a->show) {
        o->record = on_count;
        if (ig_audit_verify(folder, o, &c, &err) != IG_OK) return cli_fail(err.text);
        uint64_t last = cli_count(call, "last", SHOWN);
        a->skip = a->n > last ? a->n - last : 0;
    }
    o->problem = on_noted;
    o->record = a->show ? on_show : on_export;
    if (ig_audit_verify(folder, o, &c, &err) != IG_OK) return cli_fail(err.text);
    return c.n_problems && !a->stopped ? CLI_NO : CLI_DONE;
}

static bool is_day(const char *text)
{
    return !text || (strlen(text) == 10 && strspn(text, "0123456789-") == 10 && text[4] == '-' && text[7] == '-');
}

int cli_audit(const cli_call *call)
{
    char place[4096];
    ig_error err;
    const char *folder = cli_text(call, "dir"), *what = call->args[0];
    audit_job a = {.since = cli_text(call, "since"),
                   .until = cli_text(call, "until"),
                   .user = cli_text(call, "user"),
                   .json = cli_set(call, "json"),
                   .show = !strcmp(what, "show")};
    if (strcmp(what, "verify") && strcmp(what, "export") && !a.show)
        return cli_usage("expected verify, export or show, as in: ingle audit verify");
    if (!is_day(a.since) || !is_day(a.until)) return cli_usage("--since and --until expect a day such as 2026-01-31");
    if (!folder) {
        if (ig_store_place(place, sizeof place - 16, &err) != IG_OK) return cli_fail(err.text);
        strcat(place, "/state/audit");
        folder = place;
    }
    ig_audit_verify_options o = {.key_file = cli_text(call, "key"),
                                 .head_file = cli_text(call, "head"),
                                 .partial = cli_set(call, "partial"),
                                 .ctx = &a};
    return strcmp(what, "verify") ? do_read(call, folder, &o, &a) : do_verify(folder, &o, &a);
}
