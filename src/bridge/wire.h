/* Private to src/bridge: HTTP to the engine, by libcurl, which is loaded when the process starts. Nothing waits but
 * wire_wait. */
#ifndef IG_BRIDGE_WIRE_H
#define IG_BRIDGE_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "bridge/child.h"

typedef struct br_wire br_wire;
typedef struct br_transfer br_transfer;

/* Calls of one transfer, from within br_wire_work. */
typedef struct br_listener {
    void (*head)(void *ctx, long status, bool stream);   /* before the first byte of the body */
    bool (*body)(void *ctx, const char *p, size_t n);    /* false: no more of it */
    void (*end)(void *ctx, bool whole, const char *why); /* the last call; the transfer is gone. whole: to its end */
} br_listener;

/* NULL with a sentence in why [400]. */
br_wire *br_wire_new(const br_child *child, char *why);
void br_wire_free(br_wire *w);
/* GET where body is NULL, else POST of its n bytes (copied). silence_s: it ends when nothing comes for so long, 0:
 * never. NULL when memory is short. */
br_transfer *br_wire_ask(br_wire *w, const char *path, const char *body, size_t n, long silence_s,
                         const br_listener *listener, void *ctx);
/* Closes the connection; no call follows. */
void br_wire_drop(br_wire *w, br_transfer *t);
/* Does what can be done without waiting. */
void br_wire_work(br_wire *w);
/* Waits for the engine, or for one of the descriptors (events as poll's; revents are filled), at most ms. */
struct pollfd;
void br_wire_wait(br_wire *w, struct pollfd *fds, unsigned n, int ms);

#endif
