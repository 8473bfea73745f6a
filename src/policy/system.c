/* The system's name service: passwd and group files, SSSD, whatever nsswitch.conf names. May block. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "policy/inner.h"

#define ENTRY_BYTES_MAX ((size_t)1 << 20)

/* Looks the account up by name, else by uid, with a buffer that grows. */
static ig_status find_account(ig_finding *f, struct passwd *pw, struct passwd **found, char **memory, ig_error *err)
{
    for (size_t n = 4096; n <= ENTRY_BYTES_MAX; n *= 4) {
        ig_free(*memory);
        *memory = ig_alloc(n);
        if (!*memory) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for an account");
        int no = f->account[0] ? getpwnam_r(f->account, pw, *memory, n, found)
                               : getpwuid_r((uid_t)f->uid, pw, *memory, n, found);
        if (no == ERANGE) continue;
        /* What POSIX allows instead of "not found". */
        if (!no || no == ENOENT || no == ESRCH || no == EBADF || no == EPERM) return IG_OK;
        return ig_fail_errno(err, IG_IO, no, "the system's name service cannot tell about an account");
    }
    return ig_fail(err, IG_TOO_LARGE, 0, "the system's entry of an account has more than 1 MiB");
}

static ig_status add_group(ig_finding *f, gid_t gid, ig_error *err)
{
    char *memory = NULL, id[24];
    struct group gr, *found = NULL;
    ig_status st = IG_OK;
    snprintf(id, sizeof id, "gid:%u", (unsigned)gid);
    for (size_t n = 4096; st == IG_OK; n *= 4) {
        ig_free(memory);
        memory = n <= 16 * ENTRY_BYTES_MAX ? ig_alloc(n) : NULL;
        if (!memory) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a group");
        int no = getgrgid_r(gid, &gr, memory, n, &found);
        if (no == ERANGE) continue;
        if (no && no != ENOENT && no != ESRCH && no != EBADF && no != EPERM)
            st = ig_fail_errno(err, IG_IO, no, "the system's name service cannot tell about group %u", (unsigned)gid);
        break;
    }
    if (st == IG_OK && !ig_finding_group(f, found ? found->gr_name : id, id))
        st = ig_fail(err, IG_TOO_LARGE, 0, "an account has more than %d groups", IG_GROUPS_MAX);
    ig_free(memory);
    return st;
}

static ig_status add_groups(ig_finding *f, const char *account, gid_t primary, ig_error *err)
{
    int n = 64;
    gid_t *gids = NULL;
    for (int tries = 0; tries < 4; tries++) {
        gid_t *grown = ig_realloc(gids, (size_t)n, sizeof *gids);
        if (!grown) break;
        gids = grown;
        int room = n;
        if (getgrouplist(account, primary, gids, &n) >= 0) {
            ig_status st = IG_OK;
            for (int i = 0; i < n && st == IG_OK; i++) st = add_group(f, gids[i], err);
            ig_free(gids);
            return st;
        }
        if (n <= room) n = room * 2;
        if (n > IG_GROUPS_MAX) break;
    }
    ig_free(gids);
    return ig_fail(err, IG_TOO_LARGE, 0, "the groups of an account could not be listed (at most %d)", IG_GROUPS_MAX);
}

ig_status ig_system_find(ig_finding *f, ig_error *err)
{
    struct passwd pw, *found = NULL;
    char *memory = NULL;
    if (!f->account[0] && !f->has_uid) return IG_OK;
    ig_status st = find_account(f, &pw, &found, &memory, err);
    if (st == IG_OK && found && strlen(found->pw_name) < sizeof f->account) {
        snprintf(f->account, sizeof f->account, "%s", found->pw_name);
        f->exists = f->has_uid = true;
        f->uid = (uint32_t)found->pw_uid;
        st = add_groups(f, f->account, found->pw_gid, err);
    }
    ig_free(memory);
    return st;
}
