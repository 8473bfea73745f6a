/* Slots that take turns: attention (queries, keys, values, its output) and the MLP behind it never hold anything at the
 * same time, so that they can share memory. Here that is proved of a plan, not assumed. */
#include "model/build.h"

enum { ATTENTION = 1u << IG_SLOT_QKV | 1u << IG_SLOT_A, MLP = 1u << IG_SLOT_G };

static unsigned bit(ig_view v) { return 1u << v.slot; }

/* Kinds whose out is what it was, changed. */
static bool changes_out(const ig_op *op)
{
    static const ig_op_kind kinds[] = {IG_OP_POSITION, IG_OP_ADD, IG_OP_MUL, IG_OP_MULVEC, IG_OP_ADDVEC, IG_OP_GATE};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (op->kind == kinds[i]) return true;
    return false;
}

static unsigned reads_of(const ig_op *op)
{
    unsigned all = bit(op->in) | bit(op->in2) | bit(op->in3) | (changes_out(op) ? bit(op->out) : 0);
    for (uint32_t i = 0; op->add && i < op->n_mats; i++) all |= bit(op->mat_out[i]);
    return all;
}

static unsigned writes_of(const ig_op *op)
{
    unsigned all = bit(op->out);
    for (uint32_t i = 0; i < op->n_mats; i++) all |= bit(op->mat_out[i]);
    return all;
}

/* Whenever one side follows the other, what it reads it has written since. */
static bool list_takes_turns(const ig_ops *list)
{
    unsigned side = 0, written = 0;
    for (size_t i = 0; i < list->n; i++) {
        const unsigned reads = reads_of(&list->list[i]), writes = writes_of(&list->list[i]), touched = reads | writes;
        if (!(touched & (ATTENTION | MLP))) continue;
        if (touched & ATTENTION && touched & MLP) return false;
        const unsigned now = touched & MLP ? MLP : ATTENTION;
        if (now != side) written = 0;
        side = now;
        if (reads & side & ~written) return false;
        written |= writes & side;
    }
    return true;
}

bool ig_plan_takes_turns(const ig_model *m)
{
    return list_takes_turns(&m->ops) && list_takes_turns(&m->encoder) && list_takes_turns(&m->draft_in) &&
           list_takes_turns(&m->draft) && list_takes_turns(&m->draft_head);
}
