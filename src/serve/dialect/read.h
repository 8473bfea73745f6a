/* Private to serve/dialect: reading of client bodies by tables of parameters. */
#ifndef IG_SERVE_DIALECT_READ_H
#define IG_SERVE_DIALECT_READ_H

#include "serve/dialect/dialect.h"

struct ig_parse {
    ig_request *req;
    json_t *body; /* borrowed object; req->body */
    json_t *to;   /* owned: internal fields that every part gets */
    ig_str query;
    ig_problem *problem;
    bool samplers_seen;
};

typedef enum ig_param_kind {
    IG_K_NUMBER, /* min..max, stored under `to` */
    IG_K_INT,    /* likewise, whole */
    IG_K_BOOL,
    IG_K_STRING,
    IG_K_IGNORE,        /* any value: named in ignored */
    IG_K_IGNORE_NUMBER, /* the same, but a wrong type is a problem */
    IG_K_IGNORE_BOOL,
    IG_K_QUIET, /* any value: has no effect here by design and is not worth a word */
    IG_K_ONLY,  /* number or bool that must equal min: the feature is not there, its neutral value is fine */
    IG_K_LATER, /* known; the dialect's own code reads it */
    IG_K_READ   /* read() does it; is not called for null */
} ig_param_kind;

typedef struct ig_param {
    const char *name;
    ig_param_kind kind;
    const char *to; /* internal name, NULL: the same */
    double min, max;
    bool (*read)(ig_parse *p, const char *name, json_t *value);
} ig_param;

/* Sampling parameters that every dialect names alike, and llama-server's further ones. Ends with a NULL name, as all
 * tables. */
extern const ig_param ig_params_sampling[], ig_params_llama[];

/* Adding to a tree without checking each step: where memory is short (or value is NULL) the whole tree is given up and
 * *o becomes NULL, which every later step passes on, so that one look at the end is enough. Both take value. */
void ig_put(json_t **o, const char *name, json_t *value);
void ig_append(json_t **list, json_t *value);
void ig_merge(json_t **o, json_t *more);

/* Bytes to a tree, within the limits of dialect.h. NULL fills problem. */
json_t *ig_read_json(ig_str text, ig_problem *problem);
/* Walks the members of `object` and treats each by the first table that knows it; others are ignored by name. prefix
 * ("options.") goes before names in messages, "" for none. tables: NULL-terminated. */
