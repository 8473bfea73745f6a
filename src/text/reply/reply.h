/* What a model says, cut into text, reasoning and tool calls while it comes; and the grammar that holds its calls to
 * the schemas of the tools.
 *
 * A family is one way to write calls (a row of family.c). It is found in the text of the chat template by the markers
 * there, never by a model's name. Without a template that anyone knows, the generic row reads Hermes-like tags and bare
 * JSON that calls a known tool.
 *
 * Nothing is lost: what opens like a call and is none comes back as text with `unparsed`, a call that breaks or ends
 * too early is ended by IG_PIECE_CALL_END that is not `whole`. Pieces depend on the bytes alone, not on how they were
 * cut into pushes (neighbouring pieces of one kind may be joined differently). */
#ifndef IG_TEXT_REPLY_H
#define IG_TEXT_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"
#include "text/grammar/grammar.h"

/* ------------------------------------------------------------------------------------------------ families */

typedef struct ig_reply_family ig_reply_family; /* static storage */

/* Family of a template's source (may be empty: the generic one). Never NULL. */
const ig_reply_family *ig_reply_family_of(ig_str source);
const char *ig_reply_family_name(const ig_reply_family *family);

/* ------------------------------------------------------------------------------------------------ tools */

/* The tools of a request: immutable, may be shared between threads. */
typedef struct ig_reply_tools ig_reply_tools;
/* json: OpenAI's list of tools ({"type": "function", "function": {"name", "parameters"}}), or of the functions alone;
 * "input_schema" may stand for "parameters". Empty text: no tools. Nothing is kept of the text. Errors: BAD_INPUT (not
 * JSON, a tool without a name, a name twice; the sentence says which), TOO_LARGE (1 MiB, 1,024 tools), NO_MEMORY. */
ig_status ig_reply_tools_new(const char *json, size_t n, ig_reply_tools **out, ig_error *err);
void ig_reply_tools_free(ig_reply_tools *tools);
size_t ig_reply_tools_count(const ig_reply_tools *tools);
const char *ig_reply_tools_name(const ig_reply_tools *tools, size_t i); /* i below the count */

/* ------------------------------------------------------------------------------------------------ replies */

typedef enum ig_piece_kind {
    IG_PIECE_TEXT,
    IG_PIECE_REASONING,
    IG_PIECE_CALL,      /* a call begins: call, id, name */
    IG_PIECE_ARGUMENTS, /* more of the JSON of its arguments: call, text */
    IG_PIECE_CALL_END   /* call, whole */
} ig_piece_kind;

typedef struct ig_piece {
    ig_piece_kind kind;
    ig_str text;     /* valid UTF-8 */
    unsigned call;   /* number of the call in this reply, from 0 */
    ig_str id, name; /* of IG_PIECE_CALL */
    bool unparsed;   /* of IG_PIECE_TEXT: it began like a call */
    bool whole;      /* of IG_PIECE_CALL_END: the arguments are one JSON object and the call was not cut off */
} ig_piece;
/* Texts are borrowed during the call alone. False ends the reply: no further piece comes. */
typedef bool (*ig_piece_fn)(void *ctx, const ig_piece *piece);

typedef struct ig_reply_options {
    const ig_reply_family *family; /* NULL: generic */
    const ig_reply_tools *tools;   /* borrowed until free; may be NULL */
    ig_str source;                 /* the template's text, for the markers of reasoning; read during open only */
    ig_str prompt;                 /* the text that the reply continues, or its end (4 KiB do); read during open only */
    uint64_t seed;                 /* of the ids that are made up; the same seed gives the same ids */
    bool no_calls; /* none can be meant: what looks like one is text */
    bool whole; /* hand out the pieces of a call only when it is complete, and a broken one as text instead */
} ig_reply_options;

