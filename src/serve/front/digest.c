/* Digests of models that lie in files outside the store: the one that the store would give them. A file is read for it
 * after its model was loaded, in a thread that leaves most of the time to others, and once: what is known of a file is
 * kept in state/digests.json by device, inode, size and times. Until then a digest is "" (null in answers). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/front/fr.h"

enum { KEY_BYTES = 160, KNOWN_MAX = 4000, KNOWN_BYTES_MAX = 2 << 20, REST = 3 /* times as long as it reads */ };

typedef struct fr_sum { /* an entry whose files are read */
    struct fr_sum *next;
    fr_entry *entry;
    char (*keys)[KEY_BYTES]; /* [n_files] what was read; "" where it could not be */
    ig_digest *digests;
} fr_sum;

struct fr_digests {
    fr_front *front;
    json_t *known; /* key to 64 digits */
    fr_sum *first; /* the one under way, then those that wait */
    pthread_t thread;
    bool runs;
    ig_waker waker;
    _Atomic bool stop;
    uint64_t since_ns; /* of the thread: when it began to read without a rest */
};

/* ------------------------------------------------------------------------------------------------ what is known */

static void key_of(const struct stat *st, char out[KEY_BYTES])
{
    snprintf(out, KEY_BYTES, "%jx:%jx:%jd:%jd.%09ld:%jd.%09ld", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino,
             (intmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec,
             st->st_ctim.tv_nsec);
}

static bool place(const fr_front *f, char *out, size_t n)
{
    if (!f->store || ig_store_is_read_only(f->store)) return false;
    if (snprintf(out, n, "%s/state", f->config->store) >= (int)n || (mkdir(out, 0700) && errno != EEXIST)) return false;
    return snprintf(out, n, "%s/state/digests.json", f->config->store) < (int)n;
}

/* A file that is damaged is nothing known. */
static json_t *read_known(const fr_front *f)
{
    char path[4200];
    ig_buf text;
    ig_error err;
    json_error_t error;
    json_t *known = NULL;
    ig_buf_init(&text, KNOWN_BYTES_MAX);
    if (place(f, path, sizeof path) && ig_file_read(path, &text, &err) == IG_OK)
        known = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &error);
    ig_buf_fini(&text);
    if (json_is_object(known)) return known;
    json_decref(known);
    return json_object();
}

/* The oldest go where there are too many. */
static void save(fr_digests *d)
{
    char path[4200];
    ig_error err;
    while (json_object_size(d->known) > KNOWN_MAX)
        json_object_del(d->known, json_object_iter_key(json_object_iter(d->known)));
    char *text = place(d->front, path, sizeof path) ? json_dumps(d->known, JSON_INDENT(1)) : NULL;
    if (text) (void)ig_file_write_atomic(path, text, strlen(text), &err);
    free(text);
}

/* Into e->digest, where all files are known. Its stamp is their keys, each with a blank behind. */
static void look_up(const fr_digests *d, fr_entry *e)
{
    ig_store_file *files = ig_calloc(e->n_files, sizeof *files);
    const char *at = e->stamp;
    ig_error err;
    ig_digest digest;
    bool good = files != NULL;
    for (size_t i = 0; good && i < e->n_files; i++) {
        char key[KEY_BYTES];
        size_t n = strcspn(at, " ");
        snprintf(key, sizeof key, "%.*s", (int)n, at);
        at += n + (at[n] == ' ');
        files[i] = (ig_store_file){.role = IG_ROLE_WEIGHTS, .name = e->files[i]};
        const char *hex = json_string_value(json_object_get(d->known, key));
        good = hex && ig_digest_parse(hex, &files[i].digest, NULL) == IG_OK &&
               sscanf(key, "%*[^:]:%*[^:]:%" SCNu64, &files[i].size) == 1;
    }
    good = good && ig_model_digest("gguf", files, e->n_files, &digest, &err) == IG_OK;
    ig_free(files);
    char *text = good ? ig_alloc(sizeof digest.hex) : NULL;
    if (!text) return;
    memcpy(text, digest.hex, sizeof digest.hex);
    ig_free(e->digest);
    e->digest = text;
}

/* Takes the stamp over. Other files than before have another digest. */
static void set_stamp(fr_digests *d, fr_entry *e, char *stamp)
{
    if (!stamp || (e->stamp && !strcmp(stamp, e->stamp))) {
        ig_free(stamp);
        return;
    }
    ig_free(e->stamp);
    e->stamp = stamp;
    *e->digest = 0;
    look_up(d, e);
}

/* Of open files, or (fds NULL) of what lies at the paths now. NULL: one is not there, or out of memory. */
static char *stamp_of(const fr_entry *e, const int *fds)
{
    char *text = ig_calloc(e->n_files, KEY_BYTES + 1);
    size_t at = 0;
    for (size_t i = 0; text && i < e->n_files; i++) {
        struct stat st;
        char key[KEY_BYTES];
        if (fds ? fstat(fds[i], &st) : stat(e->paths[i], &st)) {
            ig_free(text);
            return NULL;
        }
        key_of(&st, key);
        at += (size_t)snprintf(text + at, KEY_BYTES + 1, "%s ", key);
    }
    return text;
}

