/* What the store's sources read and write: signatures against AWS's published vectors, lists of buckets, challenges,
 * references, passwords, and where an address may lead. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "store/source/source.h"
/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ------------------------------------------------------------------------------------------------ signatures */

#define NOTHING      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SUITE_ID     "AKIDEXAMPLE"
#define SUITE_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define S3_ID        "AKIAIOSFODNN7EXAMPLE"
#define S3_SECRET    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

/* The rows "get-..." and "post-..." are of the AWS signature version 4 test suite, the others the examples of the S3
 * documentation, "Authenticating Requests (AWS Signature Version 4)". */
static const struct {
    const char *name, *method, *host, *path, *query, *service, *date, *payload, *headers[6][2], *signature;
} vectors[] = {
    {"get-vanilla",
     "GET",
     "example.amazonaws.com",
     "/",
     "",
     "service",
     "20150830T123600Z",
     NOTHING,
     {{"x-amz-date", "20150830T123600Z"}},
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-vanilla-query-order-key-case",
     "GET",
     "example.amazonaws.com",
     "/",
     "Param2=value2&Param1=value1",
     "service",
     "20150830T123600Z",
     NOTHING,
     {{"x-amz-date", "20150830T123600Z"}},
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-utf8",
     "GET",
     "example.amazonaws.com",
     "/\xe1\x88\xb4",
     "",
     "service",
     "20150830T123600Z",
     NOTHING,
     {{"x-amz-date", "20150830T123600Z"}},
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {"get-unreserved",
     "GET",
     "example.amazonaws.com",
     "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
     "",
     "service",
     "20150830T123600Z",
     NOTHING,
     {{"x-amz-date", "20150830T123600Z"}},
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"get-header-value-trim",
     "GET",
     "example.amazonaws.com",
     "/",
     "",
     "service",
     "20150830T123600Z",
     NOTHING,
     {{"my-header1", " value1"}, {"my-header2", " \"a   b   c\""}, {"x-amz-date", "20150830T123600Z"}},
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"get-header-key-duplicate",
     "GET",
     "example.amazonaws.com",
     "/",
     "",
     "service",
     "20150830T123600Z",
     NOTHING,
     {{"my-header1", "value2"}, {"my-header1", "value2"}, {"my-header1", "value1"}, {"x-amz-date", "20150830T123600Z"}},
     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
    {"post-vanilla",
     "POST",
     "example.amazonaws.com",
     "/",
     "",
     "service",
     "20150830T123600Z",
     NOTHING,
     {{"x-amz-date", "20150830T123600Z"}},
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"S3: GET object",
     "GET",
     "examplebucket.s3.amazonaws.com",
     "/test.txt",
     "",
     "s3",
     "20130524T000000Z",
     NOTHING,
     {{"range", "bytes=0-9"}, {"x-amz-content-sha256", NOTHING}, {"x-amz-date", "20130524T000000Z"}},
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"S3: PUT object",
     "PUT",
     "examplebucket.s3.amazonaws.com",
     "/test$file.text",
     "",
     "s3",
     "20130524T000000Z",
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
      {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"S3: GET bucket lifecycle",
     "GET",
     "examplebucket.s3.amazonaws.com",
     "/",
     "lifecycle",
     "s3",
     "20130524T000000Z",
     NOTHING,
     {{"x-amz-content-sha256", NOTHING}, {"x-amz-date", "20130524T000000Z"}},
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"S3: list objects",
     "GET",
     "examplebucket.s3.amazonaws.com",
     "/",
     "max-keys=2&prefix=J",
     "s3",
     "20130524T000000Z",
     NOTHING,
     {{"x-amz-content-sha256", NOTHING}, {"x-amz-date", "20130524T000000Z"}},
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        bool s3 = !strcmp(vectors[i].service, "s3");
        const char *headers[6][2];
        char path[300];
        size_t n = 0;
        for (; n < 6 && vectors[i].headers[n][0]; n++) {
            headers[n][0] = vectors[i].headers[n][0];
            headers[n][1] = vectors[i].headers[n][1];
        }
        assert_true(ig_url_escape(vectors[i].path, path, sizeof path));
        ig_sigv4 in = {.method = vectors[i].method,
                       .host = vectors[i].host,
                       .path = path,
                       .query = vectors[i].query,
                       .region = "us-east-1",
                       .service = vectors[i].service,
                       .date = vectors[i].date,
                       .payload = vectors[i].payload,
                       .headers = headers,
                       .n_headers = n,
                       .id = s3 ? S3_ID : SUITE_ID,
                       .secret = s3 ? S3_SECRET : SUITE_SECRET};
        ig_buf canonical, out;
        ig_buf_init(&canonical, 1 << 16);
        ig_buf_init(&out, 1 << 16);
        assert_int_equal(ig_sigv4_sign(&in, &canonical, &out, NULL), IG_OK);
        assert_true(ig_buf_add(&out, "", 1) && ig_buf_add(&canonical, "", 1));
        const char *found = strstr(out.ptr, "Signature=");
        if (!found || strcmp(found + 10, vectors[i].signature) != 0)
            printf("# %s: %s\n# %s\n", vectors[i].name, out.ptr, canonical.ptr);
        assert_true(found && !strcmp(found + 10, vectors[i].signature));
        ig_buf_fini(&canonical);
        ig_buf_fini(&out);
    }
}

typedef struct seen {
    char text[8192];
} seen;

static void keep(void *ctx, const char *name, const char *value)
{
    seen *s = ctx;
    size_t n = strlen(s->text);
    (void)snprintf(s->text + n, sizeof s->text - n, "%s: %s\n", name, value);
}

static void test_request(void **state)
{
    (void)state;
    ig_s3_key key = {.id = "id", .secret = "secret", .region = "eu-north-1", .token = "session"};
    seen s = {""};
    assert_true(ig_s3_sign(&key, "GET", "https://b.example:9000/a%20b?list-type=2", NULL, 1369353600, keep, &s));
    assert_non_null(strstr(s.text, "x-amz-date: 20130524T000000Z\n"));
    assert_non_null(strstr(s.text, "x-amz-security-token: session\n"));
    assert_non_null(strstr(s.text, "Credential=id/20130524/eu-north-1/s3/aws4_request"));
    assert_non_null(strstr(s.text, "SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date;"
                                   "x-amz-security-token,"));
    assert_null(strstr(s.text, "secret:"));
    assert_false(ig_s3_sign(&key, "GET", "no address", NULL, 0, keep, &s));
}

/* ------------------------------------------------------------------------------------------------ lists of buckets */

typedef struct found {
    char keys[4][64];
    uint64_t sizes[4];
    size_t n;
} found;

static bool on_key(void *ctx, const char *key, uint64_t size)
{
    found *f = ctx;
    if (f->n < 4) {
        (void)snprintf(f->keys[f->n], sizeof f->keys[0], "%.63s", key);
        f->sizes[f->n] = size;
    }
    return ++f->n < 1000;
}

static ig_status read_list(const char *text, found *f, ig_s3_listing *page)
{
    ig_error e = {0};
    *f = (found){.n = 0};
    char *copy = strndup(text, strlen(text)); /* of its very size, for the sanitizer */
    assert_non_null(copy);
    ig_status st = ig_s3_read_listing((ig_str){copy, strlen(text)}, on_key, f, page, &e);
    free(copy);
    if (st != IG_OK) assert_true(e.text[0]);
    return st;
}

static void test_listing(void **state)
{
    (void)state;
    found f;
    ig_s3_listing page;
    assert_int_equal(read_list("<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://x\"><Name>b</Name>"
                               "<Contents><Key>a/&lt;&amp;&#x20;&#228;&#x1F600;&gt;</Key><Size>12</Size><Owner><ID>x</"
                               "ID></Owner></Contents>"
                               "<Contents><Size>0</Size><Key>b</Key><ETag/></Contents>"
                               "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"
                               "<IsTruncated>true</IsTruncated><NextContinuationToken>t&#43;x=</NextContinuationToken>"
                               "</ListBucketResult>\n",
                               &f, &page),
                     IG_OK);
    assert_int_equal(f.n, 2);
    assert_string_equal(f.keys[0], "a/<& \xc3\xa4\xf0\x9f\x98\x80>");
    assert_int_equal(f.sizes[0], 12);
    assert_string_equal(f.keys[1], "b");
    assert_true(page.truncated);
    assert_string_equal(page.next, "t+x=");
    assert_int_equal(read_list("<ListBucketResult></ListBucketResult>", &f, &page), IG_OK);
    assert_true(f.n == 0 && !page.truncated);
    static const char *const bad[] = {
        "",
        "no xml",
        "<Error><Code>NoSuchBucket</Code></Error>",
        "<ListBucketResult>",
        "<ListBucketResult></Contents>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>99999999999999999999</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a&#0;b</Key><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a\xff</Key><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>&bomb;</Key><Size>1</Size></Contents></ListBucketResult>",
        "<!DOCTYPE lolz [<!ENTITY lol \"lol\">]><ListBucketResult></ListBucketResult>",
        "<ListBucketResult><![CDATA[x]]></ListBucketResult>",
        "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
        "<ListBucketResult><",
        "<ListBucketResult>&#x110000;</ListBucketResult>",
        "<ListBucketResult>&#xd800;</ListBucketResult>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (read_list(bad[i], &f, &page) == IG_OK) printf("# accepted: %s\n", bad[i]);
        assert_int_equal(read_list(bad[i], &f, &page), IG_BAD_INPUT);
    }
    char *huge = calloc(1, 20000);
    assert_non_null(huge);
    strcpy(huge, "<ListBucketResult><Contents><Key>");
    memset(huge + strlen(huge), 'k', 10000);
    strcat(huge, "</Key><Size>1</Size></Contents></ListBucketResult>");
    assert_int_equal(read_list(huge, &f, &page), IG_BAD_INPUT);
    free(huge);
}

/* ------------------------------------------------------------------------------------------------ who asks */

static void test_challenges(void **state)
{
    (void)state;
    ig_challenge c;
    assert_true(ig_challenge_parse("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\", "
                                   "scope=\"repository:a/b:pull,push\",error=\"x\"",
                                   &c));
    assert_string_equal(c.realm, "https://auth.docker.io/token");
    assert_string_equal(c.service, "registry.docker.io");
    assert_string_equal(c.scope, "repository:a/b:pull,push");
    assert_true(ig_challenge_parse("bearer REALM=x", &c));
    assert_string_equal(c.realm, "x");
    assert_true(ig_challenge_parse("Bearer realm=\"a\\\"b\"", &c));
    assert_string_equal(c.realm, "a\"b");
    static const char *const bad[] = {"",
                                      "Bearer",
                                      "Bearer ",
                                      "Basic realm=\"x\"",
                                      "Bearer x",
                                      "Bearer realm",
                                      "Bearer realm=\"x",
                                      "Bearer service=\"x\"",
                                      "Bearer =\"\"",
                                      "Bearer realm=\"\"",
                                      "Bearer \"\"=\"\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(ig_challenge_parse(bad[i], &c));
}

static void test_passwords(void **state)
{
    (void)state;
    ig_arena arena = {.max_bytes = 1 << 16};
    const char *basic;
    static const char text[] =
        "{\"auths\": {\"r.example:5000\": {\"auth\": \"bWU6c2VjcmV0\"}, \"https://index.docker.io/v1/\": "
        "{\"auth\": \"aHViOng=\"}, \"broken\": {\"auth\": \"!!!!\"}, \"colonless\": {\"auth\": "
        "\"YWJj\"}}, \"credsStore\": \"x\"}";
    static const struct {
        const char *host, *basic;
    } rows[] = {{"r.example:5000", "Basic bWU6c2VjcmV0"},
                {"r.example", NULL},
                {"registry-1.docker.io", "Basic aHViOng="},
                {"broken", NULL},
                {"colonless", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(ig_auth_parse((ig_str){text, sizeof text - 1}, rows[i].host, &arena, &basic, NULL), IG_OK);
        assert_true(rows[i].basic ? basic && !strcmp(basic, rows[i].basic) : !basic);
    }
    assert_int_equal(ig_auth_parse((ig_str){"{", 1}, "x", &arena, &basic, NULL), IG_BAD_INPUT);
    ig_arena_fini(&arena);
}

static void test_netrc(void **state)
{
    static const struct {
        const char *text, *basic; /* NULL: nothing; "!": refused */
    } rows[] = {
        {"", NULL},
        {"machine host login me password secret", "Basic bWU6c2VjcmV0"},
        {"machine HOST\n\tpassword secret\n\tlogin me\n", "Basic bWU6c2VjcmV0"},
        {"machine host login me password \"se cret\"", "Basic bWU6c2UgY3JldA=="},
        {"machine host login me password \"se\\\"cret\"", "Basic bWU6c2UiY3JldA=="},
        {"# machine host login no password no\nmachine host login me password secret", "Basic bWU6c2VjcmV0"},
        {"machine other login no password no machine host login me password secret machine host login b password c",
         "Basic bWU6c2VjcmV0"},
        {"macdef init\nmachine host\nlogin a\n\nmachine host login me password secret", "Basic bWU6c2VjcmV0"},
        {"machine host account x login me password secret", "Basic bWU6c2VjcmV0"},
        {"machine host.example.org login me password secret", NULL},
        {"machine hos login me password secret", NULL},
        {"default login me password secret", NULL},
        {"machine host default login me password secret", "!"},
        {"machine other login no password no default login me password secret", NULL},
        {"machine host", "!"},
        {"machine host password secret", "!"},
        {"machine host login a:b password secret", "!"},
        {"machine host login me password \"a\nb\"", "!"},
        {"machine host login me password \"secret", "!"},
    };
    (void)state;
    ig_arena arena = {.max_bytes = 1 << 20};
    const char *basic;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_error e = {0};
        ig_status st = ig_netrc_parse((ig_str){rows[i].text, strlen(rows[i].text)}, "host", &arena, &basic, &e);
        bool refused = rows[i].basic && *rows[i].basic == '!';
        if (st != (refused ? IG_BAD_INPUT : IG_OK)) fail_msg("row %zu: %s %s", i, rows[i].text, e.text);
        assert_false(strstr(e.text, "secret") != NULL);
        if (refused || !rows[i].basic)
            assert_null(basic);
        else
            assert_string_equal(basic, rows[i].basic);
    }
    char long_word[700];
    memset(long_word, 'a', sizeof long_word);
    assert_int_equal(ig_netrc_parse((ig_str){long_word, sizeof long_word}, "host", &arena, &basic, NULL), IG_BAD_INPUT);
    assert_int_equal(ig_netrc_parse((ig_str){"machine\0host", 12}, "host", &arena, &basic, NULL), IG_BAD_INPUT);
    ig_arena_fini(&arena);
}

static void test_ini(void **state)
{
    (void)state;
    static const char text[] =
        "# keys\n[default]\naws_access_key_id = A\r\n\n [ work ] \naws_access_key_id=B\n  x = y = z \n"
        "empty =\n[default]\nlate=1";
    static const struct {
        const char *section, *key, *value;
    } rows[] = {{"default", "aws_access_key_id", "A"},
                {"work", "aws_access_key_id", "B"},
                {"work", "x", "y = z"},
                {"default", "late", "1"},
                {"work", "empty", NULL},
                {"none", "x", NULL},
                {"default", "x", NULL}};
    char out[20];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool ok = ig_ini_find((ig_str){text, sizeof text - 1}, rows[i].section, rows[i].key, out, sizeof out);
        assert_int_equal(ok, rows[i].value != NULL);
        if (ok) assert_string_equal(out, rows[i].value);
    }
    assert_false(ig_ini_find(IG_STR("[a]\nk=0123456789012345678901234567890"), "a", "k", out, sizeof out));
}

/* ------------------------------------------------------------------------------------------------ references */

static void test_references(void **state)
{
    (void)state;
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const struct {
        const char *text, *host, *repository, *tag;
        bool digest;
    } good[] = {{"ghcr.io/a/b:v1", "ghcr.io", "a/b", "v1", false},
                {"localhost:5000/x", "localhost:5000", "x", "latest", false},
                {"[::1]:5000/x/y_z/w__v-1.2:_T", "[::1]:5000", "x/y_z/w__v-1.2", "_T", false},
                {"h/a@sha256:" HEX, "h", "a", "", true},
                {"h/a:t@sha256:" HEX, "h", "a", "t", true}};
    static const char *const bad[] = {
        "",         "a",         "h/",      "/a",     "h/A",   "h/a:",       "h/a:-x", "h/a//b",
        "h/a/",     "h/_a",      "h/a___b", "h/a..b", "h:/a",  "h:123456/a", "u@h/a",  "h/a@md5:1",
        "h/a@" HEX, "[::1/a",    "h/a:t:u", "h/a?x",  "h/a#x", "h /a",       "h/a b",  "h/a:t@sha256:" HEX "0",
        "-h/a",     "http://h/a"};
    ig_image_ref r;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(ig_image_ref_parse(good[i].text, &r, NULL), IG_OK);
        assert_string_equal(r.host, good[i].host);
        assert_string_equal(r.repository, good[i].repository);
        assert_string_equal(r.tag, good[i].tag);
        assert_int_equal(r.has_digest, good[i].digest);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (ig_image_ref_parse(bad[i], &r, NULL) == IG_OK) printf("# accepted: %s\n", bad[i]);
        assert_int_equal(ig_image_ref_parse(bad[i], &r, NULL), IG_BAD_INPUT);
    }
}

/* ------------------------------------------------------------------------------------------------ where to */

static void test_reach(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        ig_reach reach;
    } rows[] = {{"8.8.8.8", IG_REACH_PUBLIC},
                {"127.0.0.1", IG_REACH_SELF},
                {"127.255.0.1", IG_REACH_SELF},
                {"0.0.0.0", IG_REACH_SELF},
                {"10.1.2.3", IG_REACH_PRIVATE},
                {"172.16.0.1", IG_REACH_PRIVATE},
                {"172.31.255.255", IG_REACH_PRIVATE},
                {"172.32.0.1", IG_REACH_PUBLIC},
                {"192.168.1.1", IG_REACH_PRIVATE},
                {"100.64.0.1", IG_REACH_PRIVATE},
                {"169.254.169.254", IG_REACH_LINK},
                {"224.0.0.1", IG_REACH_LINK},
                {"255.255.255.255", IG_REACH_LINK},
                {"::1", IG_REACH_SELF},
                {"::", IG_REACH_SELF},
                {"2001:4860::8888", IG_REACH_PUBLIC},
                {"fe80::1", IG_REACH_LINK},
                {"fd00::1", IG_REACH_PRIVATE},
                {"::ffff:127.0.0.1", IG_REACH_SELF},
                {"::ffff:169.254.169.254", IG_REACH_LINK},
                {"64:ff9b::a00:1", IG_REACH_PRIVATE},
                {"2002:7f00:1::", IG_REACH_SELF},
                {"ff02::1", IG_REACH_LINK}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET};
        struct sockaddr_in6 b = {.sin6_family = AF_INET6};
        bool four = inet_pton(AF_INET, rows[i].address, &a.sin_addr) == 1;
        if (!four) assert_int_equal(inet_pton(AF_INET6, rows[i].address, &b.sin6_addr), 1);
        ig_reach got = ig_reach_of(four ? (const struct sockaddr *)&a : (const struct sockaddr *)&b);
        if (got != rows[i].reach) printf("# %s\n", rows[i].address);
        assert_int_equal(got, rows[i].reach);
    }
}

