"""What may stand in an option of a file, a flow, a version or a secret: pure, as in `checks.py`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from meshcode import flowdoc
from meshcode.digest import sha256
from meshcode.model.checks import TEXT_CHARS_MAX

LARGE = ("content", "document")  # Options that listings leave out.
FILE_BYTES_MAX = 64 * 1024  # Of one file: nodes tell each other of it in one message.
KEPT_BYTES_MAX = 4 * 1024 * 1024  # Of all files, flows and versions: a model has 10 MiB.
VERSIONED = ("file", "flow")  # Kinds of which each change makes a version.
VERSIONED_NAME_CHARS_MAX = 180  # So that a version's own name fits.
SECRET = "secret:"  # How a value says that it is the name of a secret.

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF = re.compile(r"(file|flow):(?=.{1,180}$)[A-Za-z0-9._:/@][A-Za-z0-9._:/@-]*")


def check_content(value: Any) -> str:
    """The text of a file, or its bytes in base64; which of them, `encoding` says."""
    good = isinstance(value, str) and "\0" not in value
    if not good or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("text of Unicode without NUL, or bytes in base64")
    return str(value)  # How long it may be depends on `encoding`: `bytes_of` sees to it.


def check_former(value: Any) -> str:
    """The content of a version, which nobody gives: it was checked when it was that of a file."""
    text, most = check_content(value), FILE_BYTES_MAX * 4 // 3 + 4
    if len(text.encode()) > most:
        raise ValueError(f"at most {most} bytes of text, and this has {len(text.encode())}")
    return text


def bytes_of(options: Mapping[str, Any]) -> bytes:
    """The bytes that `content` and `encoding` stand for.

    Raises:
        ValueError: it is no base64, or too many bytes.
    """
    text = options["content"]
    if options["encoding"] == "base64":
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the content is no base64") from None
    else:
        data = text.encode()
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"the content has {len(data)} bytes, the most is {FILE_BYTES_MAX}")
    return data


def digest_of(data: bytes) -> str:
    """By which two contents are told apart: SHA-256 in hexadecimal digits."""
    return sha256(data).hexdigest()


def check_folder(value: Any) -> str:
    """Where a file is among the others, like `reports/2026`."""
    good = isinstance(value, str) and 0 < len(value) <= 1_000 and value.isprintable()
    if not good or any(part in ("", ".", "..") for part in value.split("/")) or "\\" in value:
        raise ValueError("a folder like reports/2026, without a / at its ends and without ..")
    return str(value)


def check_document(value: Any) -> dict[str, Any]:
    """A saved flow; `meshcode/flowdoc.py` has its form."""
    return flowdoc.check(value)


def check_of(value: Any) -> str:
    """What a version is of: `file:NAME` or `flow:NAME`."""
    if not isinstance(value, str) or not _OF.fullmatch(value):
        raise ValueError("file:NAME or flow:NAME")
    return str(value)


def check_source(value: Any) -> str:
    """Where a secret is on each host; never the secret itself."""
    how, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    good = isinstance(value, str) and len(value) <= TEXT_CHARS_MAX and value.isprintable()
    if good and how == "env" and _ENV_NAME.fullmatch(name) and not name.startswith("MESH_"):
        return str(value)
    if not good or how != "file" or not name.startswith("/") or ".." in name.split("/"):
        raise ValueError(
            "env:NAME, not beginning with MESH_, or file:/PATH without .., which name it on each"
            " host"
        )
    return str(value)


def shown_source(value: Any) -> str:
    """Nothing of it: who mistakes the option for the secret itself must not find it in a log."""
    return f"a {type(value).__name__}"


def secrets_of_env(value: Any) -> list[str]:
    """The secrets that an environment names, each once."""
    texts = value.values() if isinstance(value, dict) else ()
    names = [t.removeprefix(SECRET) for t in texts if isinstance(t, str) and t.startswith(SECRET)]
    return list(dict.fromkeys(names))


def secrets_of_credential(value: Any) -> list[str]:
    """The secret that a credential names, if it does."""
    is_one = isinstance(value, str) and value.startswith(SECRET)
    return [value.removeprefix(SECRET)] if is_one else []


def sockets_of_document(value: Any) -> list[str]:
    """The sockets that a saved flow calls."""
    return flowdoc.sockets(value) if value else []
