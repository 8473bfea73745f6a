/* What companies' own systems read: FOCUS-like CSV and OpenTelemetry metrics. */
#include <stdio.h>
#include <string.h>

#include "ledger.h"

/* ------------------------------------------------------------------------------------------------ FOCUS */

typedef struct focus {
    const ig_prices *prices;
    ig_buf *out;
} focus;

/* A cell: quoted where it must be; what a spreadsheet would run as a formula gets an apostrophe in front. */
static void put_cell(ig_buf *out, const char *text)
{
    bool formula = *text && strchr("=+-@\t\r", *text);
    if (!formula && !strpbrk(text, ",\"\r\n")) {
        ig_buf_add(out, text, strlen(text));
        return;
    }
    ig_buf_add(out, formula ? "\"'" : "\"", formula ? 2 : 1);
    for (; *text; text++) {
        if (*text == '"') ig_buf_add(out, "\"", 1);
        ig_buf_add(out, text, 1);
    }
    ig_buf_add(out, "\"", 1);
}

static void put_amount(ig_buf *out, ig_pico cost)
{
    char text[32];
    ig_buf_printf(out, "%s", ig_price_text(ig_price_micro(cost), text));
}

static const ig_price *first_price(const ig_prices *p, const ig_ledger_day *d)
{
    for (size_t i = 0; p && i < p->n; i++)
        if (ig_price_fits(&p->rows[i], d->day, d->model)) return &p->rows[i];
    return NULL;
}

/* First day of the month, and of the next. */
static void month_of(int64_t day, char from[16], char until[16])
{
    char text[16];
    int64_t next = day;
    ig_day_text(day, text);
    snprintf(from, 16, "%.8s01", text);
    do snprintf(until, 16, "%s", ig_day_text(++next, text));
    while (strcmp(until + 8, "01"));
}

static void put_periods(ig_buf *out, int64_t day)
{
    char from[16], until[16], first[16], next[16];
    month_of(day, first, next);
    ig_buf_printf(out, "%sT00:00:00Z,%sT00:00:00Z,%sT00:00:00Z,%sT00:00:00Z,", ig_day_text(day, from),
                  ig_day_text(day + 1, until), first, next);
}

static bool put_day(void *ctx, const ig_ledger_day *d)
{
    focus *f = ctx;
    ig_buf *o = f->out;
    const ig_usage *u = &d->usage;
    const ig_price *p = first_price(f->prices, d);
    bool power = f->prices && f->prices->electricity_micro_kwh && u->n_energy;
    ig_buf_printf(o, "0,");
    put_amount(o, power ? ig_price_energy(f->prices, u->energy_uj) : 0);
    ig_buf_printf(o, ",0,0,%s,Usage,Local inference,", f->prices ? f->prices->currency : "");
    put_periods(o, d->day);
    ig_buf_printf(o, ",,,,,ingle,AI and Machine Learning,");
    put_cell(o, d->model);
    ig_buf_add(o, ",", 1);
    put_cell(o, d->user);
    ig_buf_add(o, ",", 1);
    put_cell(o, d->group);
    ig_buf_add(o, ",", 1);
    put_cell(o, d->app);
    ig_buf_printf(o, ",%s%s,%llu,%llu,%llu,%llu,%llu,%llu,", *d->digest ? "sha256:" : "", d->digest,
                  (unsigned long long)u->n, (unsigned long long)u->n_in, (unsigned long long)u->n_cached,
                  (unsigned long long)u->n_out, (unsigned long long)u->n_reasoning, (unsigned long long)u->took_ms);
    if (u->n_energy)
        ig_buf_printf(o, "%llu.%06llu", (unsigned long long)(u->energy_uj / 1000000),
                      (unsigned long long)(u->energy_uj % 1000000));
    ig_buf_add(o, ",", 1);
    if (p) put_cell(o, p->name);
    ig_buf_add(o, ",", 1);
    if (p) put_amount(o, ig_price_cost(p, u->n_in, u->n_cached, u->n_out));
    return ig_buf_add(o, "\n", 1);
}

static ig_status finish(const ig_buf *out, ig_status st, ig_error *err)
{
    if (st != IG_OK || !out->failed) return st;
    return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the report; ask for fewer days");
}

