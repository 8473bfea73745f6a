/* hf://ORG/REPO[@REV][:FILE or QUANT] of the Hugging Face hub. The revision is resolved to a commit first and every
 * address names that commit, so that all files are of one moment. What the hub's own cache holds is taken from there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "source.h"

enum { VALUES_MAX = 2000000, PAGES_MAX = 100, GROUPS_MAX = 512, PART_MAX = 100 };
#define STANDARD_QUANT "Q4_K_M"

typedef struct where {
    char org[PART_MAX], repo[PART_MAX], rev[PART_MAX];
    char want[300]; /* or "" */
} where;

/* ------------------------------------------------------------------------------------------------ the address */

static const char *without_scheme(const char *address)
{
    static const char *const heads[] = {"hf://", "hf.co/", "huggingface.co/", "https://huggingface.co/",
                                        "https://hf.co/"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        size_t n = strlen(heads[i]);
        if (strncasecmp(address, heads[i], n)) continue;
        if (i >= 3 && strstr(address + n, "/resolve/")) return NULL; /* an address of one file: https */
        return address + n;
    }
    return NULL;
}

static bool fits(const char *address) { return without_scheme(address) != NULL; }

/* Copies up to one of the characters in `until`; false when it is empty, too long or has other characters. */
static bool take_part(const char **p, const char *until, bool slashes, char *out, size_t cap)
{
    size_t n = strcspn(*p, until);
    if (n == 0 || n >= cap) return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)(*p)[i];
        bool ok =
            (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || strchr("._-", c) || (slashes && c == '/');
        if (!ok) return false;
    }
    memcpy(out, *p, n);
    out[n] = 0;
    *p += n;
    return out[0] != '.' && out[0] != '/' && !strstr(out, "..");
}

static ig_status parse(const char *address, where *w, ig_error *err)
{
    const char *p = without_scheme(address);
    *w = (where){.rev = "main"};
    bool ok = take_part(&p, "/", false, w->org, sizeof w->org) && *p == '/';
    if (ok) p++, ok = take_part(&p, "@:/", false, w->repo, sizeof w->repo);
    if (ok && *p == '@') p++, ok = take_part(&p, ":", true, w->rev, sizeof w->rev);
    if (ok && *p == ':') {
        p++;
        ok = *p && strlen(p) < sizeof w->want && ig_file_name_valid(p);
        if (ok) (void)snprintf(w->want, sizeof w->want, "%s", p), p += strlen(p);
    }
    if (!strcmp(w->want, "latest")) w->want[0] = 0; /* a name's usual tag says nothing */
    return ok && !*p ? IG_OK
                     : ig_fail(err, IG_BAD_INPUT, 0,
                               "\"%.200s\" is no address of the hub, expected "
                               "hf://ORG/REPO[@REV][:FILE or QUANT]",
                               address);
}

/* ------------------------------------------------------------------------------------------------ choosing */

typedef struct group {
    const char *path; /* of its first part; borrowed from the listing */
    size_t stem_len;  /* of the path, without -00001-of-00002.gguf or .gguf */
} group;

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_model_gguf(const char *path)
{
    const char *name = base_of(path);
    return ig_ends(path, ".gguf") && strncasecmp(name, "mmproj", 6) && !strcasestr(name, "-mmproj") &&
           !strcasestr(name, "imatrix");
}

static size_t group_stem(const char *path)
{
    unsigned i, n;
    size_t stem, base = (size_t)(base_of(path) - path);
    return ig_split_name(path + base, &i, &n, &stem) ? base + stem : strlen(path) - 5;
}

/* The path holds the word, and no letter, digit or '_' beside it. */
static bool holds_word(const char *path, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = path; (p = strcasestr(p, word)); p++) {
        char before = p == path ? '/' : p[-1], after = p[n];
        bool open = !strchr("_0123456789", before) && !((before | 32) >= 'a' && (before | 32) <= 'z');
        bool closed = !after || (!strchr("_0123456789", after) && !((after | 32) >= 'a' && (after | 32) <= 'z'));
        if (open && closed) return true;
    }
    return false;
}

