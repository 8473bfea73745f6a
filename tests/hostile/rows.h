/* The hostile-file table: what is done to a valid model, and what must come of it. The rows are in rows.c. */
#ifndef IG_TESTS_ROWS_H
#define IG_TESTS_ROWS_H

#include <stddef.h>
#include <stdint.h>

typedef enum stage {
    FORMAT, /* refused by the reader of the file format */
    VOCAB,  /* refused when the vocabulary is built */
    MODEL   /* refused when tensors and hyper-parameters are bound */
} stage;

typedef enum edit_op {
    OP_NONE,
    /* on the draft, before it is written */
    OP_INT,
    OP_FLOAT,
    OP_STR,
    OP_LIST,
    OP_SIZE,
    OP_ITEM,
    OP_DROP,
    OP_COPY,
    OP_RAW_KEY,
    OP_SHAPE,
    OP_NEW_TENSOR,
    OP_NO_TENSOR,
    OP_NAME,
    OP_OFFSET,
    OP_ALIGN,
    OP_FLOOD_KEYS,
    OP_FLOOD_TENSORS,
    OP_GPT2,
    OP_BERT,
    OP_EMPTY,
    OP_SPLIT,
    OP_OPEN,
    /* on the written bytes */
    OP_PUT,
    OP_CUT,
    OP_CUT_TO,
    OP_APPEND,
    OP_NO_FILE,
    OP_SAME_FILE
} edit_op;

typedef struct edit {
    edit_op op;
    const char *at; /* key, tensor or label (build.h) */
    uint32_t type;  /* value, element or tensor type; width of OP_PUT */
    int64_t delta;
    uint64_t n, v;
    double f;
    const char *text;
    size_t len; /* of text; with text NULL: that many 'x' */
    uint64_t ne[4];
    unsigned part; /* of a split model */
} edit;

enum { ROW_EDITS_MAX = 6 };

typedef struct row {
    const char *id; /* starts with the rule, "G03-..." */
    stage stage;
    const char *expect; /* words of the message, all of those between '+', one of those between '|'; LOADS; EITHER */
    edit edits[ROW_EDITS_MAX];
} row;

#define LOADS  NULL /* odd but legal: must open */
#define EITHER "?"  /* the rule asks for bounded time and memory only: a named error or success */

extern const row rows[];
extern const size_t n_rows;

#endif
