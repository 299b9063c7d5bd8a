/* Staging: a batch of changes goes into LMDB, or rows come out of it, in one call.
 *
 * LMDB itself is not in here.  Its functions are those inside the Python package lmdb, which keeps
 * them under names of their own (mdb09_* for the format that the log has): mesh_store_load finds
 * them in that library, so there is one LMDB in the process and one build of it to trust.  The
 * types below are our own words for its public interface.
 *
 * Python's lock is not needed by anything here, and cffi gives it up for the whole of a call.  No
 * transaction outlives a call.  One thread writes; reads may run beside it, each environment's one
 * at a time, for the rows go into buffers that the caller uses again.
 *
 * This file is included by the module that cffi generates, behind framing.c (crc32, write_u32), on
 * systems with dlopen.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

typedef struct {
    uint64_t map_bytes;
    uint64_t last_page;
    uint64_t last_commit;
    uint32_t page_bytes;
    const char *step; /* What failed. */
} mesh_store_info;

typedef struct {
    uint8_t *data;
    uint64_t size;
    uint64_t room;
} mesh_store_bytes;

/* What a section of a batch does with its items.  Four numbers each: table, kind, seed, count. */
enum { SECTION_DELETE = 0, SECTION_SEAL = 1, SECTION_RAW = 2, SECTION_NUMBERS = 4 };

enum { BAD_BATCH = -29000 }; /* Beside LMDB's own codes, -30799 to -30600, and those of errno. */

enum {
    KEY_MAX = 511,
    MAIN_TABLE = 1, /* Of every environment: the table of its tables. */
    CHECK_BYTES = 4,
    CREATE = 0x40000,
    READ_ONLY = 0x20000,
    APPEND = 0x20000,
    RESERVE = 0x10000,
    FIRST = 0,
    LAST = 6,
    NEXT = 8,
    PREVIOUS = 12,
    SET_RANGE = 17,
    NOT_FOUND = -30798
};

typedef struct {
    size_t size;
    void *data;
} lmdb_value;

typedef struct {
    unsigned int page_bytes;
    unsigned int depth;
    size_t branch_pages;
    size_t leaf_pages;
    size_t overflow_pages;
    size_t entries;
} lmdb_stat;

typedef struct {
    void *address;
    size_t map_bytes;
    size_t last_page;
    size_t last_commit;
    unsigned int readers_max;
    unsigned int readers;
} lmdb_info;

static struct {
    char *(*version)(int *major, int *minor, int *patch);
    char *(*strerror)(int code);
    int (*env_create)(void **env);
    int (*env_open)(void *env, const char *path, unsigned int flags, mode_t mode);
    void (*env_close)(void *env);
    int (*env_stat)(void *env, lmdb_stat *stat);
    int (*env_info)(void *env, lmdb_info *info);
    int (*env_set_mapsize)(void *env, size_t size);
    int (*env_set_maxdbs)(void *env, unsigned int count);
    int (*reader_check)(void *env, int *dead);
    int (*txn_begin)(void *env, void *parent, unsigned int flags, void **txn);
    int (*txn_commit)(void *txn);
    void (*txn_abort)(void *txn);
    int (*dbi_open)(void *txn, const char *name, unsigned int flags, unsigned int *dbi);
    int (*stat)(void *txn, unsigned int dbi, lmdb_stat *stat);
    int (*get)(void *txn, unsigned int dbi, lmdb_value *key, lmdb_value *value);
    int (*del)(void *txn, unsigned int dbi, lmdb_value *key, lmdb_value *value);
    int (*cursor_open)(void *txn, unsigned int dbi, void **cursor);
    void (*cursor_close)(void *cursor);
    int (*cursor_get)(void *cursor, lmdb_value *key, lmdb_value *value, int what);
    int (*cursor_put)(void *cursor, lmdb_value *key, lmdb_value *value, unsigned int flags);
} lmdb;

