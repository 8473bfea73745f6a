/* Private to src/bridge: the command behind the bridge. Its words come from the administrator's configuration alone; no
 * shell, a clean environment, no descriptors but the model's files, no more rights than the bridge has. */
#ifndef IG_BRIDGE_CHILD_H
#define IG_BRIDGE_CHILD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { BR_FILES_MAX = 250, BR_WORDS_MAX = 1024, BR_LAST_WORDS = 400 };

typedef struct br_child {
    pid_t pid;        /* 0: not started, or reaped */
    int output;       /* its standard output and error; -1 */
    char folder[64];  /* of the socket, "": none */
    char socket[108]; /* path, "" where it listens at a port */
    unsigned port;    /* 0: a socket */
    char key[33];     /* it may ask for: random, for this run */
    int fds[BR_FILES_MAX];
    size_t n_fds;
    char last[BR_LAST_WORDS + 1]; /* the end of what it has said until it was ready */
    bool deaf;                    /* it is ready: what it says may hold prompts, and is dropped */
} br_child;

/* engine: {"command":[…],"environment":[…],"context":N}. In words of the command {socket} or {port}, {key}, {model}
 * (the path of the first of fds) and {context} are replaced; in those of the environment, too. fds are taken over.
 * False with a sentence in why [400]. */
bool br_child_start(br_child *c, const json_t *engine, const int *fds, size_t n_fds, char *why);
/* Reads and forgets its output, but for the end of it until it is ready. */
void br_child_listen(br_child *c);
/* Its port is held by this user: nobody else answers in its place. True for sockets, which lie in a folder of ours. */
bool br_child_owns(const br_child *c);
/* Resident bytes of it and all that it has started. */
uint64_t br_child_bytes(const br_child *c);
/* Removes the socket. */
void br_child_clean(br_child *c);

#endif
