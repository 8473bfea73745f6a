/* ingle push and ingle export: models out of the store, into a registry or a folder. */
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "far.h"
#include "out.h"
#include "shop.h"
#include "verbs.h"

int cli_push(const cli_call *call)
{
    bool dry = cli_set(call, "dry-run");
    if (!cli_set(call, "store") && daemon_wanted(cli_text(call, "host"), NULL))
        return dry ? far_dry(call, "pushed") : far_push(call);
    shop_progress progress = {.quiet = cli_set(call, "quiet"), .sends = true};
    ig_push_options o = {.pull = {.progress = shop_tell, .ctx = &progress, .insecure = cli_set(call, "insecure")},
                         .form = cli_text(call, "form"),
                         .dry_run = dry};
    ig_push_result r;
    ig_store *store = NULL;
    ig_error err;
    char sent[16], present[16];
    shop_catch_interrupt();
    ig_status st = shop_open(true, &store, &err);
    if (st == IG_OK) st = ig_store_push(store, call->args[0], call->args[1], &o, &r, &err);
    cli_bar_end();
    ig_store_close(store);
    if (st != IG_OK) return shop_fail(&err);
    if (dry) {
        cli_outf("%s: %s would be sent, %s are there already (nothing was sent)\n", call->args[1],
                 cli_bytes(r.sent_bytes, sent), cli_bytes(r.present_bytes, present));
        return CLI_DONE;
    }
    if (cli_set(call, "json")) {
        char digest[80];
        (void)snprintf(digest, sizeof digest, "sha256:%s", r.digest.hex);
        json_t *j = json_pack("{s:s, s:s, s:I, s:I}", "to", call->args[1], "digest", digest, "sent",
                              (json_int_t)r.sent_bytes, "present", (json_int_t)r.present_bytes);
        cli_out_json(j);
        json_decref(j);
    } else
        cli_outf("%s  sha256:%s  %s sent, %s there already\n", call->args[1], r.digest.hex,
                 cli_bytes(r.sent_bytes, sent), cli_bytes(r.present_bytes, present));
    return CLI_DONE;
}

int cli_export(const cli_call *call)
{
    shop_progress progress = {.quiet = cli_set(call, "quiet"), .sends = true};
    ig_export_options o = {.replace = cli_set(call, "force"), .progress = shop_tell, .ctx = &progress};
    ig_store *store = NULL;
    ig_manifest *m = NULL;
    ig_error err;
    char size[16];
    shop_catch_interrupt();
    ig_status st = shop_open(true, &store, &err);
    bool dry = cli_set(call, "dry-run");
    if (st == IG_OK)
        st = dry ? ig_store_find(store, call->args[0], &m, &err)
                 : ig_store_export(store, call->args[0], call->args[1], &o, &m, &err);
    cli_bar_end();
    if (st == IG_OK)
        cli_outf("%s  %s  %s%s\n", m->name.text, cli_bytes(ig_manifest_bytes(m), size), call->args[1],
                 dry ? "  (nothing was written)" : "");
    ig_manifest_free(m);
    ig_store_close(store);
    return st == IG_OK ? CLI_DONE : shop_fail(&err);
}
