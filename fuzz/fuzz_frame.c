/* Frames: the bytes are what a hostile peer sends. Byte 0 is the size of the pieces in which they arrive; before piece
 * k a descriptor comes when bit k of bytes 1 and 2 is set: a sealed memory file, or for every second one no such file.
 * Whatever is taken must lie within the limits, and at most what was fed may come out. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int strange_fd(unsigned k)
{
    static int sealed = -1, null = -1;
    if (sealed < 0) sealed = ig_sealed_new("{\"op\":\"generate\"}", 17);
    if (null < 0) null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return dup(k % 2 ? null : sealed);
}

/* Takes every frame; false when the channel is of no use any more. */
static bool take_all(ig_channel *c, size_t *left)
{
    ig_frame f;
    bool got = true;
    while (got) {
        if (ig_channel_next(c, &f, &got, NULL) != IG_OK) return false;
        if (!got) break;
        size_t in_stream = IG_FRAME_HEADER_BYTES + (f.body == c->big ? 0 : f.n_body);
        if (!ig_frame_name(f.type) || f.n_body > IG_FRAME_BODY_MAX || in_stream > *left) abort();
        *left -= in_stream;
        volatile char last = f.n_body ? f.body[f.n_body - 1] : 0;
        (void)last;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_channel c;
    if (size < 3 || ig_channel_init(&c, -1, 3, 100, NULL) != IG_OK) return 0;
    size_t piece = (size_t)data[0] + 1, n = size - 3, left = n;
    unsigned bits = data[1] | (unsigned)data[2] << 8;
    for (size_t at = 0, k = 0; at < n; k++) {
        size_t here = n - at < piece ? n - at : piece;
        bool with = k < 16 && bits >> k & 1;
        int fd = with ? strange_fd((unsigned)k) : -1;
        if (ig_channel_feed(&c, data + 3 + at, here, &fd, with, NULL) != IG_OK || !take_all(&c, &left)) break;
        at += here;
    }
    ig_channel_fini(&c);
    return 0;
}
