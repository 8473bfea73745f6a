/* What registries and S3 servers send. The first byte chooses: '0' an image manifest of any maker, '1' an index, '2' a
 * list of a bucket, '3' a challenge, '4' a reference of an image, '5' a file of passwords, '6' an INI file, '7' the
 * configuration of an image, '8' an address to be signed, '9' a netrc. What is accepted must be within its limits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "store/source/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(ig_status st, const ig_error *e)
{
    if (st != IG_OK && (!e->text[0] || st == IG_BUG)) abort();
}

static void read_image(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    (void)text;
    ig_status st = ig_image_plan(s, "https://host/blobs", NULL, plan, NULL, e);
    check(st, e);
    size_t weights = 0;
    for (size_t i = 0; st == IG_OK && i < plan->n; i++) {
        const ig_item *item = &plan->items[i];
        if (!item->url || !item->has_digest || ig_digest_parse(item->digest.hex, &(ig_digest){0}, NULL) != IG_OK)
            abort();
        if (!item->text && !ig_file_name_valid(item->name)) abort();
        if (item->text && item->size > IG_TEXT_BYTES_MAX) abort();
        weights += item->role == IG_ROLE_WEIGHTS;
    }
    if (st == IG_OK && weights == 0) abort();
}

static void read_index(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    ig_digest list[4];
    size_t n;
    bool is_index;
    (void)text, (void)plan;
    check(ig_image_index(s, list, 4, &n, &is_index, e), e);
    if (n > 4) abort();
    for (size_t i = 0; i < n; i++)
        if (ig_digest_parse(list[i].hex, &(ig_digest){0}, NULL) != IG_OK) abort();
}

static bool on_key(void *ctx, const char *key, uint64_t size)
{
    (void)ctx, (void)size;
    if (strlen(key) > 1200 || !ig_utf8_valid(key, strlen(key))) abort();
    return true;
}

static void read_list(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    ig_s3_listing page;
    (void)text, (void)plan;
    check(ig_s3_read_listing(s, on_key, NULL, &page, e), e);
    if (strlen(page.next) >= sizeof page.next) abort();
}

static void read_challenge(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    ig_challenge c;
    (void)s, (void)plan, (void)e;
    if (ig_challenge_parse(text, &c) && !c.realm[0]) abort();
}

static void read_reference(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    ig_image_ref r, again;
    char whole[1024];
    (void)s, (void)plan;
    ig_status st = ig_image_ref_parse(text, &r, e);
    check(st, e);
    if (st != IG_OK) return;
    if (strstr(r.repository, "..") || strpbrk(r.host, "/@?# ") || strpbrk(r.tag, "/@?# :")) abort();
    (void)snprintf(whole, sizeof whole, "%s/%s%s%s%s%s", r.host, r.repository, r.tag[0] ? ":" : "", r.tag,
                   r.has_digest ? "@sha256:" : "", r.has_digest ? r.digest.hex : "");
    if (ig_image_ref_parse(whole, &again, NULL) != IG_OK || strcmp(again.repository, r.repository) != 0) abort();
}

static void read_passwords(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    const char *basic;
    (void)text;
    ig_status st = ig_auth_parse(s, "host:5000", &plan->arena, &basic, e);
    check(st, e);
    if (st == IG_OK && basic && strpbrk(basic, "\r\n")) abort();
}

static void read_netrc(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    const char *basic;
    (void)text;
    ig_status st = ig_netrc_parse(s, "host:5000", &plan->arena, &basic, e);
    check(st, e);
    if (st == IG_OK && basic && strpbrk(basic, "\r\n")) abort();
}

static void read_ini(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    char out[16];
    (void)text, (void)plan, (void)e;
    if (ig_ini_find(s, "default", "key", out, sizeof out) && strlen(out) >= sizeof out) abort();
}

static void read_config(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    (void)text;
    check(ig_image_licences(s, plan, e), e);
}

static void no_header(void *ctx, const char *name, const char *value) { (void)ctx, (void)name, (void)value; }

static void sign(ig_str s, const char *text, ig_plan *plan, ig_error *e)
{
    static const ig_s3_key key = {.id = "id", .secret = "secret", .region = "r"};
    (void)s, (void)plan, (void)e;
    (void)ig_s3_sign(&key, "GET", text, NULL, 0, no_header, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(ig_str s, const char *text, ig_plan *plan, ig_error *e) = {
        read_image,     read_index, read_list,   read_challenge, read_reference,
        read_passwords, read_ini,   read_config, sign,           read_netrc};
    ig_plan plan = {.arena = {.max_bytes = 16 << 20}};
    ig_error e = {0};
    if (size < 1 || data[0] < '0' || data[0] > '9') return 0;
    char *text = malloc(size); /* with a NUL; the other copy is of its very size */
    if (text) {
        memcpy(text, data + 1, size - 1);
        text[size - 1] = 0;
        char *tight = size > 1 ? malloc(size - 1) : NULL;
        if (tight) memcpy(tight, data + 1, size - 1);
        readers[data[0] - '0']((ig_str){tight ? tight : "", tight ? size - 1 : 0}, text, &plan, &e);
        free(tight);
    }
    free(text);
    ig_arena_fini(&plan.arena);
    return 0;
}
