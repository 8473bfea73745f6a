/* Face of bridge: the process behind an engine that is not ours. Like a worker it is a child of the front and speaks
 * frames with it (src/ipc); what it has behind it is a command of the administrator's that answers the OpenAI dialect
 * on a unix socket or a loopback port. It starts that command, waits until it is healthy, translates requests and
 * answers, and takes it down with itself. The front never reads a byte of such an engine. */
#ifndef IG_BRIDGE_BRIDGE_H
#define IG_BRIDGE_BRIDGE_H

/* How the process ends: also by the signal that ended the engine, so that the front's rules for crashes hold. */
enum {
    IG_BRIDGE_DONE = 0,   /* asked to stop, or the front is gone */
    IG_BRIDGE_FAILED = 1, /* an ERROR frame for request 0 has said why */
    IG_BRIDGE_ENDED = 75, /* the engine ended by itself */
    IG_BRIDGE_HUNG = 76   /* the engine said nothing for too long */
};

/* Serves the front at the other end of the socket until it is done. Returns the exit code. */
int ig_bridge_main(int fd);

#endif