/* One reply. Belongs to one thread. */
typedef struct ig_reply ig_reply;
/* Errors: NO_MEMORY. */
ig_status ig_reply_open(const ig_reply_options *options, ig_reply **out, ig_error *err);
void ig_reply_close(ig_reply *r);
/* Takes n bytes, cut anywhere. Bytes that are no UTF-8 come back as U+FFFD. Errors: NO_MEMORY. */
ig_status ig_reply_push(ig_reply *r, const char *text, size_t n, ig_piece_fn fn, void *ctx, ig_error *err);

typedef struct ig_reply_end {
    unsigned n_calls, n_whole; /* calls that began, calls that are whole */
    bool unparsed, truncated_call;
} ig_reply_end;
/* Before the end: a limit ends the reply, not the model. What has begun like a call, or like its marker, is no text then. */
void ig_reply_cut_off(ig_reply *r);
/* The reply is over. Errors: NO_MEMORY. */
ig_status ig_reply_finish(ig_reply *r, ig_piece_fn fn, void *ctx, ig_reply_end *end, ig_error *err);
/* The model is thinking after what was pushed so far. */
bool ig_reply_is_reasoning(const ig_reply *r);
/* The texts (static) between which a model with this template reasons: *start is NULL where the prompt ends inside the
 * reasoning. False, and both NULL: it does not, or the prompt ends behind it. */
bool ig_reply_thoughts(ig_str source, ig_str prompt, const char **start, const char **end);
/* Whether a model with this template reasons at all: it may, or its prompts end inside the reasoning. */
bool ig_reply_thinks(ig_str source);
/* Whether control tokens are to be part of the pushed text: the family, or its reasoning, writes markers with them. */
bool ig_reply_wants_control(const ig_reply *r);

/* ------------------------------------------------------------------------------------------------ constraint */

typedef enum ig_reply_choice {
    IG_CHOICE_AUTO,     /* free text; from a marker of calls on, calls alone */
    IG_CHOICE_REQUIRED, /* one call or more */
    IG_CHOICE_NAMED     /* the tool `name` */
} ig_reply_choice;

typedef struct ig_reply_rule {
    const ig_reply_family *family; /* NULL: generic */
    const ig_reply_tools *tools;
    ig_reply_choice choice;
    ig_str name; /* of IG_CHOICE_NAMED */
    bool parallel;
    ig_str source, prompt; /* as in ig_reply_options: reasoning before the calls stays free */
    ig_str answer;         /* with IG_CHOICE_AUTO: JSON Schema that an answer without calls fits; empty: any text */
    /* [ig_reply_tools_count] or NULL, written by ig_reply_grammar: tools with "strict": false whose schema cannot be
     * enforced; their calls are held to the names and types of the arguments alone. NULL: they are refused, too. */
    bool *relaxed;
} ig_reply_rule;

/* The grammar of replies whose calls are valid: written as the family writes them, their arguments held to the schema
 * of the tool. It depends on names and schemas without their annotations: a changed description changes nothing.
 * Errors: NOT_FOUND (no such tool), UNSUPPORTED (a schema cannot be enforced; the sentence names the tool and the
 * pointer), BAD_INPUT, TOO_LARGE, NO_MEMORY. */
ig_status ig_reply_grammar(const ig_reply_rule *rule, ig_grammar **out, ig_error *err);
/* The source that the grammar is compiled from, for tests and bug reports: GBNF, then a JSON list of the schemas. */
ig_status ig_reply_grammar_source(const ig_reply_rule *rule, ig_buf *gbnf, ig_buf *schemas, ig_error *err);
/* The end of a prompt as far as grammars and pairs of marks depend on it: a marker that it ends with, or nothing. */
ig_str ig_reply_prompt_end(ig_str source, ig_str prompt);
/* Whether a control token with this text is part of how the family writes calls or reasoning. Such tokens must be
 * indexed with their text when masks are made for ig_reply_grammar. */
bool ig_reply_is_marker(const ig_reply_family *family, ig_str token);

#endif
