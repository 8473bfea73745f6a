/* The service follows its catalogues: private to follow.c (the thread that syncs, fetches and removes), follow_loop.c
 * (the loop's side: grants in force, people, requests) and follow_power.c.
 *
 * The thread never touches the front's state. What it has found out goes over as briefs (a catalogue with its grants,
 * counted), notices (lines for the operator and the audit log) and a report (text of JSON); what it needs comes as
 * settings (a counted copy of the configuration) and people (counted persons). All of that lies under one lock. */
#ifndef IG_SERVE_FOLLOW_H
#define IG_SERVE_FOLLOW_H

#include <pthread.h>

#include "policy/policy.h"
#include "serve/front/fr.h"
#include "store/catalogue.h"

enum { FOLLOW_NOTICES_MAX = 64, FOLLOW_PEOPLE_MAX = 4096, FOLLOW_PEOPLE_WAIT_S = 20 };

typedef struct fr_brief { /* one good state of one catalogue */
    unsigned refs;        /* under the lock */
    bool expired;         /* for longer than the grace */
    bool lost;            /* it cannot be read: c has nothing, and what it brought is refused */
    char name[IG_FOLLOW_NAME_MAX + 1];
    ig_catalogue *c;
    ig_grants grants;
} fr_brief;

typedef struct fr_settings {
    unsigned refs; /* under the lock */
    ig_arena arena;
    ig_follow list[IG_FOLLOWS_MAX];
    size_t n;
    char machine[256];
} fr_settings;

typedef struct fr_notice {
    char op[8]; /* "fetch", "remove" with a model; "" for a line alone */
    char model[IG_NAME_MAX + 1], digest[IG_HEX_LEN + 1], rule[IG_RULE_ID_MAX], result[16];
    char line[600]; /* to say, or "" */
} fr_notice;

typedef struct fr_people {
    ig_person **list; /* owned [n] */
    size_t n;
    bool unsure; /* somebody's groups are not known */
} fr_people;

struct fr_follow {
    fr_front *front;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t bell;
    ig_waker waker;
    /* under the lock */
    bool stop, look;              /* look: people or settings are others than before */
    uint64_t asked, synced, done; /* numbers of rounds */
    fr_settings *settings;
    fr_brief *brief[IG_FOLLOWS_MAX]; /* what is to be in force */
    size_t n_briefs;
    bool news, models_changed;
    bool want_people, have_people;
    fr_people people;
    fr_notice notices[FOLLOW_NOTICES_MAX];
    size_t n_notices;
    char *report;    /* JSON; or NULL */
    json_t *preload; /* names of models to be loaded, owned; or NULL */
    /* the loop's */
    fr_brief *live[IG_FOLLOWS_MAX];
    const ig_grants *sets[IG_FOLLOWS_MAX];
    size_t n_live;
    struct fr_waiter *waiters;
    struct fr_gather *gather;
    struct fr_seen *seen; /* people who have asked [n_seen] */
    size_t n_seen;
};

/* policy.c: asks the directory; fn comes in the loop. */
void fr_policy_ask(fr_front *f, const char *account, uint32_t uid, ig_directory_call *call, ig_directory_fn fn,
                   void *ctx);
void *fr_follow_thread(void *ctx);
/* The last good state of a catalogue; NULL and the reason where there is none. Where it is damaged or gone and models
 * of it are here, a lost one. */
fr_brief *fr_brief_open(const fr_front *front, const ig_follow *f, ig_error *err);
fr_settings *fr_settings_new(const ig_config *c, const char *machine); /* NULL without memory */
void fr_settings_unref(fr_settings *s);                                /* with the lock held */
void fr_brief_unref(fr_brief *b);                                      /* likewise */
void fr_people_fini(fr_people *p);

typedef struct fr_power {
    bool battery; /* runs on it */
    bool metered; /* the network costs by the byte, as NetworkManager says */
} fr_power;
/* sys: a folder like /sys. INGLE_METERED=yes or no stands for the network manager. Blocks for at most 2 s. */
fr_power fr_power_now(const char *sys);

#endif
