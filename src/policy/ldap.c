/* LDAP: OpenLDAP and 389 with the schemas RFC 2307 and 2307bis, Active Directory. libldap is loaded when the first
 * question is asked. One connection a lookup: lookups are rare, for their answers are cached.
 *
 * What a server says is bounded (entries, pages, values, bytes of a message, time) and never half believed: an answer
 * that was cut, referred elsewhere or broke its own ranges is a failure of the lookup. Groups within groups are found
 * by walking upwards, level by level, until a level brings nothing new. Active Directory's rule "in chain" only
 * shortens that walk: servers that do not know it answer with success and nothing, so its answer counts as a hint. The
 * walk goes on from there, which proves the answer complete or completes it. Referrals are not followed. */
#include <errno.h>
#include <inttypes.h>
#include <ldap.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/library.h"
#include "base/os.h"
#include "base/utf8.h"
#include "policy/inner.h"

#define IN_CHAIN         "1.2.840.113556.1.4.1941"
#define ACTIVE_DIRECTORY "1.2.840.113556.1.4.800"

enum {
    DEPTH_MAX = 32,
    BATCH = 20, /* DNs in one filter */
    PAGES_MAX = 1000,
    REFERENCES_MAX = 64,
    ENTRIES_MAX = 20000,
    DN_BYTES_MAX = 2048,
    FILTER_BYTES_MAX = 256 << 10,
    MESSAGE_BYTES_MAX = 8 << 20,
    NS_PER_MS = 1000000
};

#define LDAP_FUNCTIONS(X)                                                                                              \
    X(ldap_initialize)                                                                                                 \
    X(ldap_set_option)                                                                                                 \
    X(ldap_get_option)                                                                                                 \
    X(ldap_start_tls_s)                                                                                                \
    X(ldap_sasl_bind_s)                                                                                                \
    X(ldap_sasl_interactive_bind_s)                                                                                    \
    X(ldap_search_ext)                                                                                                 \
    X(ldap_result)                                                                                                     \
    X(ldap_abandon_ext)                                                                                                \
    X(ldap_get_dn)                                                                                                     \
    X(ldap_memfree)                                                                                                    \
    X(ldap_first_attribute)                                                                                            \
    X(ldap_next_attribute)                                                                                             \
    X(ldap_get_values_len)                                                                                             \
    X(ldap_value_free_len)                                                                                             \
    X(ldap_msgfree)                                                                                                    \
    X(ldap_parse_result)                                                                                               \
    X(ldap_create_page_control)                                                                                        \
    X(ldap_parse_pageresponse_control)                                                                                 \
    X(ldap_control_find)                                                                                               \
    X(ldap_control_free)                                                                                               \
    X(ldap_controls_free)                                                                                              \
    X(ldap_unbind_ext_s)                                                                                               \
    X(ldap_err2string)                                                                                                 \
    X(ber_free)                                                                                                        \
    X(ber_memfree)                                                                                                     \
    X(ber_sockbuf_ctrl)

typedef struct library {
#define X(f) __typeof__(&f) f;
    LDAP_FUNCTIONS(X)
#undef X
} library;

typedef struct session {
    library lib;
    const ig_ldap_config *config;
    const char *uri;
    LDAP *ld;
    uint64_t deadline_ns;
    ig_finding *finding;
    ig_error *err;
    bool ad;
    int code; /* of the last fault */
    uint32_t page_size;
    /* the user's entry */
    size_t n_users;
    char user_dn[DN_BYTES_MAX];
    char gid[16];
    unsigned char sid[68];
    size_t n_sid;
    uint32_t rid;
    uint32_t next_value; /* of memberOf, when it comes in ranges */
    bool more_values, saw_values;
    char **member_of; /* owned copies */
    size_t n_member_of;
    const char *own_attribute; /* where the account's name is read */
} session;

static bool load(library *l)
{
    static const char *const names[] = {"libldap-2.5.so.0", "libldap-2.6.so.0", "libldap.so.2", "libldap_r-2.4.so.2"};
#define X(f) #f,
    static const char *const symbols[] = {LDAP_FUNCTIONS(X)};
#undef X
    return ig_library_open(names, sizeof names / sizeof *names, symbols, sizeof symbols / sizeof *symbols, l) != NULL;
}

/* ------------------------------------------------------------------------------------------------ time and faults */

