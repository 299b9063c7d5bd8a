"""The C of `meshcode.native`; everything else about the project is in pyproject.toml.

MESHCODE_PURE=1 leaves it out.  Without a compiler it is left out too, with a warning from
setuptools: the pure twin does the same work, slower.
"""

import os
import sys

from setuptools import Extension, setup

PARTS = (
    "append", "batch", "framing", "link", "mold", "pick", "process", "rows", "simple", "slots",
    "steps", "whole", "words",
)  # fmt: skip

if os.environ.get("MESHCODE_PURE", "") in ("", "0"):
    setup(
        # The log through C wants dlopen.
        cffi_modules=["meshcode/native/build.py:ffibuilder"] if sys.platform != "win32" else [],
        ext_modules=[
            Extension(
                "meshcode.native._objects",
                ["meshcode/native/objects.c"],
                depends=[f"meshcode/native/{name}.c" for name in PARTS],  # It includes them.
                define_macros=[("Py_LIMITED_API", "0x030B0000")],
                py_limited_api=True,
                libraries=["dl"] if sys.platform == "linux" else [],  # For older ones of libc.
                extra_compile_args=["-O2", "-std=c99", "-Wall", "-Wextra", "-Wno-unused-function"],
                optional=True,  # Without a compiler the install goes on with the pure twin.
            )
        ],
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
else:
    setup()
