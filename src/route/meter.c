#include "meter.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/mem.h"

#define POWER_MAX_UW UINT64_C(10000000000) /* ten kilowatts: what is above is no reading */

static bool read_text(const char *path, char *out, size_t n)
{
    int fd = ig_disk_open(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0) return false;
    ssize_t got = ig_disk_read(fd, out, n - 1);
    close(fd);
    out[got > 0 ? got : 0] = 0;
    out[strcspn(out, "\n")] = 0;
    return got > 0;
}

static bool read_number(const char *folder, const char *file, uint64_t *out)
{
    char path[320], text[40], *end;
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path) return false;
    if (!read_text(path, text, sizeof text) || text[0] < '0' || text[0] > '9') return false;
    *out = strtoull(text, &end, 10);
    return !*end;
}

static bool read_name(const char *folder, const char *file, char out[40])
{
    char path[320];
    return snprintf(path, sizeof path, "%s/%s", folder, file) < (int)sizeof path && read_text(path, out, 40);
}

/* Packages, and memory, which is no part of them; the whole platform (psys) would count them again. */
static bool counts(const char *folder)
{
    char name[40];
    return read_name(folder, "name", name) && (!strncmp(name, "package", 7) || !strcmp(name, "dram"));
}

static void add_zone(ig_meter *m, const char *folder)
{
    uint64_t now, range;
    if (m->n == IG_METER_ZONES_MAX || strlen(folder) >= sizeof m->zone[0].path || !counts(folder)) return;
    if (!read_number(folder, "energy_uj", &now) || !read_number(folder, "max_energy_range_uj", &range)) return;
    snprintf(m->zone[m->n].path, sizeof m->zone[m->n].path, "%s", folder);
    m->zone[m->n].range_uj = range;
    m->zone[m->n++].last_uj = now;
}

static void find_zones(ig_meter *m)
{
    char folder[256], path[256];
    snprintf(folder, sizeof folder, "%s/class/powercap", m->root);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strchr(e->d_name, ':') && !strncmp(e->d_name, "intel-rapl:", 11) &&
            snprintf(path, sizeof path, "%.170s/%.80s", folder, e->d_name) < (int)sizeof path)
            add_zone(m, path);
    if (d) closedir(d);
}

static void find_battery(ig_meter *m)
{
    char folder[256], path[256], type[40];
    uint64_t power;
    snprintf(folder, sizeof folder, "%s/class/power_supply", m->root);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && !*m->battery && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%.170s/%.80s", folder, e->d_name);
        if (read_name(path, "type", type) && !strcmp(type, "Battery") && read_number(path, "power_now", &power))
            snprintf(m->battery, sizeof m->battery, "%s", path);
    }
    if (d) closedir(d);
}

bool ig_meter_open(ig_meter *m, const char *root)
{
    *m = (ig_meter){0};
    snprintf(m->root, sizeof m->root, "%.150s", root);
    find_zones(m);
    if (m->n)
        m->how = "rapl";
    else
        find_battery(m);
    if (*m->battery) m->how = "battery";
    return m->how != NULL;
}

static uint64_t take_zones(ig_meter *m)
{
    uint64_t sum = 0, now, part;
    for (unsigned i = 0; i < m->n; i++) {
        if (!read_number(m->zone[i].path, "energy_uj", &now)) continue;
        part = now >= m->zone[i].last_uj ? now - m->zone[i].last_uj : now + (m->zone[i].range_uj - m->zone[i].last_uj);
        m->zone[i].last_uj = now;
        if (part <= m->zone[i].range_uj && !ig_add_u64(sum, part, &sum)) sum = 0;
    }
    return sum;
}

/* Power times the time that has gone by; on mains the battery tells nothing about use. */
static uint64_t take_battery(ig_meter *m, uint64_t ns)
{
    char status[40];
    uint64_t uw, ms = ns / 1000000;
    if (!read_name(m->battery, "status", status) || strcmp(status, "Discharging")) return 0;
    if (!read_number(m->battery, "power_now", &uw) || uw > POWER_MAX_UW || ms > 120000) return 0;
    return uw * ms / 1000;
}

uint64_t ig_meter_take(ig_meter *m, uint64_t now_ns)
{
    uint64_t ns = m->begun && now_ns > m->last_ns ? now_ns - m->last_ns : 0;
    bool first = !m->begun;
    m->begun = true;
    m->last_ns = now_ns;
    if (!m->how) return 0;
    uint64_t uj = m->n ? take_zones(m) : take_battery(m, ns);
    return first ? 0 : uj;
}

uint64_t ig_meter_share(uint64_t *uj, uint64_t *weights, uint64_t weight)
{
    if (weight == 0 || weight > *weights) return 0;
    uint64_t share = *uj / *weights * weight + *uj % *weights * weight / *weights;
    *uj -= share;
    *weights -= weight;
    return share;
}
