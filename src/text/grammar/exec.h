/* Stepping: readings of a text so far (threads) over stacks that share their lower parts (slots). */
#ifndef IG_GRAMMAR_EXEC_H
#define IG_GRAMMAR_EXEC_H

#include "machine.h"

/* What a thread waits for. In brackets: the meaning of id and q. */
typedef enum gr_phase {
    GR_P_VALUE,    /* a value [node] */
    GR_P_STRING,   /* inside a string [node, state] */
    GR_P_NUMBER,   /* inside a number [node, state] */
    GR_P_LITERAL,  /* inside true, false or null [which, characters read] */
    GR_P_AFTER,    /* a value has ended; what its frame wants */
    GR_P_OPEN,     /* after { [leaf] */
    GR_P_NEXT_KEY, /* after , in an object [leaf] */
    GR_P_KEY,      /* inside a key [leaf, state] */
    GR_P_COLON,    /* after a key [label] */
    GR_P_MEMBER,   /* after : [label] */
    GR_P_LIST,     /* after [ */
    GR_P_ITEM,     /* after , in an array */
    GR_P_RULE,     /* in a GBNF rule [-, state] */
    GR_PHASES
} gr_phase;

typedef struct gr_thread {
    uint32_t frame, id, q;
    uint32_t val;                   /* what the decoder has read */
    uint8_t phase, dec, space, pad; /* space: one space is still allowed (canonical) */
} gr_thread;

enum { GR_ROOT = 0, GR_EXIT = UINT32_MAX }; /* frames: the bottom; the bottom of a part that is looked at alone */
enum { GR_THREADS_MAX = 8192, GR_SLOTS_MAX = 1 << 23, GR_NESTED_MAX = 1 << 20 };
/* Threads and states of rules that are looked at for one character or one mask: what a hostile grammar may cost. */
enum { GR_WORK_MAX = 1 << 24 };

/* A frame: one slot, and behind it more of three words each where bits do not fit into one word. */
typedef struct gr_slot {
    uint32_t parent;
    uint32_t leaf;  /* leaf; GR_RULE and the state to go on with */
    uint32_t count; /* properties or items */
    uint32_t deep;  /* frames below */
    uint64_t bits;
} gr_slot;

/* Where a slot is in the chain of those with hashes like its own. */
typedef struct gr_link {
    uint32_t next, hash; /* next 0: the last */
} gr_link;

#define GR_RULE 0x80000000u /* of gr_slot.leaf: the frame is a rule's */

typedef struct gr_exec {
    const ig_grammar *g;
    bool strict;
    ig_status st;
    gr_thread *th; /* owned; the set being stepped lies before `out`, what it becomes behind */
    uint32_t n_th, cap_th, out;
    gr_slot *slots; /* owned */
    uint32_t n_slots, cap_slots, live_slots;
    gr_link *links;           /* owned, [cap_links]: of slots below n_linked; 0: of none */
    uint32_t *heads, n_heads; /* owned: slots by content */
    uint32_t n_linked, cap_links;
    uint32_t *seen, n_seen, epoch; /* owned: pairs of epoch and number, for large sets */
    uint32_t (*work)[2], cap_work; /* owned: closure of a rule */
    uint64_t n_fed;                /* bytes that fitted */
    uint32_t spent;                /* of GR_WORK_MAX; whoever begins a character or a mask sets it to 0 */
    gr_thread exit[8];             /* where threads left through GR_EXIT in the last step */
    uint32_t n_exit;
} gr_exec;

ig_status gr_exec_init(gr_exec *x, const ig_grammar *g, bool strict);
void gr_exec_fini(gr_exec *x);
/* Makes x the start of the grammar. */
void gr_exec_start(gr_exec *x);
bool gr_exec_copy(gr_exec *x, const gr_exec *from);
/* Takes slots from n_slots on away. */
void gr_exec_cut(gr_exec *x, uint32_t n_slots);
/* Adds a thread to the set behind x->out. */
void gr_exec_emit(gr_exec *x, gr_thread t);
/* Steps the threads [from, to) with one byte; what they become is added behind x->n_th, where x->out is put. */
void gr_exec_step(gr_exec *x, uint32_t from, uint32_t to, uint8_t byte);
/* Steps the whole set and forgets what is no longer needed. */
void gr_exec_feed(gr_exec *x, const uint8_t *p, size_t n);
bool gr_exec_accepts(gr_exec *x);
/* Whether a value ends in a rule, with which `to` goes on. */
bool gr_in_rule(const gr_exec *x, uint32_t frame, gr_thread *to);
/* Words of a frame's slots. */
uint32_t gr_slot_size(const gr_exec *x, uint32_t leaf);

struct ig_grammar_state {
    gr_exec x;
};

#endif
