"""What cffi makes of our C, for setup.py: `python setup.py build_ext --inplace` in a checkout.

The module is `meshcode.native._framing`, by cffi in API mode against the limited Python API, so one
build serves every later CPython.  It is made of framing.c, of staging.c where there is dlopen, and
of process.c on Linux.
What makes Python's objects (objects.c) is the other one, `meshcode.native._objects`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent
_SOURCES = ["framing.c"]
_LIBRARIES: list[str] = []

ffibuilder = FFI()
ffibuilder.cdef(
    """
    typedef struct { uint64_t offset; uint64_t found; uint64_t expected; } mesh_fault;
    typedef struct {
        uint64_t frame_bytes_max;
        uint64_t body_bytes_max;
        uint32_t meta_bytes_max;
        uint32_t envelopes_max;
    } mesh_limits;
    void mesh_begin(void);
    uint32_t mesh_crc32(uint32_t crc, const uint8_t *buf, size_t size);
    int32_t mesh_index(const uint8_t *buf, size_t size, uint8_t *rows, uint32_t rows_max,
                       const mesh_limits *limits, mesh_fault *fault);
    int32_t mesh_check(const uint8_t *buf, size_t size, uint8_t *row, const mesh_limits *limits,
                       mesh_fault *fault);
    int32_t mesh_seal(uint8_t *buf, size_t size, mesh_fault *fault);
    """
)
if sys.platform != "win32":
    ffibuilder.cdef(
        """
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
        int32_t mesh_append(int32_t handle, uint64_t at, uint8_t *entry, size_t size, size_t end,
                            uint32_t seed);
        """
    )
    _SOURCES.append("staging.c")
    if sys.platform == "linux":
        _LIBRARIES.append("dl")  # Part of libc in newer ones, where the name is still there.
        ffibuilder.cdef("int32_t mesh_prctl(int32_t option, uint64_t value);")
        _SOURCES.append("process.c")
ffibuilder.set_source(
    "meshcode.native._framing",
    "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SOURCES),
    libraries=_LIBRARIES,
    extra_compile_args=["-O2", "-std=c99", "-Wall", "-Wextra", "-Wno-unused-function"],
    py_limited_api=True,
    optional=True,  # For setuptools: without a compiler the install goes on with the pure twin.
)
