/* Prices: what the same tokens would cost elsewhere, what energy costs here. Whole numbers throughout: prices are kept
 * in millionths of the currency for a million tokens, costs in millionths of millionths, rounded once, when they are
 * shown. Pure functions; reading a table does no more than its text says.
 *
 *   currency = EUR
 *   electricity = 0.30            # for a kWh
 *   carbon = 350                  # grams of CO2 for a kWh
 *
 *   [openai/gpt-5-mini]           # prices for a million tokens
 *   input = 0.25
 *   output = 2.00
 *   cached = 0.025                # input that was in the cache; default: as input
 *   for = qwen*                   # compared with local models of such names (* any text, ? one character); default: *
 *   from = 2026-01-01             # first day; default: always. A name may stand again with other days
 *   until = 2026-06-30            # last day */
#ifndef IG_ROUTE_PRICE_H
#define IG_ROUTE_PRICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum { IG_PRICES_MAX = 1000, IG_PRICE_NAME_BYTES = 96, IG_PRICE_FILE_BYTES_MAX = 1 << 20 };

__extension__ typedef unsigned __int128 ig_pico; /* millionths of millionths of the currency */

typedef struct ig_price {
    char name[IG_PRICE_NAME_BYTES], models[IG_PRICE_NAME_BYTES]; /* models: the pattern of `for` */
    uint64_t in, out, cached;    /* micro-currency for a million tokens, at most 10^15 */
    int64_t from_day, until_day; /* days since 1970, both included */
} ig_price;

typedef struct ig_prices {
    char currency[8];                             /* "" where none is named */
    uint64_t electricity_micro_kwh, carbon_g_kwh; /* 0: not known */
    ig_price *rows;                               /* owned [n] */
    size_t n;
} ig_prices;

/* name: of the file, for messages. Errors: BAD_INPUT with the line. */
ig_status ig_prices_read(const char *name, ig_str text, ig_prices *out, ig_error *err);
ig_status ig_prices_load(const char *path, ig_prices *out, ig_error *err);
void ig_prices_free(ig_prices *p);

/* Whether the price holds on this day for a local model of this name. */
bool ig_price_fits(const ig_price *p, int64_t day, const char *model);
/* n_in counts the cached ones, too. */
ig_pico ig_price_cost(const ig_price *p, uint64_t n_in, uint64_t n_cached, uint64_t n_out);
ig_pico ig_price_energy(const ig_prices *p, uint64_t energy_uj);
/* Rounded to the nearest millionth, halves up; UINT64_MAX where it is more. */
uint64_t ig_price_micro(ig_pico cost);
/* "12.345678" into out[32]. */
const char *ig_price_text(uint64_t micro, char out[32]);
/* Days since 1970 of YYYY-MM-DD, and back; false where it is no date. */
bool ig_day_parse(const char *text, int64_t *day);
const char *ig_day_text(int64_t day, char out[16]);
/* Pattern with * and ?, in time linear in text times pattern. */
bool ig_price_match(const char *pattern, const char *text);

#endif