/* Find LMDB's functions in the library at `path`.  NULL, or what is wrong with it. */
static const char *mesh_store_load(const char *path)
{
    static const struct {
        const char *name;
        void *slot;
    } wanted[] = {
        {"mdb09_version", &lmdb.version},
        {"mdb09_strerror", &lmdb.strerror},
        {"mdb09_env_create", &lmdb.env_create},
        {"mdb09_env_open", &lmdb.env_open},
        {"mdb09_env_close", &lmdb.env_close},
        {"mdb09_env_stat", &lmdb.env_stat},
        {"mdb09_env_info", &lmdb.env_info},
        {"mdb09_env_set_mapsize", &lmdb.env_set_mapsize},
        {"mdb09_env_set_maxdbs", &lmdb.env_set_maxdbs},
        {"mdb09_reader_check", &lmdb.reader_check},
        {"mdb09_txn_begin", &lmdb.txn_begin},
        {"mdb09_txn_commit", &lmdb.txn_commit},
        {"mdb09_txn_abort", &lmdb.txn_abort},
        {"mdb09_dbi_open", &lmdb.dbi_open},
        {"mdb09_stat", &lmdb.stat},
        {"mdb09_get", &lmdb.get},
        {"mdb09_del", &lmdb.del},
        {"mdb09_cursor_open", &lmdb.cursor_open},
        {"mdb09_cursor_close", &lmdb.cursor_close},
        {"mdb09_cursor_get", &lmdb.cursor_get},
        {"mdb09_cursor_put", &lmdb.cursor_put},
    };
    int major = -1, minor = -1, patch = -1;
    if (sizeof(size_t) != 8)
        return "only 64-bit builds of LMDB have the types that are known here";
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return "the library cannot be opened";
    for (size_t n = 0; n < sizeof wanted / sizeof wanted[0]; n++) {
        void *found = dlsym(library, wanted[n].name);
        if (!found)
            return wanted[n].name;
        memcpy(wanted[n].slot, &found, sizeof found);
    }
    lmdb.version(&major, &minor, &patch);
    return major == 0 && minor == 9 ? NULL : "not LMDB 0.9";
}

static const char *mesh_store_error(int32_t code)
{
    return code == BAD_BATCH ? "sizes and sections do not fit the data" : lmdb.strerror(code);
}

static int32_t failed(mesh_store_info *info, const char *step, int code)
{
    info->step = step;
    return code;
}

static int32_t mesh_store_look(void *env, mesh_store_info *info)
{
    lmdb_info found;
    lmdb_stat stat;
    int code = lmdb.env_info(env, &found);
    if (!code)
        code = lmdb.env_stat(env, &stat);
    if (code)
        return failed(info, "mdb_env_info", code);
    info->map_bytes = found.map_bytes;
    info->last_page = found.last_page;
    info->last_commit = found.last_commit;
    info->page_bytes = stat.page_bytes;
    return 0;
}

static void mesh_store_close(void *env)
{
    lmdb.env_close(env);
}

/* Open an environment.  Returns 0 and the environment, or LMDB's code. */
static int32_t mesh_store_open(const char *path, uint64_t map_bytes, uint32_t tables_max,
                               uint32_t flags, uint32_t mode, void **opened, mesh_store_info *info)
{
    void *env = NULL;
    const char *step = "mdb_env_create";
    int code = lmdb.env_create(&env);
    if (code)
        return failed(info, step, code);
    step = "mdb_env_set_mapsize";
    code = lmdb.env_set_mapsize(env, map_bytes);
    if (!code) {
        step = "mdb_env_set_maxdbs";
        code = lmdb.env_set_maxdbs(env, tables_max);
    }
    if (!code) {
        step = "mdb_env_open";
        code = lmdb.env_open(env, path, flags, (mode_t)mode);
    }
    if (!code) {
        step = "mdb_env_info";
        code = mesh_store_look(env, info);
    }
    if (code) {
        lmdb.env_close(env);
        return failed(info, step, code);
    }
    *opened = env;
    return 0;
}

/* Open tables, or make them: their numbers go to `tables`.  `names` are `count` texts, each ended
 * by NUL. */
static int32_t mesh_store_tables(void *env, const char *names, uint32_t count, int32_t create,
                                 void *tables_at, mesh_store_info *info)
{
    uint32_t *tables = tables_at;
    void *txn;
    int code = lmdb.txn_begin(env, NULL, create ? 0 : READ_ONLY, &txn);
    if (code)
        return failed(info, "mdb_txn_begin", code);
    for (uint32_t n = 0; n < count; n++, names += strlen(names) + 1) {
        unsigned int table;
        code = lmdb.dbi_open(txn, names, create ? CREATE : 0, &table);
        if (code) {
            lmdb.txn_abort(txn);
            return failed(info, "mdb_dbi_open", code);
        }
        tables[n] = table;
    }
    code = lmdb.txn_commit(txn);
    return code ? failed(info, "mdb_txn_commit", code) : mesh_store_look(env, info);
}

