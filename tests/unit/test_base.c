/* src/base: text, memory, maps, threads, and the seam to the operating system under injected failures.
 * Tests are named after the rule of the reliability list that they answer (Mxx). */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/pool.h"
#include "base/utf8.h"

static char scratch[64]; /* a folder of this run's own */

static const char *at(const char *name)
{
    static char path[2][128];
    static unsigned turn;
    char *p = path[turn++ & 1];
    (void)snprintf(p, sizeof path[0], "%s/%s", scratch, name);
    return p;
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static void assert_content(const char *path, const char *text)
{
    ig_buf buf;
    ig_error err;
    ig_buf_init(&buf, 1 << 20);
    assert_int_equal(ig_file_read(path, &buf, &err), IG_OK);
    assert_int_equal(buf.len, strlen(text));
    if (buf.len) assert_memory_equal(buf.ptr, text, buf.len);
    ig_buf_fini(&buf);
}

static unsigned files_in_scratch(void)
{
    char command[128], line[16] = "";
    (void)snprintf(command, sizeof command, "ls -A %s | wc -l", scratch);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(pclose(f), 0);
    return (unsigned)strtoul(line, NULL, 10);
}

/* ------------------------------------------------------------------------------------------------ text */

static void test_utf8_decode(void **state)
{
    static const struct {
        const char *what, *input;
        size_t n, length;
        uint32_t cp;
    } cases[] = {
        {"empty", "", 0, 0, 0xFFFD},
        {"ascii", "A", 1, 1, 'A'},
        {"NUL", "\0", 1, 1, 0},
        {"two bytes", "\xC3\xA9", 2, 2, 0xE9},
        {"three bytes", "\xE2\x82\xAC", 3, 3, 0x20AC},
        {"four bytes", "\xF0\x9F\x94\xA5", 4, 4, 0x1F525},
        {"last scalar", "\xF4\x8F\xBF\xBF", 4, 4, 0x10FFFF},
        {"above the last", "\xF4\x90\x80\x80", 4, 0, 0xFFFD},
        {"overlong slash", "\xC0\xAF", 2, 0, 0xFFFD},
        {"overlong three", "\xE0\x80\xAF", 3, 0, 0xFFFD},
        {"overlong four", "\xF0\x80\x80\xAF", 4, 0, 0xFFFD},
        {"surrogate", "\xED\xA0\x80", 3, 0, 0xFFFD},
        {"below surrogates", "\xED\x9F\xBF", 3, 3, 0xD7FF},
        {"lone continuation", "\x80", 1, 0, 0xFFFD},
        {"cut two", "\xC3", 1, 0, 0xFFFD},
        {"cut four", "\xF0\x9F\x94", 3, 0, 0xFFFD},
        {"FF", "\xFF", 1, 0, 0xFFFD},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *copy = malloc(cases[i].n ? cases[i].n : 1);
        uint32_t cp = 1;
        assert_non_null(copy);
        memcpy(copy, cases[i].input, cases[i].n);
        size_t length = ig_utf8_decode(copy, cases[i].n, &cp);
        if (length != cases[i].length || cp != cases[i].cp) fail_msg("%s: %zu, U+%04X", cases[i].what, length, cp);
        assert_int_equal(ig_utf8_valid(copy, cases[i].n), cases[i].n == 0 || length == cases[i].n);
        free(copy);
    }
}

static void test_utf8_every_scalar_there_and_back(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x110010; cp++) {
        char out[4];
        uint32_t back;
        size_t n = ig_utf8_encode(cp, out);
        bool scalar = cp <= 0x10FFFF && !(cp >= 0xD800 && cp <= 0xDFFF);
        if ((n != 0) != scalar) fail_msg("U+%04X has %zu bytes", cp, n);
        if (n && (ig_utf8_decode(out, n, &back) != n || back != cp)) fail_msg("U+%04X came back as U+%04X", cp, back);
    }
}