static size_t find_groups(const json_t *list, const char *want, group *groups)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list) && n < GROUPS_MAX; i++) {
        const char *path = ig_json_text(json_array_get(list, i), "path");
        if (!path || !is_model_gguf(path)) continue;
        bool exact = want && (!strcmp(path, want) || !strcmp(base_of(path), want));
        if (want && !exact && !holds_word(path, want)) continue;
        size_t stem = group_stem(path), k = 0;
        while (k < n && (groups[k].stem_len != stem || strncmp(groups[k].path, path, stem))) k++;
        if (k == n) groups[n++] = (group){path, stem};
        if (!exact) continue;
        groups[0] = groups[k];
        return 1;
    }
    return n;
}

static ig_status too_many(const group *groups, size_t n, const char *want, ig_error *err)
{
    char names[300] = "";
    for (size_t i = 0, at = 0; i < n && at + 70 < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%.60s", i ? ", " : "", base_of(groups[i].path));
    return ig_fail(err, IG_BAD_INPUT, 0, "%zu files of the repository fit%s%.60s, name one behind a colon: %s", n,
                   want ? " " : "", want ? want : "", names);
}

static ig_status add_entry(const json_t *entry, const char *name, ig_role role, ig_plan *plan, ig_error *err)
{
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *path = ig_json_text(entry, "path"), *sha256 = ig_json_text(lfs, "oid"),
               *sha1 = ig_json_text(entry, "oid");
    ig_item item = {.role = role, .take = IG_TAKE_LINK};
    item.url = ig_plan_text(plan, path);
    item.name = ig_plan_text(plan, name);
    if (!item.url || !item.name) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of files");
    item.has_size = ig_json_size(lfs ? lfs : entry, "size", &item.size) || ig_json_size(entry, "size", &item.size);
    item.has_digest = sha256 && ig_digest_parse(sha256, &item.digest, NULL) == IG_OK;
    if (lfs && !item.has_digest) return ig_fail(err, IG_BAD_INPUT, 0, "the hub tells no digest of %.150s", path);
    if (!item.has_digest && sha1 && strlen(sha1) == 40) memcpy(item.sha1, sha1, 41);
    return ig_plan_add(plan, &item, err);
}

static ig_status add_group(const json_t *list, const group *g, ig_plan *plan, ig_error *err)
{
    unsigned index, parts = 1;
    size_t stem;
    (void)ig_split_name(base_of(g->path), &index, &parts, &stem);
    for (unsigned want = 1; want <= parts; want++) {
        size_t i = 0;
        for (; i < json_array_size(list); i++) {
            const char *path = ig_json_text(json_array_get(list, i), "path");
            unsigned n = 1;
            if (!path || !is_model_gguf(path) || group_stem(path) != g->stem_len || strncmp(path, g->path, g->stem_len))
                continue;
            index = 1;
            (void)ig_split_name(base_of(path), &index, &n, &stem);
            if (index == want && n == parts) break;
        }
        if (i == json_array_size(list))
            return ig_fail(err, IG_NOT_FOUND, 0, "the repository lacks part %u of %u of %.150s", want, parts, g->path);
        const json_t *entry = json_array_get(list, i);
        IG_TRY(add_entry(entry, base_of(ig_json_text(entry, "path")), IG_ROLE_WEIGHTS, plan, err));
    }
    plan->m.format = "gguf";
    return IG_OK;
}

static ig_status add_directory(const json_t *list, ig_plan *plan, ig_error *err)
{
    size_t weights = 0, config = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *path = ig_json_text(entry, "path");
        ig_role role;
        if (!path || !ig_file_name_valid(path) || !ig_directory_file(path, &role)) continue;
        weights += role == IG_ROLE_WEIGHTS;
        config += !strcmp(path, "config.json");
        IG_TRY(add_entry(entry, path, role, plan, err));
    }
    plan->m.format = "safetensors";
    if (weights && config) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0,
                   "the repository holds neither GGUF files nor config.json with safetensors; "
                   "files of pickles (.bin, .pt) are never opened");
}

static ig_status choose(const json_t *list, const char *want, ig_plan *plan, group *groups, ig_error *err)
{
    size_t n = find_groups(list, want, groups);
    if (n == 0 && want && find_groups(list, NULL, groups))
        return ig_fail(err, IG_NOT_FOUND, 0, "no GGUF file of the repository fits %.100s, one that is there: %.200s",
                       want, base_of(groups[0].path));
    if (n == 0) return add_directory(list, plan, err);
    if (n > 1 && !want) {
        group some[GROUPS_MAX];
        size_t m = find_groups(list, STANDARD_QUANT, some);
        if (m == 1) return add_group(list, &some[0], plan, err);
    }
    return n == 1 ? add_group(list, &groups[0], plan, err) : too_many(groups, n, want, err);
}