static void test_guard(void **state)
{
    (void)state;
    unsetenv("INGLE_PULL_HOSTS");
    unsetenv("HF_ENDPOINT");
    ig_http_request r = {.url = "https://a.example/x"};
    assert_int_equal(ig_guard_url(&r, r.url, 0, NULL), IG_OK);
    assert_int_equal(ig_guard_url(&r, "https://b.example/x", 1, NULL), IG_OK);
    assert_int_equal(ig_guard_url(&r, "http://b.example/x", 1, NULL), IG_DENIED);
    assert_int_equal(ig_guard_url(&r, "http://127.0.0.1/x", 1, NULL), IG_DENIED);
    assert_int_equal(ig_guard_url(&r, "ftp://b.example/x", 1, NULL), IG_DENIED);
    assert_int_equal(ig_guard_url(&r, "https://u:p@b.example/x", 1, NULL), IG_DENIED);
    r.insecure = true;
    assert_int_equal(ig_guard_url(&r, "http://b.example/x", 1, NULL), IG_DENIED);
    assert_int_equal(ig_guard_address(&r, r.url, 1, IG_REACH_PUBLIC, IG_REACH_PUBLIC, NULL), IG_OK);
    assert_int_equal(ig_guard_address(&r, r.url, 1, IG_REACH_PUBLIC, IG_REACH_PRIVATE, NULL), IG_DENIED);
    assert_int_equal(ig_guard_address(&r, r.url, 1, IG_REACH_PRIVATE, IG_REACH_PRIVATE, NULL), IG_OK);
    assert_int_equal(ig_guard_address(&r, r.url, 1, IG_REACH_PRIVATE, IG_REACH_SELF, NULL), IG_DENIED);
    assert_int_equal(ig_guard_address(&r, r.url, 0, IG_REACH_PRIVATE, IG_REACH_PRIVATE, NULL), IG_OK);
    r.guarded = true; /* for a client of the service */
    assert_int_equal(ig_guard_address(&r, r.url, 0, IG_REACH_PRIVATE, IG_REACH_PRIVATE, NULL), IG_DENIED);
    assert_int_equal(ig_guard_address(&r, r.url, 0, IG_REACH_PUBLIC, IG_REACH_PUBLIC, NULL), IG_OK);
    setenv("INGLE_PULL_HOSTS", "b.example, a.example", 1);
    assert_int_equal(ig_guard_address(&r, r.url, 0, IG_REACH_PRIVATE, IG_REACH_PRIVATE, NULL), IG_OK);
    assert_int_equal(ig_guard_address(&r, r.url, 0, IG_REACH_LINK, IG_REACH_LINK, NULL), IG_DENIED);
    assert_int_equal(ig_guard_url(&r, r.url, 0, NULL), IG_OK);
    assert_int_equal(ig_guard_url(&r, "https://c.example/", 0, NULL), IG_DENIED);
    unsetenv("INGLE_PULL_HOSTS");
}