static void test_utf8_whole(void **state)
{
    static const struct {
        const char *input;
        size_t n, whole;
    } cases[] = {
        {"", 0, 0},
        {"ab", 2, 2},
        {"a\xC3", 2, 1},
        {"a\xC3\xA9", 3, 3},
        {"\xE2\x82", 2, 0},
        {"x\xF0\x9F\x94", 4, 1},
        {"x\xF0\x9F\x94\xA5", 5, 5},
        {"x\xFF", 2, 2}, /* broken, but nothing to wait for */
        {"\x80\x80\x80\x80", 4, 4},
        {"\xED\xA0", 2, 2}, /* would be a surrogate: can never become whole */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(ig_utf8_whole(cases[i].input, cases[i].n), cases[i].whole);
}

static void test_status_text_is_clean_and_cut_at_a_character(void **state)
{
    char name[2000];
    ig_error err = {0};
    (void)state;
    for (int i = 0; i < IG_STATUS_COUNT; i++) assert_string_not_equal(ig_status_name((ig_status)i), "UNKNOWN");
    assert_string_equal(ig_status_name((ig_status)99), "UNKNOWN");
    assert_int_equal(ig_fail(&err, IG_BAD_INPUT, 7, "bad \x1b[31m key\n\x80 here"), IG_BAD_INPUT);
    assert_string_equal(err.text, "bad ?[31m key?? here");
    assert_int_equal(err.offset, 7);
    assert_int_equal(ig_fail(NULL, IG_BUG, 0, "nobody listens"), IG_BUG);

    for (size_t i = 0; i + 3 < sizeof name; i += 3) memcpy(name + i, "\xE2\x82\xAC", 3);
    name[1998] = 0;
    for (int shift = 0; shift < 3; shift++) {
        ig_fail(&err, IG_BAD_INPUT, 0, "%.*s%s", shift, "xyz", name);
        assert_true(ig_utf8_valid(err.text, strlen(err.text)));
        assert_true(strlen(err.text) < sizeof err.text);
    }
    ig_fail_errno(&err, IG_IO, ENOSPC, "cannot write %s", "/x");
    assert_string_equal(err.text, "cannot write /x: No space left on device");
    assert_int_equal(err.sys_errno, ENOSPC);
}

/* ------------------------------------------------------------------------------------------------ memory */

static void test_checked_arithmetic(void **state)
{
    size_t s;
    uint64_t u;
    (void)state;
    assert_true(ig_mul_sz(3, 4, &s) && s == 12);
    assert_false(ig_mul_sz(SIZE_MAX, 2, &s));
    assert_false(ig_add_sz(SIZE_MAX, 1, &s));
    assert_false(ig_mul_u64(UINT64_MAX / 2, 3, &u));
    assert_false(ig_add_u64(UINT64_MAX, 1, &u));
    assert_true(ig_round_up(0, 32, &u) && u == 0);
    assert_true(ig_round_up(33, 32, &u) && u == 64);
    assert_false(ig_round_up(UINT64_MAX - 3, 32, &u));
    assert_null(ig_calloc(SIZE_MAX / 2, 3));
    assert_null(ig_alloc_aligned(64, SIZE_MAX - 3));
}

static void test_arena_aligns_zeroes_and_keeps_its_limit(void **state)
{
    ig_arena arena = {.max_bytes = 100000};
    (void)state;
    for (size_t n = 1; n < 200; n++) {
        char *p = ig_arena_alloc(&arena, n, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xAB, n);
    }
    assert_string_equal(ig_arena_copy(&arena, "hearth and more", 6), "hearth");
    assert_non_null(ig_arena_alloc(&arena, 50000, 1)); /* larger than a block */
    assert_null(ig_arena_alloc(&arena, 50000, 1));
    assert_null(ig_arena_alloc(&arena, SIZE_MAX, 16));
    ig_arena_fini(&arena);
    assert_int_equal(arena.used_bytes, 0);
    ig_arena_fini(&arena);
}

static void test_buf_stops_at_its_maximum(void **state)
{
    ig_buf buf;
    (void)state;
    ig_buf_init(&buf, 100);
    for (int i = 0; i < 10; i++) assert_true(ig_buf_add(&buf, "0123456789", 10));
    assert_int_equal(buf.len, 100);
    assert_false(ig_buf_add(&buf, "x", 1));
    assert_true(buf.failed);
    assert_int_equal(buf.len, 100);
    assert_false(ig_buf_add(&buf, "", 0)); /* failed stays failed */
    ig_buf_fini(&buf);
    assert_true(ig_buf_printf(&buf, "%d %s", 42, "logs"));
    assert_int_equal(buf.len, 7);
    assert_memory_equal(buf.ptr, "42 logs", 7);
    ig_buf_fini(&buf);
}

static void test_map_finds_what_was_added(void **state)
{
    enum { N = 5000 };
    static char keys[N][16];
    ig_map map = {0};
    uint32_t value = 0;
    (void)state;
    assert_true(ig_map_init(&map, N));
    for (uint32_t i = 0; i < N; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "key%u", i);
        assert_true(ig_map_add(&map, (ig_str){keys[i], (size_t)n}, i * 3, NULL));
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_true(ig_map_get(&map, ig_str_from(keys[i]), &value));
        assert_int_equal(value, i * 3);
    }
    assert_false(ig_map_add(&map, IG_STR("key7"), 1, &value));
    assert_int_equal(value, 21);
    assert_false(ig_map_get(&map, IG_STR("key5001"), &value));
    assert_false(ig_map_get(&map, IG_STR(""), &value));
    assert_true(ig_map_get(&map, IG_STR("key7"), &value) && value == 21);
    ig_map_fini(&map);
}

