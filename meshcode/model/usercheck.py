"""What may stand in an option of a user, a role or a privilege: pure checks, as in `checks.py`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from meshcode.model.checks import check_name, near

ROLES_MAX = 64  # Of one user.
KEYS_MAX = 64  # Client keys of one user.
ENDED_MAX = 64  # Logins of one user that were ended one by one and are not over yet.
LABELS_MAX = 16  # Of one object.
LABEL_CHARS_MAX = 63  # Of its key, and of its value.
LABEL = "label"  # Stands in a scope where else a kind does.
# Parameters of a hash that come from elsewhere: more would let one object stop a model process.
MEMORY_KIB_MAX = 256 * 1024
ROUNDS_MAX = 16

_EMAIL = re.compile(r"[^\s@<>\"]{1,64}@[^\s@<>\"]{1,189}")
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,4}),p=([0-9]{1,2})"
    r"\$[A-Za-z0-9+/]{16,64}\$[A-Za-z0-9+/]{32,128}"
)
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_PATTERN = re.compile(r"[A-Za-z0-9._:/@*?-]{1,200}")
_LABEL_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,62}")


def shown_secret(_value: Any) -> str:
    """Nothing of it."""
    return "a secret"


def check_bool(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def check_email(value: Any) -> str:
    """An address; nobody sends anything to it."""
    if not isinstance(value, str) or not _EMAIL.fullmatch(value) or not value.isprintable():
        raise ValueError("an address like ann@example.org")
    return str(value)


def check_hash(value: Any) -> str:
    """A password as `passwords.hashed` keeps it: argon2id, at a bearable price."""
    found = _HASH.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("an argon2id hash")
    memory, rounds, lanes = (int(group) for group in found.groups())
    if not 8 <= memory <= MEMORY_KIB_MAX or not 1 <= rounds <= ROUNDS_MAX or not 1 <= lanes <= 16:
        raise ValueError(f"argon2id of at most {MEMORY_KIB_MAX} KiB and {ROUNDS_MAX} rounds")
    return str(value)


def check_names(value: Any) -> list[str]:
    """Names of roles, each once."""
    if not isinstance(value, list) or len(value) > ROLES_MAX:
        raise ValueError(f"a list of at most {ROLES_MAX} names")
    try:
        names = [check_name(name) for name in value]
    except ValueError as exc:
        raise ValueError(f"a list of names, each {exc}") from None
    if len(set(names)) != len(names):
        raise ValueError("a list of names, each once")
    return names


def check_keys(value: Any) -> list[str]:
    """Public keys of clients, each once."""
    if not isinstance(value, list) or len(value) > KEYS_MAX:
        raise ValueError(f"a list of at most {KEYS_MAX} keys")
    if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in value):
        raise ValueError("a list of public keys, each 40 characters of Z85")
    if len(set(value)) != len(value):
        raise ValueError("a list of keys, each once")
    return list(value)


def check_ended(value: Any) -> dict[str, int]:
    """Logins that were ended: hash of each, and when it would have been over (Unix ms)."""
    if not isinstance(value, dict) or len(value) > ENDED_MAX:
        raise ValueError(f"a map of at most {ENDED_MAX} logins")
    for name, until in value.items():
        good = isinstance(name, str) and _DIGEST.fullmatch(name)
        if not good or isinstance(until, bool) or not isinstance(until, int):
            raise ValueError("a map of 32 hexadecimal digits to Unix milliseconds")
        if not 0 <= until < 1 << 53:
            raise ValueError("a map of 32 hexadecimal digits to Unix milliseconds")
    return dict(value)


def check_right(value: Any) -> str:
    """One of the rights there are."""
    from meshcode.model.rightnames import RIGHTS  # It is made of the kinds, which name this check.

    if not isinstance(value, str) or value not in RIGHTS:
        raise ValueError(f"a right; `mesh ls rights` shows them{near(value, RIGHTS)}")
    return str(value)


def check_scope(value: Any) -> str:
    """Which objects a privilege is for: `processor:shop*`, or by a label, `label:env=prod`."""
    from meshcode.model.kinds import KINDS

    kind, colon, pattern = value.partition(":") if isinstance(value, str) else ("", "", "")
    if colon and kind == LABEL:
        return f"{LABEL}:{check_selector(pattern)}"
    if not colon or kind not in KINDS or not _PATTERN.fullmatch(pattern):
        meant = "" if kind in KINDS else near(kind, KINDS)
        raise ValueError(
            "KIND:PATTERN, like processor:shop or socket:shop.*, with a kind of the model, or"
            f" label:KEY=PATTERN{meant}"
        )
    return f"{kind}:{pattern}"


def is_in(scope: str, places: frozenset[tuple[str, str]]) -> bool:
    """Whether a scope, as `check_scope` keeps it, has one of these (kind, name)."""
    kind, _, pattern = scope.partition(":")
    return any(kind == k and fnmatch.fnmatchcase(name, pattern) for k, name in places)


def check_labels(value: Any) -> dict[str, str]:
    """What somebody calls an object by, beside its name: a few keys, each with a short value."""
    if not isinstance(value, dict) or len(value) > LABELS_MAX:
        raise ValueError(f"a map of at most {LABELS_MAX} labels")
    for key, text in value.items():
        for one in (key, text):
            if not isinstance(one, str) or not _LABEL_TEXT.fullmatch(one):
                raise ValueError(
                    f"a map of labels, and {_short(key)}={_short(text)} is none: key and value are"
                    f" 1 to {LABEL_CHARS_MAX} of the characters A-Z a-z 0-9 . _ : / @ - and begin"
                    " with a letter or digit"
                )
    return dict(value)


def check_selector(value: Any) -> str:
    """Which labels are meant: `env=prod`, with * and ? in the value for any characters or one."""
    key, equals, pattern = value.partition("=") if isinstance(value, str) else ("", "", "")
    if not equals or not _LABEL_TEXT.fullmatch(key) or not _PATTERN.fullmatch(pattern):
        raise ValueError("KEY=PATTERN, like env=prod or team=shop*")
    return f"{key}={pattern}"


def has_label(labels: Mapping[str, str] | None, selector: str) -> bool:
    """Whether one of the labels is meant by a selector, as `check_selector` keeps it."""
    key, _, pattern = selector.partition("=")
    return key in (labels or {}) and fnmatch.fnmatchcase((labels or {})[key], pattern)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LABEL_CHARS_MAX + 1 else f"{text[:LABEL_CHARS_MAX]}..."