static void test_templates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool used;
    } rows[] = {{"{{ .Prompt }}", false},
                {"{{- if .System }}x{{ end }}", false},
                {"{{ range $i, $_ := .Messages }}{{ end }}", false},
                {"{{ $x }}", false},
                {"{% for m in messages %}{{ m.content }}{% endfor %}", true},
                {"{{ messages[0]['content'] }}", true},
                {"{{ bos_token }}{{- .5 }}", false},
                {"plain", true},
                {"{{ end_token }}", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_manifest m = {.template = rows[i].text};
        assert_int_equal(ig_manifest_template(&m) != NULL, rows[i].used);
    }
}

static void test_waits(void **state)
{
    (void)state;
    unsigned least = UINT32_MAX, most = 0;
    for (int i = 0; i < 2000; i++) {
        unsigned ms = ig_wait_ms(1000, 0);
        if (ms < least) least = ms;
        if (ms > most) most = ms;
    }
    assert_true(least >= 500 && least < 600 && most > 1400 && most <= 1500);
    assert_int_equal(ig_wait_ms(100, 7), 7000);
    assert_int_equal(ig_wait_ms(100, 7000), 30000);
    assert_int_equal(ig_wait_longer(1000), 2000);
    assert_int_equal(ig_wait_longer(20000), 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),    cmocka_unit_test(test_request),    cmocka_unit_test(test_listing),
        cmocka_unit_test(test_challenges), cmocka_unit_test(test_passwords),  cmocka_unit_test(test_netrc),
        cmocka_unit_test(test_ini),        cmocka_unit_test(test_references), cmocka_unit_test(test_reach),
        cmocka_unit_test(test_guard),      cmocka_unit_test(test_templates),  cmocka_unit_test(test_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