static ig_status fault(session *s, const char *what, int code)
{
    char *more = NULL; /* what TLS or SASL say */
    s->code = code;
    if (s->ld && code < 0) s->lib.ldap_get_option(s->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
    ig_fail(s->err, IG_IO, 0, "LDAP server %.150s: %s: %s (%d)%s%.150s", s->uri, what, s->lib.ldap_err2string(code),
            code, more && *more ? ": " : "", more ? more : "");
    s->lib.ldap_memfree(more);
    return IG_IO;
}

/* What is left, at most the time of one operation; false when nothing is. */
static bool time_left(const session *s, struct timeval *tv)
{
    uint64_t now = ig_now_ns(), most = (uint64_t)s->config->timeout_ms * NS_PER_MS;
    if (now >= s->deadline_ns) return false;
    uint64_t left = s->deadline_ns - now < most ? s->deadline_ns - now : most;
    tv->tv_sec = (time_t)(left / 1000000000);
    tv->tv_usec = (suseconds_t)(left % 1000000000 / 1000) + 1;
    return true;
}

/* ------------------------------------------------------------------------------------------------ connection */

static ig_status set(session *s, int option, const void *value, const char *what)
{
    int code = s->lib.ldap_set_option(s->ld, option, value);
    return code == LDAP_OPT_SUCCESS ? IG_OK : fault(s, what, LDAP_LOCAL_ERROR);
}

static ig_status set_up(session *s)
{
    static const int version = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_DEMAND, tls12 = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2,
                     client = 0;
    ber_len_t most = MESSAGE_BYTES_MAX;
    Sockbuf *sb = NULL;
    struct timeval tv;
    if (!time_left(s, &tv)) return fault(s, "no time left", LDAP_TIMEOUT);
    IG_TRY(set(s, LDAP_OPT_PROTOCOL_VERSION, &version, "version 3"));
    IG_TRY(set(s, LDAP_OPT_REFERRALS, LDAP_OPT_OFF, "referrals off"));
    IG_TRY(set(s, LDAP_OPT_NETWORK_TIMEOUT, &tv, "time-out"));
    IG_TRY(set(s, LDAP_OPT_TIMEOUT, &tv, "time-out"));
    if (s->lib.ldap_get_option(s->ld, LDAP_OPT_SOCKBUF, &sb) != LDAP_OPT_SUCCESS || !sb ||
        s->lib.ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &most) != 1)
        return fault(s, "limit of a message", LDAP_LOCAL_ERROR);
    if (!strncmp(s->uri, "ldapi:", 6)) return IG_OK;
    IG_TRY(set(s, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand, "verification of certificates"));
    IG_TRY(set(s, LDAP_OPT_X_TLS_PROTOCOL_MIN, &tls12, "TLS 1.2"));
    if (s->config->ca_file) IG_TRY(set(s, LDAP_OPT_X_TLS_CACERTFILE, s->config->ca_file, "ca_file"));
    if (s->config->cert_file) IG_TRY(set(s, LDAP_OPT_X_TLS_CERTFILE, s->config->cert_file, "cert_file"));
    if (s->config->key_file) IG_TRY(set(s, LDAP_OPT_X_TLS_KEYFILE, s->config->key_file, "key_file"));
    return set(s, LDAP_OPT_X_TLS_NEWCTX, &client, "TLS (is ca_file readable?)");
}