static int32_t mesh_store_resize(void *env, uint64_t map_bytes, mesh_store_info *info)
{
    int code = lmdb.env_set_mapsize(env, map_bytes);
    return code ? failed(info, "mdb_env_set_mapsize", code) : mesh_store_look(env, info);
}

static int32_t mesh_store_drop_dead_readers(void *env, mesh_store_info *info)
{
    int dead;
    int code = lmdb.reader_check(env, &dead);
    return code ? failed(info, "mdb_reader_check", code) : 0;
}

/* Writing. */

typedef struct {
    const uint8_t *key;
    const uint8_t *value;
    uint32_t key_size;
    uint32_t value_size;
} item;

static int compare_bytes(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    if (order)
        return order;
    return (a_size > b_size) - (a_size < b_size);
}

static int compare_items(const void *a, const void *b)
{
    const item *one = a, *other = b;
    return compare_bytes(one->key, one->key_size, other->key, other->key_size);
}

/* Whether the sections use up the sizes, and the sizes the data. */
static int batch_fits(size_t size, const uint32_t *sizes, size_t sizes_count,
                      const uint32_t *sections, size_t sections_count, size_t *largest)
{
    uint64_t bytes = 0, wanted = 0;
    *largest = 1;
    for (size_t n = 0; n < sections_count; n++) {
        const uint32_t *section = sections + n * SECTION_NUMBERS;
        if (section[1] > SECTION_RAW)
            return 0;
        wanted += (uint64_t)section[3] * (section[1] == SECTION_DELETE ? 1 : 2);
        if (section[3] > *largest)
            *largest = section[3];
        if (wanted > sizes_count) /* Looked at each time: so the sum cannot wrap. */
            return 0;
    }
    for (size_t n = 0; n < sizes_count; n++) {
        bytes += sizes[n];
        if (bytes > size)
            return 0;
    }
    return wanted == sizes_count && bytes == size;
}

/* Point at the items of a section and sort them by key.  Returns the bytes of data they take. */
static size_t take_items(const uint32_t *section, const uint8_t *data, const uint32_t *sizes,
                         item *items)
{
    const uint8_t *at = data;
    int is_sorted = 1;
    for (uint32_t n = 0; n < section[3]; n++) {
        items[n].key = at;
        items[n].key_size = *sizes++;
        at += items[n].key_size;
        items[n].value = at;
        items[n].value_size = section[1] == SECTION_DELETE ? 0 : *sizes++;
        at += items[n].value_size;
        if (n && compare_items(items + n - 1, items + n) > 0)
            is_sorted = 0;
    }
    if (!is_sorted)
        qsort(items, section[3], sizeof *items, compare_items);
    return (size_t)(at - data);
}

static int put_item(void *cursor, const item *one, int is_sealed, uint32_t seed, unsigned int flags)
{
    lmdb_value key = {one->key_size, (void *)one->key};
    lmdb_value value = {one->value_size, (void *)one->value};
    if (!is_sealed)
        return lmdb.cursor_put(cursor, &key, &value, flags);
    value.size += CHECK_BYTES;
    int code = lmdb.cursor_put(cursor, &key, &value, flags | RESERVE);
    if (code)
        return code;
    uint32_t crc = mesh_crc32(mesh_crc32(seed, one->key, one->key_size), one->value,
                              one->value_size);
    memcpy(value.data, one->value, one->value_size);
    write_u32((uint8_t *)value.data + one->value_size, crc);
    return 0;
}

