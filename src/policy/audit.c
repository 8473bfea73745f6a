/* Writing the audit log. Records get their place in the chain in memory (`pending`); a commit moves them to `writing`,
 * writes and syncs them. What failed stays in `writing` and is tried again: at the same place after a failed write, in
 * a new file after a failed sync, for what the kernel keeps of the old one then means nothing (M08). */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "audit_inner.h"
#include "base/disk.h"
#include "base/os.h"

#define PENDING_BYTES_MAX ((size_t)8 << 20)
#define BUFFER_BYTES_MAX  ((size_t)32 << 20)
#define NO_SPLIT          SIZE_MAX

struct ig_audit {
    ig_audit_options o;
    char folder[200]; /* for messages */
    int dir, lock_fd;
    EVP_PKEY *key;
    char key_id[33], boot[64];
    pthread_mutex_t lock; /* what follows, up to io */
    uint64_t seq;         /* of the next record */
    char prev[65];
    ig_buf pending;
    size_t split;            /* where in pending the next file begins; NO_SPLIT: nowhere */
    uint64_t assigned_bytes; /* of the file that the next record goes to */
    uint32_t since_seal;
    uint64_t sealed_ns;
    bool sound;
    pthread_mutex_t io; /* held while writing; guards what follows */
    int fd;             /* -1: the next write makes a file */
    uint64_t file_seq, durable_bytes, durable_seq;
    ig_buf writing;
    size_t writing_split;
    uint64_t told_seq; /* syslog has the records up to here */
    char head[1024];   /* line of the newest seal, "" when it is in audit.head */
};

/* ------------------------------------------------------------------------------------------------ lines */

static void put_at(ig_buf *b, int64_t ms)
{
    struct tm t;
    time_t s = (time_t)(ms / 1000);
    if (ms < 0 || !gmtime_r(&s, &t) || t.tm_year > 8099) s = 0, gmtime_r(&s, &t), ms = 0;
    ig_buf_printf(b, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
                  t.tm_min, t.tm_sec, (int)(ms % 1000));
}

static void begin_line(ig_audit *a, ig_buf *b, const char *kind)
{
    ig_buf_printf(b, "{\"seq\":%llu,\"at\":", (unsigned long long)a->seq);
    put_at(b, a->o.clock_ms());
    ig_buf_printf(b, ",\"boot\":\"%s\",\"mono_ms\":%llu,\"kind\":", a->boot,
                  (unsigned long long)(ig_now_ns() / 1000000));
    ig_audit_put(b, kind, strlen(kind));
}

/* Closes the line that begins at `from` and takes its place in the chain; false: nothing was added. */
static bool end_line(ig_audit *a, ig_buf *b, size_t from)
{
    char hash[65];
    ig_buf_printf(b, ",\"prev\":\"%s\"", a->prev);
    bool ok = !b->failed && ig_audit_sha(b->ptr + from, b->len - from, hash) &&
              ig_buf_printf(b, ",\"hash\":\"%s\"}\n", hash) && b->len - from <= IG_AUDIT_LINE_MAX;
    if (!ok) {
        b->len = from;
        b->failed = false;
        return false;
    }
    memcpy(a->prev, hash, sizeof hash);
    a->seq++;
    a->since_seal++;
    a->assigned_bytes += b->len - from;
    return true;
}

static void put_text(ig_buf *b, const char *name, const char *text)
{
    if (!text || !*text) return;
    ig_buf_printf(b, ",\"%s\":", name);
    size_t n = strlen(text);
    ig_audit_put(b, text, n < 4096 ? n : 4096);
}

static void put_count(ig_buf *b, const char *name, int64_t n)
{
    if (n >= 0) ig_buf_printf(b, ",\"%s\":%lld", name, (long long)n);
}

static void put_content(ig_buf *b, const ig_audit_record *r)
{
    static const size_t max = IG_AUDIT_LINE_MAX / 16; /* an escaped byte may take six */
    const struct {
        const char *name;
        ig_str text;
    } parts[] = {{"prompt", r->prompt}, {"answer", r->answer}};
    if (!r->prompt.len && !r->answer.len) return;
    ig_buf_printf(b, ",\"content\":true");
    if (r->prompt.len > max || r->answer.len > max) ig_buf_printf(b, ",\"cut\":true");
    for (size_t i = 0; i < 2; i++) {
        if (!parts[i].text.len) continue;
        ig_buf_printf(b, ",\"%s\":", parts[i].name);
        ig_audit_put(b, parts[i].text.ptr, parts[i].text.len < max ? parts[i].text.len : max);
    }
}

