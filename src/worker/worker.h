/* The process behind one model. It is started by the front with a socket pair (src/ipc), gets the model's files as open
 * descriptors, gives up every right it does not need, and then reads the files, which are strangers' bytes. */
#ifndef IG_WORKER_WORKER_H
#define IG_WORKER_WORKER_H

#include <stdbool.h>

/* How the process ends. */
enum {
    IG_WORKER_DONE = 0,    /* asked to stop, or the front is gone */
    IG_WORKER_FAILED = 1,  /* an ERROR frame for request 0 has said why */
    IG_WORKER_DAMAGED = 74 /* the model's file became shorter, or its disk cannot be read (SIGBUS) */
};

/* Serves the front at the other end of the socket until it is done; never prints but one line on standard error when a
 * signal ends it. Returns the exit code. */
int ig_worker_main(int fd);

/* Gives up file system, network and programs for good, for tests that try to get out: what ig_worker_main does before
 * it reads a model. landlock_abi: what the kernel offers, or at most the number given where it is not 0. Returns false
 * with a sentence in why [256] where the filter cannot be set. */
bool ig_worker_confine(int landlock_abi, char *why);

#endif
