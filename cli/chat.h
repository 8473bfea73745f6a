/* A conversation at the terminal: what its parts share. */
#ifndef INGLE_CLI_CHAT_H
#define INGLE_CLI_CHAT_H

#include "line.h"
#include "talk.h"

enum { CHAT_STOPS_MAX = 16 };

typedef struct chat_state {
    const cli_call *call;
    ingle_model *model;
    ingle_engine *engine;
    ingle_session *session;
    talk_chat chat;
    talk_sampling sampling;
    talk_model own; /* what the store says about the model */
    talk_guess guess;
    ingle_grammar *grammar;
    json_t *messages;  /* without the system's */
    char *system;      /* owned, NULL: none */
    const char *think; /* as talk_render takes it */
    bool hide, verbose, leave;
    bool failed; /* a message was not answered */
    uint32_t n_max, n_ctx;
    char *stops[CHAT_STOPS_MAX]; /* owned */
    size_t n_stops;
    int32_t *fed; /* [n_ctx] what the session holds */
    size_t n_fed;
    cli_line *line;
    bool far;                         /* the service answers: no model, engine, session, template and grammar here */
    json_t *options, *format, *about; /* owned; of the requests, and what the service says about the model */
    /* of the last answer */
    uint32_t n_prompt, n_reused, n_generated, n_drafted, n_accepted;
    double prompt_ms, answer_ms;
} chat_state;

/* Opens the engine with the context s->n_ctx (0: the standard); what the session held is forgotten. */
ingle_status chat_engine(chat_state *s, ingle_error *err);
/* The messages with the system's in front; a new reference, NULL without memory. */
json_t *chat_all_messages(const chat_state *s);
/* Reads a conversation that /save wrote. */
ingle_status chat_load(chat_state *s, const char *path, ingle_error *err);
/* Sends the conversation, whose last message is a user's, and prints the answer. False when nothing was answered; the
 * reason has been told. */
bool chat_answer(chat_state *s);
/* A line that begins with '/'. */
void chat_command(chat_state *s, const char *line);
/* Puts a text that is to be freed with ig_free into a place; false without memory. */
bool chat_set_text(char **place, const char *text);

/* Ctrl-C was pressed since the last message. */
bool chat_interrupted(void);

/* far_chat.c */

/* Errors: the service's. */
ig_status far_chat_open(chat_state *s, ig_error *err);
void far_chat_fini(chat_state *s);
bool far_chat_answer(chat_state *s);
/* A number that was typed; false: it is none. */
bool far_chat_set(chat_state *s, const char *name, const char *value);
void far_chat_stops(chat_state *s);
void far_chat_json(chat_state *s, bool json);
void far_chat_parameters(const chat_state *s);
void far_chat_info(const chat_state *s);

#endif
