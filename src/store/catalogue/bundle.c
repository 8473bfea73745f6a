/* OpenSSF Model Signing 1.0: a Sigstore bundle (v0.3) with a DSSE envelope, whose payload is an in-toto statement with
 * the names and digests of a model's files. Verified against a public key that the caller trusts (ECDSA on P-256, P-384
 * or P-521); certificates and transparency logs are not. Every file of the model must be listed; what is listed besides
 * (a README, say) the store may not have. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "tuf.h"

enum { PAYLOAD_BYTES_MAX = 8 << 20, RESOURCES_MAX = 100000, SIGNATURE_MAX = 256 };
#define PAYLOAD_TYPE   "application/vnd.in-toto+json"
#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE "https://model_signing/signature/v1.0"

static ig_status wrong(ig_error *err, const char *what, const char *expected)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "model signature: %.100s is wrong or missing, expected %.200s", what,
                   expected);
}

/* Strict base64 with padding; the bytes are the caller's (ig_free). */
static ig_status decode(const char *text, size_t bytes_max, const char *what, unsigned char **out, size_t *n,
                        ig_error *err)
{
    size_t len = text ? strlen(text) : 0, pad = 0;
    *out = NULL;
    if (len == 0 || len % 4 || len / 4 * 3 > bytes_max) return wrong(err, what, "base64");
    while (pad < 2 && text[len - 1 - pad] == '=') pad++;
    if (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != len - pad)
        return wrong(err, what, "base64");
    *out = ig_alloc(len / 4 * 3 + 1);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a model signature");
    int got = EVP_DecodeBlock(*out, (const unsigned char *)text, (int)len);
    if (got < 0) {
        ig_free(*out);
        *out = NULL;
        return wrong(err, what, "base64");
    }
    *n = (size_t)got - pad;
    return IG_OK;
}

/* The hash that goes with the key's curve; NULL: no curve of the specification. */
static const EVP_MD *hash_of(EVP_PKEY *key)
{
    char curve[64] = "";
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || EVP_PKEY_get_group_name(key, curve, sizeof curve, NULL) != 1)
        return NULL;
    return !strcmp(curve, "prime256v1")  ? EVP_sha256()
           : !strcmp(curve, "secp384r1") ? EVP_sha384()
           : !strcmp(curve, "secp521r1") ? EVP_sha512()
                                         : NULL;
}

/* DSSE: "DSSEv1 SP LEN(type) SP type SP LEN(body) SP body" */
static bool holds(EVP_PKEY *key, const EVP_MD *md, const unsigned char *body, size_t n, const unsigned char *sig,
                  size_t n_sig)
{
    char head[96];
    int len = snprintf(head, sizeof head, "DSSEv1 %zu %s %zu ", sizeof PAYLOAD_TYPE - 1, PAYLOAD_TYPE, n);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, md, NULL, key) == 1 &&
              EVP_DigestVerifyUpdate(c, head, (size_t)len) == 1 && EVP_DigestVerifyUpdate(c, body, n) == 1 &&
              EVP_DigestVerifyFinal(c, sig, n_sig) == 1;
    EVP_MD_CTX_free(c);
    ERR_clear_error();
    return ok;
}

static ig_status check_signature(const json_t *envelope, ig_str pem, const unsigned char *body, size_t n, ig_error *err)
{
    unsigned char *sig;
    size_t n_sig;
    const json_t *list = json_object_get(envelope, "signatures");
    if (json_array_size(list) != 1) return wrong(err, "signatures", "exactly one");
    IG_TRY(decode(ig_json_text(json_array_get(list, 0), "sig"), SIGNATURE_MAX, "the signature", &sig, &n_sig, err));
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    const EVP_MD *md = key ? hash_of(key) : NULL;
    ig_status st = IG_OK;
    if (!md)
        st = ig_fail(err, IG_BAD_INPUT, 0, "the key is no public key (PEM) of ECDSA on P-256, P-384 or P-521");
    else if (!holds(key, md, body, n, sig, n_sig))
        st =
            ig_fail(err, IG_DENIED, 0, "model signature: it was not made with this key, or what is signed was altered");
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    ig_free(sig);
    return st;
}

