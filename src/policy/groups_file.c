/* Groups of machines without a directory: lines `GROUP: MEMBER MEMBER ...`, where a member is an account, uid:N or
 * @GROUP. # begins a comment. Groups may hold one another, also in circles. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/os.h"
#include "policy/inner.h"

#define FILE_BYTES_MAX ((size_t)4 << 20)
enum { ROWS_MAX = 65536, ROUNDS_MAX = 32 };

static ig_str trim(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
    return (ig_str){p, (size_t)(end - p)};
}

static bool next_member(ig_str *rest, ig_str *member)
{
    const char *p = rest->ptr, *end = p + rest->len;
    while (p < end && (*p == ' ' || *p == '\t' || *p == ',')) p++;
    const char *start = p;
    while (p < end && *p != ' ' && *p != '\t' && *p != ',') p++;
    *member = (ig_str){start, (size_t)(p - start)};
    *rest = (ig_str){p, (size_t)(end - p)};
    return member->len > 0;
}

static bool has_group(const ig_finding *f, ig_str name)
{
    for (size_t i = 0; i < f->n_groups; i++)
        if (strlen(f->groups[i]->name) == name.len && !strncasecmp(f->groups[i]->name, name.ptr, name.len)) return true;
    return false;
}

static bool is_member(const ig_finding *f, ig_str members)
{
    char uid[24];
    ig_str m;
    snprintf(uid, sizeof uid, "uid:%" PRIu32, f->uid);
    while (next_member(&members, &m)) {
        if (f->account[0] && ig_str_is(m, f->account)) return true;
        if (f->has_uid && ig_str_is(m, uid)) return true;
        if (*m.ptr == '@' && has_group(f, (ig_str){m.ptr + 1, m.len - 1})) return true;
    }
    return false;
}

/* One pass over the lines; *grew: a group came. */
static ig_status pass(const char *path, ig_str text, ig_finding *f, bool *grew, ig_error *err)
{
    const char *p = text.ptr, *end = p + text.len;
    unsigned line = 0;
    *grew = false;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        const char *comment = memchr(p, '#', (size_t)(stop - p));
        ig_str row = trim(p, comment ? comment : stop);
        p = stop + 1;
        if (++line > ROWS_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "%s has more than %d lines", path, ROWS_MAX);
        if (!row.len) continue;
        const char *colon = memchr(row.ptr, ':', row.len);
        ig_str name = colon ? trim(row.ptr, colon) : (ig_str){0};
        char own[IG_ACCOUNT_MAX];
        if (!name.len || name.len >= sizeof own || memchr(row.ptr, 0, row.len))
            return ig_fail(err, IG_BAD_INPUT, line, "%s:%u: expected GROUP: MEMBER ...", path, line);
        ig_str members = {colon + 1, (size_t)(row.ptr + row.len - colon - 1)};
        if (has_group(f, name) || !is_member(f, members)) continue;
        memcpy(own, name.ptr, name.len);
        own[name.len] = 0;
        if (!ig_finding_group(f, own, "")) return ig_fail(err, IG_TOO_LARGE, 0, "too many groups in %s", path);
        *grew = true;
    }
    return IG_OK;
}

ig_status ig_groups_file_find(const char *path, ig_finding *f, ig_error *err)
{
    ig_buf text;
    struct stat st;
    if (stat(path, &st) == 0 && st.st_mode & 022)
        return ig_fail(err, IG_DENIED, 0, "others may write %s; type: chmod go-w %s", path, path);
    ig_buf_init(&text, FILE_BYTES_MAX);
    ig_status status = ig_file_read(path, &text, err);
    bool grew = status == IG_OK && text.len;
    for (int i = 0; grew && status == IG_OK && i < ROUNDS_MAX; i++)
        status = pass(path, (ig_str){text.ptr, text.len}, f, &grew, err);
    if (status == IG_OK && grew)
        status = ig_fail(err, IG_TOO_LARGE, 0, "%s: groups within groups are deeper than %d", path, ROUNDS_MAX);
    ig_buf_fini(&text);
    return status;
}
