/* Arithmetic on whole numbers of any size. All give kind 0 for more than 4300 digits or without memory. */
#ifndef IG_TEXT_TEMPLATE_NUMBER_H
#define IG_TEXT_TEMPLATE_NUMBER_H

#include "text/template/value.h"

ig_tval ig_tn_add(ig_arena *arena, ig_tval a, ig_tval b);
ig_tval ig_tn_sub(ig_arena *arena, ig_tval a, ig_tval b);
ig_tval ig_tn_mul(ig_arena *arena, ig_tval a, ig_tval b);
/* Rounds down, as Python does; b is not 0. */
bool ig_tn_divmod(ig_arena *arena, ig_tval a, ig_tval b, ig_tval *quotient, ig_tval *rest);

#endif
