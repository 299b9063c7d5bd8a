"""Build the C twin: `python -m meshcode.native.build` in a checkout, or by setup.py in an install.

The module is `meshcode.native._framing`, by cffi in API mode against the limited Python API, so one
build serves every later CPython.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent

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
    int32_t mesh_scan(const uint8_t *buf, size_t size, uint32_t objects, uint32_t depth_max,
                      mesh_fault *fault);
    """
)
ffibuilder.set_source(
    "meshcode.native._framing",
    (_HERE / "framing.c").read_text(encoding="utf-8"),
    extra_compile_args=["-O2", "-std=c99", "-Wall", "-Wextra"],
    py_limited_api=True,
    optional=True,  # For setuptools: without a compiler the install goes on with the pure twin.
)


def build() -> str:
    """Compile beside this file and return the path of the library.

    Raises:
        cffi.VerificationError: there is no compiler, or it failed.
    """
    path: str = ffibuilder.compile(tmpdir=str(_HERE.parent.parent))
    return path


if __name__ == "__main__":
    print(build())
