/* Ed25519 keys: OpenSSL computes, PKCS#8 keeps the private ones. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "tuf.h"

enum { PEM_BYTES_MAX = 16 << 10 };

void ig_hex_write(const unsigned char *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = 0;
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

bool ig_hex_read(const char *text, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int a = digit(text[2 * i]), b = a < 0 ? -1 : digit(text[2 * i + 1]);
        if (b < 0) return false;
        out[i] = (unsigned char)(a << 4 | b);
    }
    return text[2 * n] == 0;
}

json_t *ig_key_json(const ig_tuf_key *k)
{
    char hex[2 * IG_KEY_BYTES + 1];
    ig_hex_write(k->public, IG_KEY_BYTES, hex);
    return json_pack("{s:s, s:s, s:{s:s}}", "keytype", "ed25519", "scheme", "ed25519", "keyval", "public", hex);
}

/* Fills public part and id from the EVP_PKEY, which becomes the key's. */
static ig_status take(EVP_PKEY *p, bool private, const char *what, ig_tuf_key *out, ig_error *err)
{
    size_t n = IG_KEY_BYTES;
    ig_buf canon;
    ig_digest d;
    *out = (ig_tuf_key){.private = private ? p : NULL};
    bool ok = EVP_PKEY_get_base_id(p) == EVP_PKEY_ED25519 && EVP_PKEY_get_raw_public_key(p, out->public, &n) == 1;
    if (!private) EVP_PKEY_free(p);
    if (!ok || n != IG_KEY_BYTES) {
        ig_key_fini(out);
        return ig_fail(err, IG_BAD_INPUT, 0, "%.300s is no Ed25519 key", what);
    }
    json_t *j = ig_key_json(out);
    ig_status st =
        j ? ig_canon_write("a key", j, &canon, err) : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a key");
    json_decref(j);
    if (st == IG_OK) {
        ok = ig_sha_text(canon.ptr, canon.len, &d);
        ig_buf_fini(&canon);
        if (ok)
            memcpy(out->id, d.hex, sizeof out->id);
        else
            st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a key");
    }
    if (st != IG_OK) ig_key_fini(out);
    return st;
}

ig_status ig_key_generate(ig_tuf_key *out, ig_error *err)
{
    EVP_PKEY *p = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    *out = (ig_tuf_key){0};
    if (!p) return ig_fail(err, IG_UNSUPPORTED, 0, "OpenSSL cannot make an Ed25519 key");
    return take(p, true, "a new key", out, err);
}

void ig_key_fini(ig_tuf_key *k)
{
    EVP_PKEY_free(k->private);
    *k = (ig_tuf_key){0};
}

ig_status ig_key_save(const ig_tuf_key *k, const char *path, const char *passphrase, ig_error *err)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    const EVP_CIPHER *cipher = passphrase ? EVP_aes_256_cbc() : NULL;
    bool ok = bio && PEM_write_bio_PKCS8PrivateKey(bio, k->private, cipher, passphrase,
                                                   passphrase ? (int)strlen(passphrase) : 0, NULL, NULL) == 1;
    long n = ok ? BIO_get_mem_data(bio, &text) : 0;
    if (n <= 0) {
        BIO_free(bio);
        return ig_fail(err, IG_NO_MEMORY, 0, "OpenSSL cannot write the key %.300s", path);
    }
    int fd = ig_disk_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    int e = errno;
    ok = fd >= 0 && ig_disk_write(fd, text, (size_t)n) && ig_disk_sync(fd);
    if (fd >= 0 && !ok) e = errno;
    if (fd >= 0) close(fd);
    if (ok && !ig_disk_sync_parent(AT_FDCWD, path)) ok = false, e = errno;
    if (fd >= 0 && !ok) (void)unlink(path);
    BIO_free(bio);
    return ok ? IG_OK : ig_fail_errno(err, IG_IO, e, "cannot write the key %.300s", path);
}

static ig_status parse_pem(const char *path, const ig_buf *text, const char *passphrase, ig_tuf_key *out, ig_error *err)
{
    BIO *bio = BIO_new_mem_buf(text->ptr, (int)text->len);
    bool is_public = bio && memmem(text->ptr, text->len, "BEGIN PUBLIC KEY", 16);
    char none[] = "";
    void *word = passphrase ? (void *)(uintptr_t)passphrase : none; /* OpenSSL asks the terminal without one */
    EVP_PKEY *p = !bio        ? NULL
                  : is_public ? PEM_read_bio_PUBKEY(bio, NULL, NULL, word)
                              : PEM_read_bio_PrivateKey(bio, NULL, NULL, word);
    BIO_free(bio);
    ERR_clear_error();
    if (p) return take(p, !is_public, path, out, err);
    bool locked = memmem(text->ptr, text->len, "BEGIN ENCRYPTED", 15) != NULL;
    return ig_fail(err, locked ? IG_DENIED : IG_BAD_INPUT, 0,
                   locked ? "the key %.300s cannot be opened with this passphrase. Type: INGLE_CATALOGUE_PASSPHRASE=..."
                          : "%.300s is no key, expected PEM as openssl writes it",
                   path);
}