static ig_status choose_from(const json_t *list, const char *want, ig_plan *plan, ig_error *err)
{
    group *groups = ig_alloc(GROUPS_MAX * sizeof *groups);
    if (!groups) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of files");
    ig_status st = choose(list, want, plan, groups, err);
    ig_free(groups);
    return st;
}

ig_status ig_hub_plan(ig_str listing, const char *want, ig_plan *plan, ig_error *err)
{
    json_t *list;
    IG_TRY(ig_store_json("the hub's listing", listing, VALUES_MAX, &list, err));
    ig_status st = json_is_array(list) ? choose_from(list, want, plan, err)
                                       : ig_fail(err, IG_BAD_INPUT, 0, "the hub's listing is no list");
    json_decref(list);
    return st;
}

/* ------------------------------------------------------------------------------------------------ asking the hub */

typedef struct hub {
    ig_asker *a;
    where w;
    ig_plan *plan;
    char endpoint[512], commit[PART_MAX];
    char cache[1024]; /* .../models--org--repo of the hub's own cache, or "" */
} hub;

static void find_cache(hub *h)
{
    const char *own = getenv("HF_HUB_CACHE"), *base = getenv("HF_HOME"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    char root[700] = "";
    if (own && *own)
        (void)snprintf(root, sizeof root, "%s", own);
    else if (base && *base)
        (void)snprintf(root, sizeof root, "%s/hub", base);
    else if (xdg && *xdg)
        (void)snprintf(root, sizeof root, "%s/huggingface/hub", xdg);
    else if (home && *home)
        (void)snprintf(root, sizeof root, "%s/.cache/huggingface/hub", home);
    if (root[0] != '/' || h->a->o->no_files) return;
    (void)snprintf(h->cache, sizeof h->cache, "%s/models--%s--%s", root, h->w.org, h->w.repo);
    if (!ig_is_directory(h->cache)) h->cache[0] = 0;
}

/* HF_TOKEN, or the file that the hub's own tool writes. */
static ig_status find_token(hub *h, ig_error *err)
{
    const char *token = getenv("HF_TOKEN"), *base = getenv("HF_HOME"), *home = getenv("HOME");
    char path[1024] = "";
    struct stat sb;
    ig_buf buf;
    if (token && *token) {
        h->plan->bearer = ig_plan_text(h->plan, token);
        return IG_OK;
    }
    if (base && *base)
        (void)snprintf(path, sizeof path, "%s/token", base);
    else if (home && *home)
        (void)snprintf(path, sizeof path, "%s/.cache/huggingface/token", home);
    ig_buf_init(&buf, 1000);
    if (path[0] && ig_file_read(path, &buf, NULL) == IG_OK && ig_buf_add(&buf, "", 1)) {
        buf.ptr[strcspn(buf.ptr, " \r\n\t")] = 0;
        if (buf.ptr[0]) h->plan->bearer = ig_plan_text(h->plan, buf.ptr);
    }
    ig_buf_fini(&buf);
    if (h->plan->bearer && (stat(path, &sb) < 0 || (sb.st_mode & (S_IRWXG | S_IRWXO))))
        return ig_fail(err, IG_DENIED, 0, "%.250s holds a token and others may read it. Type: chmod 600 %.200s", path,
                       path);
    return IG_OK;
}

static void read_card(hub *h, const json_t *info)
{
    const json_t *card = json_object_get(info, "cardData"), *base = json_object_get(card, "base_model");
    if (json_is_array(base)) base = json_array_get(base, 0);
    h->plan->m.licence = ig_plan_text(h->plan, ig_json_text(card, "license"));
    h->plan->m.base = ig_plan_text(h->plan, json_string_value(base));
}

static ig_status ask_commit(hub *h, ig_error *err)
{
    char url[IG_URL_MAX], rev[PART_MAX * 3];
    ig_http_reply reply;
    ig_buf body;
    json_t *j;
    for (size_t i = 0, n = 0; n < sizeof rev && (i == 0 || h->w.rev[i - 1]); i++) /* a branch may have slashes */
        n += (size_t)snprintf(rev + n, sizeof rev - n, h->w.rev[i] == '/' ? "%%2F" : "%.1s", &h->w.rev[i]);
    (void)snprintf(url, sizeof url, "%s/api/models/%s/%s/revision/%s", h->endpoint, h->w.org, h->w.repo, rev);
    IG_TRY(ig_http_get(h->a, url, "application/json", h->plan->bearer, IG_LISTING_BYTES_MAX, &body, &reply, err));
    ig_status st = ig_store_json(url, (ig_str){body.ptr ? body.ptr : "", body.len}, VALUES_MAX, &j, err);
    ig_buf_fini(&body);
    IG_TRY(st);
    const char *sha = ig_json_text(j, "sha");
    size_t n = sha ? strspn(sha, "0123456789abcdef") : 0;
    if (n >= 7 && n < sizeof h->commit && !sha[n])
        memcpy(h->commit, sha, n + 1);
    else
        st = ig_fail(err, IG_BAD_INPUT, 0, "the hub tells no commit of %.60s/%.60s", h->w.org, h->w.repo);
    read_card(h, j);
    json_decref(j);
    return st;
}

static ig_status ask_page(hub *h, json_t *list, char url[IG_URL_MAX], ig_error *err)
{
    char origin[IG_URL_MAX], own[IG_URL_MAX];
    ig_http_reply reply;
    ig_buf body;
    json_t *page;
    IG_TRY(ig_http_get(h->a, url, "application/json", h->plan->bearer, IG_LISTING_BYTES_MAX, &body, &reply, err));
    ig_status st =
        ig_store_json("the hub's listing", (ig_str){body.ptr ? body.ptr : "", body.len}, VALUES_MAX, &page, err);
    ig_buf_fini(&body);
    IG_TRY(st);
    if (!json_is_array(page) || json_array_extend(list, page) < 0 || json_array_size(list) > VALUES_MAX / 4)
        st = ig_fail(err, IG_BAD_INPUT, 0, "the hub's listing is no list, or an endless one");
    json_decref(page);
    bool same = ig_url_origin(reply.next, origin, sizeof origin) && ig_url_origin(h->endpoint, own, sizeof own) &&
                !strcasecmp(origin, own); /* the token goes nowhere else */
    (void)snprintf(url, IG_URL_MAX, "%s", same ? reply.next : "");
    return st;
}

static ig_status ask_listing(hub *h, json_t *list, ig_error *err)
{
    char url[IG_URL_MAX];
    (void)snprintf(url, sizeof url, "%s/api/models/%s/%s/tree/%s?recursive=1", h->endpoint, h->w.org, h->w.repo,
                   h->commit);
    for (unsigned i = 0; i < PAGES_MAX && url[0]; i++) IG_TRY(ask_page(h, list, url, err));
    return url[0] ? ig_fail(err, IG_TOO_LARGE, 0, "the hub's listing has more than %d pages", (int)PAGES_MAX) : IG_OK;
}

/* ------------------------------------------------------------------------------------------------ the hub's cache */

/* The commit that the cache has for the revision. */
static bool cached_commit(hub *h)
{
    char path[1300];
    ig_buf buf;
    if (!h->cache[0]) return false;
    (void)snprintf(path, sizeof path, "%s/refs/%s", h->cache, h->w.rev);
    ig_buf_init(&buf, sizeof h->commit - 1);
    bool ok = ig_file_read(path, &buf, NULL) == IG_OK;
    if (ok) (void)snprintf(h->commit, sizeof h->commit, "%.*s", (int)buf.len, buf.ptr ? buf.ptr : "");
    ig_buf_fini(&buf);
    h->commit[strspn(h->commit, "0123456789abcdef")] = 0;
    return ok && h->commit[0];
}

static bool list_cached(void *ctx, int dir, const char *entry)
{
    struct stat sb;
    char target[512];
    ig_digest d;
    if (fstatat(dir, entry, &sb, 0) < 0 || !S_ISREG(sb.st_mode)) return true;
    ssize_t n = readlinkat(dir, entry, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    bool sum = n > 0 && ig_digest_parse(base_of(target), &d, NULL) == IG_OK; /* large files are named by SHA-256 */
    json_t *item =
        sum ? json_pack("{s:s, s:I, s:{s:s}}", "path", entry, "size", (json_int_t)sb.st_size, "lfs", "oid", d.hex)
            : json_pack("{s:s, s:I}", "path", entry, "size", (json_int_t)sb.st_size);
    return json_array_append_new(ctx, item) == 0;
}

/* Addresses of all items, and what the cache has of them. */
static ig_status set_places(hub *h, bool offline, ig_error *err)
{
    for (size_t i = 0; i < h->plan->n; i++) {
        ig_item *item = &h->plan->items[i];
        char escaped[IG_URL_MAX / 2], path[2048];
        struct stat sb;
        const char *file = item->url;
        if (!ig_file_name_valid(file) || !ig_url_escape(file, escaped, sizeof escaped))
            return ig_fail(err, IG_BAD_INPUT, 0, "the hub names a file \"%.150s\"", file);
        item->url = offline ? NULL
                            : ig_plan_printf(h->plan, "%s/%s/%s/resolve/%s/%s", h->endpoint, h->w.org, h->w.repo,
                                             h->commit, escaped);
        (void)snprintf(path, sizeof path, "%s/snapshots/%s/%s", h->cache, h->commit, file);
        if (h->cache[0] && stat(path, &sb) == 0 && S_ISREG(sb.st_mode) &&
            (!item->has_size || (uint64_t)sb.st_size == item->size))
            item->local = ig_plan_text(h->plan, path);
        if (!item->url && !item->local) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the addresses");
    }
    return IG_OK;
}

static ig_status set_name(hub *h, ig_error *err)
{
    char text[IG_NAME_MAX * 2], tag[128] = "latest";
    const char *want = h->w.want;
    ig_name from;
    if (!want[0] && h->plan->n && holds_word(h->plan->items[0].name, STANDARD_QUANT)) want = STANDARD_QUANT;
    if (want[0] && ig_name_from(base_of(want), &from, NULL) == IG_OK)
        (void)snprintf(tag, sizeof tag, "%.*s", (int)(strcspn(from.text, ":") - (ig_ends(want, ".gguf") ? 5 : 0)),
                       from.text);
    (void)snprintf(text, sizeof text, "hf.co/%s/%s:%s", h->w.org, h->w.repo, tag);
    return ig_name_parse(text, &h->plan->m.name, err);
}

static ig_status ask_or_cache(hub *h, json_t *list, bool *offline, ig_error *err)
{
    ig_status st = ask_commit(h, err);
    *offline = false;
    if (st == IG_OK) return ask_listing(h, list, err);
    if (st != IG_IO || !cached_commit(h)) return st;
    char path[1300], note[700];
    (void)snprintf(note, sizeof note, "the hub cannot be reached, its cache is used: %s", err ? err->text : "");
    if (!ig_asker_note(h->a, IG_PULL_ASKING, h->endpoint, note))
        return ig_fail(err, IG_CANCELLED, 0, "the pull was cancelled");
    (void)snprintf(path, sizeof path, "%s/snapshots/%s", h->cache, h->commit);
    *offline = true;
    return ig_folder_walk(AT_FDCWD, path, list_cached, list, err);
}

static ig_status plan_of(ig_asker *a, const char *address, ig_plan *out, ig_error *err)
{
    hub h = {.a = a, .plan = out};
    bool offline;
    ig_error own;
    if (!err) err = &own;
    IG_TRY(parse(address, &h.w, err));
    (void)ig_endpoint("HF_ENDPOINT", "https://huggingface.co", h.endpoint, sizeof h.endpoint);
    find_cache(&h);
    IG_TRY(find_token(&h, err));
    json_t *list = json_array();
    if (!list) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the listing");
    ig_status st = ask_or_cache(&h, list, &offline, err);
    if (st == IG_OK) st = choose_from(list, h.w.want[0] ? h.w.want : NULL, out, err);
    json_decref(list);
    if (st == IG_OK) st = set_places(&h, offline, err);
    if (st == IG_OK) st = set_name(&h, err);
    if (st == IG_OK && !(out->m.source = ig_plan_printf(out, "hf://%s/%s@%s%s%s", h.w.org, h.w.repo, h.commit,
                                                        h.w.want[0] ? ":" : "", h.w.want)))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the source");
    return st;
}

const ig_source ig_source_hub = {
    {"hf", "hf://ORG/REPO[@REV][:FILE or QUANT]", "a repository of the Hugging Face hub"}, fits, plan_of};
