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

static ig_status read_keys(fr_front *f, ig_str text, ig_error *err)
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
                           f->config->api_keys, key.len);
        if (f->n_keys == KEYS_MAX)
            return ig_fail(err, IG_TOO_LARGE, 0, "%s holds more than %d keys", f->config->api_keys, KEYS_MAX);
        if (!hash_key(key, f->keys[f->n_keys++])) return ig_fail(err, IG_BUG, 0, "SHA-256 is not available");
    }
    if (!f->n_keys) return ig_fail(err, IG_BAD_INPUT, 0, "%s holds no key; write one a line", f->config->api_keys);
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
    f->keys = ig_calloc(KEYS_MAX, sizeof *f->keys);
    if (!f->keys) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the keys");
    ig_buf text;
    ig_buf_init(&text, KEYS_BYTES_MAX);
    ig_status status = ig_file_read(path, &text, err);
    if (status == IG_OK) status = read_keys(f, (ig_str){text.ptr, text.len}, err);
    if (text.ptr) OPENSSL_cleanse(text.ptr, text.len);
    ig_buf_fini(&text);
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

bool fr_admit(fr_front *f, const ig_incoming *in, const ig_match *match, ig_problem *p)
{
    ig_error err;
    if (ig_access_check(&f->access, in->who, in->port, in->head, NULL, &err) != IG_OK)
        return ig_problem_set(p, err.status == IG_DENIED ? IG_P_DENIED : IG_P_BAD_REQUEST, NULL, "%.480s", err.text);
    unsigned wait_s = 0;
    fr_key_state key = fr_policy_key(f, in, &wait_s);
    if (key == FR_KEY_WAIT)
        return ig_problem_set(p, IG_P_OVERLOADED, NULL, "too many wrong keys came from here; wait %u s", wait_s);
    if (key == FR_KEY_GOOD || fr_is_public(match) || fr_key_of(f, in) >= 0) return true;
    /* A unix socket's caller is known to the kernel, and its file's mode says who may connect. */
    bool wanted = f->n_keys ? in->who->transport != IG_TRANSPORT_UNIX : fr_keys_exist(f) && !in->who->known;
    if (!wanted && key != FR_KEY_WRONG) return true;
    return ig_problem_set(p, IG_P_NO_AUTH, NULL,
                          "this service asks for a key; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`");
}

bool fr_may_manage(const fr_front *f, const ig_identity *who)
{
    (void)f;
    return who->loopback && who->known && (who->uid == 0 || who->uid == getuid());
}
