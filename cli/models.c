/* ingle list, rm, cp, verify, gc and df: the models of the store and what they take. */
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "far.h"
#include "out.h"
#include "shop.h"
#include "verbs.h"

/* The models are a service's, not those of a folder here. */
static bool far(const cli_call *call) { return !cli_set(call, "store") && daemon_wanted(cli_text(call, "host"), NULL); }

/* ------------------------------------------------------------------------------------------------ list */

static void print_list_json(const ig_store_list *list)
{
    json_t *j = json_array();
    for (size_t i = 0; i < list->n; i++) (void)json_array_append_new(j, shop_manifest_json(list->models[i]));
    json_t *all = json_pack("{s:o, s:I}", "models", j, "damaged", (json_int_t)list->n_damaged);
    cli_out_json(all);
    json_decref(all);
}

static void print_list(const ig_store_list *list)
{
    int width = 4;
    for (size_t i = 0; i < list->n; i++) {
        int n = (int)strlen(list->models[i]->name.text);
        if (n > width) width = n;
    }
    cli_outf("%-*s  %-12s  %10s  %s\n", width, "NAME", "ID", "SIZE", "MODIFIED");
    for (size_t i = 0; i < list->n; i++) {
        const ig_manifest *m = list->models[i];
        char size[16], age[32];
        cli_outf("%-*s  %.12s  %10s  %s\n", width, m->name.text, m->digest.hex, cli_bytes(ig_manifest_bytes(m), size),
                 shop_age(m->added_s, age));
    }
}

int cli_list(const cli_call *call)
{
    if (far(call)) return far_list(call);
    ig_store *store = NULL;
    ig_store_list list = {0};
    ig_error err;
    ig_status st = shop_open(true, &store, &err);
    if (st == IG_OK) st = ig_store_models(store, &list, &err);
    if (st != IG_OK && st != IG_NOT_FOUND) return shop_fail(&err); /* no store yet: no models */
    if (list.n_damaged)
        cli_note("%zu manifest%s cannot be read: %s\n", list.n_damaged, list.n_damaged == 1 ? "" : "s", list.damaged);
    if (cli_set(call, "json"))
        print_list_json(&list);
    else if (cli_set(call, "quiet"))
        for (size_t i = 0; i < list.n; i++) cli_outf("%s\n", list.models[i]->name.text);
    else
        print_list(&list);
    ig_store_list_free(&list);
    ig_store_close(store);
    return CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ rm, cp */

/* *gone: there is none, which is as wanted. */
static ig_status remove_model(const cli_call *call, ig_store *store, const char *name, bool *gone, uint64_t *bytes,
                              ig_error *err)
{
    ig_manifest *m = NULL;
    *gone = false;
    *bytes = 0;
    ig_status st =
        cli_set(call, "dry-run") ? ig_store_find(store, name, &m, err) : ig_store_remove(store, name, bytes, err);
    if (m) *bytes = ig_manifest_bytes(m);
    ig_manifest_free(m);
    if (st != IG_NOT_FOUND || !cli_set(call, "absent")) return st;
    *gone = true;
    return IG_OK;
}

int cli_rm(const cli_call *call)
{
    if (far(call)) return far_rm(call);
    ig_store *store;
    ig_error err;
    int code = CLI_DONE;
    bool gone, dry = cli_set(call, "dry-run");
    if (shop_open(dry, &store, &err) != IG_OK) return shop_fail(&err);
    for (size_t i = 0; i < call->n_args; i++) {
        uint64_t bytes;
        char size[16];
        if (remove_model(call, store, call->args[i], &gone, &bytes, &err) != IG_OK)
            code = shop_fail(&err);
        else if (gone)
            cli_outf("unchanged: there is no %s\n", call->args[i]);
        else
            cli_outf(dry ? "%s would be removed, it has %s (nothing was written)\n" : "removed %s, %s freed\n",
                     call->args[i], cli_bytes(bytes, size));
    }
    ig_store_close(store);
    return code;
}

int cli_cp(const cli_call *call)
{
    if (far(call)) return far_cp(call);
    ig_store *store = NULL;
    ig_manifest *m = NULL;
    ig_name to;
    ig_error err;
    bool dry = cli_set(call, "dry-run");
    ig_status st = shop_open(dry, &store, &err);
    if (st == IG_OK && !dry) st = ig_store_copy(store, call->args[0], call->args[1], &err);
    if (st == IG_OK && dry) st = ig_store_find(store, call->args[0], &m, &err);
    if (st == IG_OK && dry) st = ig_name_parse(call->args[1], &to, &err);
    if (st == IG_OK && dry) cli_outf("%s would be %.12s (nothing was written)\n", to.text, m->digest.hex);
    ig_manifest_free(m);
    ig_store_close(store);
    return st == IG_OK ? CLI_DONE : shop_fail(&err);
}

/* ------------------------------------------------------------------------------------------------ verify */

static void on_damaged(void *ctx, const ig_manifest *m, const char *sentence)
{
    ig_error clean;
    json_t *list = ctx; /* with --json */
    cli_bar_end();
    if (list) {
        (void)json_array_append_new(list,
                                    json_pack("{s:s*, s:s}", "model", m ? m->name.text : NULL, "damage", sentence));
        return;
    }
    ig_fail(&clean, IG_OK, 0, "%s%s%s", m ? m->name.text : "", m ? ": " : "", sentence);
    cli_outf("%s\n", clean.text);
}

static bool on_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    (void)ctx;
    cli_bar(total ? (double)done / (double)total : 0, what);
    return !shop_interrupted();
}