static bool is_outside(const fr_entry *e) { return !e->manifest && !e->engine && e->n_files > 0; }

void fr_digest_opened(fr_front *f, fr_entry *e, const int *fds, size_t n)
{
    if (f->digests && is_outside(e) && n == e->n_files) set_stamp(f->digests, e, stamp_of(e, fds));
}

/* ------------------------------------------------------------------------------------------------ reading */

static void rest(uint64_t ns, const _Atomic bool *stop)
{
    static const uint64_t piece = 50 * FR_NS_PER_MS;
    while (ns && !atomic_load(stop)) {
        uint64_t some = ns < piece ? ns : piece;
        nanosleep(&(struct timespec){.tv_nsec = (long)some}, NULL);
        ns -= some;
    }
}

static bool on_read(void *ctx, uint64_t done, uint64_t total)
{
    fr_digests *d = ctx;
    (void)done, (void)total;
    rest((ig_now_ns() - d->since_ns) * REST, &d->stop);
    d->since_ns = ig_now_ns();
    return !atomic_load(&d->stop);
}

/* A file that changes meanwhile has no digest. */
static void read_file(fr_digests *d, const char *path, char key[KEY_BYTES], ig_digest *digest)
{
    struct stat st;
    char after[KEY_BYTES];
    ig_error err;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode)) {
        key_of(&st, key);
        bool good = ig_hash_fd(fd, "a model", on_read, d, digest, NULL, &err) == IG_OK && !fstat(fd, &st);
        key_of(&st, after);
        if (!good || strcmp(key, after) != 0) *key = 0;
    }
    if (fd >= 0) close(fd);
}

static void *run(void *ctx)
{
    fr_digests *d = ctx;
    fr_sum *s = d->first; /* stays first until the loop has taken the result */
    for (size_t i = 0; i < s->entry->n_files && !atomic_load(&d->stop); i++) {
        d->since_ns = ig_now_ns();
        read_file(d, s->entry->paths[i], s->keys[i], &s->digests[i]);
    }
    ig_waker_wake(&d->waker);
    return NULL;
}

static void free_sum(fr_sum *s)
{
    fr_entry_unref(s->entry);
    ig_free(s->keys);
    ig_free(s->digests);
    ig_free(s);
}

static void next(fr_digests *d)
{
    while (d->first && !d->runs) {
        d->runs = !pthread_create(&d->thread, NULL, run, d);
        if (d->runs) return;
        fr_sum *s = d->first; /* no thread: the next load tries again */
        d->first = s->next;
        free_sum(s);
    }
}

static void on_done(void *ctx)
{
    fr_digests *d = ctx;
    if (!d->runs) return;
    pthread_join(d->thread, NULL);
    d->runs = false;
    fr_sum *s = d->first;
    d->first = s->next;
    for (size_t i = 0; i < s->entry->n_files; i++)
        if (*s->keys[i]) json_object_set_new(d->known, s->keys[i], json_string(s->digests[i].hex));
    save(d);
    if (s->entry->stamp) look_up(d, s->entry);
    free_sum(s);
    next(d);
}

void fr_digest_want(fr_front *f, fr_entry *e)
{
    fr_digests *d = f->digests;
    fr_sum **at = d ? &d->first : NULL;
    if (!d || !is_outside(e) || !e->stamp || *e->digest) return;
    for (; *at; at = &(*at)->next)
        if ((*at)->entry == e) return;
    fr_sum *s = ig_calloc(1, sizeof *s);
    if (!s) return;
    *s = (fr_sum){.entry = fr_entry_ref(e),
                  .keys = ig_calloc(e->n_files, sizeof *s->keys),
                  .digests = ig_calloc(e->n_files, sizeof *s->digests)};
    if (!s->keys || !s->digests) {
        free_sum(s);
        return;
    }
    *at = s;
    next(d);
}

/* ------------------------------------------------------------------------------------------------ life */

void fr_digests_open(fr_front *f)
{
    fr_digests *d = ig_calloc(1, sizeof *d);
    if (!d) return;
    d->front = f;
    d->known = read_known(f);
    ig_waker_add(f->loop, &d->waker, on_done, d);
    f->digests = d;
    for (fr_entry *e = f->entries; e; e = e->next)
        if (is_outside(e)) set_stamp(d, e, stamp_of(e, NULL));
}

void fr_digests_close(fr_front *f)
{
    fr_digests *d = f->digests;
    if (!d) return;
    atomic_store(&d->stop, true);
    if (d->runs) pthread_join(d->thread, NULL);
    ig_waker_remove(&d->waker);
    while (d->first) {
        fr_sum *s = d->first;
        d->first = s->next;
        free_sum(s);
    }
    json_decref(d->known);
    ig_free(d);
    f->digests = NULL;
}
