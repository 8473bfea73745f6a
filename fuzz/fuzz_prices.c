/* A price table: what is accepted stays within its bounds, and costs add up without overflow. */
#include <stdlib.h>
#include <string.h>

#include "route/price.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const ig_price *p)
{
    static const uint64_t max = UINT64_C(1000000000000000);
    if (!p->name[0] || !p->models[0] || p->in > max || p->out > max || p->cached > max) abort();
    if (p->from_day > p->until_day) abort();
    ig_pico one = ig_price_cost(p, 3, 1, 2), ten = ig_price_cost(p, 30, 10, 20);
    ig_pico most = ig_price_cost(p, UINT64_MAX, 0, UINT64_MAX) + ig_price_cost(p, UINT64_MAX, UINT64_MAX, 0);
    if (one * 10 != ten || most < ten) abort();
    (void)ig_price_fits(p, p->from_day, p->name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_prices p;
    ig_error e = {0};
    if (ig_prices_read("fuzz", (ig_str){(const char *)data, size}, &p, &e) != IG_OK) {
        if (p.rows || p.n || e.status != IG_BAD_INPUT || !e.text[0]) abort();
        return 0;
    }
    if (p.n > IG_PRICES_MAX) abort();
    for (size_t i = 0; i < p.n; i++) check_row(&p.rows[i]);
    ig_prices_free(&p);
    return 0;
}