static void put_record(ig_audit *a, ig_buf *b, const ig_audit_record *r)
{
    begin_line(a, b, r->kind ? r->kind : "request");
    put_text(b, "request", r->request);
    put_text(b, "who", r->who);
    put_text(b, "key", r->key); /* of the caller; a seal's "key" is the log's */
    put_text(b, "app", r->app);
    put_text(b, "op", r->op);
    put_text(b, "model", r->model);
    put_text(b, "digest", r->digest);
    put_text(b, "decision", r->decision);
    put_text(b, "rule", r->rule);
    put_text(b, "ran_on", r->ran_on);
    put_text(b, "result", r->result);
    put_count(b, "tokens_in", r->n_in);
    put_count(b, "tokens_cached", r->n_cached);
    put_count(b, "tokens_out", r->n_out);
    put_count(b, "took_ms", r->took_ms);
    put_text(b, "note", r->note);
    if (a->o.content) put_content(b, r);
}

/* ------------------------------------------------------------------------------------------------ seals */

static bool sign(ig_audit *a, const char *text, size_t n, char hex[129])
{
    unsigned char sig[64];
    size_t len = sizeof sig;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestSignInit(c, NULL, NULL, NULL, a->key) == 1 &&
              EVP_DigestSign(c, sig, &len, (const unsigned char *)text, n) == 1 && len == sizeof sig;
    EVP_MD_CTX_free(c);
    if (ok) ig_audit_hex(sig, sizeof sig, hex);
    return ok;
}

/* Appends a seal to pending. */
static bool add_seal(ig_audit *a)
{
    ig_buf *b = &a->pending;
    size_t from = b->len;
    char text[256], sig[129];
    begin_line(a, b, "seal");
    ig_str line = {b->ptr ? b->ptr + from : "", b->len - from}, at = {"", 0};
    const char *mark = b->failed ? NULL : memmem(line.ptr, line.len, "\"at\":\"", 6);
    if (mark) at = (ig_str){mark + 6, 24};
    size_t n = ig_audit_sealed_text(text, a->seq, at, (ig_str){a->prev, 64});
    if (!mark || !sign(a, text, n, sig)) {
        b->len = from;
        b->failed = false;
        return false;
    }
    ig_buf_printf(b, ",\"key\":\"%s\",\"sig\":\"%s\"", a->key_id, sig);
    if (!end_line(a, b, from)) return false;
    a->since_seal = 0;
    a->sealed_ns = ig_now_ns();
    return true;
}

/* ------------------------------------------------------------------------------------------------ adding */

/* The next record begins a new file, with a seal so that the file can be verified alone. */
static void split_if_full(ig_audit *a)
{
    if (a->split != NO_SPLIT || a->assigned_bytes < a->o.segment_bytes_max) return;
    a->split = a->pending.len;
    a->assigned_bytes = 0;
    add_seal(a);
}