static void test_map_keys_may_hold_nul_and_be_empty(void **state)
{
    ig_map map = {0};
    uint32_t value;
    (void)state;
    assert_true(ig_map_init(&map, 3));
    assert_true(ig_map_add(&map, IG_STR(""), 1, NULL));
    assert_true(ig_map_add(&map, IG_STR("a\0b"), 2, NULL));
    assert_true(ig_map_add(&map, IG_STR("a\0c"), 3, NULL));
    assert_true(ig_map_get(&map, IG_STR("a\0b"), &value) && value == 2);
    assert_true(ig_map_get(&map, IG_STR(""), &value) && value == 1);
    assert_false(ig_map_get(&map, IG_STR("a"), &value));
    ig_map_fini(&map);
}

static void test_M16_every_allocation_may_fail(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        ig_map map = {0};
        ig_arena arena = {0};
        ig_buf buf;
        ig_pool *pool = NULL;
        ig_error err;
        ig_buf_init(&buf, 1 << 20);
        ig_fault_set(IG_FAULT_ALLOC, k, ENOMEM, false);
        bool ok = ig_map_init(&map, 100) && ig_arena_alloc(&arena, 40000, 1) && ig_buf_add(&buf, "x", 1) &&
                  ig_buf_printf(&buf, "%0200d", 1);
        if (ok) {
            ig_status st = ig_pool_new(2, &pool, &err);
            ok = st == IG_OK;
            if (!ok) assert_int_equal(st, IG_NO_MEMORY);
        }
        uint64_t calls = ig_fault_calls(IG_FAULT_ALLOC);
        ig_fault_reset();
        ig_map_fini(&map);
        ig_arena_fini(&arena);
        ig_buf_fini(&buf);
        ig_pool_free(pool);
        assert_int_equal(ok, k > calls);
        if (ok) return;
    }
}

/* ------------------------------------------------------------------------------------------------ threads */

enum { N_PIECES = 1000 };
static _Atomic unsigned done[N_PIECES];
static _Atomic unsigned bad_thread;

static void mark(void *ctx, size_t piece, unsigned thread_idx)
{
    if (thread_idx >= *(unsigned *)ctx) bad_thread++;
    done[piece]++;
}

static void test_pool_runs_every_piece_once(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 5; n++) {
        ig_pool *pool;
        ig_error err;
        assert_int_equal(ig_pool_new(n, &pool, &err), IG_OK);
        assert_int_equal(ig_pool_threads(pool), n);
        memset((void *)done, 0, sizeof done);
        for (unsigned round = 1; round <= 50; round++) {
            size_t pieces = round % 7 == 0 ? round % 3 : N_PIECES;
            ig_pool_run(pool, mark, &n, pieces);
        }
        for (size_t i = 3; i < N_PIECES; i++) assert_int_equal(done[i], 43);
        if (n == 3) usleep(20000); /* long enough for the idle threads to park */
        ig_pool_run(pool, mark, &n, N_PIECES);
        assert_int_equal(done[N_PIECES - 1], 44);
        assert_int_equal(bad_thread, 0);
        ig_pool_free(pool);
    }
    ig_pool_free(NULL);
}

static void test_M17_thread_creation_may_fail(void **state)
{
    (void)state;
    for (uint64_t k = 1; k <= 4; k++) {
        ig_pool *pool;
        ig_error err = {0};
        ig_fault_set(IG_FAULT_THREAD, k, EAGAIN, false);
        ig_status st = ig_pool_new(4, &pool, &err);
        ig_fault_reset();
        assert_int_equal(st, k <= 3 ? IG_IO : IG_OK);
        if (st != IG_OK) assert_non_null(strstr(err.text, "cannot start thread"));
        if (st != IG_OK) assert_null(pool);
        ig_pool_free(pool);
    }
}

