/* ingle cost: what was used, by whom, and what it would have cost elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "base/mem.h"
#include "base/os.h"
#include "ingle.h"
#include "out.h"
#include "route/ledger.h"
#include "route/price.h"
#include "store/store.h"
#include "verbs.h"

enum { GROUPS_MAX = 100000, SHOWN_PRICES = 3 };
#define OUT_BYTES_MAX ((size_t)1 << 30)

typedef struct cost_row {
    char name[IG_LEDGER_TEXT_BYTES];
    ig_usage usage;
    ig_pico *cost;   /* [n prices] borrowed from the arena */
    uint64_t *n_fit; /* [n prices] requests that the price is for */
} cost_row;

typedef struct cost_job {
    ig_ledger_by by;
    ig_prices prices;
    bool has_prices;
    cost_row *rows; /* owned [n] */
    size_t n, cap;
    ig_arena arena;
    bool failed;
} cost_job;

/* ------------------------------------------------------------------------------------------------ adding up */

static const char *name_of(const cost_job *j, const ig_ledger_day *d, char day[16])
{
    switch (j->by) {
    case IG_BY_DAY: return ig_day_text(d->day, day);
    case IG_BY_USER: return d->user;
    case IG_BY_GROUP: return d->group;
    case IG_BY_APP: return d->app;
    case IG_BY_MODEL: return d->model;
    default: return "all";
    }
}

static cost_row *new_row(cost_job *j, const char *name)
{
    if (j->n == j->cap) {
        size_t cap = j->cap ? j->cap * 2 : 64;
        cost_row *rows = cap > GROUPS_MAX * 2 ? NULL : ig_realloc(j->rows, cap, sizeof *rows);
        if (!rows) return NULL;
        j->rows = rows;
        j->cap = cap;
    }
    cost_row *r = &j->rows[j->n];
    *r = (cost_row){.cost = ig_arena_alloc(&j->arena, j->prices.n + 1, sizeof *r->cost),
                    .n_fit = ig_arena_alloc(&j->arena, j->prices.n + 1, sizeof *r->n_fit)};
    if (!r->cost || !r->n_fit) return NULL;
    snprintf(r->name, sizeof r->name, "%s", name);
    j->n++;
    return r;
}

static cost_row *row_of(cost_job *j, const char *name)
{
    for (size_t i = j->n; i--;) /* days come in order: the last is the likely one */
        if (!strcmp(j->rows[i].name, name)) return &j->rows[i];
    return new_row(j, name);
}

static bool on_day(void *ctx, const ig_ledger_day *d)
{
    cost_job *j = ctx;
    char day[16];
    cost_row *r = row_of(j, name_of(j, d, day));
    j->failed = !r;
    if (!r) return false;
    ig_usage *u = &r->usage;
    u->n += d->usage.n;
    u->n_in += d->usage.n_in;
    u->n_cached += d->usage.n_cached;
    u->n_out += d->usage.n_out;
    u->n_reasoning += d->usage.n_reasoning;
    u->took_ms += d->usage.took_ms;
    u->energy_uj += d->usage.energy_uj;
    u->n_energy += d->usage.n_energy;
    for (size_t i = 0; i < j->prices.n; i++) {
        if (!ig_price_fits(&j->prices.rows[i], d->day, d->model)) continue;
        r->cost[i] += ig_price_cost(&j->prices.rows[i], d->usage.n_in, d->usage.n_cached, d->usage.n_out);
        r->n_fit[i] += d->usage.n;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ printing */

/* Prices of one name stand in one column, whatever their days. */
static bool is_first(const cost_job *j, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(j->prices.rows[k].name, j->prices.rows[i].name)) return false;
    return true;
}

/* False: the price is for none of the row's requests. */
static bool cost_of(const cost_job *j, const cost_row *r, size_t i, uint64_t *micro)
{
    ig_pico sum = 0;
    uint64_t n = 0;
    for (size_t k = i; k < j->prices.n; k++)
        if (!strcmp(j->prices.rows[k].name, j->prices.rows[i].name)) sum += r->cost[k], n += r->n_fit[k];
    *micro = ig_price_micro(sum);
    return n > 0;
}

static json_t *energy_json(const cost_job *j, const ig_usage *u)
{
    if (!u->n_energy) return json_null();
    json_t *e = json_pack("{s:I, s:I}", "microjoules", (json_int_t)u->energy_uj, "requests", (json_int_t)u->n_energy);
    if (j->prices.electricity_micro_kwh)
        json_object_set_new(e, "cost_micro",
                            json_integer((json_int_t)ig_price_micro(ig_price_energy(&j->prices, u->energy_uj))));
    if (j->prices.carbon_g_kwh) /* grams for a kWh are micrograms for 3.6 J */
        json_object_set_new(e, "co2_micrograms",
                            json_integer((json_int_t)((ig_pico)u->energy_uj * j->prices.carbon_g_kwh / 3600000)));
    return e;
}

static json_t *row_json(const cost_job *j, const cost_row *r)
{
    const ig_usage *u = &r->usage;
    json_t *costs = json_object();
    uint64_t micro;
    for (size_t i = 0; i < j->prices.n; i++)
        if (is_first(j, i) && cost_of(j, r, i, &micro))
            json_object_set_new(costs, j->prices.rows[i].name, json_integer((json_int_t)micro));
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "name", r->name, "requests", (json_int_t)u->n,
                     "tokens_in", (json_int_t)u->n_in, "tokens_cached", (json_int_t)u->n_cached, "tokens_out",
                     (json_int_t)u->n_out, "tokens_reasoning", (json_int_t)u->n_reasoning, "took_ms",
                     (json_int_t)u->took_ms, "energy", energy_json(j, u), "elsewhere_micro", costs);
}