static ig_status add_locked(ig_audit *a, const ig_audit_record *r, ig_error *err)
{
    ig_buf *b = &a->pending;
    if (b->len > PENDING_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%zu MiB of audit records wait for the disk; no more are taken",
                       b->len >> 20);
    split_if_full(a);
    size_t from = b->len;
    put_record(a, b, r);
    if (!end_line(a, b, from)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for an audit record");
    if (a->since_seal >= a->o.seal_records) add_seal(a);
    return IG_OK;
}

ig_status ig_audit_add(ig_audit *a, const ig_audit_record *r, uint64_t *seq, ig_error *err)
{
    pthread_mutex_lock(&a->lock);
    uint64_t mine = a->seq;
    ig_status st = add_locked(a, r, err);
    if (seq) *seq = mine == a->seq ? 0 : mine;
    pthread_mutex_unlock(&a->lock);
    return st;
}

/* ------------------------------------------------------------------------------------------------ commit */

static uint64_t seq_of(const char *line)
{
    ig_str start = IG_STR("{\"seq\":");
    return strncmp(line, start.ptr, start.len) ? 0 : strtoull(line + start.len, NULL, 10);
}

static ig_status disk_failed(const ig_audit *a, int e, const char *what, ig_error *err)
{
    return ig_fail_errno(err, IG_IO, e, "the audit log %s cannot be written (%s)", a->folder, what);
}

/* A file for the records from seq on. One of that name can only be the leftover of a commit that failed. */
static ig_status new_file(ig_audit *a, uint64_t seq, ig_error *err)
{
    char name[IG_AUDIT_NAME_BYTES];
    ig_audit_file_name(seq, name);
    if (unlinkat(a->dir, name, 0) && errno != ENOENT) return disk_failed(a, errno, "removing a leftover", err);
    int fd = ig_disk_open(a->dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) return disk_failed(a, errno, "new file", err);
    if (!a->o.no_sync && !ig_disk_sync(a->dir)) {
        int e = errno;
        close(fd);
        (void)unlinkat(a->dir, name, 0);
        return disk_failed(a, e, "folder", err);
    }
    a->fd = fd;
    a->file_seq = seq;
    a->durable_bytes = 0;
    return IG_OK;
}

/* After a failed sync the file keeps what was durable before, and no more is written to it. */
static void give_up_file(ig_audit *a)
{
    char name[IG_AUDIT_NAME_BYTES];
    if (ftruncate(a->fd, (off_t)a->durable_bytes)) return; /* the next commit tries again */
    if (a->durable_bytes == 0) {
        ig_audit_file_name(a->file_seq, name);
        (void)unlinkat(a->dir, name, 0);
    }
    close(a->fd);
    a->fd = -1;
}

/* Writes and syncs the first n bytes of `writing`, and takes them out of it. */
static ig_status write_part(ig_audit *a, size_t n, ig_error *err)
{
    ig_buf *b = &a->writing;
    if (n == 0) return IG_OK;
    if (a->fd < 0) IG_TRY(new_file(a, seq_of(b->ptr), err));
    if (!ig_disk_write_at(a->fd, b->ptr, n, a->durable_bytes)) {
        int e = errno;
        (void)!ftruncate(a->fd, (off_t)a->durable_bytes); /* else the next write covers it, or opening cuts it */
        return disk_failed(a, e, "write", err);
    }
    if (!a->o.no_sync && !ig_disk_sync(a->fd)) {
        int e = errno;
        give_up_file(a);
        return disk_failed(a, e, "sync", err);
    }
    a->durable_bytes += n;
    memmove(b->ptr, b->ptr + n, b->len - n);
    b->len -= n;
    if (a->writing_split != NO_SPLIT) a->writing_split -= n < a->writing_split ? n : a->writing_split;
    return IG_OK;
}

static void to_syslog(const char *line, size_t n)
{
    static const char content[] = ",\"content\":true";
    if (n > 8000 || memmem(line, n, content, sizeof content - 1))
        syslog(LOG_AUTHPRIV | LOG_INFO, "ingle audit: record %llu has content or is long and stays in the log",
               (unsigned long long)seq_of(line));
    else
        syslog(LOG_AUTHPRIV | LOG_INFO, "ingle audit: %.*s", (int)n, line);
}

/* Looks at the lines that are about to be written: keeps the newest seal for audit.head. */
static uint64_t look_through(ig_audit *a, bool journal)
{
    const char *p = a->writing.ptr, *end = p + a->writing.len;
    uint64_t last = 0;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) break;
        size_t n = (size_t)(stop - p);
        last = seq_of(p);
        if (journal && last > a->told_seq) to_syslog(p, n), a->told_seq = last;
        if (n < sizeof a->head - 1 && memmem(p, n, "\"kind\":\"seal\",", 14))
            snprintf(a->head, sizeof a->head, "%.*s\n", (int)n, p);
        p = stop + 1;
    }
    return last;
}

/* Everything in `writing` reaches the disk, or stays there. */
static ig_status write_out(ig_audit *a, ig_error *err)
{
    if (!a->writing.len) return IG_OK;
    uint64_t last = look_through(a, a->o.journal);
    if (a->writing_split != NO_SPLIT) {
        IG_TRY(write_part(a, a->writing_split, err));
        if (a->fd >= 0) close(a->fd);
        a->fd = -1;
        a->writing_split = NO_SPLIT;
    }
    IG_TRY(write_part(a, a->writing.len, err));
    a->durable_seq = last;
    return IG_OK;
}

