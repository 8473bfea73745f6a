/* The values of `format` that are enforced, as patterns. Dates know the length of months and leap years. */
#include "auto.h"

#define YEAR_LEAP "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
#define DATE                                                                                                           \
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|"  \
    "2[0-8]))|" YEAR_LEAP "-02-29)"
#define TIME "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4 OCTET "(?:\\." OCTET "){3}"
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                                           \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32 "|(?:(?:" H16            \
    ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16      \
    ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16   \
    "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOST LABEL "(?:\\." LABEL ")*"
#define ATEXT "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define PCT "%[0-9A-Fa-f]{2}"
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" PCT ")"
#define AUTHORITY                                                                                                      \
    "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|" PCT ")*@)?(?:\\[(?:" IPV6 "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)" \
    "\\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|" PCT ")*)(?::\\d*)?"
#define URI                                                                                                            \
    "[A-Za-z][A-Za-z0-9+.-]*:(?:\\/\\/" AUTHORITY "(?:\\/" PCHAR "*)*|\\/(?:" PCHAR "+(?:\\/" PCHAR "*)*)?|" PCHAR        \
    "+(?:\\/" PCHAR "*)*|)(?:\\?(?:" PCHAR "|[\\/?])*)?(?:#(?:" PCHAR "|[\\/?])*)?"
#define DUR_TIME "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"
#define DUR_DAY "\\d+D"
#define DUR_DATE "(?:\\d+Y(?:\\d+M(?:" DUR_DAY ")?)?|\\d+M(?:" DUR_DAY ")?|" DUR_DAY ")"

static const struct {
    const char *name, *pattern, *also; /* also: a second pattern that must hold */
} formats[] = {
    {"date", "^" DATE "$", NULL},
    {"time", "^" TIME "$", NULL},
    {"date-time", "^" DATE "[Tt]" TIME "$", NULL},
    {"duration", "^P(?:" DUR_DATE "(?:" DUR_TIME ")?|" DUR_TIME "|\\d+W)$", NULL},
    {"uuid", "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$", NULL},
    {"email", "^(?:" ATEXT "(?:\\." ATEXT ")*|\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\")@(?:" HOST "|\\[" IPV4 "\\]|\\[[Ii][Pp][Vv]6:" IPV6 "\\])$", NULL},
    {"hostname", "^" HOST "$", "^[^]{1,253}$"},
    {"ipv4", "^" IPV4 "$", NULL},
    {"ipv6", "^" IPV6 "$", NULL},
    {"uri", "^" URI "$", NULL},
};

const gr_dfa *gr_format(gr_cc *cc, ig_str name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!ig_str_is(name, formats[i].name)) continue;
        const gr_dfa *d = gr_regex(cc, ig_str_from(formats[i].pattern));
        if (formats[i].also) d = gr_dfa_combine(cc, d, gr_regex(cc, ig_str_from(formats[i].also)), GR_AND, 0);
        return d;
    }
    return NULL;
}