static ig_status bind_simple(session *s)
{
    const char *path = s->config->password_file;
    struct stat st;
    ig_buf text;
    if (stat(path, &st)) return ig_fail_errno(s->err, IG_NOT_FOUND, errno, "cannot read password_file %s", path);
    if (st.st_mode & 077) return ig_fail(s->err, IG_DENIED, 0, "others may read %s; type: chmod 600 %s", path, path);
    ig_buf_init(&text, 4096);
    ig_status status = ig_file_read(path, &text, s->err);
    while (status == IG_OK && text.len && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
        text.len--;
    if (status == IG_OK && !text.len) /* would be a bind as nobody that succeeds */
        status = ig_fail(s->err, IG_BAD_INPUT, 0, "password_file %s is empty", path);
    if (status == IG_OK) {
        struct berval password = {text.len, text.ptr};
        int code = s->lib.ldap_sasl_bind_s(s->ld, s->config->bind_dn, LDAP_SASL_SIMPLE, &password, NULL, NULL, NULL);
        if (code != LDAP_SUCCESS) status = fault(s, "bind", code);
    }
    if (text.ptr) OPENSSL_cleanse(text.ptr, text.len);
    ig_buf_fini(&text);
    return status;
}

static ig_status bind_external(session *s)
{
    struct berval empty = {0, (char *)""};
    int code = s->lib.ldap_sasl_bind_s(s->ld, NULL, "EXTERNAL", &empty, NULL, NULL, NULL);
    return code == LDAP_SUCCESS ? IG_OK : fault(s, "bind with SASL EXTERNAL", code);
}

/* GSSAPI asks nothing: the ticket says it all. */
static int no_answers(LDAP *ld, unsigned flags, void *defaults, void *in)
{
    (void)ld, (void)flags, (void)defaults, (void)in;
    return LDAP_SUCCESS;
}

static ig_status bind_gssapi(session *s)
{
    bool tls = s->config->start_tls || !strncmp(s->uri, "ldaps:", 6);
    /* Names are not taken from reverse DNS (any pointer but NULL is "on"). Active Directory takes no layer of its own
     * inside TLS; without TLS there must be one. */
    IG_TRY(set(s, LDAP_OPT_X_SASL_SECPROPS, tls ? "maxssf=0" : "minssf=56", "security of SASL"));
    IG_TRY(set(s, LDAP_OPT_X_SASL_NOCANON, &tls, "names as given"));
    int code =
        s->lib.ldap_sasl_interactive_bind_s(s->ld, NULL, "GSSAPI", NULL, NULL, LDAP_SASL_QUIET, no_answers, NULL);
    return code == LDAP_SUCCESS ? IG_OK : fault(s, "bind with GSSAPI (is there a ticket, KRB5CCNAME?)", code);
}

static ig_status connect_to(session *s)
{
    int code = s->lib.ldap_initialize(&s->ld, s->uri);
    if (code != LDAP_SUCCESS) return fault(s, "address", code);
    IG_TRY(set_up(s));
    if (s->config->start_tls && !strncmp(s->uri, "ldap:", 5)) {
        code = s->lib.ldap_start_tls_s(s->ld, NULL, NULL);
        if (code != LDAP_SUCCESS) return fault(s, "StartTLS", code);
    }
    if (s->config->bind == IG_BIND_SIMPLE) return bind_simple(s);
    if (s->config->bind == IG_BIND_EXTERNAL) return bind_external(s);
    return s->config->bind == IG_BIND_GSSAPI ? bind_gssapi(s) : IG_OK;
}

/* ------------------------------------------------------------------------------------------------ search */

typedef ig_status (*entry_fn)(session *s, void *ctx, LDAPMessage *entry);

typedef struct query {
    const char *base;
    int scope;
    const char *filter;
    const char *const *attributes; /* NULL-terminated */
    bool paged, may_be_missing;
    entry_fn fn;
    void *ctx;
    size_t n_entries, n_references;
} query;

static ig_status judge_result(session *s, query *q, int code, char *const *referrals)
{
    if (code == LDAP_SUCCESS && !(referrals && referrals[0])) return IG_OK;
    if (code == LDAP_NO_SUCH_OBJECT && q->may_be_missing) return IG_OK;
    if (code == LDAP_SIZELIMIT_EXCEEDED || code == LDAP_ADMINLIMIT_EXCEEDED || code == LDAP_TIMELIMIT_EXCEEDED)
        return fault(s, "the answer was cut (try another page_size)", code);
    if (code == LDAP_SUCCESS || code == LDAP_REFERRAL)
        return fault(s, "it refers to another server; name that one in uri", LDAP_REFERRAL);
    return fault(s, "search", code);
}

/* The last message of a page: *cookie becomes the next page's, empty at the end. */
static ig_status end_page(session *s, query *q, LDAPMessage *m, struct berval *cookie)
{
    int code = LDAP_OTHER;
    char **referrals = NULL, *text = NULL, *matched = NULL;
    LDAPControl **controls = NULL;
    int parsed = s->lib.ldap_parse_result(s->ld, m, &code, &matched, &text, &referrals, &controls, 0);
    ig_status st = parsed == LDAP_SUCCESS ? judge_result(s, q, code, referrals) : fault(s, "a broken answer", parsed);
    LDAPControl *page =
        st == IG_OK && q->paged ? s->lib.ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, NULL) : NULL;
    if (page) {
        ber_int_t estimate = 0;
        parsed = s->lib.ldap_parse_pageresponse_control(s->ld, page, &estimate, cookie);
        if (parsed != LDAP_SUCCESS) st = fault(s, "a broken page", parsed);
    }
    s->lib.ldap_memfree(matched);
    s->lib.ldap_memfree(text);
    for (size_t i = 0; referrals && referrals[i]; i++) s->lib.ldap_memfree(referrals[i]);
    s->lib.ldap_memfree(referrals);
    s->lib.ldap_controls_free(controls);
    return st;
}

static ig_status take_message(session *s, query *q, LDAPMessage *m, int type, struct berval *cookie, bool *end)
{
    if (type == LDAP_RES_SEARCH_RESULT) {
        *end = true;
        return end_page(s, q, m, cookie);
    }
    if (type == LDAP_RES_SEARCH_REFERENCE) /* other parts of a forest: outside of what was asked for */
        return ++q->n_references <= REFERENCES_MAX ? IG_OK
                                                   : fault(s, "more than 64 references", LDAP_REFERRAL_LIMIT_EXCEEDED);
    if (type != LDAP_RES_SEARCH_ENTRY) return fault(s, "an answer to something else", LDAP_DECODING_ERROR);
    if (++q->n_entries > ENTRIES_MAX) return fault(s, "more than 20000 entries", LDAP_SIZELIMIT_EXCEEDED);
    return q->fn(s, q->ctx, m);
}