static int stage_section(void *txn, const uint32_t *section, const item *items,
                         mesh_store_info *info)
{
    uint8_t last[KEY_MAX];
    lmdb_value key = {0, last}, value;
    void *cursor;
    int is_past_end; /* Nothing is there from the first item's key on. */
    int code = lmdb.cursor_open(txn, section[0], &cursor);
    if (code)
        return failed(info, "mdb_cursor_open", code);
    code = lmdb.cursor_get(cursor, &key, &value, LAST);
    if (code == NOT_FOUND) {
        key.size = 0;
    } else if (code || key.size > KEY_MAX) {
        lmdb.cursor_close(cursor);
        return failed(info, "mdb_cursor_get", code ? code : EINVAL);
    }
    memcpy(last, key.data, key.size); /* The puts move what it points at. */
    code = 0;
    is_past_end = compare_bytes(items->key, items->key_size, last, key.size) > 0;
    for (uint32_t n = 0; n < section[3] && !code; n++) {
        if (section[1] == SECTION_DELETE) {
            lmdb_value gone = {items[n].key_size, (void *)items[n].key};
            if (compare_bytes(gone.data, gone.size, last, key.size) > 0)
                break; /* These came and went within this batch. */
            code = lmdb.del(txn, section[0], &gone, NULL);
            if (code == NOT_FOUND)
                code = 0;
        } else {
            code = put_item(cursor, items + n, section[1] == SECTION_SEAL, section[2],
                            is_past_end ? APPEND : 0);
        }
    }
    lmdb.cursor_close(cursor);
    return code ? failed(info, section[1] == SECTION_DELETE ? "mdb_del" : "mdb_put", code) : 0;
}

/* Put a whole batch and commit it; nothing of it is kept when that fails.
 *
 * `data` holds keys and values one behind the other, `sizes` the size of each (keys alone in a
 * section that deletes); they may be anything at all: what does not fit is refused before a
 * transaction begins. */
static int32_t mesh_store_write(void *env, const uint8_t *data, size_t size, const void *sizes_at,
                                size_t sizes_count, const void *sections_at, size_t sections_count,
                                mesh_store_info *info)
{
    const uint32_t *sizes = sizes_at, *sections = sections_at;
    size_t largest;
    void *txn;
    if (!batch_fits(size, sizes, sizes_count, sections, sections_count, &largest))
        return failed(info, "batch", BAD_BATCH);
    item *items = malloc(largest * sizeof *items);
    if (!items)
        return failed(info, "batch", ENOMEM);
    int code = lmdb.txn_begin(env, NULL, 0, &txn);
    if (code) {
        free(items);
        return failed(info, "mdb_txn_begin", code);
    }
    for (size_t n = 0; n < sections_count && !code; n++) {
        const uint32_t *section = sections + n * SECTION_NUMBERS;
        if (!section[3])
            continue;
        data += take_items(section, data, sizes, items);
        sizes += (size_t)section[3] * (section[1] == SECTION_DELETE ? 1 : 2);
        code = stage_section(txn, section, items, info);
    }
    free(items);
    if (code) {
        lmdb.txn_abort(txn);
        return code;
    }
    code = lmdb.txn_commit(txn);
    return code ? failed(info, "mdb_txn_commit", code) : mesh_store_look(env, info);
}

/* Reading: what is found goes behind what is in `found`, which grows as it must. */

static int add_bytes(mesh_store_bytes *found, const void *data, uint64_t size)
{
    if (found->room - found->size < size) {
        uint64_t room = 2 * (found->size + size) + 4096;
        uint8_t *moved = realloc(found->data, room);
        if (!moved)
            return ENOMEM;
        found->data = moved;
        found->room = room;
    }
    memcpy(found->data + found->size, data, size);
    found->size += size;
    return 0;
}

static int add_row(mesh_store_bytes *found, mesh_store_bytes *sizes, const lmdb_value *key,
                   const lmdb_value *value)
{
    uint64_t both[2] = {key->size, value->size};
    int code = add_bytes(sizes, both, sizeof both);
    if (!code)
        code = add_bytes(found, key->data, key->size);
    return code ? code : add_bytes(found, value->data, value->size);
}

static void mesh_store_empty(mesh_store_bytes *found)
{
    free(found->data);
    memset(found, 0, sizeof *found);
}

/* The value of one key.  Returns its size, or LMDB's code; NOT_FOUND is no failure. */
static int64_t mesh_store_get(void *env, uint32_t table, const uint8_t *key_at, size_t key_size,
                              mesh_store_bytes *found, mesh_store_info *info)
{
    void *txn;
    lmdb_value key = {key_size, (void *)key_at}, value = {0, NULL};
    int code = lmdb.txn_begin(env, NULL, READ_ONLY, &txn);
    if (code)
        return failed(info, "mdb_txn_begin", code > 0 ? -code : code);
    found->size = 0;
    code = lmdb.get(txn, table, &key, &value);
    if (!code)
        code = add_bytes(found, value.data, value.size);
    lmdb.txn_abort(txn);
    return code ? failed(info, "mdb_get", code > 0 ? -code : code) : (int64_t)value.size;
}

