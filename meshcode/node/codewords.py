"""What nodes say to each other about code, and what a message must be before it is listened to.

    asker                                   peer
      who    {ask, url, branch, commit, tag}  ->
                                          <-  have   {ask, commits}         it has mounted
      want   {ask, url, commit}               ->
                                          <-  making {ask, commit}          every few seconds
                                          <-  bundle {ask, commit, size, sha256}
      read   {ask, commit, sha256, offset}    ->
                                          <-  chunk  {ask, commit, offset, data}
                                          <-  sorry  {ask, commit, why}     to `want` or `read`
      runs   {ask, processor, code}           ->
                                          <-  running {ask, commit}         of just that code

Each is a plain dict with the word as `op`; exactly the fields above.  `ask` is the asker's number
of its search, or of its question (`codeothers`); `commit` in `who` may be short or empty, in
`running` empty, elsewhere it is whole; `code` is a digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from meshcode import limits

URL_CHARACTERS_MAX = 2_048
REF_CHARACTERS_MAX = 200  # As `worker.git.check_ref`.
WHY_CHARACTERS_MAX = 500
_INTEGER_MAX = (1 << 63) - 1
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHORT = re.compile(r"(?:[0-9a-f]{7,64})?\Z")
_WHOLE_OR_NONE = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})?\Z")
_DIGEST = re.compile(r"[0-9a-f]{32}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _INTEGER_MAX


def _text(most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= most and value.isprintable()


def _match(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.match(value) is not None


def _commits(value: Any) -> bool:
    good = isinstance(value, list) and len(value) <= limits.CODE_ANSWER_COMMITS_MAX
    return good and all(map(_commit, value))


def _data(value: Any) -> bool:
    return isinstance(value, bytes) and 0 < len(value) <= limits.CODE_CHUNK_BYTES


_commit = _match(_COMMIT)
_ref = _text(REF_CHARACTERS_MAX)
_url = _text(URL_CHARACTERS_MAX)
_sha256 = _match(_SHA256)
_ASKED: dict[str, Callable[[Any], bool]] = {"ask": _natural, "commit": _commit}
FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "who": {"ask": _natural, "url": _url, "branch": _ref, "commit": _match(_SHORT), "tag": _ref},
    "have": {"ask": _natural, "commits": _commits},
    "want": {**_ASKED, "url": _url},
    "making": _ASKED,
    "bundle": {**_ASKED, "size": _natural, "sha256": _sha256},
    "read": {**_ASKED, "sha256": _sha256, "offset": _natural},
    "chunk": {**_ASKED, "offset": _natural, "data": _data},
    "sorry": {**_ASKED, "why": _text(WHY_CHARACTERS_MAX)},
    "runs": {"ask": _natural, "processor": _text(limits.NAME_BYTES_MAX), "code": _match(_DIGEST)},
    "running": {"ask": _natural, "commit": _match(_WHOLE_OR_NONE)},
}


def fault(message: Any) -> str:
    """Why a message is not listened to, or ""; every field is checked, strangers' words and all."""
    if not isinstance(message, dict):
        return f"a message about code is a {type(message).__name__}, wanted a dict"
    word = message.get("op")
    fields = FIELDS.get(word) if isinstance(word, str) else None
    if fields is None:
        return f"a message about code has the word {str(word)[:20]!r}, which nobody knows"
    for name, good in fields.items():
        if name not in message:
            return f"{word} has no field {name!r}"
        if not good(message[name]):
            return f"{word} has a bad {name!r}"
    if len(message) != len(fields) + 1:
        return f"{word} has {len(message) - len(fields) - 1} fields too many"
    return ""
