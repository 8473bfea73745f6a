/* The machine that reads a reply: its state, and what its parts (reply.c, call.c, object.c, nest.c) share. */
#ifndef IG_REPLY_RUN_H
#define IG_REPLY_RUN_H

#include "priv.h"

enum { MARKS_MAX = 64, MARK_BYTES = 96, NAME_BYTES = 256, HEADER_BYTES = 512, NEST_MAX = 32 };
#define RAW_BYTES ((size_t)32 << 20) /* of one call that is held back */

/* What a marker does; a mask says which are looked for. */
enum {
    MK_OPEN = 1,     /* reasoning begins */
    MK_CLOSE = 2,    /* reasoning ends */
    MK_SECTION = 4,  /* calls follow */
    MK_CALL = 8,     /* a call follows */
    MK_END = 16,     /* a call or the calls end */
    MK_DROP = 32,    /* nothing */
    MK_KEY = 64,     /* an argument begins */
    MK_VALUE = 128,  /* its value begins */
    MK_STOP = 256,   /* its value ends */
    MK_HEADER = 512, /* a header begins */
    MK_HARD = 1024,  /* a call begins, also inside reasoning */
    MK_TAG = 2048    /* the mark before a tag of RP_NESTED */
};
typedef struct rp_marker {
    ig_str text;
    unsigned kind;
    int which; /* of MK_OPEN, MK_CLOSE: the pair */
} rp_marker;

typedef enum rp_state {
    R_TEXT,
    R_THINK,
    R_HEADER,
    R_SECTION, /* between the markers of a section: a call may begin */
    R_NAME,
    R_BODY, /* after the name, or between arguments */
    R_KEY,
    R_OPEN, /* between the key and the marker of the value */
    R_VALUE,
    R_ARGS,   /* JSON */
    R_LOOSE,  /* Python or Gemma */
    R_OBJECT, /* the object with name and arguments */
    R_NEST
} rp_state;

/* Inside R_OBJECT. */
typedef struct rp_object {
    uint8_t state, depth, role;
    bool escape;
    char key[64];
    uint8_t n_key;
} rp_object;

typedef struct rp_nest {
    struct {
        const json_t *schema;
        char kind; /* '{', '[', 0: no child yet */
        ig_str unused;
    } level[NEST_MAX];
    unsigned depth;
    bool tag; /* inside <...> */
} rp_nest;

struct ig_reply {
    const ig_reply_family *f;
    const ig_reply_tools *tools;
    uint64_t seed;
    bool whole, stopped;
    bool cut; /* a limit ends the reply */
    bool no_calls;
    bool thinks; /* the template writes marks of reasoning */
    ig_status st;

    rp_marker marks[MARKS_MAX];
    size_t n_marks;
    bool first[256]; /* bytes that some marker begins with */
    char hold[MARK_BYTES];
    size_t n_hold;
    char utf8[4];
    size_t n_utf8, need_utf8;

    rp_state state;
    int think;       /* pair of the reasoning, -1: by headers */
    bool lead;       /* white space at the beginning is dropped */
    bool said;       /* text came since the beginning or the last call */
    bool in_section; /* the marks that end calls are known */
    bool expect;     /* R_SECTION: a marker said that a call follows */
    bool named;      /* and that its name follows */
    bool fence;      /* in the word after ``` */
    bool bare;       /* the call stands without markers */
    bool unparsed;   /* text is what was left of a call */
    bool list;

    ig_buf ws;      /* white space at the end of what was said */
    ig_buf raw;     /* the call so far, as it came, until it is handed out */
    ig_buf tok;     /* name, key, header or value being read */
    size_t n_given; /* bytes of a header that the prompt wrote */
    ig_buf name, id, args;
    bool live;       /* IG_PIECE_CALL was handed out */
    bool open;       /* a name is known */
    unsigned n_args; /* arguments so far */
    bool has_args;
    const rp_tool *tool;
    const json_t *schema; /* of the value being read */
    unsigned types;
    int typed;
    bool json_value;                /* the value being read is JSON so far */
    bool stream, skip_line, quoted; /* quoted: the arguments are a string with JSON in it */
    rp_json json;
    rp_loose loose;
    rp_object object;
    rp_nest nest;

    ig_piece_fn fn;
    void *ctx;
    ig_buf out; /* of one kind, not yet handed out */
    ig_piece_kind out_kind;
    bool out_unparsed;
    unsigned call; /* number of the next call, or of the current one */
    ig_reply_end end;
};

bool rr_add(ig_reply *r, ig_buf *b, const char *p, size_t n);
static inline void rr_clear(ig_buf *b) { b->len = 0; }
static inline ig_str rr_str(const ig_buf *b) { return (ig_str){b->ptr ? b->ptr : "", b->len}; }
/* Text to the user, or reasoning; white space at the end waits. */
void rr_say(ig_reply *r, ig_piece_kind kind, const char *p, size_t n);
void rr_flush(ig_reply *r);
/* One byte through the machine, again. */
void rr_step(ig_reply *r, char c);
/* Number of a marker of these kinds that ends with c; -1: none yet, the bytes wait or were given to `other`. */
int rr_match(ig_reply *r, unsigned kinds, char c, void (*other)(ig_reply *, char));
/* Marks of the family, again after it changed. */
void rr_marks(ig_reply *r);

/* Calls. */
void rc_begin(ig_reply *r);                         /* nothing is known of it */
void rc_args(ig_reply *r, const char *p, size_t n); /* JSON of the arguments */
bool rc_live(ig_reply *r);                          /* hands the call out when it may be */
void rc_done(ig_reply *r);                          /* it is complete */
void rc_fail(ig_reply *r, bool plain);              /* it is none; plain: it never looked like one */
void rc_cut(ig_reply *r);                           /* the reply ended inside */
bool rc_name(ig_reply *r, ig_str name);             /* false: no name */
void rc_section(ig_reply *r, char c);
void rc_name_step(ig_reply *r, char c);
void rc_body(ig_reply *r, char c);
void rc_key(ig_reply *r, char c);
void rc_open(ig_reply *r, char c);
void rc_value(ig_reply *r, char c);
void rc_json(ig_reply *r, char c);
void rc_loose(ig_reply *r, char c);
/* The inside of a JSON string with its quotes, as text; false when it is none. */
bool ro_decode(ig_str quoted, ig_buf *out);
void ro_begin(ig_reply *r);
void ro_step(ig_reply *r, char c);
void rn_begin(ig_reply *r);
void rn_step(ig_reply *r, char c);

#endif
