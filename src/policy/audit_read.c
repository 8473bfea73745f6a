/* Reading the audit log: its files in order, their lines in bounded memory, and verification. Changes nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_inner.h"
#include "base/disk.h"
#include "base/os.h"

enum { PROBLEMS_MAX = 100 };

/* ------------------------------------------------------------------------------------------------ files */

void ig_audit_file_name(uint64_t seq, char out[IG_AUDIT_NAME_BYTES])
{
    snprintf(out, IG_AUDIT_NAME_BYTES, "audit-%012llu.jsonl", (unsigned long long)seq);
}

static bool number_of(const char *name, uint64_t *seq)
{
    char again[IG_AUDIT_NAME_BYTES];
    if (strncmp(name, "audit-", 6) || name[6] < '0' || name[6] > '9' || strlen(name) >= IG_AUDIT_NAME_BYTES)
        return false;
    *seq = strtoull(name + 6, NULL, 10);
    ig_audit_file_name(*seq, again);
    return *seq > 0 && !strcmp(again, name);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool add_number(uint64_t **list, size_t *n, size_t *cap, uint64_t seq)
{
    if (*n == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        uint64_t *grown = more > IG_AUDIT_FILES_MAX ? NULL : ig_realloc(*list, more, sizeof **list);
        if (!grown) return false;
        *list = grown;
        *cap = more;
    }
    (*list)[(*n)++] = seq;
    return true;
}

ig_status ig_audit_files(int dir, uint64_t **out, size_t *n, ig_error *err)
{
    size_t cap = 0;
    uint64_t seq;
    *out = NULL;
    *n = 0;
    int fd = ig_disk_open(dir, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int e = errno;
        if (fd >= 0) close(fd);
        return ig_fail_errno(err, IG_IO, e, "cannot list the folder of the audit log");
    }
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));)
        if (number_of(e->d_name, &seq)) ok = add_number(out, n, &cap, seq);
    closedir(d);
    if (!ok) {
        ig_free(*out);
        *out = NULL;
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the audit log");
    }
    if (*n) qsort(*out, *n, sizeof **out, by_number);
    return IG_OK;
}

ig_status ig_audit_key_read(int dir, const char *path, bool secret, unsigned char out[32], ig_error *err)
{
    char text[80];
    struct stat sb;
    int fd = ig_disk_open_regular(dir, path, O_RDONLY, &sb);
    if (fd < 0)
        return ig_fail_errno(err, errno == ENOENT ? IG_NOT_FOUND : IG_IO, errno, "cannot read the key %.200s", path);
    ssize_t n = ig_disk_read_at(fd, text, sizeof text, 0);
    close(fd);
    if (secret && (sb.st_mode & 077))
        return ig_fail(err, IG_DENIED, 0, "others may read the key %.200s; type: chmod 600 %.200s", path, path);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r')) n--;
    bool ok = n == 64 && ig_audit_unhex((ig_str){text, 64}, out, 32);
    OPENSSL_cleanse(text, sizeof text);
    return ok ? IG_OK : ig_fail(err, IG_BAD_INPUT, 0, "%.200s is no key: expected 64 hex digits", path);
}

/* ------------------------------------------------------------------------------------------------ lines */

bool ig_audit_lines_init(ig_audit_lines *l, int fd)
{
    *l = (ig_audit_lines){.fd = fd, .buf = ig_alloc(IG_AUDIT_LINE_MAX + 2)};
    return l->buf != NULL;
}

void ig_audit_lines_fini(ig_audit_lines *l)
{
    ig_free(l->buf);
    *l = (ig_audit_lines){.fd = -1};
}

static bool fill(ig_audit_lines *l)
{
    memmove(l->buf, l->buf + l->at, l->n - l->at);
    l->n -= l->at;
    l->at = 0;
    ssize_t got = ig_disk_read_at(l->fd, l->buf + l->n, IG_AUDIT_LINE_MAX + 2 - l->n, l->offset + l->n);
    if (got < 0) l->failed = true;
    if (got <= 0) l->at_end = true;
    l->n += got > 0 ? (size_t)got : 0;
    return got > 0;
}

bool ig_audit_lines_next(ig_audit_lines *l, ig_str *line)
{
    for (;;) {
        char *from = l->buf + l->at, *end = memchr(from, '\n', l->n - l->at);
        size_t here = l->n - l->at;
        bool full = l->at == 0 && l->n == IG_AUDIT_LINE_MAX + 2;
        if (!end && !full && !l->at_end && fill(l)) continue;
        if (l->failed || (!end && here == 0)) return false;
        from = l->buf + l->at;
        l->whole = end != NULL;
        *line = (ig_str){from, end ? (size_t)(end - from) : here};
        l->too_long = line->len > IG_AUDIT_LINE_MAX;
        l->at += line->len + l->whole;
        return true;
    }
}

