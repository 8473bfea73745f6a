/* The values of `format` that are enforced, as patterns. Dates know the length of months and leap years. */
#include "auto.h"

/* Without the year 0000, which RFC 3339 knows and most libraries for dates refuse. */
#define YEAR      "(?:[1-9]\\d{3}|0[1-9]\\d\\d|00[1-9]\\d|000[1-9])"
#define YEAR_LEAP "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
#define DATE                                                                                                           \
    "(?:" YEAR                                                                                                         \
    "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|"           \
    "2[0-8]))|" YEAR_LEAP "-02-29)"
/* A leap second is at 23:59:60 UTC; offsets in quarters of an hour are known (leap_seconds). */
#define TIME  "(?:(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)|LEAP)"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4  OCTET "(?:\\." OCTET "){3}"
#define H16   "[0-9A-Fa-f]{1,4}"
#define LS32  "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                                           \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32 "|(?:(?:" H16            \
    ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16      \
    ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16   \
    "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOST  LABEL "(?:\\." LABEL ")*"
#define ATEXT "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define PCT   "%[0-9A-Fa-f]{2}"
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" PCT ")"
#define AUTHORITY                                                                                                      \
    "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|" PCT ")*@)?(?:\\[(?:" IPV6 "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)" \
    "\\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|" PCT ")*)(?::\\d*)?"
#define URI                                                                                                            \
    "[A-Za-z][A-Za-z0-9+.-]*:(?:\\/\\/" AUTHORITY "(?:\\/" PCHAR "*)*|\\/(?:" PCHAR "+(?:\\/" PCHAR "*)*)?|" PCHAR     \
    "+(?:\\/" PCHAR "*)*|)(?:\\?(?:" PCHAR "|[\\/?])*)?(?:#(?:" PCHAR "|[\\/?])*)?"
#define DUR_TIME "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"
#define DUR_DAY  "\\d+D"
#define DUR_DATE "(?:\\d+Y(?:\\d+M(?:" DUR_DAY ")?)?|\\d+M(?:" DUR_DAY ")?|" DUR_DAY ")"

static const struct {
    const char *name, *pattern;
    uint32_t length_max; /* 0: none */
} formats[] = {
    {"date", "^" DATE "$", 0},
    {"time", "^" TIME "$", 0},
    {"date-time", "^" DATE "[Tt]" TIME "$", 0},
    {"duration", "^P(?:" DUR_DATE "(?:" DUR_TIME ")?|" DUR_TIME "|\\d+W)$", 0},
    {"uuid", "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$", 0},
    {"email",
     "^(?:" ATEXT "(?:\\." ATEXT ")*|\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\")@(?:" HOST "|\\[" IPV4
     "\\]|\\[[Ii][Pp][Vv]6:" IPV6 "\\])$",
     0},
    {"hostname", "^" HOST "$", 253},
    {"ipv4", "^" IPV4 "$", 0},
    {"ipv6", "^" IPV6 "$", 0},
    {"uri", "^" URI "$", 0},
};

static bool leap_seconds(ig_buf *out)
{
    bool ok = ig_buf_printf(out, "23:59:60(?:\\.\\d+)?[Zz]");
    for (int offset = -1425; offset <= 1425; offset += 15) {
        int local = (23 * 60 + 59 + offset + 1440) % 1440, size = offset < 0 ? -offset : offset;
        const char *sign = offset < 0 ? "-" : offset > 0 ? "\\+" : "[+-]";
        ok = ok && ig_buf_printf(out, "|%02d:%02d:60(?:\\.\\d+)?%s%02d:%02d", local / 60, local % 60, sign, size / 60,
                                 size % 60);
    }
    return ok;
}

/* The pattern with LEAP replaced. */
static const gr_dfa *with_leap(gr_cc *cc, const char *pattern)
{
    const char *at = strstr(pattern, "LEAP");
    if (!at) return gr_regex(cc, ig_str_from(pattern));
    const gr_dfa *d = NULL;
    ig_buf buf;
    ig_buf_init(&buf, 1 << 16);
    if (ig_buf_add(&buf, pattern, (size_t)(at - pattern)) && leap_seconds(&buf) &&
        ig_buf_add(&buf, at + 4, strlen(at + 4)))
        d = gr_regex(cc, (ig_str){buf.ptr, buf.len});
    else
        gr_fail(cc, IG_NO_MEMORY, "out of memory for a format");
    ig_buf_fini(&buf);
    return d;
}

const gr_dfa *gr_format(gr_cc *cc, ig_str name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!ig_str_is(name, formats[i].name)) continue;
        const gr_dfa *d = with_leap(cc, formats[i].pattern);
        if (formats[i].length_max) d = gr_dfa_combine(cc, d, gr_dfa_length(cc, 0, formats[i].length_max), GR_AND, 0);
        return d;
    }
    return NULL;
}
