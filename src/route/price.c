/* The price table: strict reading of its small language, and arithmetic in whole numbers. */
#include "price.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"

#define MICRO      UINT64_C(1000000)
#define AMOUNT_MAX UINT64_C(1000000000000000) /* micro: a milliard of the currency */
#define DAY_MAX    2932896                    /* 9999-12-31 */

/* ------------------------------------------------------------------------------------------------ arithmetic */

ig_pico ig_price_cost(const ig_price *p, uint64_t n_in, uint64_t n_cached, uint64_t n_out)
{
    if (n_cached > n_in) n_cached = n_in;
    return (ig_pico)(n_in - n_cached) * p->in + (ig_pico)n_cached * p->cached + (ig_pico)n_out * p->out;
}

/* 1 kWh is 3.6 * 10^12 microjoules: micro-currency * uj / 3.6e12, times 10^6 for millionths of it. */
ig_pico ig_price_energy(const ig_prices *p, uint64_t energy_uj)
{
    return (ig_pico)energy_uj * p->electricity_micro_kwh / 3600000;
}

uint64_t ig_price_micro(ig_pico cost)
{
    ig_pico micro = cost / MICRO + (cost % MICRO >= MICRO / 2);
    return micro > UINT64_MAX ? UINT64_MAX : (uint64_t)micro;
}

const char *ig_price_text(uint64_t micro, char out[32])
{
    snprintf(out, 32, "%llu.%06llu", (unsigned long long)(micro / MICRO), (unsigned long long)(micro % MICRO));
    return out;
}

/* ------------------------------------------------------------------------------------------------ days, patterns */

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    if (m <= 2) y--, m += 12; /* the year begins in March, so that a leap day is its last */
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * (m - 3) + 2) / 5 + d - 1 - 719468;
}

bool ig_day_parse(const char *text, int64_t *day)
{
    static const char shape[] = "dddd-dd-dd";
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (strlen(text) != sizeof shape - 1) return false;
    int part[3] = {0}, at = 0;
    for (size_t i = 0; shape[i]; i++) {
        if (shape[i] == '-' ? text[i] != '-' : text[i] < '0' || text[i] > '9') return false;
        if (shape[i] == '-')
            at++;
        else
            part[at] = part[at] * 10 + text[i] - '0';
    }
    int y = part[0], m = part[1], d = part[2];
    if (y < 1970 || m < 1 || m > 12 || d < 1) return false;
    bool leap = m == 2 && y % 4 == 0 && (y % 100 || y % 400 == 0);
    if (d > lengths[m - 1] + leap) return false;
    *day = days_of(y, m, d);
    return true;
}