static ig_status one_page(session *s, query *q, struct berval *cookie)
{
    struct timeval tv;
    LDAPControl *page = NULL;
    int id = -1, code;
    bool end = false;
    if (!time_left(s, &tv)) return fault(s, "the lookup took too long", LDAP_TIMEOUT);
    if (q->paged) {
        code = s->lib.ldap_create_page_control(s->ld, (ber_int_t)s->page_size, cookie, 0, &page);
        if (code != LDAP_SUCCESS) return fault(s, "page", code);
    }
    LDAPControl *controls[] = {page, NULL};
    code = s->lib.ldap_search_ext(s->ld, q->base, q->scope, q->filter, (char **)(uintptr_t)q->attributes, 0,
                                  page ? controls : NULL, NULL, &tv, 0, &id);
    if (page) s->lib.ldap_control_free(page);
    if (cookie->bv_val) s->lib.ber_memfree(cookie->bv_val);
    *cookie = (struct berval){0};
    if (code != LDAP_SUCCESS) return fault(s, "search", code);
    ig_status st = IG_OK;
    while (st == IG_OK && !end) {
        LDAPMessage *m = NULL;
        int type = time_left(s, &tv) ? s->lib.ldap_result(s->ld, id, LDAP_MSG_ONE, &tv, &m) : 0;
        if (type < 0) {
            code = LDAP_SERVER_DOWN;
            s->lib.ldap_get_option(s->ld, LDAP_OPT_RESULT_CODE, &code);
            st = fault(s, "search", code);
        } else
            st = type ? take_message(s, q, m, type, cookie, &end) : fault(s, "no answer in time", LDAP_TIMEOUT);
        s->lib.ldap_msgfree(m);
    }
    if (!end) s->lib.ldap_abandon_ext(s->ld, id, NULL, NULL);
    return st;
}

static ig_status all_pages(session *s, query *q)
{
    struct berval cookie = {0};
    ig_status st = IG_OK;
    for (int pages = 0; st == IG_OK; pages++) {
        st = pages < PAGES_MAX ? one_page(s, q, &cookie) : fault(s, "more than 1000 pages", LDAP_SIZELIMIT_EXCEEDED);
        if (!cookie.bv_len) break;
    }
    if (cookie.bv_val) s->lib.ber_memfree(cookie.bv_val);
    return st;
}

/* A server that finds the pages too large says so before the first entry. */
static ig_status search(session *s, query *q)
{
    for (;;) {
        ig_status st = all_pages(s, q);
        bool too_large = st != IG_OK && s->code == LDAP_ADMINLIMIT_EXCEEDED && q->paged && !q->n_entries;
        if (!too_large || s->config->page_size || s->page_size < 50) return st;
        s->page_size /= 3;
    }
}

/* ------------------------------------------------------------------------------------------------ entries */

typedef ig_status (*value_fn)(session *s, void *ctx, const char *attribute, struct berval **values);

static ig_status each_attribute(session *s, LDAPMessage *entry, value_fn fn, void *ctx)
{
    BerElement *ber = NULL;
    struct berval *none = NULL;
    ig_status st = IG_OK;
    char *a = s->lib.ldap_first_attribute(s->ld, entry, &ber);
    for (unsigned n = 0; a && st == IG_OK; n++) {
        struct berval **values = s->lib.ldap_get_values_len(s->ld, entry, a);
        if (n > 1000) st = fault(s, "an entry with more than 1000 attributes", LDAP_SIZELIMIT_EXCEEDED);
        if (st == IG_OK) st = fn(s, ctx, a, values ? values : &none);
        if (values) s->lib.ldap_value_free_len(values);
        s->lib.ldap_memfree(a);
        a = st == IG_OK ? s->lib.ldap_next_attribute(s->ld, entry, ber) : NULL;
    }
    if (ber) s->lib.ber_free(ber, 0);
    return st;
}

/* The DN into out[DN_BYTES_MAX]. */
static ig_status dn_of(session *s, LDAPMessage *entry, char *out)
{
    char *dn = s->lib.ldap_get_dn(s->ld, entry);
    size_t n = dn ? strlen(dn) : 0;
    bool fine = n && n < DN_BYTES_MAX && ig_utf8_valid(dn, n);
    if (fine) memcpy(out, dn, n + 1);
    s->lib.ldap_memfree(dn);
    return fine ? IG_OK : fault(s, "an entry without a proper name", LDAP_INVALID_DN_SYNTAX);
}

/* A value as text; false where it is empty, too long, or no text. */
static bool text_of(const struct berval *v, char *out, size_t n)
{
    if (!v->bv_len || v->bv_len >= n || memchr(v->bv_val, 0, v->bv_len) || !ig_utf8_valid(v->bv_val, v->bv_len))
        return false;
    memcpy(out, v->bv_val, v->bv_len);
    out[v->bv_len] = 0;
    return true;
}