static int print_json(const cost_job *j, const char *by)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < j->n; i++) (void)json_array_append_new(rows, row_json(j, &j->rows[i]));
    json_t *all = json_pack("{s:s, s:s?, s:o}", "by", by, "currency", *j->prices.currency ? j->prices.currency : NULL,
                            "rows", rows);
    cli_out_json(all);
    json_decref(all);
    return CLI_DONE;
}

static void put_csv(const char *text)
{
    bool formula = *text && strchr("=+-@\t\r", *text);
    cli_outf(formula ? "\"'" : "\"");
    for (; *text; text++) cli_outf(*text == '"' ? "\"\"" : "%c", *text);
    cli_outf("\"");
}

static int print_csv(const cost_job *j, const char *by)
{
    char text[32];
    uint64_t micro;
    cli_outf("%s,requests,tokens_in,tokens_cached,tokens_out,tokens_reasoning,took_ms,energy_uj", by);
    for (size_t i = 0; i < j->prices.n; i++)
        if (is_first(j, i)) {
            cli_outf(",");
            put_csv(j->prices.rows[i].name);
        }
    cli_outf("\n");
    for (size_t k = 0; k < j->n; k++) {
        const cost_row *r = &j->rows[k];
        const ig_usage *u = &r->usage;
        put_csv(r->name);
        cli_outf(",%llu,%llu,%llu,%llu,%llu,%llu,", (unsigned long long)u->n, (unsigned long long)u->n_in,
                 (unsigned long long)u->n_cached, (unsigned long long)u->n_out, (unsigned long long)u->n_reasoning,
                 (unsigned long long)u->took_ms);
        if (u->n_energy) cli_outf("%llu", (unsigned long long)u->energy_uj);
        for (size_t i = 0; i < j->prices.n; i++)
            if (is_first(j, i)) cli_outf(",%s", cost_of(j, r, i, &micro) ? ig_price_text(micro, text) : "");
        cli_outf("\n");
    }
    return CLI_DONE;
}

/* "12.35": to the hundredth, for people. */
static const char *money(uint64_t micro, char out[32])
{
    uint64_t cents = micro / 10000 + (micro % 10000 >= 5000);
    if (micro && micro < 10000)
        snprintf(out, 32, "0.%06llu", (unsigned long long)micro);
    else
        snprintf(out, 32, "%llu.%02llu", (unsigned long long)(cents / 100), (unsigned long long)(cents % 100));
    return out;
}

static void put_row(const cost_job *j, const cost_row *r)
{
    const ig_usage *u = &r->usage;
    char text[32];
    uint64_t micro;
    cli_outf("%-28.60s %8llu %12llu %12llu %12llu %9.1f", *r->name ? r->name : "-", (unsigned long long)u->n,
             (unsigned long long)u->n_in, (unsigned long long)u->n_cached, (unsigned long long)u->n_out,
             (double)u->took_ms / 1000);
    if (u->n_energy)
        cli_outf(" %10.1f", (double)u->energy_uj / 1e6);
    else
        cli_outf(" %10s", "-");
    size_t shown = 0;
    for (size_t i = 0; i < j->prices.n && shown < SHOWN_PRICES; i++)
        if (is_first(j, i)) {
            cli_outf(" %18s", cost_of(j, r, i, &micro) ? money(micro, text) : "-");
            shown++;
        }
    cli_outf("\n");
}

