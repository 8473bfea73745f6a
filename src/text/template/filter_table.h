/* What a row of the filter table is, for the files that hold filters. */
#ifndef IG_TEXT_TEMPLATE_FILTER_TABLE_H
#define IG_TEXT_TEMPLATE_FILTER_TABLE_H

#include "text/template/filters.h"
#include "text/template/run.h"
#include "text/template/text.h"

typedef struct ig_filter {
    const char *name;
    const char *params; /* NULL: takes its arguments as they are */
    unsigned n_min;
    int flag; /* tells filters that share a function apart */
    ig_tval (*call)(ig_tr *r, const struct ig_filter *f, ig_tval v, const ig_tval *a, const ig_targs *args);
} ig_filter;
#define FILTER(name)  ig_tval name(ig_tr *r, const ig_filter *f, ig_tval v, const ig_tval *a, const ig_targs *args)
#define FILTER_UNUSED (void)r, (void)f, (void)v, (void)a, (void)args

extern const ig_filter ig_filters_seq[];
extern const size_t ig_n_filters_seq;

/* Argument i as a whole number or a bool, `standard` where it is absent. */
bool ig_filter_int(ig_tr *r, ig_tval a, int64_t standard, int64_t *out);
bool ig_filter_flag(ig_tval a, bool standard);

#endif