bool ig_read_params(ig_parse *p, json_t *object, const char *prefix, const ig_param *const *tables);
/* p->body must be an object: reads model, then ig_read_params with prefix "". */
bool ig_read_body(ig_parse *p, const ig_param *const *tables);
/* A problem at `param`; false. */
bool ig_refuse(ig_parse *p, ig_problem_kind kind, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool ig_no_memory(ig_parse *p);
void ig_ignore(ig_parse *p, const char *prefix, const char *name);

/* Stores into p->to; takes value. */
bool ig_set(ig_parse *p, const char *name, json_t *value);
/* A member of p->body: NULL where absent or null. */
json_t *ig_get(const ig_parse *p, const char *name);
/* A member that must have the type where it is there and not null; *out NULL without. What: "a string". */
bool ig_get_string(ig_parse *p, const char *name, const char **out);
bool ig_get_bool(ig_parse *p, const char *name, bool *out); /* leaves *out where absent */
/* Whole numbers also as 10.0. False where v is none. */
bool ig_whole(const json_t *v, int64_t *out);
/* Value of `name` in the query, percent-decoded into out; false where absent or too long. */
bool ig_query_get(ig_str query, const char *name, char *out, size_t size);
bool ig_percent_decode(ig_str in, char *out, size_t size);

/* Readers for IG_K_READ. */
bool ig_read_stop(ig_parse *p, const char *name, json_t *v);
bool ig_read_seed(ig_parse *p, const char *name, json_t *v);
bool ig_read_max_tokens(ig_parse *p, const char *name, json_t *v);
bool ig_read_logit_bias(ig_parse *p, const char *name, json_t *v);
bool ig_read_json_schema(ig_parse *p, const char *name, json_t *v); /* v is the schema */
bool ig_read_template_args(ig_parse *p, const char *name, json_t *v);
bool ig_read_n_ctx(ig_parse *p, const char *name, json_t *v);
bool ig_read_n(ig_parse *p, const char *name, json_t *v);
bool ig_read_stream(ig_parse *p, const char *name, json_t *v);
bool ig_read_options(ig_parse *p, const char *name, json_t *v); /* Ollama's options object */
bool ig_read_keep_alive(ig_parse *p, const char *name, json_t *v);
/* "low" and so on, as OpenAI's reasoning_effort. */
bool ig_read_effort(ig_parse *p, const char *name, json_t *v);

/* Checks a tool of OpenAI's nested form and appends a clean copy: name, description, parameters, strict. at:
 * "tools[3]". */
bool ig_add_tool(ig_parse *p, const char *at, json_t *name, json_t *description, json_t *parameters, json_t *strict,
                 json_t *tools);
/* Sets tools, tool_choice (choice: owned json "auto"/"none"/"required"/{"name":…} or NULL) after checking that they
 * fit. */
bool ig_set_tools(ig_parse *p, json_t *tools, json_t *choice);
/* Keeps in tools those whose names stand in allowed ([{function:{name}}] or [{name}]). */
bool ig_allow_tools(ig_parse *p, json_t *tools, json_t *allowed);
/* OpenAI's tools, functions, tool_choice of chat (also in Ollama's dialect). */
bool ig_read_chat_tools(ig_parse *p);
/* Text of a content: string, null (gives ""), or parts of which all must be text; new string in *out. */
bool ig_read_content(ig_parse *p, const char *at, json_t *content, json_t **out);
/* A refusal for pictures, sound and files. */
bool ig_refuse_media(ig_parse *p, const char *at, const char *what);
/* Appends {"id","type":"function","function":{"name","arguments"}}; arguments: string or object; id may be NULL. */
bool ig_add_call(ig_parse *p, const char *at, json_t *id, json_t *name, json_t *arguments, json_t *calls);
/* Appends a message; takes content and the others (any may be NULL but content). */
bool ig_add_message(ig_parse *p, json_t *messages, const char *role, json_t *content, json_t *reasoning, json_t *calls,
                    json_t *call_id, json_t *name);
/* The messages of OpenAI's chat form, into p->to. */
bool ig_read_messages(ig_parse *p);
/* One part out of p->to with op "generate". kind: "chat" or "text". */
bool ig_add_generate(ig_parse *p, const char *kind);
/* One part that asks how many tokens the messages and tools in p->to make: {"op":"template", "count":true, …}. */
bool ig_add_count(ig_parse *p);
/* One part {"op":op} + p->to. */
bool ig_add_part(ig_parse *p, const char *op);
/* Text or array of ids, checked; new reference in *out. */
bool ig_read_prompt(ig_parse *p, const char *at, json_t *v, json_t **out);
/* prompt: text, ids, or a list of those; makes one part of each. */
bool ig_add_prompts(ig_parse *p, json_t *prompt);
/* input of embeddings: the same shapes into one "inputs" list. */
bool ig_read_inputs(ig_parse *p, const char *name, json_t *v);

bool ig_parse_openai_chat(ig_parse *p);
bool ig_parse_openai_text(ig_parse *p);
bool ig_parse_responses(ig_parse *p);
bool ig_parse_input_tokens(ig_parse *p);
bool ig_parse_openai_embed(ig_parse *p);
bool ig_parse_rerank(ig_parse *p);
bool ig_parse_model_arg(ig_parse *p);
bool ig_parse_query_model(ig_parse *p);
bool ig_parse_ollama_chat(ig_parse *p);
bool ig_parse_ollama_generate(ig_parse *p);
bool ig_parse_ollama_embed(ig_parse *p);
bool ig_parse_ollama_embedding(ig_parse *p);
bool ig_parse_ollama_manage(ig_parse *p);
bool ig_parse_blob(ig_parse *p);
bool ig_parse_anthropic(ig_parse *p);
bool ig_parse_anthropic_count(ig_parse *p);
bool ig_parse_completion(ig_parse *p);
bool ig_parse_infill(ig_parse *p);
bool ig_parse_tokenize(ig_parse *p);
bool ig_parse_detokenize(ig_parse *p);
bool ig_parse_apply_template(ig_parse *p);
bool ig_parse_props(ig_parse *p);
bool ig_parse_slots(ig_parse *p);

#endif
