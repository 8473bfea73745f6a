/* What policy reads from admins and servers. The first byte chooses: '0' a configuration, under which questions are
 * then decided; '1' a table of expectations; '2' a DN; '3' the name of an attribute with a range; '4' the value of a
 * filter; '5' a pattern and a text, separated by a newline. */
#include <stdlib.h>
#include <string.h>

#include "policy/inner.h"

static void decide_all(const ig_policy *p)
{
    static const ig_group groups[] = {{"eng", "gid:5"}, {"staff", "dn:cn=staff,dc=x"}};
    static const ig_caller callers[] = {{0},
                                        {.known = true, .account = "ada", .groups = groups, .n_groups = 2},
                                        {.known = true, .has_uid = true, .uid = 7, .groups_unknown = true},
                                        {.known = true, .owner = true, .has_uid = true}};
    for (size_t i = 0; i < sizeof callers / sizeof *callers; i++)
        for (unsigned a = 0; a < IG_N_ACTIONS; a++) {
            ig_ask ask = {
                .action = (ig_action)a, .model = {"m:1", "ab", "mit", "acme"}, .n_ctx = 4096, .when = {3, 720}};
            ig_decision d;
            ig_policy_decide(p, &callers[i], &ask, &d, NULL);
            if (!d.rule[0] || (!d.allowed && !d.reason[0])) abort();
            ask.listing = true;
            ask.when = (ig_moment){6, 0};
            ig_policy_decide(p, &callers[i], &ask, &d, NULL);
        }
}

static void read_config(ig_str text)
{
    ig_config *c;
    ig_error e = {0};
    ig_status st = ig_config_read(text, "fuzz", &c, &e);
    if ((st == IG_OK) != (c != NULL) || (st != IG_OK && !e.text[0])) abort();
    if (c) decide_all(&c->policy);
    ig_config_free(c);
}

static void read_table(ig_str text)
{
    static const ig_policy none = {.deny = true};
    ig_error e = {0};
    size_t n;
    if (ig_policy_expect(&none, NULL, text, "fuzz", NULL, NULL, &n, &e) != IG_OK && !e.text[0]) abort();
}

static void read_dn(const char *text)
{
    char out[64];
    if (ig_dn_first(text, out, sizeof out) && (!*out || strlen(out) >= sizeof out)) abort();
    if (!ig_dn_below(text, text) || !ig_dn_below(text, "")) abort();
    (void)ig_dn_below(text, "dc=x");
    (void)ig_dn_below("cn=a\\,b,dc=x", text);
}

static void read_filter(ig_str text)
{
    ig_buf b;
    ig_buf_init(&b, 1 << 20);
    ig_filter_value(&b, text.ptr, text.len);
    for (size_t i = 0; i < b.len; i++)
        if (strchr("*()", b.ptr[i]) || (unsigned char)b.ptr[i] < ' ' || (unsigned char)b.ptr[i] > '~') abort();
    ig_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t from = 0, to = 0;
    if (size < 1) return 0;
    char *text = malloc(size);
    if (!text) return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    ig_str s = {text, size - 1};
    if (data[0] == '0') read_config(s);
    if (data[0] == '1') read_table(s);
    if (data[0] == '2') read_dn(text);
    if (data[0] == '3' && ig_range_read(text, "member", &from, &to) == 2 && to < from) abort();
    if (data[0] == '4') read_filter(s);
    if (data[0] == '5') {
        char *line = strchr(text, '\n');
        if (line) *line++ = 0;
        if (size < 4096) (void)ig_pattern_fits(text, line ? line : "");
    }
    free(text);
    return 0;
}