static bool u32_of(const struct berval *v, uint32_t *out)
{
    char text[16];
    uint64_t n = 0;
    if (!text_of(v, text, sizeof text)) return false;
    const char *c = text;
    bool minus = *c == '-'; /* AD writes 32 bits with a sign */
    for (c += minus; *c; c++) {
        if (*c < '0' || *c > '9' || n > UINT32_MAX / 10) return false;
        n = n * 10 + (uint64_t)(*c - '0');
    }
    if (n > UINT32_MAX) return false;
    *out = minus ? (uint32_t)(0 - n) : (uint32_t)n;
    return true;
}

/* ------------------------------------------------------------------------------------------------ the user */

static ig_status keep_member_of(session *s, struct berval **values, uint32_t *n)
{
    for (*n = 0; values[*n]; ++*n) {
        if (s->n_member_of == IG_GROUPS_MAX)
            return fault(s, "more than 4096 values of memberOf", LDAP_SIZELIMIT_EXCEEDED);
        char dn[DN_BYTES_MAX];
        if (!text_of(values[*n], dn, sizeof dn)) return fault(s, "a broken value of memberOf", LDAP_INVALID_DN_SYNTAX);
        char **grown = ig_realloc(s->member_of, s->n_member_of + 1, sizeof *grown);
        if (!grown) return ig_fail(s->err, IG_NO_MEMORY, 0, "out of memory for groups");
        s->member_of = grown;
        grown[s->n_member_of] = ig_arena_copy(&s->finding->arena, dn, strlen(dn));
        if (!grown[s->n_member_of++]) return ig_fail(s->err, IG_TOO_LARGE, 0, "too many groups");
    }
    return IG_OK;
}

/* memberOf, whole or in ranges that must follow one another. */
static ig_status take_member_of(session *s, const char *attribute, struct berval **values)
{
    uint32_t from = 0, to = 0, n = 0;
    int kind = ig_range_read(attribute, "memberOf", &from, &to);
    if (kind == 0) return IG_OK;
    if (kind < 0 || (kind == 2 && from != s->next_value)) return fault(s, "ranges out of order", LDAP_DECODING_ERROR);
    IG_TRY(keep_member_of(s, values, &n));
    s->saw_values = true;
    s->more_values = kind == 2 && to != UINT32_MAX;
    if (s->more_values && (n == 0 || n != to - from + 1))
        return fault(s, "a range of another size", LDAP_DECODING_ERROR);
    s->next_value += n;
    return IG_OK;
}

static ig_status take_user_value(session *s, void *ctx, const char *a, struct berval **v)
{
    ig_finding *f = s->finding;
    uint32_t n;
    (void)ctx;
    if (!v[0]) return s->ad || s->config->member_of ? take_member_of(s, a, v) : IG_OK;
    if (!strcasecmp(a, s->own_attribute) && !f->account[0]) {
        if (!text_of(v[0], f->account, sizeof f->account)) return fault(s, "a broken account", LDAP_DECODING_ERROR);
    } else if (!strcasecmp(a, "uidNumber") && u32_of(v[0], &n)) {
        if (f->has_uid && f->uid != n) ig_finding_note(f, "the directory gives the account uid %" PRIu32, n);
        if (!f->has_uid) f->has_uid = true, f->uid = n;
    } else if (!strcasecmp(a, "gidNumber") && u32_of(v[0], &n))
        snprintf(s->gid, sizeof s->gid, "%" PRIu32, n);
    else if (!strcasecmp(a, "userAccountControl") && u32_of(v[0], &n))
        f->disabled |= (n & 2) != 0;
    else if (!strcasecmp(a, "nsAccountLock"))
        f->disabled |= v[0]->bv_len == 4 && !strncasecmp(v[0]->bv_val, "true", 4);
    else if (!strcasecmp(a, "primaryGroupID") && u32_of(v[0], &n))
        s->rid = n;
    else if (!strcasecmp(a, "objectSid") && v[0]->bv_len <= sizeof s->sid) {
        s->n_sid = v[0]->bv_len;
        memcpy(s->sid, v[0]->bv_val, s->n_sid);
    } else if (s->ad || s->config->member_of)
        return take_member_of(s, a, v);
    return IG_OK;
}

static ig_status take_user(session *s, void *ctx, LDAPMessage *entry)
{
    if (++s->n_users > 1) return fault(s, "two entries for one account; narrow user_base", LDAP_CONSTRAINT_VIOLATION);
    IG_TRY(dn_of(s, entry, s->user_dn));
    return each_attribute(s, entry, take_user_value, ctx);
}

static ig_status take_more(session *s, void *ctx, LDAPMessage *entry)
{
    return each_attribute(s, entry, take_user_value, ctx);
}