/* ------------------------------------------------------------------------------------------------ verification */

typedef struct walk {
    const ig_audit_verify_options *o;
    ig_audit_check *out;
    unsigned char pub[32];
    const char *file;
    uint64_t offset;
    bool first, stop;
    struct {
        uint64_t seq;
        char prev[65], sig[129];
        bool there, met;
        const char *name;
    } heads[2]; /* seals that are known from elsewhere */
} walk;

__attribute__((format(printf, 2, 3))) static void problem(walk *w, const char *format, ...)
{
    ig_error e;
    char text[400];
    va_list args;
    if (++w->out->n_problems > PROBLEMS_MAX) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ig_fail(&e, IG_OK, 0, "%s", text); /* no control characters */
    if (w->o->problem) w->o->problem(w->o->ctx, w->file, w->offset, e.text);
}

static bool signature_fits(const unsigned char pub[32], const ig_audit_line *l)
{
    unsigned char sig[64];
    char text[256];
    if (!ig_audit_unhex(l->sig, sig, sizeof sig)) return false;
    size_t n = ig_audit_sealed_text(text, l->seq, l->at, l->prev);
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, 32);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = key && c && EVP_DigestVerifyInit(c, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestVerify(c, sig, sizeof sig, (const unsigned char *)text, n) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    return ok;
}

static void meet_heads(walk *w, const ig_audit_line *l)
{
    for (int i = 0; i < 2; i++) {
        if (!w->heads[i].there || w->heads[i].seq != l->seq) continue;
        w->heads[i].met = true;
        if (!ig_str_is(l->prev, w->heads[i].prev) || !ig_str_is(l->sig, w->heads[i].sig))
            problem(w, "record %llu is not the one that %s holds", (unsigned long long)l->seq, w->heads[i].name);
    }
}

static void check_seal(walk *w, const ig_audit_line *l)
{
    if (!signature_fits(w->pub, l)) {
        problem(w, "seal %llu is not signed by key %s", (unsigned long long)l->seq, w->out->key_id);
        return;
    }
    w->out->n_seals++;
    w->out->sealed_seq = l->seq;
}

static void check_place(walk *w, const ig_audit_line *l)
{
    ig_audit_check *c = w->out;
    if (w->first) {
        c->first_seq = l->seq;
        if (l->seq == 1 && !ig_str_is(l->prev, IG_AUDIT_ZEROS)) problem(w, "record 1 says that another came before it");
        if (l->seq != 1 && !w->o->partial)
            problem(w, "records 1 to %llu are missing", (unsigned long long)(l->seq - 1));
        if (l->seq != 1 && w->o->partial && (!ig_str_is(l->kind, "seal") || !signature_fits(w->pub, l)))
            problem(w, "the first record that is there, %llu, is no valid seal", (unsigned long long)l->seq);
    } else if (l->seq != c->last_seq + 1)
        problem(w, "record %llu follows record %llu: %s", (unsigned long long)l->seq, (unsigned long long)c->last_seq,
                l->seq > c->last_seq ? "some between are missing" : "the order was changed or records were repeated");
    else if (!ig_str_is(l->prev, c->last_hash))
        problem(w, "record %llu does not follow the record before it: one of them was replaced",
                (unsigned long long)l->seq);
}

static void take_line(walk *w, ig_str text, const ig_audit_lines *from)
{
    ig_audit_line l;
    ig_error e;
    w->offset = from->offset;
    if (!from->whole && w->out->live) return;
    if (!from->whole) {
        problem(w, "the file ends within a record (%zu bytes); the service cuts it off when it starts", text.len);
        return;
    }
    if (ig_audit_line_read(text, &l, &e) != IG_OK) {
        problem(w, "%s", e.text);
        return;
    }
    check_place(w, &l);
    w->first = false;
    w->out->n_records++;
    w->out->last_seq = l.seq;
    snprintf(w->out->last_hash, sizeof w->out->last_hash, "%.*s", (int)l.hash.len, l.hash.ptr);
    if (ig_str_is(l.kind, "seal")) check_seal(w, &l);
    if (ig_str_is(l.kind, "damage")) problem(w, "record %llu tells of damage", (unsigned long long)l.seq);
    meet_heads(w, &l);
    if (w->o->record && !w->o->record(w->o->ctx, &l)) w->stop = true;
}

