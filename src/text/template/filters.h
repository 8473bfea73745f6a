/* The tables of filters and tests. */
#ifndef IG_TEXT_TEMPLATE_FILTERS_H
#define IG_TEXT_TEMPLATE_FILTERS_H

#include "text/template/value.h"

const struct ig_filter *ig_filter_find(ig_str name); /* NULL: there is none */
const struct ig_test *ig_test_find(ig_str name);
double ig_tn_read_double(ig_str text); /* decimal notation, independent of the locale */

#endif
