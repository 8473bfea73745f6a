/* Replay: feeds every file below the folders named as arguments to a fuzz target and prints TAP. Used where libFuzzer
 * is not: with gcc, in the quick tier and under every sanitizer. A finding ends the process; the runner counts that.
 * The targets run on a small stack (M20), so that what recurses without end is a finding, too. */
#include <dirent.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t n_files;

static int feed(const char *path)
{
    ig_buf buf;
    ig_error err;
    ig_buf_init(&buf, 64u << 20);
    if (ig_file_read(path, &buf, &err) != IG_OK) {
        printf("not ok 1 - replay # %s\n1..1\n", err.text);
        return 1;
    }
    /* An exact-size copy, so that an overread meets the sanitizer's red zone. */
    uint8_t *copy = malloc(buf.len ? buf.len : 1);
    if (!copy) return 1;
    if (buf.len) memcpy(copy, buf.ptr, buf.len);
    (void)LLVMFuzzerTestOneInput(copy, buf.len);
    free(copy);
    ig_buf_fini(&buf);
    n_files++;
    return 0;
}

static int feed_folder(const char *dir)
{
    char path[1024];
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        fprintf(stderr, "%s\n", path);
        if (feed(path)) return 1;
    }
    if (d) closedir(d);
    return 0;
}

typedef struct folders {
    char **list;
    int n, failed;
} folders;

static void *feed_all(void *ctx)
{
    folders *f = ctx;
    for (int i = 0; i < f->n && !f->failed; i++) f->failed = feed_folder(f->list[i]);
    return NULL;
}

/* Sanitizers make frames several times as large. */
static size_t stack_bytes(void)
{
    size_t small = (size_t)256 << 10;
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    return 16 * small;
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(undefined_behavior_sanitizer)
    return 16 * small;
#endif
#endif
    return small;
}

int main(int argc, char **argv)
{
    folders f = {argv + 1, argc - 1, 0};
    pthread_attr_t attr;
    pthread_t thread;
    size_t stack = stack_bytes();
    pthread_attr_init(&attr);
    if (pthread_attr_setstacksize(&attr, stack) || pthread_create(&thread, &attr, feed_all, &f)) return 1;
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    if (f.failed) return 1;
    if (n_files == 0)
        printf("ok 1 - replay # SKIP no corpus yet\n1..1\n");
    else
        printf("ok 1 - M20: replay of %zu inputs with %zu KiB of stack\n1..1\n", n_files, stack >> 10);
    return 0;
}