/* ------------------------------------------------------------------------------------------------ files */

static void test_file_map_and_its_errors(void **state)
{
    ig_file file;
    ig_error err = {0};
    (void)state;
    put_file(at("plain"), "logs");
    assert_int_equal(ig_file_map(at("plain"), &file, &err), IG_OK);
    assert_int_equal(file.size, 4);
    assert_memory_equal(file.data, "logs", 4);
    ig_file_unmap(&file);
    ig_file_unmap(&file);
    put_file(at("empty"), "");
    assert_int_equal(ig_file_map(at("empty"), &file, &err), IG_OK);
    assert_int_equal(file.size, 0);
    ig_file_unmap(&file);
    assert_int_equal(ig_file_map(at("absent"), &file, &err), IG_NOT_FOUND);
    assert_non_null(strstr(err.text, "absent"));
    assert_int_equal(unlink(at("plain")) | unlink(at("empty")), 0);
}

static void test_M13_only_regular_files_are_mapped(void **state)
{
    ig_file file;
    ig_error err = {0};
    (void)state;
    assert_int_equal(ig_file_map(scratch, &file, &err), IG_BAD_INPUT);
    assert_non_null(strstr(err.text, "a directory"));
    assert_int_equal(ig_file_map("/dev/null", &file, &err), IG_BAD_INPUT);
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(ig_file_map(at("fifo"), &file, &err), IG_BAD_INPUT); /* and does not wait for a writer */
    assert_int_equal(unlink(at("fifo")), 0);
}

static void test_M17_map_and_open_may_fail(void **state)
{
    ig_file file;
    ig_error err = {0};
    (void)state;
    put_file(at("plain"), "logs");
    ig_fault_set(IG_FAULT_MAP, 1, ENOMEM, false);
    assert_int_equal(ig_file_map(at("plain"), &file, &err), IG_IO);
    assert_int_equal(err.sys_errno, ENOMEM);
    assert_null(file.data);
    ig_fault_reset();
    ig_fault_set(IG_FAULT_OPEN, 1, EMFILE, false);
    assert_int_equal(ig_file_map(at("plain"), &file, &err), IG_IO);
    ig_fault_reset();
    assert_int_equal(unlink(at("plain")), 0);
}

static void test_read_names_its_limit(void **state)
{
    ig_buf buf;
    ig_error err = {0};
    (void)state;
    put_file(at("plain"), "0123456789");
    ig_buf_init(&buf, 9);
    assert_int_equal(ig_file_read(at("plain"), &buf, &err), IG_TOO_LARGE);
    assert_non_null(strstr(err.text, "9 bytes"));
    ig_buf_fini(&buf);
    ig_buf_init(&buf, 10);
    assert_int_equal(ig_file_read(at("plain"), &buf, &err), IG_OK);
    ig_buf_fini(&buf);
    assert_int_equal(unlink(at("plain")), 0);
}

static void test_M09_short_and_interrupted_transfers(void **state)
{
    ig_error err = {0};
    (void)state;
    ig_fault_set(IG_FAULT_WRITE, 1, 0, true); /* one byte a call */
    assert_int_equal(ig_file_write_atomic(at("slow"), "the whole text", 14, &err), IG_OK);
    ig_fault_reset();
    assert_content(at("slow"), "the whole text");
    ig_fault_set(IG_FAULT_READ, 1, 0, true);
    assert_content(at("slow"), "the whole text");
    ig_fault_reset();
    for (uint64_t k = 1; k <= 2; k++) {
        ig_fault_set(IG_FAULT_READ, k, EINTR, false);
        assert_content(at("slow"), "the whole text");
        ig_fault_reset();
    }
    ig_fault_set(IG_FAULT_WRITE, 1, EINTR, false);
    assert_int_equal(ig_file_write_atomic(at("slow"), "again", 5, &err), IG_OK);
    ig_fault_reset();
    assert_content(at("slow"), "again");
    assert_int_equal(unlink(at("slow")), 0);
}

/* Fails call k of one kind for every k: the file holds the old or the new text whole, the error names the file, and no
 * temporary file is left behind. */