static ig_status more_member_of(session *s)
{
    while (s->more_values) {
        char name[48];
        const char *const attributes[] = {name, NULL};
        query q = {.base = s->user_dn,
                   .scope = LDAP_SCOPE_BASE,
                   .filter = "(objectClass=*)",
                   .attributes = attributes,
                   .fn = take_more};
        snprintf(name, sizeof name, "memberOf;range=%" PRIu32 "-*", s->next_value);
        s->saw_values = false;
        IG_TRY(search(s, &q));
        if (!s->saw_values) return fault(s, "a range that was promised is not there", LDAP_DECODING_ERROR);
    }
    return IG_OK;
}

static ig_status full(session *s, const ig_buf *b)
{
    return b->failed ? ig_fail(s->err, IG_NO_MEMORY, 0, "out of memory for a question to the directory") : IG_OK;
}

static ig_status find_user(session *s)
{
    ig_finding *f = s->finding;
    ig_buf filter;
    s->own_attribute = s->config->user_attribute ? s->config->user_attribute : s->ad ? "sAMAccountName" : "uid";
    const char *const attributes[] = {s->own_attribute,
                                      "uidNumber",
                                      "gidNumber",
                                      "userAccountControl",
                                      "nsAccountLock",
                                      "primaryGroupID",
                                      "objectSid",
                                      s->ad || s->config->member_of ? "memberOf" : NULL,
                                      NULL};
    ig_buf_init(&filter, FILTER_BYTES_MAX);
    ig_buf_printf(&filter, "(&(objectClass=%s)(", s->ad ? "user" : "posixAccount");
    if (f->account[0]) {
        ig_buf_printf(&filter, "%s=", s->own_attribute);
        ig_filter_value(&filter, f->account, strlen(f->account));
    } else
        ig_buf_printf(&filter, "uidNumber=%" PRIu32, f->uid);
    ig_buf_add(&filter, "))", 3); /* with the NUL */
    query q = {.base = s->config->user_base ? s->config->user_base : s->config->base,
               .scope = LDAP_SCOPE_SUBTREE,
               .filter = filter.ptr,
               .attributes = attributes,
               .fn = take_user};
    ig_status st = full(s, &filter);
    if (st == IG_OK) st = search(s, &q);
    ig_buf_fini(&filter);
    IG_TRY(st);
    f->exists |= s->n_users == 1;
    return more_member_of(s);
}

/* ------------------------------------------------------------------------------------------------ groups */

static ig_status take_name(session *s, void *ctx, const char *a, struct berval **v)
{
    char *name = ctx;
    const char *wanted = s->config->name_attribute ? s->config->name_attribute : s->ad ? "sAMAccountName" : "cn";
    if (!*name && v[0] && !strcasecmp(a, wanted) && !text_of(v[0], name, IG_ACCOUNT_MAX)) *name = 0;
    return IG_OK;
}

static ig_status take_group(session *s, void *ctx, LDAPMessage *entry)
{
    char id[DN_BYTES_MAX + 3] = "dn:", name[IG_ACCOUNT_MAX] = "";
    (void)ctx;
    IG_TRY(dn_of(s, entry, id + 3));
    const char *base = s->config->group_base ? s->config->group_base : s->config->base;
    if (!ig_dn_below(id + 3, base)) return fault(s, "a group outside of what was asked for", LDAP_NAMING_VIOLATION);
    IG_TRY(each_attribute(s, entry, take_name, name));
    if (!*name && !ig_dn_first(id + 3, name, sizeof name)) *name = 0;
    if (ig_finding_group(s->finding, name, id)) return IG_OK;
    return fault(s, "more than 4096 groups", LDAP_SIZELIMIT_EXCEEDED);
}

static ig_status find_groups(session *s, const char *base, int scope, ig_buf *filter)
{
    const char *const attributes[] = {s->config->name_attribute ? s->config->name_attribute
                                      : s->ad                   ? "sAMAccountName"
                                                                : "cn",
                                      NULL};
    query q = {.base = base,
               .scope = scope,
               .attributes = attributes,
               .paged = scope != LDAP_SCOPE_BASE,
               .may_be_missing = scope == LDAP_SCOPE_BASE,
               .fn = take_group};
    ig_buf_add(filter, "", 1);
    q.filter = filter->ptr;
    ig_status st = full(s, filter);
    if (st == IG_OK) st = search(s, &q);
    ig_buf_fini(filter);
    return st;
}

static const char *group_base(const session *s)
{
    return s->config->group_base ? s->config->group_base : s->config->base;
}

static void add_match(const session *s, ig_buf *filter, const char *dn)
{
    static const char *const attributes[] = {"member", "uniqueMember"};
    for (size_t i = 0; i < (s->ad ? 1 : 2); i++) {
        ig_buf_printf(filter, "(%s=", attributes[i]);
        ig_filter_value(filter, dn, strlen(dn));
        ig_buf_printf(filter, ")");
    }
}