static ig_status walk_file(walk *w, int dir, uint64_t seq, ig_error *err)
{
    char name[IG_AUDIT_NAME_BYTES];
    ig_audit_file_name(seq, name);
    w->file = name;
    w->offset = 0;
    int fd = ig_disk_open_regular(dir, name, O_RDONLY, NULL);
    if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read %s of the audit log", name);
    ig_audit_lines lines;
    ig_str text;
    if (!ig_audit_lines_init(&lines, fd)) {
        close(fd);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for reading the audit log");
    }
    while (!w->stop && ig_audit_lines_next(&lines, &text)) {
        take_line(w, text, &lines);
        lines.offset += text.len + lines.whole;
    }
    bool failed = lines.failed;
    int e = errno;
    ig_audit_lines_fini(&lines);
    close(fd);
    w->file = "";
    w->out->n_files++;
    return failed ? ig_fail_errno(err, IG_IO, e, "cannot read %s of the audit log", name) : IG_OK;
}

/* A copy of a seal's line. Its own signature must be right, or anybody could lay one down. */
static void read_head(walk *w, int i, int dir, const char *path, const char *name)
{
    static const size_t max = 4096;
    ig_audit_line l;
    ig_error e;
    char text[4096];
    w->heads[i].name = name;
    int fd = ig_disk_open_regular(dir, path, O_RDONLY, NULL);
    if (fd < 0) {
        if (errno != ENOENT || i == 1) problem(w, "%s cannot be read", name);
        return;
    }
    ssize_t n = ig_disk_read_at(fd, text, max, 0);
    close(fd);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r')) n--;
    if (n <= 0 || ig_audit_line_read((ig_str){text, (size_t)n}, &l, &e) != IG_OK || !ig_str_is(l.kind, "seal") ||
        l.sig.len != 128 || !signature_fits(w->pub, &l)) {
        problem(w, "%s is no seal signed by key %s", name, w->out->key_id);
        return;
    }
    w->heads[i].there = true;
    w->heads[i].seq = l.seq;
    snprintf(w->heads[i].prev, sizeof w->heads[i].prev, "%.*s", (int)l.prev.len, l.prev.ptr);
    snprintf(w->heads[i].sig, sizeof w->heads[i].sig, "%.*s", (int)l.sig.len, l.sig.ptr);
}

static ig_status read_pub(walk *w, int dir, ig_error *err)
{
    const char *path = w->o->key_file;
    IG_TRY(ig_audit_key_read(path ? AT_FDCWD : dir, path ? path : "audit.pub", false, w->pub, err));
    ig_audit_key_id(w->pub, w->out->key_id);
    return IG_OK;
}

static bool is_live(int dir)
{
    int fd = ig_disk_open_regular(dir, "lock", O_RDONLY, NULL);
    bool live = fd >= 0 && !ig_disk_lock(fd, false, false);
    if (fd >= 0) close(fd);
    return live;
}

static ig_status verify_in(walk *w, int dir, ig_error *err)
{
    uint64_t *files;
    size_t n;
    IG_TRY(read_pub(w, dir, err));
    w->out->live = is_live(dir);
    read_head(w, 0, dir, "audit.head", "audit.head");
    if (w->o->head_file) read_head(w, 1, AT_FDCWD, w->o->head_file, "the head kept elsewhere");
    IG_TRY(ig_audit_files(dir, &files, &n, err));
    ig_status st = IG_OK;
    for (size_t i = 0; st == IG_OK && i < n && !w->stop; i++) st = walk_file(w, dir, files[i], err);
    ig_free(files);
    for (int i = 0; st == IG_OK && !w->stop && i < 2; i++)
        if (w->heads[i].there && !w->heads[i].met)
            problem(w, "the log ends at record %llu, but %s was made at record %llu: the rest was taken away",
                    (unsigned long long)w->out->last_seq, w->heads[i].name, (unsigned long long)w->heads[i].seq);
    return st;
}

ig_status ig_audit_verify(const char *folder, const ig_audit_verify_options *options, ig_audit_check *out,
                          ig_error *err)
{
    static const ig_audit_verify_options none = {0};
    walk w = {.o = options ? options : &none, .out = out, .file = "", .first = true};
    *out = (ig_audit_check){0};
    int dir = ig_disk_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return ig_fail_errno(err, errno == ENOENT ? IG_NOT_FOUND : IG_IO, errno, "there is no audit log in %.200s",
                             folder);
    ig_status st = verify_in(&w, dir, err);
    close(dir);
    return st;
}