static void walk_faults(ig_fault_kind kind, int err_no, bool sticky)
{
    for (uint64_t k = 1;; k++) {
        ig_error err = {0};
        put_file(at("target"), "old");
        ig_fault_set(kind, k, err_no, sticky);
        ig_status st = ig_file_write_atomic(at("target"), "new text", 8, &err);
        uint64_t calls = ig_fault_calls(kind);
        ig_fault_reset();
        assert_int_equal(st == IG_OK, k > calls);
        if (st != IG_OK) assert_non_null(strstr(err.text, "target"));
        /* Only the sync of the folder comes after the rename. */
        bool renamed = st == IG_OK || strstr(err.text, "folder");
        assert_content(at("target"), renamed ? "new text" : "old");
        assert_int_equal(files_in_scratch(), 1);
        if (st == IG_OK) break;
    }
    assert_int_equal(unlink(at("target")), 0);
}

static void test_M01_a_file_is_old_or_new_whole(void **state)
{
    (void)state;
    walk_faults(IG_FAULT_OPEN, EACCES, false);
    walk_faults(IG_FAULT_SYNC, EIO, false);
    walk_faults(IG_FAULT_RENAME, EIO, false);
    walk_faults(IG_FAULT_ALLOC, ENOMEM, false);
    walk_faults(IG_FAULT_ALLOC, ENOMEM, true);
}

static void test_M05_full_disk_leaves_no_temporary_file(void **state)
{
    (void)state;
    walk_faults(IG_FAULT_WRITE, ENOSPC, false);
    walk_faults(IG_FAULT_WRITE, ENOSPC, true);
}

static void test_M08_a_failed_sync_is_not_tried_again(void **state)
{
    ig_error err = {0};
    (void)state;
    ig_fault_set(IG_FAULT_SYNC, 1, EIO, false);
    assert_int_equal(ig_file_write_atomic(at("target"), "new", 3, &err), IG_IO);
    assert_int_equal(ig_fault_calls(IG_FAULT_SYNC), 1);
    ig_fault_reset();
    assert_int_equal(files_in_scratch(), 0);
}

static void test_writer_in_pieces_and_abandoned(void **state)
{
    ig_file_writer w;
    ig_error err = {0};
    (void)state;
    assert_int_equal(ig_writer_begin(&w, at("pieces"), &err), IG_OK);
    assert_int_equal(ig_writer_write(&w, "one ", 4, &err), IG_OK);
    assert_int_equal(ig_writer_write(&w, "", 0, &err), IG_OK);
    assert_int_equal(ig_writer_write(&w, "two", 3, &err), IG_OK);
    assert_int_equal(access(at("pieces"), F_OK), -1); /* nothing to see before the commit */
    assert_int_equal(ig_writer_commit(&w, &err), IG_OK);
    assert_content(at("pieces"), "one two");
    assert_int_equal(ig_writer_begin(&w, at("pieces"), &err), IG_OK);
    assert_int_equal(ig_writer_write(&w, "half", 4, &err), IG_OK);
    ig_writer_abandon(&w);
    ig_writer_abandon(&w);
    assert_content(at("pieces"), "one two");
    assert_int_equal(unlink(at("pieces")), 0);
    assert_int_equal(ig_writer_begin(&w, at("no/such/folder"), &err), IG_NOT_FOUND);
    assert_int_equal(files_in_scratch(), 0);
}

/* A writer is killed before its commit: without a name nothing of it is left; where files must have one, the next
 * writer of the same path takes the leftover away, and leaves alone what another is writing. */
static void test_M02_killed_writers_leave_nothing(void **state)
{
    ig_file_writer w, other;
    ig_error err = {0};
    (void)state;
    for (int named = 0; named < 2; named++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            if (named) ig_fault_set(IG_FAULT_TMPFILE, 1, EOPNOTSUPP, true);
            if (ig_writer_begin(&w, at("made"), &err) == IG_OK && ig_writer_write(&w, "half", 4, &err) == IG_OK)
                (void)raise(SIGKILL);
            _exit(1);
        }
        (void)waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(files_in_scratch(), named);
    }
    ig_fault_set(IG_FAULT_TMPFILE, 1, EOPNOTSUPP, true);
    put_file(at("made.0123456789abcde.tmp"), "too short a number: somebody else's");
    put_file(at("other.0123456789abcdef.tmp"), "of another file");
    assert_int_equal(ig_writer_begin(&other, at("made"), &err), IG_OK);
    assert_int_equal(files_in_scratch(), 3); /* these two and its own */
    assert_int_equal(ig_writer_begin(&w, at("made"), &err), IG_OK);
    assert_int_equal(files_in_scratch(), 4); /* the first still writes */
    assert_int_equal(ig_writer_commit(&other, &err), IG_OK);
    assert_int_equal(ig_writer_commit(&w, &err), IG_OK);
    ig_fault_reset();
    assert_int_equal(unlink(at("made.0123456789abcde.tmp")), 0);
    assert_int_equal(unlink(at("other.0123456789abcdef.tmp")), 0);
    assert_int_equal(unlink(at("made")), 0);
    assert_int_equal(files_in_scratch(), 0);
    assert_int_equal(ig_writer_begin(&w, at(""), &err), IG_IO); /* a folder, seen before anything is computed */
}