/* The seal is in the log already: where this copy cannot be written now, the next commit does it. */
static void write_head(ig_audit *a)
{
    if (!*a->head) return;
    if (ig_disk_write_whole(a->dir, "audit.head", a->head, strlen(a->head), 0644)) *a->head = 0;
}

static void take_pending(ig_audit *a)
{
    pthread_mutex_lock(&a->lock);
    bool old = a->since_seal > 0 && ig_now_ns() - a->sealed_ns >= (uint64_t)a->o.seal_s * 1000000000;
    if (old) add_seal(a);
    ig_buf spare = a->writing;
    a->writing = a->pending;
    a->writing_split = a->split;
    a->pending = spare;
    a->pending.len = 0;
    a->split = NO_SPLIT;
    pthread_mutex_unlock(&a->lock);
}

ig_status ig_audit_commit(ig_audit *a, ig_error *err)
{
    pthread_mutex_lock(&a->io);
    ig_status st = write_out(a, err); /* what an earlier commit could not write */
    if (st == IG_OK) {
        take_pending(a);
        st = write_out(a, err);
    }
    if (st == IG_OK) write_head(a);
    pthread_mutex_lock(&a->lock);
    a->sound = st == IG_OK;
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_unlock(&a->io);
    return st;
}

bool ig_audit_sound(ig_audit *a)
{
    pthread_mutex_lock(&a->lock);
    bool sound = a->sound;
    pthread_mutex_unlock(&a->lock);
    return sound;
}

uint64_t ig_audit_durable(ig_audit *a)
{
    pthread_mutex_lock(&a->io);
    uint64_t seq = a->durable_seq;
    pthread_mutex_unlock(&a->io);
    return seq;
}

/* ------------------------------------------------------------------------------------------------ opening */

typedef struct ending { /* of a file */
    uint64_t n_good, good_bytes, size, seq;
    bool damaged; /* something bad stands before the last good record */
    char hash[65];
} ending;

