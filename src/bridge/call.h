/* Private to src/bridge: the bridge's state, and its requests on their way to the engine (call.c). */
#ifndef IG_BRIDGE_CALL_H
#define IG_BRIDGE_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/openai.h"
#include "bridge/wire.h"
#include "ipc/ipc.h"

typedef struct br_call br_call;

typedef struct br_bridge {
    ig_channel ch;
    json_t *init;
    const json_t *config; /* of the engine, in init */
    br_engine engine;
    br_child child;
    br_wire *wire;
    br_call *calls;
    unsigned n_calls;
    bool ready, over;
    int code;   /* how to end */
    int signal; /* and by which signal, 0: none */
    br_transfer *health;
    const char *health_path;
    bool healthy, no_health; /* no_health: the standard path is not there */
    bool counts_not;         /* it has no /tokenize, or no /apply-template where that was needed */
    long start_ms, silence_s;
    uint64_t started_ns, asked_ns, told_ns, bytes;
    uint64_t tokens_generated, tokens_prompt;
    bool broken; /* the front is gone */
} br_bridge;

/* bridge.c */
void br_send(br_bridge *b, uint32_t type, uint64_t id, const json_t *body);
void br_send_new(br_bridge *b, uint32_t type, uint64_t id, json_t *body); /* takes the body */
void br_send_fault(br_bridge *b, uint64_t id, const br_fault *f);
void br_hung(br_bridge *b); /* the engine said nothing for too long: the end of all */

/* call.c */
void br_request(br_bridge *b, const ig_frame *frame); /* REQUEST or QUERY */
void br_cancel(br_bridge *b, uint64_t id);
/* Fails what a lost connection has left, once it is clear that the engine has not died. */
void br_look_at_broken(br_bridge *b, uint64_t now);
bool br_calls_broken(const br_bridge *b); /* is there something for br_look_at_broken? */
void br_drop_calls(br_bridge *b);         /* without a word */

#endif