static void test_secrets_in_addresses_are_hidden(void **state)
{
    static const struct {
        const char *text, *shown;
    } rows[] = {
        {"no address", "no address"},
        {"https://host/path", "https://host/path"},
        {"https://host:443/a and http://[::1]:80/b", "https://host:443/a and http://[::1]:80/b"},
        {"\"https://me:secret@host/a\" is none", "\"https://...@host/a\" is none"},
        {"https://me:se@cret@host/a", "https://...@host/a"},
        {"https://a@host", "https://.@host"},
        {"https://me:sec", "https://..."},
        {"s3://b/k?X-Amz-Signature=abc gone", "s3://b/k?... gone"},
        {"https://u:pw@h/p?q=1#sha256=00, https://h?token=x", "https://...@h/p?...#sha256=00, https://h?..."},
        {"https://h/?", "https://h/?"},
        {"://", "://"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[120];
        ig_error e;
        (void)snprintf(text, sizeof text, "%s", rows[i].text);
        ig_hide_secrets(text);
        assert_string_equal(text, rows[i].shown);
        (void)ig_fail(&e, IG_IO, 0, "%s", rows[i].text);
        assert_string_equal(e.text, rows[i].shown);
    }
}

static void test_machine_facts_are_sane(void **state)
{
    uint64_t a = 0, b = 0, t = ig_now_ns();
    (void)state;
    assert_in_range(ig_cores(), 1, 4096);
    assert_true(ig_memory_available() > 1 << 20);
    assert_true(ig_now_ns() >= t);
    ig_random(&a, sizeof a);
    ig_random(&b, sizeof b);
    assert_true(a != b);
    if (ig_cpu_flags() & IG_CPU_AVX512) assert_true(ig_cpu_flags() & IG_CPU_AVX2);
}

static int make_scratch(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    (void)snprintf(scratch, sizeof scratch, "%.40s/ingle-base-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
    (void)state;
    return rmdir(scratch); /* fails when a test left something */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_decode),
        cmocka_unit_test(test_utf8_every_scalar_there_and_back),
        cmocka_unit_test(test_utf8_whole),
        cmocka_unit_test(test_status_text_is_clean_and_cut_at_a_character),
        cmocka_unit_test(test_checked_arithmetic),
        cmocka_unit_test(test_arena_aligns_zeroes_and_keeps_its_limit),
        cmocka_unit_test(test_buf_stops_at_its_maximum),
        cmocka_unit_test(test_map_finds_what_was_added),
        cmocka_unit_test(test_map_keys_may_hold_nul_and_be_empty),
        cmocka_unit_test(test_M16_every_allocation_may_fail),
        cmocka_unit_test(test_pool_runs_every_piece_once),
        cmocka_unit_test(test_M17_thread_creation_may_fail),
        cmocka_unit_test(test_file_map_and_its_errors),
        cmocka_unit_test(test_M13_only_regular_files_are_mapped),
        cmocka_unit_test(test_M17_map_and_open_may_fail),
        cmocka_unit_test(test_read_names_its_limit),
        cmocka_unit_test(test_M09_short_and_interrupted_transfers),
        cmocka_unit_test(test_M01_a_file_is_old_or_new_whole),
        cmocka_unit_test(test_M05_full_disk_leaves_no_temporary_file),
        cmocka_unit_test(test_M08_a_failed_sync_is_not_tried_again),
        cmocka_unit_test(test_writer_in_pieces_and_abandoned),
        cmocka_unit_test(test_secrets_in_addresses_are_hidden),
        cmocka_unit_test(test_M02_killed_writers_leave_nothing),
        cmocka_unit_test(test_machine_facts_are_sane),
    };
    return cmocka_run_group_tests_name("base", tests, make_scratch, remove_scratch);
}
