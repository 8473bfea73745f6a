/* Bodies of frames, written directly: what a token costs is a few hundred bytes, no tree of values. */
#ifndef IG_WORKER_OUT_H
#define IG_WORKER_OUT_H

#include "base/mem.h"
#include "base/str.h"

/* A JSON string of valid UTF-8, with its quotes. */
void wk_put_text(ig_buf *b, ig_str text);
void wk_put_z(ig_buf *b, const char *text); /* NULL: null */
/* A number that reads back as the same float; null for what is no number. */
void wk_put_float(ig_buf *b, float v);
/* [1,2,255] */
void wk_put_bytes(ig_buf *b, ig_str bytes);
/* A string of bytes that may be no UTF-8: broken ones become U+FFFD. */
void wk_put_broken(ig_buf *b, ig_str bytes);

#endif