/* The values of `count` keys, one behind the other; the size of each goes to `found_sizes`, or -1
 * where there is none. */
static int32_t mesh_store_get_many(void *env, uint32_t table, const uint8_t *keys,
                                   const void *sizes_at, size_t count, void *found_sizes_at,
                                   mesh_store_bytes *found, mesh_store_info *info)
{
    const uint32_t *sizes = sizes_at;
    int64_t *found_sizes = found_sizes_at;
    void *txn;
    int code = lmdb.txn_begin(env, NULL, READ_ONLY, &txn);
    if (code)
        return failed(info, "mdb_txn_begin", code);
    found->size = 0;
    for (size_t n = 0; n < count && !code; n++) {
        lmdb_value key = {sizes[n], (void *)keys}, value;
        keys += sizes[n];
        found_sizes[n] = -1;
        code = lmdb.get(txn, table, &key, &value);
        if (code == NOT_FOUND) {
            code = 0;
        } else if (!code) {
            found_sizes[n] = (int64_t)value.size;
            code = add_bytes(found, value.data, value.size);
        }
    }
    lmdb.txn_abort(txn);
    return code ? failed(info, "mdb_get", code) : 0;
}

/* Stand on the first row of a scan. */
static int find_start(void *cursor, const uint8_t *start, size_t start_size, int reverse,
                      lmdb_value *key, lmdb_value *value)
{
    key->size = start_size;
    key->data = (void *)start;
    if (!reverse)
        return lmdb.cursor_get(cursor, key, value, start_size ? SET_RANGE : FIRST);
    if (!start_size)
        return lmdb.cursor_get(cursor, key, value, LAST);
    int code = lmdb.cursor_get(cursor, key, value, SET_RANGE);
    if (code == NOT_FOUND)
        return lmdb.cursor_get(cursor, key, value, LAST);
    if (!code && compare_bytes(key->data, key->size, start, start_size))
        return lmdb.cursor_get(cursor, key, value, PREVIOUS);
    return code;
}

/* Up to `limit` rows from `start` on, or from an end when it is empty: keys and values one behind
 * the other, and the size of each as a u64.  With `keys_only` all values are of no bytes. */
static int32_t mesh_store_rows(void *env, uint32_t table, const uint8_t *start, size_t start_size,
                               int32_t reverse, int32_t keys_only, uint64_t limit,
                               mesh_store_bytes *found, mesh_store_bytes *sizes,
                               mesh_store_info *info)
{
    void *txn, *cursor;
    lmdb_value key, value;
    found->size = sizes->size = 0;
    int code = lmdb.txn_begin(env, NULL, READ_ONLY, &txn);
    if (code)
        return failed(info, "mdb_txn_begin", code);
    code = lmdb.cursor_open(txn, table, &cursor);
    if (!code) {
        code = limit ? find_start(cursor, start, start_size, reverse, &key, &value) : NOT_FOUND;
        while (!code) {
            if (keys_only)
                value.size = 0;
            code = add_row(found, sizes, &key, &value);
            if (code || !--limit)
                break;
            code = lmdb.cursor_get(cursor, &key, &value, reverse ? PREVIOUS : NEXT);
        }
        lmdb.cursor_close(cursor);
    }
    lmdb.txn_abort(txn);
    return code && code != NOT_FOUND ? failed(info, "mdb_cursor_get", code) : 0;
}

/* Entries and pages of each of `count` tables, as of one moment; MAIN_TABLE is one, too. */
static int32_t mesh_store_stats(void *env, const void *tables_at, size_t count, void *found_at,
                                mesh_store_info *info)
{
    const uint32_t *tables = tables_at;
    uint64_t *found = found_at;
    void *txn;
    int code = lmdb.txn_begin(env, NULL, READ_ONLY, &txn);
    if (code)
        return failed(info, "mdb_txn_begin", code);
    for (size_t n = 0; n < count && !code; n++) {
        lmdb_stat stat;
        code = lmdb.stat(txn, tables[n] ? tables[n] : MAIN_TABLE, &stat);
        if (!code) {
            found[2 * n] = stat.entries;
            found[2 * n + 1] = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        }
    }
    lmdb.txn_abort(txn);
    return code ? failed(info, "mdb_stat", code) : 0;
}
