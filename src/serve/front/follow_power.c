/* Whether this is a time to fetch gigabytes: mains or battery, as the kernel tells, and a metered network, as the
 * network manager does. What nobody tells is mains and not metered. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "base/os.h"
#include "serve/front/follow.h"

/* First word of the file in folder/name. */
static bool word_of(const char *folder, const char *name, const char *file, char out[32])
{
    char path[4096];
    ig_buf text;
    ig_error err;
    size_t n = 0;
    if (snprintf(path, sizeof path, "%s/%s/%s", folder, name, file) >= (int)sizeof path) return false;
    ig_buf_init(&text, 4096);
    bool ok = ig_file_read(path, &text, &err) == IG_OK;
    for (; ok && n < text.len && n < 31 && text.ptr[n] > ' '; n++) out[n] = text.ptr[n];
    out[n] = 0;
    ig_buf_fini(&text);
    return n > 0;
}

/* A battery that is being emptied, and no mains that feeds. Batteries of mice and the like have the scope Device. */
static bool on_battery(const char *sys)
{
    char folder[3072], word[32];
    bool empties = false, mains = false;
    snprintf(folder, sizeof folder, "%s/class/power_supply", sys ? sys : "/sys");
    DIR *dir = opendir(folder);
    if (!dir) return false;
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.' || (word_of(folder, e->d_name, "scope", word) && !strcmp(word, "Device"))) continue;
        if (!word_of(folder, e->d_name, "type", word)) continue;
        if (!strcmp(word, "Battery"))
            empties |= word_of(folder, e->d_name, "status", word) && !strcmp(word, "Discharging");
        else
            mains |= word_of(folder, e->d_name, "online", word) && !strcmp(word, "1");
    }
    closedir(dir);
    return empties && !mains;
}

static bool is_metered(void)
{
    const char *own = getenv("INGLE_METERED");
    sd_bus *bus = NULL;
    uint32_t value = 0;
    if (own && *own) return !strcmp(own, "yes");
    if (sd_bus_open_system(&bus) < 0) return false;
    sd_bus_set_method_call_timeout(bus, 2000000);
    int rc = sd_bus_get_property_trivial(bus, "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager",
                                         "org.freedesktop.NetworkManager", "Metered", NULL, 'u', &value);
    sd_bus_flush_close_unref(bus);
    return rc >= 0 && (value == 1 || value == 3); /* yes, or a guess that says yes */
}

fr_power fr_power_now(const char *sys) { return (fr_power){on_battery(sys), is_metered()}; }
