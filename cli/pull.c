/* ingle pull and ingle import: models into the store. */
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "far.h"
#include "out.h"
#include "serve/serve.h"
#include "shop.h"
#include "verbs.h"

static ig_pull_options pull_options(const cli_call *call, shop_progress *progress)
{
    ig_pull_options o = {.progress = shop_tell, .ctx = progress};
    if (!cli_set(call, "no-check")) o.check.run = ig_model_check;
    return o;
}

static void print_model(const cli_call *call, const ig_manifest *m)
{
    char size[16];
    if (cli_set(call, "json")) {
        json_t *j = shop_manifest_json(m);
        cli_out_json(j);
        json_decref(j);
        return;
    }
    cli_outf("%s  %.12s  %s\n", m->name.text, m->digest.hex, cli_bytes(ig_manifest_bytes(m), size));
}

/* ---- dry runs */

typedef struct dry_run {
    shop_progress progress; /* first: shop_tell gets the same pointer */
    json_t *files;          /* with --json */
    char model[IG_NAME_MAX + 1];
    uint64_t bytes, n;
} dry_run;

static void would(void *ctx, const ig_would_pull *w)
{
    dry_run *d = ctx;
    char size[16];
    cli_bar_end();
    (void)snprintf(d->model, sizeof d->model, "%s", w->model);
    d->n++;
    if (w->has_size && !w->here) d->bytes += w->size;
    if (d->files)
        (void)json_array_append_new(d->files, json_pack("{s:s, s:s, s:I, s:b}", "model", w->model, "file", w->file,
                                                        "size", w->has_size ? (json_int_t)w->size : (json_int_t)-1,
                                                        "here", (int)w->here));
    else
        cli_outf("%s  %s  %s%s\n", w->model, w->file, w->has_size ? cli_bytes(w->size, size) : "?",
                 w->here ? "  is here" : "");
}

static int end_dry(dry_run *d, ig_status st, const ig_error *err)
{
    char size[16];
    cli_bar_end();
    if (st == IG_OK && d->files) {
        json_t *j = json_pack("{s:b, s:O}", "dry_run", 1, "files", d->files);
        cli_out_json(j);
        json_decref(j);
    } else if (st == IG_OK)
        cli_outf("%llu file%s, %s would be loaded (nothing was)\n", (unsigned long long)d->n, d->n == 1 ? "" : "s",
                 cli_bytes(d->bytes, size));
    json_decref(d->files);
    return st == IG_OK ? CLI_DONE : shop_fail(err);
}

/* From here and without a service: only the source is asked. A store that is not there yet has nothing. */
static ig_status begin_dry(const cli_call *call, dry_run *d, ig_pull_options *o, ig_store **store, ig_error *err)
{
    *d = (dry_run){.progress = {.quiet = true}, .files = cli_set(call, "json") ? json_array() : NULL};
    o->ctx = d;
    o->would = would;
    ig_status st = shop_open(true, store, err);
    if (st == IG_NOT_FOUND) *store = NULL;
    return st == IG_NOT_FOUND ? IG_OK : st;
}

static int pull_dry(const cli_call *call)
{
    dry_run d;
    ig_error err;
    ig_store *store = NULL;
    ig_pull_options o = pull_options(call, &d.progress);
    o.name = call->n_args > 1 ? call->args[1] : NULL;
    o.insecure = cli_set(call, "insecure");
    ig_status st = begin_dry(call, &d, &o, &store, &err);
    if (st == IG_OK) st = ig_store_pull(store, call->args[0], &o, NULL, &err);
    ig_store_close(store);
    return end_dry(&d, st, &err);
}

static int import_dry(const cli_call *call)
{
    dry_run d;
    ig_error err;
    ig_store *store = NULL;
    ig_import_options o = {.pull = pull_options(call, &d.progress)};
    ig_import_result r;
    o.pull.name = cli_text(call, "model");
    ig_status st = begin_dry(call, &d, &o.pull, &store, &err);
    if (st == IG_OK) st = ig_store_import(store, call->n_args ? call->args[0] : NULL, &o, &r, &err);
    ig_store_close(store);
    return end_dry(&d, st, &err);
}