ig_status ig_key_load(const char *path, const char *passphrase, ig_tuf_key *out, ig_error *err)
{
    struct stat sb;
    ig_buf text;
    *out = (ig_tuf_key){0};
    int fd = ig_disk_open_regular(AT_FDCWD, path, O_RDONLY, &sb);
    if (fd < 0)
        return ig_fail_errno(err, errno == ENOENT ? IG_NOT_FOUND : IG_IO, errno, "cannot open the key %.300s", path);
    ig_buf_init(&text, PEM_BYTES_MAX);
    ig_status st = ig_fd_read_all(fd, path, &text, err);
    close(fd);
    if (st == IG_OK && text.len == 0) st = ig_fail(err, IG_BAD_INPUT, 0, "the key %.300s is empty", path);
    if (st == IG_OK && (sb.st_mode & 077) && !memmem(text.ptr, text.len, "BEGIN PUBLIC KEY", 16))
        st = ig_fail(err, IG_DENIED, 0, "the key %.300s has mode %03o, others may read it. Type: chmod 600 %.100s",
                     path, (unsigned)(sb.st_mode & 0777), path);
    if (st == IG_OK) st = parse_pem(path, &text, passphrase, out, err);
    if (text.ptr) OPENSSL_cleanse(text.ptr, text.cap);
    ig_buf_fini(&text);
    return st;
}

ig_status ig_key_sign(const ig_tuf_key *k, const void *p, size_t n, unsigned char out[IG_SIGNATURE_BYTES],
                      ig_error *err)
{
    size_t len = IG_SIGNATURE_BYTES;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && k->private && EVP_DigestSignInit(c, NULL, NULL, NULL, k->private) == 1 &&
              EVP_DigestSign(c, out, &len, p, n) == 1 && len == IG_SIGNATURE_BYTES;
    EVP_MD_CTX_free(c);
    return ok ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "OpenSSL cannot sign with key %.12s", k->id);
}

bool ig_key_verify(const unsigned char public[IG_KEY_BYTES], const void *p, size_t n,
                   const unsigned char signature[IG_SIGNATURE_BYTES])
{
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, IG_KEY_BYTES);
    EVP_MD_CTX *c = k ? EVP_MD_CTX_new() : NULL;
    bool ok = c && EVP_DigestVerifyInit(c, NULL, NULL, NULL, k) == 1 &&
              EVP_DigestVerify(c, signature, IG_SIGNATURE_BYTES, p, n) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(k);
    ERR_clear_error();
    return ok;
}

/* ------------------------------------------------------------------------------------------------ times */

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = y / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_of(int64_t days, int *y, int *m, int *d)
{
    days += 719468;
    int64_t era = days / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

bool ig_time_read(const char *text, int64_t *out)
{
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    int v[6] = {0}, at = 0;
    if (strlen(text) != sizeof form - 1) return false;
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (form[i] != 'd' ? text[i] != form[i] : text[i] < '0' || text[i] > '9') return false;
        if (form[i] == 'd')
            v[at] = v[at] * 10 + (text[i] - '0');
        else
            at++;
    }
    int y, m, d;
    int64_t days = days_of(v[0], v[1], v[2]);
    if (v[0] < 1970 || v[1] < 1 || v[1] > 12 || v[2] < 1 || v[3] > 23 || v[4] > 59 || v[5] > 59) return false;
    date_of(days, &y, &m, &d);
    if (y != v[0] || m != v[1] || d != v[2]) return false; /* 31 February */
    *out = days * 86400 + v[3] * 3600 + v[4] * 60 + v[5];
    return true;
}

void ig_time_write(int64_t t, char out[24])
{
    int y, m, d;
    if (t < 0) t = 0;
    if (t > INT64_C(253402300799)) t = INT64_C(253402300799); /* the end of 9999 */
    date_of(t / 86400, &y, &m, &d);
    int s = (int)(t % 86400);
    (void)snprintf(out, 24, "%04d-%02d-%02dT%02d:%02d:%02dZ", y, m, d, s / 3600, s / 60 % 60, s % 60);
}