ig_status ig_ledger_focus(ig_ledger *l, const ig_ledger_filter *filter, const ig_prices *prices, ig_buf *out,
                          ig_error *err)
{
    static const char head[] =
        "BilledCost,EffectiveCost,ListCost,ContractedCost,BillingCurrency,ChargeCategory,ChargeDescription,"
        "ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingPeriodEnd,ConsumedQuantity,ConsumedUnit,"
        "PricingQuantity,PricingUnit,ListUnitPrice,ServiceName,ServiceCategory,ResourceId,SubAccountId,x_Group,"
        "x_Application,x_ModelDigest,x_Requests,x_InputTokens,x_CachedTokens,x_OutputTokens,x_ReasoningTokens,"
        "x_DurationMs,x_EnergyJoules,x_ComparedWith,x_ComparedCost\n";
    focus f = {prices, out};
    ig_buf_add(out, head, sizeof head - 1);
    return finish(out, ig_ledger_days(l, filter, put_day, &f, err), err);
}

/* ------------------------------------------------------------------------------------------------ OTLP */

enum { BOUNDS = 14, SERIES_MAX = 4096 };

/* Boundaries that the conventions name. Durations in milliseconds here. */
static const uint64_t token_bounds[BOUNDS] = {1,     4,     16,     64,      256,     1024,     4096,
                                              16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};
static const uint64_t ms_bounds[BOUNDS] = {10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960, 81920};

typedef struct histogram {
    uint64_t n, sum, least, most, bucket[BOUNDS + 1];
} histogram;

typedef struct series { /* of one model and operation */
    char model[IG_LEDGER_TEXT_BYTES], op[IG_LEDGER_TEXT_BYTES];
    histogram in, out, took;
    uint64_t energy_uj, n_energy;
} series;

typedef struct otlp {
    series *s; /* owned [n] */
    size_t n, cap;
    int64_t first_ms, last_ms;
    bool failed;
} otlp;

static void observe(histogram *h, uint64_t value, const uint64_t *bounds)
{
    size_t i = 0;
    while (i < BOUNDS && value > bounds[i]) i++;
    h->bucket[i]++;
    if (!h->n || value < h->least) h->least = value;
    if (value > h->most) h->most = value;
    h->n++;
    h->sum += value;
}

static series *series_of(otlp *o, const char *model, const char *op)
{
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->s[i].model, model) && !strcmp(o->s[i].op, op)) return &o->s[i];
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 16;
        series *s = cap > SERIES_MAX ? NULL : ig_realloc(o->s, cap, sizeof *s);
        if (!s) return NULL;
        o->s = s;
        o->cap = cap;
    }
    series *s = &o->s[o->n++];
    *s = (series){0};
    snprintf(s->model, sizeof s->model, "%s", model);
    snprintf(s->op, sizeof s->op, "%s", op);
    return s;
}

static bool take_record(void *ctx, const ig_ledger_record *r)
{
    otlp *o = ctx;
    series *s = series_of(o, r->model, r->op);
    o->failed = !s;
    if (!s) return false;
    if (!o->first_ms || r->at_ms < o->first_ms) o->first_ms = r->at_ms;
    if (r->at_ms > o->last_ms) o->last_ms = r->at_ms;
    observe(&s->in, r->n_in, token_bounds);
    observe(&s->out, r->n_out, token_bounds);
    observe(&s->took, r->took_ms, ms_bounds);
    if (r->energy_uj >= 0) s->energy_uj += (uint64_t)r->energy_uj, s->n_energy++;
    return true;
}

