/* Names and passwords for plain addresses (https://HOST/...): the kernel's keyring first, then a file in netrc's form.
 * Never from a command line or an address. A password belongs to one host; the file's entry for every host ("default")
 * is not read, since an address may come from elsewhere. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"
#include "source.h"

enum { FILE_BYTES_MAX = 1 << 20, WORD_MAX = 600, PAIR_MAX = 2 * WORD_MAX };

/* ------------------------------------------------------------------------------------------------ the file */

typedef struct reader {
    const char *p, *end;
    bool failed; /* a word too long, a quotation without end, a NUL */
} reader;

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static void skip_line(reader *r)
{
    while (r->p < r->end && *r->p != '\n') r->p++;
}

static void skip_blanks(reader *r)
{
    while (r->p < r->end && is_blank(*r->p)) r->p++;
}

/* The next word; "..." may hold blanks, \" and \\. False at the end and on a fault. */
static bool next_word(reader *r, char out[WORD_MAX])
{
    size_t n = 0;
    skip_blanks(r);
    if (r->p == r->end) return false;
    bool quoted = *r->p == '"';
    if (quoted) r->p++;
    while (r->p < r->end && (quoted ? *r->p != '"' : !is_blank(*r->p))) {
        if (quoted && *r->p == '\\' && r->p + 1 < r->end) r->p++;
        if (n + 1 >= WORD_MAX || !*r->p) return r->failed = true, false;
        out[n++] = *r->p++;
    }
    out[n] = 0;
    if (quoted && r->p++ >= r->end) return r->failed = true, false;
    return true;
}

/* A macro of ftp's ends with an empty line. */
static void skip_macro(reader *r)
{
    while (r->p < r->end) {
        skip_line(r);
        if (r->p < r->end) r->p++;
        if (r->p < r->end && *r->p == '\n') return;
    }
}

typedef struct entry {
    bool found; /* the host's own: the first one counts */
    char login[WORD_MAX], password[WORD_MAX];
} entry;

static void read_entries(reader *r, const char *host, entry *e)
{
    char word[WORD_MAX], value[WORD_MAX];
    bool ours = false;
    while (next_word(r, word)) {
        if (*word == '#') {
            skip_line(r);
            continue;
        }
        if (!strcmp(word, "macdef")) {
            skip_macro(r);
            continue;
        }
        if (!strcmp(word, "default")) {
            ours = false;
            continue;
        }
        if (!next_word(r, value)) break;
        if (!strcmp(word, "machine")) {
            if (e->found) break;
            e->found = ours = !strcasecmp(value, host);
        } else if (ours && !strcmp(word, "login")) {
            memcpy(e->login, value, sizeof value);
        } else if (ours && !strcmp(word, "password")) {
            memcpy(e->password, value, sizeof value);
        }
    }
    explicit_bzero(value, sizeof value);
}

/* "Basic ..." of NAME:PASSWORD; NULL without memory or where it is none. */
static const char *basic_of(const char *pair, size_t n, ig_arena *arena)
{
    const char *colon = memchr(pair, ':', n);
    if (!colon || colon == pair || n > PAIR_MAX) return NULL;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)pair[i] < ' ') return NULL;
    char *value = ig_arena_alloc(arena, 8 + 4 * (n / 3 + 1), 1);
    if (!value) return NULL;
    memcpy(value, "Basic ", 6);
    EVP_EncodeBlock((unsigned char *)value + 6, (const unsigned char *)pair, (int)n);
    return value;
}

ig_status ig_netrc_parse(ig_str text, const char *host, ig_arena *arena, const char **basic, ig_error *err)
{
    reader r = {text.ptr, text.ptr + text.len, false};
    entry e = {0};
    char pair[PAIR_MAX];
    *basic = NULL;
    read_entries(&r, host, &e);
    ig_status st = IG_OK;
    if (r.failed)
        st = ig_fail(err, IG_BAD_INPUT, (uint64_t)(r.p - text.ptr),
                     "the file of passwords cannot be read behind byte %zu: a word of more than %d bytes, or a "
                     "quotation without end",
                     (size_t)(r.p - text.ptr), WORD_MAX - 1);
    else if (e.found && e.login[0] && !strchr(e.login, ':')) {
        int n = snprintf(pair, sizeof pair, "%s:%s", e.login, e.password);
        *basic = basic_of(pair, (size_t)n, arena);
    }
    if (st == IG_OK && e.found && !*basic)
        st = ig_fail(err, IG_BAD_INPUT, 0, "the file of passwords has no usable login and password for %.200s", host);
    explicit_bzero(&e, sizeof e);
    explicit_bzero(pair, sizeof pair);
    return st;
}

/* ------------------------------------------------------------------------------------------------ where they are */

bool ig_auth_keyring(const char *host, ig_arena *arena, const char **basic)
{
    char name[300], pair[PAIR_MAX];
    (void)snprintf(name, sizeof name, "ingle:%.280s", host);
    size_t n = ig_keyring_read(name, pair, sizeof pair);
    *basic = n ? basic_of(pair, n, arena) : NULL;
    explicit_bzero(pair, sizeof pair);
    return *basic != NULL;
}

static bool netrc_path(char *out, size_t n)
{
    const char *file = getenv("NETRC"), *home = getenv("HOME");
    int len = file && *file ? snprintf(out, n, "%s", file) : home && *home ? snprintf(out, n, "%s/.netrc", home) : -1;
    return len > 0 && (size_t)len < n;
}

static ig_status from_file(const char *host, ig_arena *arena, const char **basic, ig_error *err)
{
    char path[3000];
    if (!netrc_path(path, sizeof path)) return IG_OK;
    return ig_auth_file(path, FILE_BYTES_MAX, ig_netrc_parse, host, arena, basic, err);
}

ig_status ig_auth_address(const char *url, ig_plan *plan, ig_error *err)
{
    char host[300];
    ig_auth *auth = ig_arena_alloc(&plan->arena, 1, sizeof *auth);
    if (!auth) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the address");
    *auth = (ig_auth){.arena = &plan->arena, .address = true};
    if (!ig_url_origin(url, auth->origin, sizeof auth->origin)) return IG_OK;
    (void)snprintf(host, sizeof host, "%s", strstr(auth->origin, "://") + 3);
    if (!ig_auth_keyring(host, &plan->arena, &auth->basic)) IG_TRY(from_file(host, &plan->arena, &auth->basic, err));
    if (auth->basic && !ig_url_is_secure(url))
        return ig_fail(err, IG_DENIED, 0, "the password of %.200s goes over https alone; expected https://", host);
    auth->value = auth->basic;
    plan->auth = auth;
    return IG_OK;
}