int cli_pull(const cli_call *call)
{
    if (cli_set(call, "dry-run")) return pull_dry(call);
    if (!cli_set(call, "store") && daemon_wanted(cli_text(call, "host"), NULL)) return far_pull(call);
    shop_progress progress = {.quiet = cli_set(call, "quiet")};
    ig_pull_options o = pull_options(call, &progress);
    ig_store *store = NULL;
    ig_manifest *m = NULL;
    ig_error err;
    o.name = call->n_args > 1 ? call->args[1] : NULL;
    o.insecure = cli_set(call, "insecure");
    o.bytes_per_s_max = (uint64_t)cli_count(call, "rate", 0) << 10;
    o.connections = cli_count(call, "connections", 0);
    shop_catch_interrupt();
    ig_status st = shop_open(false, &store, &err);
    if (st == IG_OK) st = ig_store_pull(store, call->args[0], &o, &m, &err);
    cli_bar_end();
    if (st == IG_OK) print_model(call, m);
    ig_manifest_free(m);
    ig_store_close(store);
    return st == IG_OK ? CLI_DONE : shop_fail(&err);
}

/* ------------------------------------------------------------------------------------------------ import */

typedef struct import_out {
    const cli_call *call;
    json_t *list; /* with --json */
} import_out;

static void each(void *ctx, const char *name, const ig_manifest *m, const char *why_not)
{
    import_out *o = ctx;
    char size[16];
    cli_bar_end();
    if (o->list) {
        json_t *j = m ? shop_manifest_json(m) : json_pack("{s:s, s:s}", "name", name, "refused", why_not);
        (void)json_array_append_new(o->list, j);
    } else if (m) {
        cli_outf("%s  %.12s  %s\n", m->name.text, m->digest.hex, cli_bytes(ig_manifest_bytes(m), size));
    } else {
        ig_error clean;
        ig_fail(&clean, IG_OK, 0, "%.100s is left out: %.380s", name, why_not);
        cli_note("%s\n", clean.text);
    }
}

static void print_sum(const import_out *o, const ig_import_result *r)
{
    char b[5][16];
    if (o->list) {
        json_t *j =
            json_pack("{s:O, s:I, s:I, s:I, s:I, s:I}", "models", o->list, "cloned", (json_int_t)r->cloned_bytes,
                      "linked", (json_int_t)r->linked_bytes, "referred", (json_int_t)r->referred_bytes, "copied",
                      (json_int_t)r->copied_bytes, "present", (json_int_t)r->present_bytes);
        cli_out_json(j);
        json_decref(j);
        return;
    }
    cli_outf("%llu model%s, %llu left out; shared blocks %s, links %s, references %s, copies %s, here already %s\n",
             (unsigned long long)r->n_models, r->n_models == 1 ? "" : "s", (unsigned long long)r->n_refused,
             cli_bytes(r->cloned_bytes, b[0]), cli_bytes(r->linked_bytes, b[1]), cli_bytes(r->referred_bytes, b[2]),
             cli_bytes(r->copied_bytes, b[3]), cli_bytes(r->present_bytes, b[4]));
}

int cli_import(const cli_call *call)
{
    if (cli_set(call, "dry-run")) return import_dry(call);
    shop_progress progress = {.quiet = cli_set(call, "quiet")};
    import_out out = {call, cli_set(call, "json") ? json_array() : NULL};
    ig_import_options o = {
        .pull = pull_options(call, &progress), .copy = cli_set(call, "copy"), .each = each, .ctx = &out};
    ig_import_result r = {0};
    ig_store *store = NULL;
    ig_error err;
    o.pull.name = cli_text(call, "model");
    shop_catch_interrupt();
    ig_status st = shop_open(false, &store, &err);
    if (st == IG_OK) st = ig_store_import(store, call->n_args ? call->args[0] : NULL, &o, &r, &err);
    cli_bar_end();
    int code = CLI_DONE;
    if (st != IG_OK)
        code = shop_fail(&err);
    else if (o.pull.name && r.n_models == 0 && r.n_refused == 0)
        code = cli_fail("the store that was given has no model of that name");
    else
        print_sum(&out, &r);
    json_decref(out.list);
    ig_store_close(store);
    return code;
}
