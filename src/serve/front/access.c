/* Who may ask: hosts and origins, keys, management. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/front/fr.h"

#define KEYS_BYTES_MAX ((size_t)1 << 20)
#define KEYS_MAX       1024

static bool hash_key(ig_str key, char out[65])
{
    unsigned char digest[32];
    unsigned n = 0;
    if (!EVP_Digest(key.ptr, key.len, digest, &n, EVP_sha256(), NULL) || n != sizeof digest) return false;
    for (size_t i = 0; i < sizeof digest; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[64] = 0;
    return true;
}

typedef struct key_list {
    char (*keys)[65];
    size_t n;
} key_list;

static ig_status read_keys(const char *path, ig_str text, key_list *list, ig_error *err)
{
    const char *p = text.ptr, *end = p + text.len;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        ig_str key = {p, (size_t)(stop - p)};
        if (key.len && key.ptr[key.len - 1] == '\r') key.len--;
        p = stop + 1;
        if (!key.len || key.ptr[0] == '#') continue;
        if (key.len < 8 || key.len > 512)
            return ig_fail(err, IG_BAD_INPUT, 0, "a key in %s has %zu characters; expected 8 to 512, one key a line",
                           path, key.len);
        if (list->n == KEYS_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "%s holds more than %d keys", path, KEYS_MAX);
        if (!hash_key(key, list->keys[list->n++])) return ig_fail(err, IG_BUG, 0, "SHA-256 is not available");
    }
    if (!list->n) return ig_fail(err, IG_BAD_INPUT, 0, "%s holds no key; write one a line", path);
    return IG_OK;
}

ig_status fr_keys_open(fr_front *f, ig_error *err)
{
    const char *path = f->config->api_keys;
    struct stat st;
    if (!path) return IG_OK;
    if (stat(path, &st)) return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot read the keys in %s", path);
    if (st.st_mode & 077)
        return ig_fail(err, IG_DENIED, 0, "others may read the keys in %s; type: chmod 600 %s", path, path);
    key_list list = {ig_calloc(KEYS_MAX, sizeof *list.keys), 0};
    if (!f->guesses) f->guesses = ig_calloc(FR_GUESSERS, sizeof *f->guesses);
    if (!list.keys || !f->guesses) {
        ig_free(list.keys);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the keys");
    }
    ig_buf text;
    ig_buf_init(&text, KEYS_BYTES_MAX);
    ig_status status = ig_file_read(path, &text, err);
    if (status == IG_OK) status = read_keys(path, (ig_str){text.ptr, text.len}, &list, err);
    if (text.ptr) OPENSSL_cleanse(text.ptr, text.len);
    ig_buf_fini(&text);
    if (status == IG_OK) {
        ig_free(f->keys);
        f->keys = list.keys;
        f->n_keys = list.n;
    } else
        ig_free(list.keys);
    return status;
}

int fr_key_of(const fr_front *f, const ig_incoming *in)
{
    ig_str key = {0};
    ig_error err;
    char hash[65];
    int found = -1;
    if (!f->n_keys || ig_access_key(in->head, &key, &err) != IG_OK || !key.len || !hash_key(key, hash)) return -1;
    /* All are compared, each in constant time. */
    for (size_t i = 0; i < f->n_keys; i++)
        if (!CRYPTO_memcmp(f->keys[i], hash, 64)) found = (int)i;
    return found;
}

/* Anybody may ask whether the service lives. */
bool fr_is_public(const ig_match *match)
{
    return match->route &&
           (match->route->op == IG_OP_HEALTH || match->route->op == IG_OP_READY || match->route->op == IG_OP_ROOT);
}

/* ------------------------------------------------------------------------------------------------ wrong keys */

#define GUESS_FREE      8 /* wrong keys of one address without consequences */
#define GUESS_FORGET_NS (600 * FR_NS_PER_S)

/* The address's place, which it may have to take from another. */
static fr_guess *guess_of(fr_front *f, const ig_identity *who)
{
    ig_endpoint from = who->remote;
    uint64_t hash = 1469598103934665603u;
    from.port = 0;
    for (size_t i = 0; i < sizeof from.addr; i++) hash = (hash ^ from.addr[i]) * 1099511628211u;
    fr_guess *g = &f->guesses[hash % FR_GUESSERS];
    uint64_t now = ig_loop_now(f->loop);
    bool same = g->from.family == from.family && !memcmp(g->from.addr, from.addr, sizeof from.addr);
    if (!same || now - g->last_ns > GUESS_FORGET_NS) *g = (fr_guess){.from = from, .last_ns = now};
    return g;
}

/* H27: after some wrong keys an address waits, a second at first, then twice as long, a minute at most. */
static void count_guess(fr_front *f, fr_guess *g)
{
    uint64_t now = ig_loop_now(f->loop);
    g->last_ns = now;
    if (++g->n < GUESS_FREE) return;
    unsigned shift = g->n - GUESS_FREE;
    uint64_t seconds = shift < 6 ? UINT64_C(1) << shift : 60;
    g->until_ns = now + seconds * FR_NS_PER_S;
}

static bool has_key(const ig_incoming *in)
{
    ig_str key = {0};
    ig_error err;
    return ig_access_key(in->head, &key, &err) != IG_OK || key.len > 0;
}

static bool ask_for_key(ig_problem *p)
{
    return ig_problem_set(p, IG_P_NO_AUTH, NULL,
                          "this service asks for a key; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`");
}

static bool admit_key(fr_front *f, const ig_incoming *in, ig_problem *p)
{
    bool given = has_key(in);
    fr_guess *g = guess_of(f, in->who);
    if (given && ig_loop_now(f->loop) < g->until_ns)
        return ig_problem_set(p, IG_P_OVERLOADED, NULL, "too many wrong keys came from your address; try again later");
    if (fr_key_of(f, in) >= 0) {
        g->n = 0;
        return true;
    }
    if (given) count_guess(f, g);
    return ask_for_key(p);
}

bool fr_admit(fr_front *f, const ig_incoming *in, const ig_match *match, ig_problem *p)
{
    ig_error err;
    if (ig_access_check(&f->access, in->who, in->port, in->head, NULL, &err) != IG_OK) {
        const ig_problem_kind kind = err.status == IG_DENIED        ? IG_P_DENIED
                                     : err.status == IG_UNSUPPORTED ? IG_P_MEDIA
                                                                    : IG_P_BAD_REQUEST;
        return ig_problem_set(p, kind, NULL, "%.480s", err.text);
    }
    unsigned wait_s = 0;
    fr_key_state key = fr_policy_key(f, in, &wait_s);
    if (key == FR_KEY_WAIT)
        return ig_problem_set(p, IG_P_OVERLOADED, NULL, "too many wrong keys came from here; wait %u s", wait_s);
    if (key == FR_KEY_GOOD || fr_is_public(match)) return true;
    /* A unix socket's caller is known to the kernel, and its file's mode says who may connect. */
    bool wanted = f->n_keys ? in->who->transport != IG_TRANSPORT_UNIX : fr_keys_exist(f) && !in->who->known;
    if (!wanted && key != FR_KEY_WRONG) return true;
    return f->n_keys ? admit_key(f, in, p) : ask_for_key(p);
}

bool fr_may_manage(const fr_front *f, const ig_identity *who)
{
    (void)f;
    return who->loopback && who->known && (who->uid == 0 || who->uid == getuid());
}