/* A JSON string; texts of the ledger are valid UTF-8. */
static void put_json(ig_buf *out, const char *text)
{
    ig_buf_add(out, "\"", 1);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            ig_buf_printf(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ' || *text == 127)
            ig_buf_printf(out, "\\u%04x", (unsigned char)*text);
        else
            ig_buf_add(out, text, 1);
    ig_buf_add(out, "\"", 1);
}

static void put_attribute(ig_buf *out, const char *name, const char *value, bool first)
{
    ig_buf_printf(out, "%s{\"key\":\"%s\",\"value\":{\"stringValue\":", first ? "" : ",", name);
    put_json(out, value);
    ig_buf_add(out, "}}", 2);
}

static void put_attributes(ig_buf *out, const series *s, const char *token_type)
{
    ig_buf_printf(out, "\"attributes\":[");
    put_attribute(out, "gen_ai.operation.name", s->op, true);
    put_attribute(out, "gen_ai.provider.name", "ingle", false);
    put_attribute(out, "gen_ai.request.model", s->model, false);
    if (token_type) put_attribute(out, "gen_ai.token.type", token_type, false);
    ig_buf_add(out, "]", 1);
}

static void put_times(ig_buf *out, const otlp *o)
{
    ig_buf_printf(out, ",\"startTimeUnixNano\":\"%lld000000\",\"timeUnixNano\":\"%lld000000\"", (long long)o->first_ms,
                  (long long)o->last_ms);
}

/* A value in thousandths, or as it is. */
static void put_value(ig_buf *out, const char *name, uint64_t value, bool thousandths)
{
    if (thousandths)
        ig_buf_printf(out, ",\"%s\":%llu.%03llu", name, (unsigned long long)(value / 1000),
                      (unsigned long long)(value % 1000));
    else
        ig_buf_printf(out, ",\"%s\":%llu", name, (unsigned long long)value);
}

static void put_point(ig_buf *out, const otlp *o, const series *s, const char *token_type, const histogram *h, bool ms)
{
    const uint64_t *bounds = ms ? ms_bounds : token_bounds;
    ig_buf_add(out, "{", 1);
    put_attributes(out, s, token_type);
    put_times(out, o);
    ig_buf_printf(out, ",\"count\":\"%llu\"", (unsigned long long)h->n);
    put_value(out, "sum", h->sum, ms);
    put_value(out, "min", h->least, ms);
    put_value(out, "max", h->most, ms);
    ig_buf_printf(out, ",\"bucketCounts\":[");
    for (int i = 0; i <= BOUNDS; i++) ig_buf_printf(out, "%s\"%llu\"", i ? "," : "", (unsigned long long)h->bucket[i]);
    ig_buf_printf(out, "],\"explicitBounds\":[");
    for (int i = 0; i < BOUNDS; i++) {
        const char *comma = i ? "," : "";
        if (ms)
            ig_buf_printf(out, "%s%llu.%02llu", comma, (unsigned long long)(bounds[i] / 1000),
                          (unsigned long long)(bounds[i] % 1000 / 10));
        else
            ig_buf_printf(out, "%s%llu", comma, (unsigned long long)bounds[i]);
    }
    ig_buf_printf(out, "]}");
}

static void put_histogram(ig_buf *out, const otlp *o, bool tokens)
{
    ig_buf_printf(out, "{\"name\":\"%s\",\"unit\":\"%s\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[",
                  tokens ? "gen_ai.client.token.usage" : "gen_ai.client.operation.duration", tokens ? "{token}" : "s");
    for (size_t i = 0; i < o->n; i++) {
        const series *s = &o->s[i];
        if (i) ig_buf_add(out, ",", 1);
        put_point(out, o, s, tokens ? "input" : NULL, tokens ? &s->in : &s->took, !tokens);
        if (!tokens) continue;
        ig_buf_add(out, ",", 1);
        put_point(out, o, s, "output", &s->out, false);
    }
    ig_buf_printf(out, "]}}");
}

static void put_energy(ig_buf *out, const otlp *o)
{
    bool any = false;
    for (size_t i = 0; i < o->n; i++) {
        const series *s = &o->s[i];
        if (!s->n_energy) continue;
        ig_buf_printf(out, any ? ",{"
                               : ",{\"name\":\"ingle.energy\",\"unit\":\"J\",\"sum\":{\"aggregationTemporality\":2,"
                                 "\"isMonotonic\":true,\"dataPoints\":[{");
        any = true;
        put_attributes(out, s, NULL);
        put_times(out, o);
        ig_buf_printf(out, ",\"asDouble\":%llu.%06llu}", (unsigned long long)(s->energy_uj / 1000000),
                      (unsigned long long)(s->energy_uj % 1000000));
    }
    if (any) ig_buf_printf(out, "]}}");
}

ig_status ig_ledger_otlp(ig_ledger *l, const ig_ledger_filter *filter, const char *version, ig_buf *out, ig_error *err)
{
    otlp o = {0};
    ig_status st = ig_ledger_records(l, filter, take_record, &o, err);
    if (st == IG_OK && o.failed) st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the metrics");
    if (st == IG_OK) {
        ig_buf_printf(out, "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[");
        put_attribute(out, "service.name", "ingle", true);
        put_attribute(out, "service.version", version, false);
        ig_buf_printf(out, "]},\"scopeMetrics\":[{\"scope\":{\"name\":\"ingle\"},\"metrics\":[");
        put_histogram(out, &o, true);
        ig_buf_add(out, ",", 1);
        put_histogram(out, &o, false);
        put_energy(out, &o);
        ig_buf_printf(out, "]}]}]}\n");
    }
    ig_free(o.s);
    return finish(out, st, err);
}