static int print_table(const cost_job *j, const char *by)
{
    size_t shown = 0, n = 0;
    cli_outf("%-28s %8s %12s %12s %12s %9s %10s", by, "requests", "in", "cached", "out", "seconds", "joules");
    for (size_t i = 0; i < j->prices.n; i++) {
        if (!is_first(j, i)) continue;
        if (shown < SHOWN_PRICES) cli_outf(" %18.18s", j->prices.rows[i].name), shown++;
        n++;
    }
    cli_outf("\n");
    for (size_t i = 0; i < j->n; i++) put_row(j, &j->rows[i]);
    if (shown) cli_note("the last columns say what these tokens would have cost there, in %s", j->prices.currency);
    if (n > shown) cli_note("%zu more prices are in --json and --csv", n - shown);
    return CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ the verb */

static bool state_file(const char *name, char *out, size_t n, ig_error *err)
{
    if (ig_store_place(out, n - 64, err) != IG_OK) return false;
    snprintf(out + strlen(out), 64, "/state/%s", name);
    return true;
}

static ig_status load_prices(const cli_call *call, cost_job *j, ig_error *err)
{
    char place[4096];
    const char *path = cli_text(call, "prices");
    ig_error none;
    j->has_prices = true;
    if (path) return ig_prices_load(path, &j->prices, err);
    if (!state_file("prices.conf", place, sizeof place, &none)) return IG_OK;
    ig_status st = ig_prices_load(place, &j->prices, err);
    j->has_prices = st == IG_OK;
    return st == IG_NOT_FOUND ? IG_OK : st;
}

static ig_status read_filter(const cli_call *call, ig_ledger_filter *f, ig_error *err)
{
    const char *since = cli_text(call, "since"), *until = cli_text(call, "until");
    *f = (ig_ledger_filter){.user = cli_text(call, "user"), .model = cli_text(call, "model")};
    if ((since && !ig_day_parse(since, &f->since_day)) || (until && !ig_day_parse(until, &f->until_day)))
        return ig_fail(err, IG_BAD_INPUT, 0, "--since and --until expect a day such as 2026-01-31");
    return IG_OK;
}

static int print_buffer(ig_buf *out, ig_status st, const ig_error *err)
{
    int code = CLI_DONE;
    if (st != IG_OK)
        code = cli_fail(err->text);
    else
        cli_out(out->ptr, out->len);
    ig_buf_fini(out);
    return code;
}

static int do_check(ig_ledger *l)
{
    ig_ledger_report r;
    ig_error err;
    if (ig_ledger_check(l, &r, &err) != IG_OK) return cli_fail(err.text);
    if (!r.n_problems) {
        cli_outf("%llu records, all whole\n", (unsigned long long)r.n_records);
        return CLI_DONE;
    }
    cli_outf("%llu problems, the first: %s\n", (unsigned long long)r.n_problems, r.first);
    return CLI_NO;
}

static int do_forget(const cli_call *call, ig_ledger *l, const char *user)
{
    uint64_t n;
    ig_error err;
    if (cli_set(call, "dry-run")) {
        cli_outf("every record of %s would name nobody (nothing was written)\n", user);
        return CLI_DONE;
    }
    if (ig_ledger_forget(l, user, &n, &err) != IG_OK) return cli_fail(err.text);
    cli_outf("%llu records no longer name this user\n", (unsigned long long)n);
    return CLI_DONE;
}

static int do_rows(const cli_call *call, ig_ledger *l, const ig_ledger_filter *f, cost_job *j)
{
    static const char *const names[] = {"all", "day", "user", "group", "app", "model"};
    ig_error err;
    const char *by = cli_text(call, "by") ? cli_text(call, "by") : "all";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(by, names[i])) j->by = (ig_ledger_by)i;
    if (ig_ledger_days(l, f, on_day, j, &err) != IG_OK) return cli_fail(err.text);
    if (j->failed) return cli_fail("out of memory for so many rows; ask for fewer days");
    if (cli_set(call, "json")) return print_json(j, by);
    return cli_set(call, "csv") ? print_csv(j, by) : print_table(j, by);
}

static int run(const cli_call *call, ig_ledger *l, cost_job *j)
{
    ig_ledger_filter f;
    ig_error err;
    ig_buf out;
    if (read_filter(call, &f, &err) != IG_OK) return cli_usage(err.text);
    if (load_prices(call, j, &err) != IG_OK) return cli_fail(err.text);
    ig_buf_init(&out, OUT_BYTES_MAX);
    if (cli_set(call, "focus"))
        return print_buffer(&out, ig_ledger_focus(l, &f, j->has_prices ? &j->prices : NULL, &out, &err), &err);
    if (cli_set(call, "otlp")) return print_buffer(&out, ig_ledger_otlp(l, &f, ingle_version(), &out, &err), &err);
    return do_rows(call, l, &f, j);
}

int cli_cost(const cli_call *call)
{
    char place[4096];
    ig_error err;
    ig_ledger *l;
    const char *path = cli_text(call, "ledger"), *gone = cli_text(call, "forget");
    cost_job j = {0};
    if (!path && !state_file("ledger.db", place, sizeof place, &err)) return cli_fail(err.text);
    ig_ledger_options o = {.read_only = !gone || cli_set(call, "dry-run")};
    if (ig_ledger_open(path ? path : place, &o, &l, &err) != IG_OK) return cli_fail(err.text);
    int code = gone ? do_forget(call, l, gone) : cli_set(call, "check") ? do_check(l) : run(call, l, &j);
    ig_ledger_close(l);
    ig_prices_free(&j.prices);
    ig_arena_fini(&j.arena);
    ig_free(j.rows);
    return code;
}
