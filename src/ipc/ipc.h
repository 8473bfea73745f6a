/* Frames between the front and a worker, over one stream socket pair.
 *
 * In the stream a frame is a header of 16 bytes, little-endian: u32 bytes of the body, u32 type, u64 request; then the
 * body, one JSON object. A body above IG_FRAME_INLINE_MAX does not lie in the stream: the type has IG_FRAME_BIG set,
 * the length is 0, and a sealed memory file with the body travels with the header's first byte. Descriptors arrive in
 * the order of the frames they belong to: a big body takes one, and who reads an INIT takes as many as it names files.
 *
 * The other side may be hostile in both directions: lengths, types, descriptors and their number are checked before
 * anything is made of them, and a channel holds at most one inline body, one big body and IG_FRAME_FDS_MAX descriptors
 * of input. After a failure of ig_channel_fill or ig_channel_next the channel is of no use any more: close it. */
#ifndef IG_IPC_IPC_H
#define IG_IPC_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/pass.h"
#include "base/status.h"

enum {
    IG_FRAME_HEADER_BYTES = 16,
    IG_FRAME_INLINE_MAX = 1 << 20,               /* bytes of a body in the stream */
    IG_FRAME_BODY_MAX = (32 << 20) + (64 << 10), /* bytes of a body in a memory file */
    IG_FRAME_FDS_MAX = IG_PASS_FDS_MAX
};
#define IG_FRAME_BIG 0x80000000u

typedef enum ig_frame_type {
    IG_FRAME_INIT = 1, /* front to worker */
    IG_FRAME_REQUEST,
    IG_FRAME_CANCEL,
    IG_FRAME_QUERY,
    IG_FRAME_STOP, /* {"leave": true}: the next worker of the model gets the file for conversations */
    IG_FRAME_READY = 16, /* worker to front */
    IG_FRAME_PROGRESS,
    IG_FRAME_DELTA,
    IG_FRAME_DONE,
    IG_FRAME_ERROR,
    IG_FRAME_RESULT,
    IG_FRAME_STATUS
} ig_frame_type;
/* "INIT" and so on, NULL for a number that is no type. */
const char *ig_frame_name(uint32_t type);

typedef struct ig_frame {
    uint32_t type; /* without IG_FRAME_BIG */
    uint64_t request;
    const char *body; /* [n_body] borrowed from the channel until its next call; not terminated */
    size_t n_body;
} ig_frame;

struct ig_frame_fds; /* descriptors that wait to be sent */
typedef struct ig_channel {
    int fd;   /* owned; -1: none (a test feeds it) */
    char *in; /* owned [in_cap]; in_at..in_end is not yet taken */
    size_t in_at, in_end, in_cap;
    char *big; /* owned: body of the frame taken last, or NULL */
    int *fds;  /* owned [fds_max]: received, not yet taken */
    size_t n_fds, fds_max;
    ig_buf out; /* from out_at on not yet sent */
    size_t out_at;
    uint64_t sent_bytes; /* of the stream so far */
    struct ig_frame_fds *out_fds;
    bool ended; /* the other side has closed */
} ig_channel;

/* Takes over the socket. fds_max: descriptors that may wait for their frame (the front expects big bodies alone, 4 will
 * do; a worker IG_FRAME_FDS_MAX); out_bytes_max: bytes that may wait to be sent, at least one frame.
 * Errors: NO_MEMORY (the socket is closed). */
ig_status ig_channel_init(ig_channel *c, int fd, size_t fds_max, size_t out_bytes_max, ig_error *err);
/* Closes everything, also descriptors that wait. A zeroed channel with fd -1 is fine. */
void ig_channel_fini(ig_channel *c);

/* Receives what is there without waiting, up to 64 KiB; to be called when ig_channel_next has said false. c->ended is
 * set at the end of the stream. Errors: IO, BAD_INPUT (too many descriptors), NO_MEMORY. */
ig_status ig_channel_fill(ig_channel *c, ig_error *err);
/* The same from memory and descriptors (taken over), for tests; n at most 64 KiB. */
ig_status ig_channel_feed(ig_channel *c, const void *p, size_t n, const int *fds, size_t n_fds, ig_error *err);
/* Takes the next whole frame; *got false: there is none yet. Errors: BAD_INPUT and TOO_LARGE say what is wrong with the
 * frame, IO, NO_MEMORY. */
ig_status ig_channel_next(ig_channel *c, ig_frame *out, bool *got, ig_error *err);
/* The next n descriptors, now the caller's; false (and none) when fewer have come. */
bool ig_channel_take_fds(ig_channel *c, int *out, size_t n);
/* Waits for a frame. NOT_FOUND: the other side has closed. Else as fill and next. */
ig_status ig_channel_receive(ig_channel *c, ig_frame *out, ig_error *err);

/* Queues a frame; nothing is sent yet. The descriptors (at most IG_FRAME_FDS_MAX) are taken over in any case.
 * Errors: TOO_LARGE (body above IG_FRAME_BODY_MAX, or too much waits), IO, NO_MEMORY; nothing is queued then. */
ig_status ig_channel_put(ig_channel *c, uint32_t type, uint64_t request, const char *body, size_t n_body,
                         const int *fds, size_t n_fds, ig_error *err);
/* Sends what can be sent without waiting. Errors: IO (the other side is gone, too). */
ig_status ig_channel_flush(ig_channel *c, ig_error *err);
/* Sends everything, waiting as long as it takes. */
ig_status ig_channel_flush_all(ig_channel *c, ig_error *err);
/* Bytes that wait to be sent. */
size_t ig_channel_waiting(const ig_channel *c);

#endif
