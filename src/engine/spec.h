/* Guesses of what comes next, so that one step can check several tokens: whole tokens are read off what was said before
 * (prompt look-up) or asked of the model's own head for it or of a smaller model. A guess never decides anything: what
 * is sampled from a row of logits counts, and the row behind a guess is used only where the guess was sampled.
 *
 * Part of the face of the engine inside ingle. One thread at a time. */
#ifndef IG_ENGINE_SPEC_H
#define IG_ENGINE_SPEC_H

#include "base/status.h"
#include "ingle.h"

enum { IG_SPEC_ROWS = 16 /* tokens of one sequence in a step at most: those that must be fed, and guesses */ };

/* What steps have cost, by the number of their tokens; of one engine, shared by its sequences. */
typedef struct ig_costs {
    double ms[IG_SPEC_ROWS * 2 + 1]; /* 0: not known */
    uint32_t age[IG_SPEC_ROWS * 2 + 1];
} ig_costs;
/* A step of n tokens, without a prompt among them, took so long. */
void ig_costs_note(ig_costs *c, uint32_t n, double ms);
/* What a step of n >= 1 tokens will cost, 0: nothing is known. Between and behind what was measured: by straight lines.
 */
double ig_costs_of(const ig_costs *c, uint32_t n);

/* How many of how many guesses came true, lately, for each way of guessing. */
enum { IG_SPEC_CLASSES = 6 /* repeats of 2, 3 to 4, 5 to 8, more tokens; the model's head; the smaller model */ };
typedef enum ig_spec_by { IG_SPEC_BY_NONE, IG_SPEC_BY_HEAD, IG_SPEC_BY_DRAFTER } ig_spec_by;
typedef struct ig_spec_ask { /* somebody is worth asking for n guesses */
    ig_spec_by by;
    uint32_t n;
} ig_spec_ask;
typedef struct ig_spec ig_spec;

/* For a sequence of up to n_ctx tokens. Errors: NO_MEMORY. Nothing is allocated afterwards. */
ig_status ig_spec_new(uint32_t n_ctx, ingle_speculate mode, ig_spec **out, ig_error *err);
void ig_spec_free(ig_spec *s);

typedef struct ig_spec_room { /* what a guess may take */
    uint32_t n_others;        /* tokens of other sequences in the step */
    uint32_t n_due;           /* tokens of this one that must be fed, >= 1 */
    uint32_t most;            /* guesses at most */
    bool recurrent;           /* a wrong guess makes that the right ones are evaluated again */
    bool head, drafter;       /* the model's head, a smaller model could be asked */
    double head_ms;           /* what it takes for one token, 0: not known */
    double drafter_ms;        /* the same */
} ig_spec_room;

/* Guesses what follows tokens [n], of which all but new ones at the end are as they were at the last call (else
 * ig_spec_forget first). Returns how many guesses were written to out, 0: none is worth it. *ask: somebody is worth
 * asking for so many instead (only with room->head or room->drafter; out is not used then). */
uint32_t ig_spec_guess(ig_spec *s, const ig_costs *costs, const ig_spec_room *room, const int32_t *tokens, uint32_t n,
                       int32_t *out, ig_spec_ask *ask);
/* Of the last guesses, `made` in number, `right` came true; judged false: what followed is not known. */
void ig_spec_judge(ig_spec *s, uint32_t made, uint32_t right, bool judged);
/* The tokens have changed. */
void ig_spec_forget(ig_spec *s);

/* draft.c: a smaller model as drafter. */
/* Refuses a model whose vocabulary is another. Errors: UNSUPPORTED. */
ig_status ig_draft_check(const ingle_model *model, const ingle_model *draft, ig_error *err);
/* Brings the drafter's session to tokens [n] and writes what it would say next, at most `most` tokens; returns how
 * many, fewer where it cannot go on. Where it lacks more than most_read tokens it reads so many and guesses nothing
 * yet. *ms: what one guess took. */
uint32_t ig_draft_guess(ingle_session *drafter, const int32_t *tokens, uint32_t n, uint32_t most_read, uint32_t most,
                        uint32_t n_vocab, int32_t *out, double *ms);

#endif