int cli_verify(const cli_call *call)
{
    json_t *list = cli_set(call, "json") ? json_array() : NULL;
    ig_verify_options o = {.quarantine = cli_set(call, "quarantine") && !cli_set(call, "dry-run"),
                           .damaged = on_damaged,
                           .progress = on_progress,
                           .ctx = list};
    ig_verify_result r = {0};
    ig_store *store = NULL;
    ig_error err;
    char size[16];
    shop_catch_interrupt();
    ig_status st = shop_open(!o.quarantine, &store, &err);
    if (st == IG_OK) st = ig_store_verify(store, call->n_args ? call->args[0] : NULL, &o, &r, &err);
    cli_bar_end();
    ig_store_close(store);
    if (list && st == IG_OK) {
        json_t *j = json_pack("{s:I, s:I, s:I, s:O}", "models", (json_int_t)r.n_models, "files", (json_int_t)r.n_blobs,
                              "bytes", (json_int_t)r.bytes, "damaged", list);
        cli_out_json(j);
        json_decref(j);
    }
    json_decref(list);
    if (st != IG_OK) return shop_fail(&err);
    if (cli_set(call, "json")) return r.n_damaged ? CLI_NO : CLI_DONE;
    cli_outf("%llu model%s, %llu file%s, %s read, %llu damaged\n", (unsigned long long)r.n_models,
             r.n_models == 1 ? "" : "s", (unsigned long long)r.n_blobs, r.n_blobs == 1 ? "" : "s",
             cli_bytes(r.bytes, size), (unsigned long long)r.n_damaged);
    return r.n_damaged ? CLI_NO : CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ gc, df */

typedef struct gc_out {
    json_t *list; /* with --json */
} gc_out;

static void on_waste(void *ctx, ig_waste kind, const char *what, uint64_t bytes)
{
    static const char *const kinds[] = {[IG_WASTE_BLOB] = "file",
                                        [IG_WASTE_REFERENCE] = "reference",
                                        [IG_WASTE_PARTIAL] = "unfinished download",
                                        [IG_WASTE_TEMPORARY] = "leftover"};
    const gc_out *o = ctx;
    char size[16];
    if (o->list)
        (void)json_array_append_new(
            o->list, json_pack("{s:s, s:s, s:I}", "kind", kinds[kind], "what", what, "bytes", (json_int_t)bytes));
    else
        cli_outf("%s %.24s  %s\n", kinds[kind], what, cli_bytes(bytes, size));
}

static void print_gc(const gc_out *out, bool dry_run, const ig_gc_result *r)
{
    char size[16];
    if (!out->list) {
        cli_outf("%s %llu file%s, %s; %llu in use\n", dry_run ? "would remove" : "removed", (unsigned long long)r->n,
                 r->n == 1 ? "" : "s", cli_bytes(r->bytes, size), (unsigned long long)r->n_in_use);
        return;
    }
    json_t *j = json_pack("{s:b, s:I, s:I, s:I, s:O}", "dry_run", dry_run, "files", (json_int_t)r->n, "bytes",
                          (json_int_t)r->bytes, "in_use", (json_int_t)r->n_in_use, "removed", out->list);
    cli_out_json(j);
    json_decref(j);
}

int cli_gc(const cli_call *call)
{
    gc_out out = {cli_set(call, "json") ? json_array() : NULL};
    ig_gc_options o = {
        .dry_run = cli_set(call, "dry-run"), .min_age_s = -1, .partial_min_age_s = -1, .each = on_waste, .ctx = &out};
    ig_gc_result r = {0};
    ig_store *store = NULL;
    ig_error err;
    if (cli_set(call, "all")) o.min_age_s = o.partial_min_age_s = 0;
    ig_status st = shop_open(o.dry_run, &store, &err);
    if (st == IG_OK) st = ig_store_gc(store, &o, &r, &err);
    if (st == IG_OK) print_gc(&out, o.dry_run, &r);
    json_decref(out.list);
    ig_store_close(store);
    return st == IG_OK ? CLI_DONE : shop_fail(&err);
}

int cli_df(const cli_call *call)
{
    ig_store *store = NULL;
    ig_store_usage u = {0};
    ig_error err;
    ig_status st = shop_open(true, &store, &err);
    if (st == IG_OK) st = ig_store_df(store, &u, &err);
    if (st != IG_OK) return shop_fail(&err);
    const struct {
        const char *name, *key;
        uint64_t bytes;
    } rows[] = {
        {"files of the store", "blobs", u.blob_bytes},           {"models without sharing", "models", u.model_bytes},
        {"files that no model names", "unused", u.unused_bytes}, {"unfinished downloads", "partial", u.partial_bytes},
        {"files elsewhere", "outside", u.outside_bytes},         {"free on the disk", "free", u.free_bytes}};
    json_t *j = json_pack("{s:s, s:I, s:I}", "store", ig_store_root(store), "n_models", (json_int_t)u.n_models,
                          "n_blobs", (json_int_t)u.n_blobs);
    if (!cli_set(call, "json"))
        cli_outf("%-26s%s, %llu models\n", "store", ig_store_root(store), (unsigned long long)u.n_models);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char size[16];
        if (cli_set(call, "json"))
            (void)json_object_set_new(j, rows[i].key, json_integer((json_int_t)rows[i].bytes));
        else
            cli_outf("%-26s%s\n", rows[i].name, cli_bytes(rows[i].bytes, size));
    }
    if (cli_set(call, "json")) cli_out_json(j);
    json_decref(j);
    ig_store_close(store);
    return CLI_DONE;
}