const char *ig_day_text(int64_t day, char out[16])
{
    struct tm t;
    time_t s = (time_t)((day < 0 ? 0 : day > DAY_MAX ? DAY_MAX : day) * 86400);
    if (!gmtime_r(&s, &t)) *out = 0;
    snprintf(out, 16, "%04d-%02d-%02d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday);
    return out;
}

bool ig_price_match(const char *pattern, const char *text)
{
    const char *star = NULL, *again = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            again = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star) { /* the last star takes one more */
            pattern = star;
            text = ++again;
        } else
            return false;
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

bool ig_price_fits(const ig_price *p, int64_t day, const char *model)
{
    return day >= p->from_day && day <= p->until_day && ig_price_match(p->models, model);
}

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct reader {
    const char *name;
    unsigned line;
    ig_prices *out;
    ig_price *row; /* NULL: before the first section */
    unsigned seen; /* keys of this section, by bit */
} reader;

static ig_status wrong(const reader *r, const char *what, ig_error *err)
{
    return ig_fail(err, IG_BAD_INPUT, r->line, "%.200s line %u: %s", r->name, r->line, what);
}

/* A decimal number with at most six digits behind the point, in millionths. */
static bool to_micro(const char *text, uint64_t *out)
{
    uint64_t whole = 0, part = 0, unit = MICRO;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        if ((whole = whole * 10 + (uint64_t)(*p - '0')) > AMOUNT_MAX / MICRO) return false;
    if (p == text) return false;
    if (*p == '.') {
        const char *from = ++p;
        for (; *p >= '0' && *p <= '9' && unit > 1; p++) part += (uint64_t)(*p - '0') * (unit /= 10);
        if (p == from) return false;
    }
    *out = whole * MICRO + part;
    return !*p && *out <= AMOUNT_MAX;
}

static ig_status set_amount(reader *r, uint64_t *to, const char *value, ig_error *err)
{
    return to_micro(value, to) ? IG_OK
                               : wrong(r, "expected an amount such as 0.25, at most six digits behind the point", err);
}

static ig_status set_name(reader *r, char *to, size_t n, const char *value, ig_error *err)
{
    if (!*value || strlen(value) >= n) return wrong(r, "this text is empty or too long", err);
    memcpy(to, value, strlen(value) + 1);
    return IG_OK;
}

static ig_status set_day(reader *r, int64_t *to, const char *value, ig_error *err)
{
    return ig_day_parse(value, to) ? IG_OK : wrong(r, "expected a day such as 2026-01-31", err);
}

typedef enum key { CURRENCY, ELECTRICITY, CARBON, INPUT, OUTPUT, CACHED, FOR, FROM, UNTIL, KEYS } key;
static const char *const keys[KEYS] = {"currency", "electricity", "carbon", "input", "output",
                                       "cached",   "for",         "from",   "until"};

static ig_status set_global(reader *r, key k, const char *value, ig_error *err)
{
    ig_prices *o = r->out;
    uint64_t micro;
    switch (k) {
    case CURRENCY:
        if (strlen(value) != 3 || strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
            return wrong(r, "expected a currency such as EUR", err);
        return set_name(r, o->currency, sizeof o->currency, value, err);
    case ELECTRICITY: return set_amount(r, &o->electricity_micro_kwh, value, err);
    case CARBON:
        IG_TRY(set_amount(r, &micro, value, err));
        if (micro % MICRO) return wrong(r, "expected whole grams", err);
        o->carbon_g_kwh = micro / MICRO;
        return IG_OK;
    default: return wrong(r, "this belongs under a [provider/model]", err);
    }
}

static ig_status set_row(reader *r, key k, const char *value, ig_error *err)
{
    ig_price *p = r->row;
    switch (k) {
    case INPUT: return set_amount(r, &p->in, value, err);
    case OUTPUT: return set_amount(r, &p->out, value, err);
    case CACHED: return set_amount(r, &p->cached, value, err);
    case FOR: return set_name(r, p->models, sizeof p->models, value, err);
    case FROM: return set_day(r, &p->from_day, value, err);
    case UNTIL: return set_day(r, &p->until_day, value, err);
    default: return wrong(r, "this belongs before the first [provider/model]", err);
    }
}

static ig_status end_section(reader *r, ig_error *err)
{
    ig_price *p = r->row;
    if (!p) return IG_OK;
    if (!(r->seen & 1u << INPUT) || !(r->seen & 1u << OUTPUT))
        return wrong(r, "the section that ends here needs input and output", err);
    if (!(r->seen & 1u << CACHED)) p->cached = p->in;
    if (p->from_day > p->until_day) return wrong(r, "the section that ends here ends before it begins", err);
    for (const ig_price *o = r->out->rows; o < p; o++)
        if (!strcmp(o->name, p->name) && !strcmp(o->models, p->models) && o->from_day <= p->until_day &&
            p->from_day <= o->until_day)
            return wrong(r, "the section that ends here has the name and days of another", err);
    return IG_OK;
}

static ig_status begin_section(reader *r, char *text, ig_error *err)
{
    size_t n = strlen(text);
    IG_TRY(end_section(r, err));
    if (n < 3 || text[n - 1] != ']') return wrong(r, "expected [provider/model]", err);
    if (r->out->n == IG_PRICES_MAX) return wrong(r, "there are more than 1000 prices", err);
    text[n - 1] = 0;
    r->row = &r->out->rows[r->out->n];
    r->seen = 0;
    *r->row = (ig_price){.models = "*", .from_day = 0, .until_day = DAY_MAX};
    IG_TRY(set_name(r, r->row->name, sizeof r->row->name, text + 1, err));
    r->out->n++;
    return IG_OK;
}

static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t') text++;
    size_t n = strlen(text);
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t' || text[n - 1] == '\r')) text[--n] = 0;
    return text;
}

static ig_status read_line(reader *r, char *text, ig_error *err)
{
    char *hash = strchr(text, '#');
    if (hash) *hash = 0;
    text = trim(text);
    if (!*text) return IG_OK;
    if (*text == '[') return begin_section(r, text, err);
    char *equal = strchr(text, '=');
    if (!equal) return wrong(r, "expected key = value or [provider/model]", err);
    *equal = 0;
    char *name = trim(text), *value = trim(equal + 1);
    for (key k = 0; k < KEYS; k++) {
        if (strcmp(keys[k], name)) continue;
        if (r->seen & 1u << k) return wrong(r, "this key stands twice", err);
        r->seen |= 1u << k;
        return r->row ? set_row(r, k, value, err) : set_global(r, k, value, err);
    }
    return wrong(r, "there is no such key; see docs/accounting.md", err);
}

static ig_status read_lines(reader *r, ig_str text, ig_error *err)
{
    char line[512];
    const char *p = text.ptr, *end = p + text.len;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        r->line++;
        if (n >= sizeof line) return wrong(r, "the line is longer than 511 bytes", err);
        memcpy(line, p, n);
        line[n] = 0;
        if (strlen(line) != n) return wrong(r, "the line has a NUL byte", err);
        IG_TRY(read_line(r, line, err));
        p += n + (stop != NULL);
    }
    return end_section(r, err);
}

ig_status ig_prices_read(const char *name, ig_str text, ig_prices *out, ig_error *err)
{
    reader r = {.name = name, .out = out};
    *out = (ig_prices){0};
    if (text.len > IG_PRICE_FILE_BYTES_MAX || !ig_utf8_valid(text.ptr, text.len))
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is larger than 1 MiB or no UTF-8", name);
    size_t sections = 0;
    for (size_t i = 0; i < text.len; i++) sections += text.ptr[i] == '[';
    out->rows = ig_calloc((sections < IG_PRICES_MAX ? sections : IG_PRICES_MAX) + 1, sizeof *out->rows);
    if (!out->rows) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %.200s", name);
    ig_status st = read_lines(&r, text, err);
    if (st != IG_OK) ig_prices_free(out);
    return st;
}

ig_status ig_prices_load(const char *path, ig_prices *out, ig_error *err)
{
    ig_buf buf;
    *out = (ig_prices){0};
    ig_buf_init(&buf, IG_PRICE_FILE_BYTES_MAX);
    ig_status st = ig_file_read(path, &buf, err);
    if (st == IG_OK) st = ig_prices_read(path, (ig_str){buf.ptr ? buf.ptr : "", buf.len}, out, err);
    ig_buf_fini(&buf);
    return st;
}

void ig_prices_free(ig_prices *p)
{
    ig_free(p->rows);
    *p = (ig_prices){0};
}
