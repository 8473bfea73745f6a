/* SHA-256 by libcrypto, over texts and files. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/disk.h"
#include "inner.h"

enum { BLOCK = 1 << 20 };

static void to_hex(const unsigned char *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = 0;
}

static EVP_MD_CTX *digest_new(const EVP_MD *md)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (c && EVP_DigestInit_ex(c, md, NULL) == 1) return c;
    EVP_MD_CTX_free(c);
    return NULL;
}

ig_sha *ig_sha_new(void) { return (ig_sha *)digest_new(EVP_sha256()); }

void ig_sha_add(ig_sha *h, const void *p, size_t n) { (void)EVP_DigestUpdate((EVP_MD_CTX *)h, p, n); }

void ig_sha_end(ig_sha *h, ig_digest *out)
{
    unsigned char md[EVP_MAX_MD_SIZE] = {0};
    (void)EVP_DigestFinal_ex((EVP_MD_CTX *)h, md, NULL);
    to_hex(md, IG_HEX_LEN / 2, out->hex);
    ig_sha_free(h);
}

void ig_sha_free(ig_sha *h) { EVP_MD_CTX_free((EVP_MD_CTX *)h); }

bool ig_sha_text(const void *p, size_t n, ig_digest *out)
{
    ig_sha *h = ig_sha_new();
    if (!h) return false;
    ig_sha_add(h, p, n);
    ig_sha_end(h, out);
    return true;
}

/* Feeds the whole file. IG_OK, IG_IO (errno), IG_CANCELLED, IG_NO_MEMORY. */
static ig_status feed(EVP_MD_CTX *c, int fd, uint64_t total, ig_hash_progress progress, void *ctx, uint64_t *size)
{
    char *block = ig_alloc(BLOCK);
    ig_status st = block ? IG_OK : IG_NO_MEMORY;
    *size = 0;
    while (st == IG_OK) {
        ssize_t n = ig_disk_read_at(fd, block, BLOCK, *size);
        if (n < 0) st = IG_IO;
        if (n <= 0) break;
        (void)EVP_DigestUpdate(c, block, (size_t)n);
        *size += (uint64_t)n;
        if (progress && *size / BLOCK % 16 == 0 && !progress(ctx, *size, total)) st = IG_CANCELLED;
        if (n < BLOCK) break;
    }
    int e = errno;
    ig_free(block);
    errno = e;
    return st;
}

bool ig_sha1_git(int fd, uint64_t size, char hex[41])
{
    EVP_MD_CTX *c = digest_new(EVP_sha1());
    char head[32];
    unsigned char md[EVP_MAX_MD_SIZE] = {0};
    uint64_t got;
    if (!c) return false;
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)size);
    (void)EVP_DigestUpdate(c, head, (size_t)n + 1);
    bool ok = feed(c, fd, size, NULL, NULL, &got) == IG_OK && EVP_DigestFinal_ex(c, md, NULL) == 1;
    EVP_MD_CTX_free(c);
    to_hex(md, 20, hex);
    return ok;
}

ig_status ig_hash_fd(int fd, const char *name, ig_hash_progress progress, void *ctx, ig_digest *out, uint64_t *size,
                     ig_error *err)
{
    struct stat sb;
    uint64_t own;
    if (!size) size = &own;
    EVP_MD_CTX *c = (EVP_MD_CTX *)ig_sha_new();
    if (!c) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for hashing %.200s", name);
    uint64_t total = fstat(fd, &sb) == 0 ? (uint64_t)sb.st_size : 0;
    ig_status st = feed(c, fd, total, progress, ctx, size);
    int e = errno;
    ig_digest d;
    ig_sha_end((ig_sha *)c, &d);
    if (st == IG_OK) *out = d;
    if (st == IG_IO) return ig_fail_errno(err, st, e, "cannot read %.200s", name);
    if (st == IG_CANCELLED) return ig_fail(err, st, 0, "hashing %.200s was cancelled", name);
    return st == IG_OK ? st : ig_fail(err, st, 0, "out of memory for hashing %.200s", name);
}
