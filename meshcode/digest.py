"""Digests without OpenSSL: `hashlib` and `hmac` load it, and it takes 4 MiB of every process.

CPython has the same functions built in, under private names; where they are not, hashlib's serve.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

try:
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:
    try:  # Its name before Python 3.12.
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

try:  # What `hmac` and `secrets` take where there is no OpenSSL.
    from _operator import _compare_digest as compare_digest
except ImportError:
    from hmac import compare_digest  # type: ignore[no-redef]

__all__ = ["blake2b", "sha256", "compare_digest"]
