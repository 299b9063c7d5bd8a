"""What cffi makes of our C, for setup.py: `python setup.py build_ext --inplace` in a checkout.

The module is `meshcode.native._staging`, by cffi in API mode against the limited Python API, so one
build serves every later CPython: writing a batch to LMDB and reading rows, which a node does
without the interpreter's lock.  What makes Python's objects (objects.c) is the other one,
`meshcode.native._objects`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent

ffibuilder = FFI()
ffibuilder.cdef(
    """
    void mesh_begin(void);
    typedef struct {
        uint64_t map_bytes;
        uint64_t last_page;
        uint64_t last_commit;
        uint32_t page_bytes;
        const char *step;
    } mesh_store_info;
    typedef struct { uint8_t *data; uint64_t size; uint64_t room; } mesh_store_bytes;
    const char *mesh_store_load(const char *path);
    const char *mesh_store_error(int32_t code);
    int32_t mesh_store_open(const char *path, uint64_t map_bytes, uint32_t tables_max,
                            uint32_t flags, uint32_t mode, void **opened,
                            mesh_store_info *info);
    void mesh_store_close(void *env);
    int32_t mesh_store_look(void *env, mesh_store_info *info);
    int32_t mesh_store_tables(void *env, const char *names, uint32_t count, int32_t create,
                              void *tables, mesh_store_info *info);
    int32_t mesh_store_resize(void *env, uint64_t map_bytes, mesh_store_info *info);
    int32_t mesh_store_drop_dead_readers(void *env, mesh_store_info *info);
    int32_t mesh_store_write(void *env, const uint8_t *data, size_t size,
                             const void *sizes, size_t sizes_count,
                             const void *sections, size_t sections_count,
                             mesh_store_info *info);
    void mesh_store_empty(mesh_store_bytes *found);
    int64_t mesh_store_get(void *env, uint32_t table, const uint8_t *key, size_t key_size,
                           mesh_store_bytes *found, mesh_store_info *info);
    int32_t mesh_store_get_many(void *env, uint32_t table, const uint8_t *keys,
                                const void *sizes, size_t count, void *found_sizes,
                                mesh_store_bytes *found, mesh_store_info *info);
    int32_t mesh_store_rows(void *env, uint32_t table, const uint8_t *start,
                            size_t start_size, int32_t reverse, int32_t keys_only,
                            uint64_t limit, mesh_store_bytes *found,
                            mesh_store_bytes *sizes, mesh_store_info *info);
    int32_t mesh_store_stats(void *env, const void *tables, size_t count, void *found,
                             mesh_store_info *info);
    """
)
ffibuilder.set_source(
    "meshcode.native._staging",
    "\n".join((_HERE / name).read_text(encoding="utf-8") for name in ("framing.c", "staging.c")),
    libraries=["dl"] if sys.platform == "linux" else [],  # In older ones it is not part of libc.
    extra_compile_args=["-O2", "-std=c99", "-Wall", "-Wextra", "-Wno-unused-function"],
    py_limited_api=True,
    optional=True,  # For setuptools: without a compiler the install goes on with the pure twin.
)