static const json_t *resource_of(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *own = ig_json_text(json_array_get(list, i), "name");
        if (own && !strcmp(own, name)) return json_array_get(list, i);
    }
    return NULL;
}

static ig_status check_files(const json_t *statement, const ig_manifest *m, ig_error *err)
{
    const json_t *predicate = json_object_get(statement, "predicate"), *list = json_object_get(predicate, "resources");
    const char *type = ig_json_text(statement, "_type"), *kind = ig_json_text(statement, "predicateType");
    const char *method = ig_json_text(json_object_get(predicate, "serialization"), "method");
    if (!type || strcmp(type, STATEMENT_TYPE) != 0) return wrong(err, "the statement", STATEMENT_TYPE);
    if (!kind || strcmp(kind, PREDICATE_TYPE) != 0) return wrong(err, "the predicate", PREDICATE_TYPE);
    if (!method || strcmp(method, "files") != 0)
        return ig_fail(err, IG_UNSUPPORTED, 0, "model signature: it is made over \"%.40s\", expected \"files\"",
                       method ? method : "");
    if (!json_is_array(list) || json_array_size(list) > RESOURCES_MAX) return wrong(err, "resources", "a list");
    for (size_t i = 0; i < m->n_files; i++) {
        const ig_store_file *f = &m->files[i];
        const json_t *r = resource_of(list, f->name);
        const char *algorithm = ig_json_text(r, "algorithm"), *digest = ig_json_text(r, "digest");
        if (!r) return ig_fail(err, IG_DENIED, 0, "model signature: it does not list %.200s", f->name);
        if (!algorithm || strcmp(algorithm, "sha256") != 0)
            return ig_fail(err, IG_UNSUPPORTED, 0, "model signature: %.100s has a hash of \"%.40s\", expected sha256",
                           f->name, algorithm ? algorithm : "");
        if (!digest || strcmp(digest, f->digest.hex) != 0)
            return ig_fail(err, IG_DENIED, 0, "model signature: %.100s has SHA-256 %.16s..., expected %.16s...",
                           f->name, f->digest.hex, digest ? digest : "nothing");
    }
    return IG_OK;
}

ig_status ig_bundle_verify(ig_str bundle, ig_str key_pem, const ig_manifest *m, ig_error *err)
{
    json_t *j = NULL, *statement = NULL;
    unsigned char *body = NULL;
    size_t n = 0;
    IG_TRY(ig_store_json("the model signature", bundle, IG_TUF_VALUES_MAX, &j, err));
    const json_t *envelope = json_object_get(j, "dsseEnvelope");
    const json_t *material = json_object_get(j, "verificationMaterial");
    const char *media = ig_json_text(j, "mediaType"), *type = ig_json_text(envelope, "payloadType");
    ig_status st = IG_OK;
    if (!media || !strstr(media, "application/vnd.dev.sigstore.bundle"))
        st = wrong(err, "mediaType", "application/vnd.dev.sigstore.bundle.v0.3+json");
    else if (json_object_get(material, "certificate") || json_object_get(material, "x509CertificateChain"))
        st = ig_fail(
            err, IG_UNSUPPORTED, 0,
            "model signature: it was made with a certificate (of Sigstore or a company), expected one made with "
            "a key. Type: model_signing sign key, or verify it with model_signing itself");
    else if (!type || strcmp(type, PAYLOAD_TYPE) != 0)
        st = wrong(err, "payloadType", PAYLOAD_TYPE);
    if (st == IG_OK) st = decode(ig_json_text(envelope, "payload"), PAYLOAD_BYTES_MAX, "the payload", &body, &n, err);
    if (st == IG_OK) st = check_signature(envelope, key_pem, body, n, err);
    if (st == IG_OK)
        st = ig_store_json("the signed statement", (ig_str){(const char *)body, n}, IG_TUF_VALUES_MAX, &statement, err);
    if (st == IG_OK) st = check_files(statement, m, err);
    json_decref(statement);
    json_decref(j);
    ig_free(body);
    return st;
}
