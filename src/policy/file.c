/* Writing the small files of policy whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "policy/inner.h"

bool ig_policy_write(const char *path, const void *p, size_t n)
{
    char folder[4096];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (len >= sizeof folder) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (!slash)
        snprintf(folder, sizeof folder, ".");
    else if (!len)
        snprintf(folder, sizeof folder, "/");
    else {
        memcpy(folder, path, len);
        folder[len] = 0;
    }
    int dir = ig_disk_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0) return false;
    bool fine = ig_disk_write_whole(dir, name, p, n, 0600);
    int no = errno;
    close(dir);
    errno = no;
    return fine;
}