/* Where the last good record of the file ends. */
static ig_status find_end(int fd, const char *name, ending *out, ig_error *err)
{
    ig_audit_lines lines;
    ig_audit_line l;
    ig_str text;
    bool bad = false;
    *out = (ending){0};
    if (!ig_audit_lines_init(&lines, fd)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the audit log");
    while (ig_audit_lines_next(&lines, &text)) {
        uint64_t end = lines.offset + text.len + lines.whole;
        if (lines.whole && ig_audit_line_read(text, &l, NULL) == IG_OK) {
            out->damaged = out->damaged || bad;
            out->n_good++;
            out->good_bytes = end;
            out->seq = l.seq;
            snprintf(out->hash, sizeof out->hash, "%.*s", (int)l.hash.len, l.hash.ptr);
        } else
            bad = true;
        lines.offset = end;
    }
    out->size = lines.offset;
    int e = errno;
    bool failed = lines.failed;
    ig_audit_lines_fini(&lines);
    return failed ? ig_fail_errno(err, IG_IO, e, "cannot read %s of the audit log", name) : IG_OK;
}

static ig_status cut(ig_audit *a, const ending *e, const char *name, ig_audit_report *r, ig_error *err)
{
    if (e->size == e->good_bytes) return IG_OK;
    if (ftruncate(a->fd, (off_t)e->good_bytes) || (!a->o.no_sync && !ig_disk_sync(a->fd)))
        return ig_fail_errno(err, IG_IO, errno, "cannot cut the torn end of %s of the audit log %s", name, a->folder);
    r->cut_bytes += e->size - e->good_bytes;
    r->cut_offset = e->good_bytes;
    snprintf(r->text, sizeof r->text, "%s ended within a record: %llu bytes after offset %llu were cut off", name,
             (unsigned long long)(e->size - e->good_bytes), (unsigned long long)e->good_bytes);
    return IG_OK;
}

/* Opens one file of the log. *found: it has a good record, and writing goes on there. */
static ig_status try_file(ig_audit *a, uint64_t seq, ig_audit_report *r, bool *found, ig_error *err)
{
    char name[IG_AUDIT_NAME_BYTES];
    ending e;
    ig_audit_file_name(seq, name);
    *found = false;
    a->fd = ig_disk_open_regular(a->dir, name, O_RDWR, NULL);
    if (a->fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open %s of the audit log %s", name, a->folder);
    ig_status st = find_end(a->fd, name, &e, err);
    if (st == IG_OK) st = cut(a, &e, name, r, err);
    if (st == IG_OK && e.n_good) {
        *found = true;
        r->damaged = r->damaged || e.damaged;
        if (e.damaged) snprintf(r->text, sizeof r->text, "%s is damaged before its last good record", name);
        a->file_seq = seq;
        a->seq = e.seq + 1;
        a->durable_seq = e.seq;
        a->durable_bytes = a->assigned_bytes = e.good_bytes;
        memcpy(a->prev, e.hash, sizeof e.hash);
        return IG_OK;
    }
    close(a->fd);
    a->fd = -1;
    if (st == IG_OK && unlinkat(a->dir, name, 0)) st = disk_failed(a, errno, "removing an empty file", err);
    return st;
}

static ig_status find_place(ig_audit *a, ig_audit_report *r, ig_error *err)
{
    uint64_t *files;
    size_t n;
    bool found = false;
    IG_TRY(ig_audit_files(a->dir, &files, &n, err));
    ig_status st = IG_OK;
    while (st == IG_OK && n && !found) st = try_file(a, files[--n], r, &found, err);
    ig_free(files);
    return st;
}

static ig_status make_key(ig_audit *a, unsigned char seed[32], ig_error *err)
{
    char hex[66];
    ig_random(seed, 32);
    ig_audit_hex(seed, 32, hex);
    memcpy(hex + 64, "\n", 2);
    bool ok = ig_disk_write_whole(a->dir, "audit.key", hex, 65, 0600);
    int e = errno;
    OPENSSL_cleanse(hex, sizeof hex);
    return ok ? IG_OK : ig_fail_errno(err, IG_IO, e, "cannot write the key of the audit log %s", a->folder);
}

static ig_status write_pub(ig_audit *a, ig_error *err)
{
    unsigned char pub[32], there[32];
    size_t n = sizeof pub;
    char hex[66];
    ig_error none;
    if (EVP_PKEY_get_raw_public_key(a->key, pub, &n) != 1 || n != 32)
        return ig_fail(err, IG_BUG, 0, "the key of the audit log has no public half");
    ig_audit_key_id(pub, a->key_id);
    if (ig_audit_key_read(a->dir, "audit.pub", false, there, &none) == IG_OK && !memcmp(pub, there, 32)) return IG_OK;
    ig_audit_hex(pub, 32, hex);
    memcpy(hex + 64, "\n", 2);
    if (!ig_disk_write_whole(a->dir, "audit.pub", hex, 65, 0644))
        return ig_fail_errno(err, IG_IO, errno, "cannot write the public key of the audit log %s", a->folder);
    return IG_OK;
}

static ig_status open_key(ig_audit *a, ig_error *err)
{
    unsigned char seed[32];
    ig_status st = ig_audit_key_read(a->dir, "audit.key", true, seed, err);
    if (st == IG_NOT_FOUND) st = make_key(a, seed, err);
    if (st != IG_OK) return st;
    a->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
    OPENSSL_cleanse(seed, sizeof seed);
    return a->key ? write_pub(a, err) : ig_fail(err, IG_BUG, 0, "Ed25519 is not available");
}

/* The newest seal that was published: where the log ends before it, acknowledged records are gone. */
static void compare_head(ig_audit *a, ig_audit_report *r)
{
    char text[4096];
    ig_audit_line l;
    int fd = ig_disk_open_regular(a->dir, "audit.head", O_RDONLY, NULL);
    if (fd < 0) return;
    ssize_t n = ig_disk_read_at(fd, text, sizeof text, 0);
    close(fd);
    if (n > 0 && text[n - 1] == '\n') n--;
    if (n <= 0 || ig_audit_line_read((ig_str){text, (size_t)n}, &l, NULL) != IG_OK || l.seq < a->seq) return;
    r->damaged = true;
    if (!*r->text)
        snprintf(r->text, sizeof r->text, "the log ends at record %llu, its head was made at record %llu",
                 (unsigned long long)(a->seq - 1), (unsigned long long)l.seq);
    if (a->seq <= l.seq) a->seq = l.seq + 1; /* no number is given twice */
}

static ig_status open_lock(ig_audit *a, const char *folder, ig_error *err)
{
    a->lock_fd = ig_disk_open(a->dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (a->lock_fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot make the lock of the audit log %.200s", folder);
    bool locked = ig_disk_lock(a->lock_fd, true, false);
    for (int i = 0; !locked && i < 10; i++) { /* somebody may only look whether it is taken */
        ig_sleep_ms(20);
        locked = ig_disk_lock(a->lock_fd, true, false);
    }
    if (!locked)
        return ig_fail(err, IG_DENIED, 0,
                       "another process writes the audit log %.200s; give this one a folder of its own", folder);
    return IG_OK;
}

static ig_status open_in(ig_audit *a, const char *folder, ig_audit_report *r, ig_error *err)
{
    char note[300];
    snprintf(a->folder, sizeof a->folder, "%s", folder);
    if (mkdir(folder, 0700) && errno != EEXIST)
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.200s for the audit log", folder);
    a->dir = ig_disk_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
    if (a->dir < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open the folder %.200s of the audit log", folder);
    IG_TRY(open_lock(a, folder, err));
    ig_draft_clean(a->dir, NULL);
    IG_TRY(open_key(a, err));
    IG_TRY(find_place(a, r, err));
    compare_head(a, r);
    ig_audit_record begin = {.kind = "open", .n_in = -1, .n_cached = -1, .n_out = -1, .took_ms = -1};
    if (r->damaged) begin.kind = "damage";
    if (*r->text) {
        snprintf(note, sizeof note, "%s", r->text);
        begin.note = note;
    }
    if (ig_audit_add(a, &begin, NULL, err) != IG_OK) return err ? err->status : IG_IO;
    return ig_audit_commit(a, err);
}

static ig_audit *new_audit(const ig_audit_options *o)
{
    ig_audit *a = ig_calloc(1, sizeof *a);
    if (!a) return NULL;
    a->o = o ? *o : (ig_audit_options){0};
    if (!a->o.segment_bytes_max) a->o.segment_bytes_max = 64 << 20;
    if (!a->o.seal_records) a->o.seal_records = 1000;
    if (!a->o.seal_s) a->o.seal_s = 60;
    if (!a->o.clock_ms) a->o.clock_ms = ig_clock_ms;
    a->dir = a->lock_fd = a->fd = -1;
    a->seq = 1;
    a->split = a->writing_split = NO_SPLIT;
    a->sealed_ns = ig_now_ns();
    memcpy(a->prev, IG_AUDIT_ZEROS, sizeof a->prev);
    ig_boot_id(a->boot);
    ig_buf_init(&a->pending, BUFFER_BYTES_MAX);
    ig_buf_init(&a->writing, BUFFER_BYTES_MAX);
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->io, NULL);
    return a;
}

static void free_audit(ig_audit *a)
{
    if (a->fd >= 0) close(a->fd);
    if (a->dir >= 0) close(a->dir);
    if (a->lock_fd >= 0) close(a->lock_fd);
    EVP_PKEY_free(a->key);
    ig_buf_fini(&a->pending);
    ig_buf_fini(&a->writing);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->io);
    ig_free(a);
}

ig_status ig_audit_open(const char *folder, const ig_audit_options *options, ig_audit **out, ig_audit_report *report,
                        ig_error *err)
{
    ig_audit_report own;
    ig_error mine;
    if (!report) report = &own;
    if (!err) err = &mine;
    *report = (ig_audit_report){0};
    *out = NULL;
    ig_audit *a = new_audit(options);
    if (!a) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the audit log");
    ig_status st = open_in(a, folder, report, err);
    if (st != IG_OK) {
        free_audit(a);
        return st;
    }
    *out = a;
    return IG_OK;
}

void ig_audit_close(ig_audit *a)
{
    ig_error none;
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    if (a->since_seal) add_seal(a);
    pthread_mutex_unlock(&a->lock);
    (void)ig_audit_commit(a, &none);
    free_audit(a);
}
