/* What a power cut leaves, at its worst: of every file the content of its last sync, of every folder the entries of its
 * last sync. Everything that was written, renamed or removed since is as if it had never been.
 *
 *   power_watch(real, kept);      from now on every sync under `real` is noted in `kept`
 *   power_cut(to);                `to` becomes what would be there after a cut now
 *   power_end();
 *
 * Inode numbers must not be used twice meanwhile: the folder lies on a tmpfs (/dev/shm). */
#ifndef INGLE_TESTS_POWER_H
#define INGLE_TESTS_POWER_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"

static struct {
    char real[128], kept[128];
    size_t n_syncs;
    void (*each)(void); /* called after each sync, or NULL; not for its own syncs */
    bool busy;
} power;

static int power_drop(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(path);
}

static void power_wipe(const char *path) { (void)nftw(path, power_drop, 16, FTW_DEPTH | FTW_PHYS); }

static void power_copy(int from, const char *to, mode_t mode)
{
    char block[65536];
    off_t at = 0;
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", from); /* it may be open for writing alone */
    int in = open(path, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (in < 0 || out < 0) abort();
    for (ssize_t n; (n = pread(in, block, sizeof block, at)) > 0; at += n)
        if (write(out, block, (size_t)n) != n) abort();
    close(in);
    close(out);
}

/* A folder's entries, one a line: inode, kind, name. */
static void power_note_folder(int fd, const char *to)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own < 0 ? NULL : fdopendir(own);
    FILE *f = fopen(to, "we");
    if (!d || !f) abort();
    for (struct dirent *e; (e = readdir(d));) {
        struct stat sb;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(own, e->d_name, &sb, AT_SYMLINK_NOFOLLOW))
            continue;
        fprintf(f, "%llu %c %s\n", (unsigned long long)sb.st_ino, S_ISDIR(sb.st_mode) ? 'd' : 'f', e->d_name);
    }
    closedir(d);
    fclose(f);
}

static void power_on_sync(void *ctx, int fd)
{
    char to[256];
    struct stat sb;
    (void)ctx;
    if (power.busy || fstat(fd, &sb)) return;
    power.busy = true;
    (void)snprintf(to, sizeof to, "%s/%llu", power.kept, (unsigned long long)sb.st_ino);
    if (S_ISDIR(sb.st_mode))
        power_note_folder(fd, to);
    else
        power_copy(fd, to, 0600);
    power.n_syncs++;
    if (power.each) power.each();
    power.busy = false;
}

static void power_make(const char *kept, const char *to, unsigned depth)
{
    char line[600], path[900], from[256];
    FILE *f = fopen(kept, "re");
    (void)mkdir(to, 0700);
    if (!f) return; /* never synced: empty */
    while (fgets(line, sizeof line, f)) {
        unsigned long long ino;
        char kind;
        int at = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%llu %c %n", &ino, &kind, &at) < 2 || !at) abort();
        (void)snprintf(from, sizeof from, "%s/%llu", power.kept, ino);
        if (snprintf(path, sizeof path, "%s/%s", to, line + at) >= (int)sizeof path) abort();
        int fd = kind == 'f' ? open(from, O_RDONLY | O_CLOEXEC) : -1;
        if (kind == 'd' && depth < 8) power_make(from, path, depth + 1);
        if (kind == 'f') power_copy(fd >= 0 ? fd : open("/dev/null", O_RDONLY), path, 0600);
        if (fd >= 0) close(fd);
    }
    fclose(f);
}

__attribute__((unused)) static void power_cut(const char *to)
{
    char from[256];
    struct stat sb;
    power_wipe(to);
    if (stat(power.real, &sb)) return;
    (void)snprintf(from, sizeof from, "%s/%llu", power.kept, (unsigned long long)sb.st_ino);
    power_make(from, to, 0);
}

/* The folder `real` itself is taken to be on the disk. */
__attribute__((unused)) static void power_watch(const char *real, const char *kept)
{
    power_wipe(kept);
    (void)mkdir(kept, 0700);
    (void)snprintf(power.real, sizeof power.real, "%s", real);
    (void)snprintf(power.kept, sizeof power.kept, "%s", kept);
    power.n_syncs = 0;
    power.busy = false;
    ig_fault_on_sync(power_on_sync, NULL);
}

__attribute__((unused)) static void power_end(void)
{
    ig_fault_on_sync(NULL, NULL);
    power.each = NULL;
    power_wipe(power.kept);
}

#endif
