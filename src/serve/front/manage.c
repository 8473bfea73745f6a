/* Models that come and go: until the store is there, each is refused with one sentence. */
#include "serve/front/fr.h"

void fr_blob_begin(fr_front *f, ig_exchange *ex, const ig_match *match, ig_body_plan *plan)
{
    (void)plan;
    ig_problem p;
    ig_problem_set(&p, IG_P_NOT_HERE, NULL, "this service has no store; start it with one to upload files");
    fr_answer_problem(f, ex, match->route, &p);
}

void fr_blob_end(fr_front *f, ig_exchange *ex) { (void)f, (void)ex; }