/* Groups that name the user: by DN, or by account as RFC 2307 has it; and the primary one. */
static ig_status direct_groups(session *s)
{
    ig_ldap_schema schema = s->config->schema;
    ig_buf filter;
    ig_buf_init(&filter, FILTER_BYTES_MAX);
    ig_buf_printf(&filter, "(|");
    if (schema != IG_LDAP_RFC2307) add_match(s, &filter, s->user_dn);
    if (!s->ad && schema != IG_LDAP_RFC2307BIS) {
        ig_buf_printf(&filter, "(&(objectClass=posixGroup)(memberUid=");
        ig_filter_value(&filter, s->finding->account, strlen(s->finding->account));
        ig_buf_printf(&filter, "))");
    }
    if (!s->ad && s->gid[0]) ig_buf_printf(&filter, "(&(objectClass=posixGroup)(gidNumber=%s))", s->gid);
    if (s->ad && s->n_sid && ig_sid_replace(s->sid, s->n_sid, s->rid)) {
        ig_buf_printf(&filter, "(objectSid=");
        for (size_t i = 0; i < s->n_sid; i++) ig_buf_printf(&filter, "\\%02x", s->sid[i]);
        ig_buf_printf(&filter, ")");
    }
    ig_buf_printf(&filter, ")");
    return find_groups(s, group_base(s), LDAP_SCOPE_SUBTREE, &filter);
}

static ig_status from_member_of(session *s)
{
    for (size_t i = 0; i < s->n_member_of; i++) {
        char id[DN_BYTES_MAX + 3];
        bool known = false;
        snprintf(id, sizeof id, "dn:%s", s->member_of[i]);
        if (!ig_dn_below(id + 3, group_base(s))) continue;
        for (size_t k = 0; k < s->finding->n_groups && !known; k++) known = !strcasecmp(s->finding->groups[k]->id, id);
        if (known) continue;
        ig_buf filter;
        ig_buf_init(&filter, 64);
        ig_buf_printf(&filter, "(objectClass=*)");
        IG_TRY(find_groups(s, id + 3, LDAP_SCOPE_BASE, &filter));
    }
    return IG_OK;
}

static void put_rule(ig_buf *filter, const char *dn, const char *below)
{
    ig_buf_printf(filter, "(member:" IN_CHAIN ":=");
    ig_filter_value(filter, dn, strlen(dn));
    ig_filter_value(filter, below, strlen(below));
    ig_buf_printf(filter, ")");
}

static ig_status take_nothing(session *s, void *ctx, LDAPMessage *entry)
{
    (void)s, (void)entry;
    *(bool *)ctx = true;
    return IG_OK;
}

/* Does the server say yes to what cannot be? Then its yes means nothing. */
static ig_status says_yes_to_all(session *s, bool *yes)
{
    static const char *const attributes[] = {"1.1", NULL};
    ig_buf filter;
    query q = {.base = group_base(s),
               .scope = LDAP_SCOPE_SUBTREE,
               .attributes = attributes,
               .paged = true,
               .fn = take_nothing,
               .ctx = yes};
    *yes = false;
    ig_buf_init(&filter, FILTER_BYTES_MAX);
    put_rule(&filter, "cn=ingle-nobody-of-this-name,", group_base(s));
    ig_buf_add(&filter, "", 1);
    q.filter = filter.ptr;
    ig_status st = full(s, &filter);
    if (st == IG_OK) st = search(s, &q);
    ig_buf_fini(&filter);
    return st;
}

/* Asks by the rule; a hint only. A server that refuses it has given none. */
static void by_rule(session *s, size_t first)
{
    ig_buf filter;
    bool yes = false;
    if (s->finding->n_groups == first) return; /* in no group: in none of their groups either */
    if (says_yes_to_all(s, &yes) != IG_OK || yes) {
        ig_finding_note(s->finding, "the server does not evaluate the rule for nested groups; they are walked instead");
        return;
    }
    ig_buf_init(&filter, FILTER_BYTES_MAX);
    put_rule(&filter, s->user_dn, "");
    if (find_groups(s, group_base(s), LDAP_SCOPE_SUBTREE, &filter) != IG_OK)
        ig_finding_note(s->finding, "the server refuses the rule for nested groups; they are walked instead");
}

/* Groups of the groups found since `first`, level by level. hinted: how many there were after the rule's answer, which
 * must be closed; 0: not asked. */
