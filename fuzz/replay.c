/* Replay: feeds every file below the folders named as arguments to a fuzz target and prints TAP. Used where libFuzzer is
 * not: with gcc, in the quick tier and under every sanitizer. A finding ends the process; the runner counts that. */
#include <dirent.h>
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
    char path[4096];
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

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (feed_folder(argv[i])) return 1;
    if (n_files == 0) printf("ok 1 - replay # SKIP no corpus yet\n1..1\n");
    else printf("ok 1 - replay of %zu inputs\n1..1\n", n_files);
    return 0;
}
