/* ingle key add|list|show|revoke: API keys. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "base/disk.h"
#include "base/os.h"
#include "out.h"
#include "policy/policy.h"
#include "verbs.h"

typedef struct desk {
    const cli_call *call;
    ig_keys *keys;
    bool json;
} desk;

static const char *state_of(const ig_key *k)
{
    if (k->revoked) return "revoked";
    return k->expires_s && ig_clock_s() >= k->expires_s ? "expired" : "good";
}

/* "2026-11-21 10:00" or a word for 0. */
static const char *date(int64_t s, const char *none, char out[32])
{
    time_t t = (time_t)s;
    struct tm tm;
    if (!s || !localtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M", &tm)) snprintf(out, 32, "%s", none);
    return out;
}

static json_t *words_json(const char **w, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_string(w[i]));
    return list;
}

static json_t *actions_json(unsigned actions)
{
    json_t *list = json_array();
    for (unsigned a = 0; a < IG_N_ACTIONS; a++)
        if (actions >> a & 1) json_array_append_new(list, json_string(ig_policy_action_name((ig_action)a)));
    return list;
}

static json_t *key_json(const ig_key *k)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I}", "id", k->id, "name", k->name, "user",
                     k->account, "state", state_of(k), "actions", actions_json(k->actions), "groups",
                     words_json(k->groups, k->n_groups), "models", words_json(k->models, k->n_models), "created",
                     (json_int_t)k->created_s, "expires", (json_int_t)k->expires_s, "used", (json_int_t)k->used_s);
}

static int list(desk *d)
{
    json_t *all = json_array();
    char used[32], expires[32];
    if (!d->json) cli_outf("%-9s %-24s %-16s %-8s %-17s %s\n", "ID", "NAME", "USER", "STATE", "LAST USED", "EXPIRES");
    for (size_t i = 0; i < ig_keys_n(d->keys); i++) {
        const ig_key *k = ig_keys_at(d->keys, i);
        if (d->json)
            json_array_append_new(all, key_json(k));
        else
            cli_outf("%-9s %-24s %-16s %-8s %-17s %s\n", k->id, k->name, *k->account ? k->account : "-", state_of(k),
                     date(k->used_s, "never", used), date(k->expires_s, "never", expires));
    }
    if (d->json) cli_out_json(all);
    json_decref(all);
    return CLI_DONE;
}

static int show(desk *d)
{
    char sentence[200];
    const ig_key *k = d->call->n_args == 2 ? ig_keys_find(d->keys, d->call->args[1]) : NULL;
    if (d->call->n_args != 2) return cli_usage("key show expects an id or a name. Type: ingle key list");
    if (!k) {
        snprintf(sentence, sizeof sentence, "there is no key %.64s; `ingle key list` shows them", d->call->args[1]);
        return cli_fail(sentence);
    }
    json_t *o = key_json(k);
    cli_out_json(o);
    json_decref(o);
    return CLI_DONE;
}

/* "90d", "12h" from now. */
static bool until(const char *text, int64_t *out)
{
    static const struct {
        char unit;
        uint64_t s;
    } units[] = {{'m', 60}, {'h', 3600}, {'d', 86400}, {'y', 31536000}};
    size_t n = text ? strlen(text) : 0;
    uint64_t count;
    *out = 0;
    if (!text) return true;
    if (n < 2 || !cli_parse_count(text, n - 1, 100000, &count) || !count) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (text[n - 1] == units[i].unit) {
            *out = ig_clock_s() + (int64_t)(count * units[i].s);
            return true;
        }
    return false;
}

static bool read_actions(const cli_value *words, unsigned *out)
{
    *out = words->n_list ? 0 : 1u << IG_MAY_USE;
    for (size_t i = 0; i < words->n_list; i++) {
        unsigned a = 0;
        while (a < IG_N_ACTIONS && strcmp(words->list[i], ig_policy_action_name((ig_action)a))) a++;
        if (a == IG_N_ACTIONS) return false;
        *out |= 1u << a;
    }
    return true;
}

static int add(desk *d)
{
    const cli_value *groups = cli_get(d->call, "group"), *models = cli_get(d->call, "model");
    char text[IG_KEY_TEXT_MAX];
    ig_error err;
    const char *user = cli_text(d->call, "user");
    ig_key k = {.account = user ? user : "",
                .groups = groups->list,
                .n_groups = groups->n_list,
                .models = models->list,
                .n_models = models->n_list};
    if (d->call->n_args != 2) return cli_usage("key add expects a name. Type: ingle key add NAME --user USER");
    k.name = d->call->args[1];
    if (!until(cli_text(d->call, "expires"), &k.expires_s))
        return cli_usage("--expires expects a time such as 90d, 12h or 1y");
    if (!read_actions(cli_get(d->call, "action"), &k.actions))
        return cli_usage("--action expects use, pull, create, pin or manage");
    const ig_key *there = ig_keys_find(d->keys, k.name);
    if (there && cli_set(d->call, "absent")) {
        cli_outf("unchanged: key %s (%s) is there, %s\n", there->name, there->id, state_of(there));
        return CLI_DONE;
    }
    if (!there && cli_set(d->call, "dry-run")) {
        cli_outf("key %s would be made (nothing was written)\n", k.name);
        return CLI_DONE;
    }
    if (ig_keys_add(d->keys, &k, text, &err) != IG_OK) return cli_fail(err.text);
    if (d->json) {
        json_t *o = key_json(ig_keys_find(d->keys, k.name));
        json_object_set_new(o, "key", json_string(text));
        cli_out_json(o);
        json_decref(o);
    } else {
        cli_outf("%s\n", text);
        cli_note("this is shown once; whoever has it acts as %s", user ? user : "nobody in particular");
    }
    return CLI_DONE;
}

static int revoke(desk *d)
{
    ig_error err;
    if (d->call->n_args != 2) return cli_usage("key revoke expects an id or a name. Type: ingle key list");
    const ig_key *k = ig_keys_find(d->keys, d->call->args[1]);
    if (k && (k->revoked || cli_set(d->call, "dry-run"))) {
        cli_outf(k->revoked ? "unchanged: key %s is revoked\n" : "key %s would be revoked (nothing was written)\n",
                 k->name);
        return CLI_DONE;
    }
    if (ig_keys_revoke(d->keys, d->call->args[1], &err) != IG_OK) return cli_fail(err.text);
    return CLI_DONE;
}

static ig_status place(const cli_call *call, char *out, size_t n, ig_error *err)
{
    ig_config *c;
    const char *file = cli_text(call, "file");
    if (!file) {
        IG_TRY(ig_config_load(ig_config_folder(), &c, err));
        ig_status st = IG_OK;
        if (c->keys_file)
            snprintf(out, n, "%s", c->keys_file);
        else
            st = ig_keys_place(out, n, err);
        ig_config_free(c);
        return st;
    }
    snprintf(out, n, "%s", file);
    return IG_OK;
}

int cli_key(const cli_call *call)
{
    static const struct {
        const char *name;
        int (*fn)(desk *d);
    } words[] = {{"add", add}, {"list", list}, {"show", show}, {"revoke", revoke}};
    char path[4096];
    ig_error err;
    desk d = {.call = call, .json = cli_set(call, "json")};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].name, call->args[0])) continue;
        if (place(call, path, sizeof path, &err) != IG_OK || ig_keys_open(path, &d.keys, &err) != IG_OK)
            return cli_fail(err.text);
        int code = words[i].fn(&d);
        ig_keys_close(d.keys);
        return code;
    }
    return cli_usage("key expects add, list, show or revoke. Type: ingle key list");
}