static ig_status walk(session *s, size_t first, size_t hinted)
{
    ig_finding *f = s->finding;
    for (int depth = 0; first < f->n_groups; depth++) {
        size_t level = f->n_groups;
        if (depth == DEPTH_MAX) return fault(s, "groups within groups deeper than 32", LDAP_LOOP_DETECT);
        while (first < level) {
            ig_buf filter;
            ig_buf_init(&filter, FILTER_BYTES_MAX);
            ig_buf_printf(&filter, "(|");
            for (size_t n = 0; n < BATCH && first < level; n++, first++)
                if (!strncmp(f->groups[first]->id, "dn:", 3)) add_match(s, &filter, f->groups[first]->id + 3);
            bool some = filter.len > 2;
            ig_buf_printf(&filter, ")");
            if (!some) {
                ig_buf_fini(&filter);
                continue;
            }
            IG_TRY(find_groups(s, group_base(s), LDAP_SCOPE_SUBTREE, &filter));
        }
        if (hinted && f->n_groups > hinted && depth == 0)
            ig_finding_note(f, "the server did not evaluate the rule for nested groups; they were walked instead");
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ one server */

static ig_status take_capability(session *s, void *ctx, const char *a, struct berval **v)
{
    (void)ctx;
    if (strcasecmp(a, "supportedCapabilities")) return IG_OK;
    for (size_t i = 0; v[i] && i < 1000; i++)
        if (v[i]->bv_len == sizeof ACTIVE_DIRECTORY - 1 && !memcmp(v[i]->bv_val, ACTIVE_DIRECTORY, v[i]->bv_len))
            s->ad = true;
    return IG_OK;
}
static ig_status take_root(session *s, void *ctx, LDAPMessage *entry)
{
    return each_attribute(s, entry, take_capability, ctx);
}

static ig_status look_at_server(session *s)
{
    static const char *const attributes[] = {"supportedCapabilities", NULL};
    s->ad = s->config->schema == IG_LDAP_AD;
    if (s->config->schema != IG_LDAP_AUTO) return IG_OK;
    query q = {.base = "",
               .scope = LDAP_SCOPE_BASE,
               .filter = "(objectClass=*)",
               .attributes = attributes,
               .may_be_missing = true,
               .fn = take_root};
    return search(s, &q);
}

static ig_status ask_server(session *s)
{
    ig_finding *f = s->finding;
    ig_ldap_nested nested = s->config->nested;
    IG_TRY(connect_to(s));
    IG_TRY(look_at_server(s));
    IG_TRY(find_user(s));
    if (!s->n_users) return IG_OK;
    size_t first = f->n_groups, hinted = 0;
    IG_TRY(direct_groups(s));
    IG_TRY(from_member_of(s));
    if (nested == IG_NESTED_NO || s->config->schema == IG_LDAP_RFC2307) return IG_OK;
    if (nested == IG_NESTED_RULE || (nested == IG_NESTED_AUTO && s->ad)) {
        by_rule(s, first);
        hinted = f->n_groups;
    }
    return walk(s, first, hinted);
}

static void close_session(session *s)
{
    if (s->ld) s->lib.ldap_unbind_ext_s(s->ld, NULL, NULL);
    ig_free(s->member_of);
    s->ld = NULL;
    s->member_of = NULL;
}

/* What the finding was before a server that then failed. */
static void restore(ig_finding *f, const ig_finding *before)
{
    const ig_group **groups = f->groups;
    ig_arena arena = f->arena;
    size_t cap = f->cap;
    *f = *before;
    f->groups = groups;
    f->arena = arena;
    f->cap = cap;
}

static void put_standards(ig_ldap_config *c)
{
    if (!c->timeout_ms) c->timeout_ms = 5000;
    if (!c->min_uid) c->min_uid = 1000;
}

ig_status ig_ldap_find(const ig_ldap_config *config, uint64_t deadline_ns, _Atomic unsigned *last, ig_finding *f,
                       ig_error *err)
{
    ig_ldap_config c = *config;
    library lib;
    put_standards(&c);
    if (f->has_uid && f->uid < c.min_uid) return IG_OK;
    if (!f->account[0] && !f->has_uid) return IG_OK;
    if (!load(&lib)) return ig_fail(err, IG_UNSUPPORTED, 0, "LDAP needs libldap. Type: apt install libldap-2.5-0");
    ig_finding before = *f;
    ig_status st = IG_OK;
    session *s = ig_calloc(1, sizeof *s);
    if (!s) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the directory");
    for (unsigned i = 0, first = *last; i < c.n_uris; i++) {
        unsigned at = (first + i) % (unsigned)c.n_uris;
        *s = (session){.lib = lib,
                       .config = &c,
                       .uri = c.uris[at],
                       .page_size = c.page_size ? c.page_size : 500,
                       .deadline_ns = deadline_ns,
                       .finding = f,
                       .err = err};
        st = ask_server(s);
        close_session(s);
        if (st == IG_OK) {
            *last = at;
            break;
        }
        restore(f, &before);
    }
    ig_free(s);
    return st;
}
