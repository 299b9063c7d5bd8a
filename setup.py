"""The C twin of `meshcode.native`; everything else about the project is in pyproject.toml.

MESHCODE_PURE=1 leaves it out.  Without a compiler it is left out too, with a warning from
setuptools: the pure twin does the same work, slower.
"""

import os

from setuptools import setup

if os.environ.get("MESHCODE_PURE", "") in ("", "0"):
    setup(
        cffi_modules=["meshcode/native/build.py:ffibuilder"],
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
else:
    setup()
