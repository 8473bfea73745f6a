/* What the model says, cut into text, reasoning and tool calls while it comes. */
#ifndef IG_WORKER_REPLY_H
#define IG_WORKER_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/str.h"

typedef enum wk_piece_kind { WK_TEXT, WK_REASONING, WK_CALL, WK_ARGUMENTS } wk_piece_kind;
typedef struct wk_piece {
    wk_piece_kind kind;
    ig_str text;     /* of WK_ARGUMENTS: the next piece of the JSON */
    unsigned call;   /* WK_CALL, WK_ARGUMENTS: number of the call, from 0 */
    ig_str id, name; /* WK_CALL */
} wk_piece;
/* Texts are borrowed during the call alone. False ends the reply. */
typedef bool (*wk_piece_fn)(void *ctx, const wk_piece *piece);

typedef struct wk_reply wk_reply;
typedef struct wk_reply_end {
    bool calls;       /* at least one whole tool call */
    const char *flag; /* NULL, "unparsed" or "truncated_call"; static */
} wk_reply_end;

/* source: the model's template, which tells how it marks reasoning and calls; prompt: the text that the answer follows;
 * body: the request. Called by the thread that samples. Errors: NO_MEMORY. */
ig_status wk_reply_new(ig_str source, ig_str prompt, const json_t *body, wk_reply **out, ig_error *err);
void wk_reply_free(wk_reply *r);
/* A control token of this text shall be part of the text that is pushed: it marks something. */
bool wk_reply_wants_control(const wk_reply *r, ig_str text);
/* The model is thinking now. */
bool wk_reply_is_reasoning(const wk_reply *r);
/* Takes n bytes of whole UTF-8 characters. Errors: NO_MEMORY. */
ig_status wk_reply_push(wk_reply *r, const char *text, size_t n, wk_piece_fn fn, void *ctx, ig_error *err);
/* The answer is over; whole: the model ended it, not a limit. */
ig_status wk_reply_finish(wk_reply *r, bool whole, wk_piece_fn fn, void *ctx, wk_reply_end *end, ig_error *err);

#endif
