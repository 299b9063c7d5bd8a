"""Getting one bundle: from one peer at a time, in order, into a file that the next peer goes on
with.

    idle -> making -> pulling -> whole -> taking
              ^---------'  the next peer, or the same one after a lie that may not be its own

Chunks are asked for, CODE_CHUNKS_ASKED ahead, and written in order only, so the size of the file
says where to go on, also after a restart.  What was not asked for is dropped.
"""

from __future__ import annotations

import os
from pathlib import Path

from meshcode import limits
from meshcode.node.codejob import Job
from meshcode.node.codeserve import Send
from meshcode.worker import bundle

_EARLIER = b""  # Stands for whoever gave the part that was here already.


class Pull:
    """One commit on its way to this node."""

    def __init__(self, send: Send, code_dir: str, ask: int, url: str, commit: str) -> None:
        self.send = send
        self.code_dir = code_dir
        self.ask = ask
        self.url = url
        self.commit = commit
        self.stage = "idle"
        self.source = b""
        self.size = 0
        self.sha256 = ""
        self.have = 0  # Bytes in the part, all in order.
        self.job: Job | None = None
        self._asked_to = 0  # Bytes asked for, from the start of the bundle.
        self._givers: set[bytes] = set()
        self._began_ms = 0
        self._heard_ms = 0
        self._asked_ms = 0

    # What the source says.

    def begin(self, node: bytes, now_ms: int) -> None:
        """Turn to a peer; what an earlier one gave is kept when this one offers the same file."""
        self.source = node
        self.stage = "making"
        self._began_ms = self._heard_ms = now_ms
        self._want(now_ms)

    def making(self, now_ms: int) -> None:
        """The source is at work."""
        if self.stage == "making":
            self._heard_ms = now_ms

    def offered(self, size: int, sha256: str, now_ms: int) -> str:
        """The source has the bundle; returns why that cannot be true, or ""."""
        if self.stage != "making":
            return ""
        if not 0 < size <= limits.CODE_BUNDLE_BYTES_MAX:
            return f"it offers {size} bytes, the limit is {limits.CODE_BUNDLE_BYTES_MAX}"
        if (size, sha256) != (self.size, self.sha256):
            self.size, self.sha256 = size, sha256
            self._find_part()
        self.stage = "pulling"
        self._heard_ms = now_ms
        self._asked_to = self.have
        self._go_on(now_ms)
        return ""

    def chunk(self, offset: int, data: bytes, now_ms: int) -> str:
        """A piece of the bundle; returns why the source lies, or "".

        Raises:
            OSError: it cannot be written.
        """
        if self.stage != "pulling" or offset != self.have or offset >= self._asked_to:
            return ""  # Late, twice, or never asked for.
        wanted = min(limits.CODE_CHUNK_BYTES, self.size - offset)
        if len(data) != wanted:
            return f"it sends {len(data)} bytes at {offset} where {wanted} were asked for"
        self._write(offset, data)
        self._givers.add(self.source)
        self.have += len(data)
        self._heard_ms = now_ms
        self._go_on(now_ms)
        return ""

    # Time.

    def late(self, now_ms: int) -> str:
        """Why the source is to be left, or ""."""
        if self.stage in ("making", "pulling"):
            if now_ms >= self._heard_ms + limits.CODE_SILENCE_MS:
                return f"it was silent for {now_ms - self._heard_ms} ms"
            if now_ms >= self._began_ms + limits.CODE_SOURCE_MS_MAX:
                return f"it took longer than {limits.CODE_SOURCE_MS_MAX} ms"
        if self.stage == "taking" and self.job is not None and now_ms >= self.job.until_ms:
            return f"checking it took longer than {limits.CODE_JOB_MS_MAX} ms"
        return ""

    def again(self, now_ms: int) -> None:
        """Ask again for what may have been lost, a few times before the source is left."""
        since_ms = max(self._heard_ms, self._asked_ms)
        if now_ms < since_ms + limits.CODE_SILENCE_MS // 4:
            return
        if self.stage == "making":
            self._want(now_ms)
        elif self.stage == "pulling":
            self._asked_to = self.have
            self._go_on(now_ms)

    # The end.

    def take(self, now_ms: int) -> None:
        """Let a child check the whole bundle and unpack it.

        Raises:
            OSError: it cannot be started now.
        """
        assert self.stage == "whole", self.stage
        self.stage = "taking"
        request = {
            "op": "take", "cache": self.code_dir, "url": self.url, "commit": self.commit,
            "file": str(self._part()), "size": self.size, "sha256": self.sha256,
        }  # fmt: skip
        self.job = Job(request, now_ms)

    def is_certain(self) -> bool:
        """Whether all of the bundle came from the source, so that its faults do as well."""
        return self._givers == {self.source}

    def drop(self) -> None:
        """Forget the part: it is wrong."""
        if self.sha256:
            self._part().unlink(missing_ok=True)
        self.size = self.have = 0
        self.sha256 = ""

    def leave(self) -> None:
        """Turn away from the source; the part stays."""
        self.stage = "idle"
        self.source = b""
        if self.job is not None:
            self.job.end()
            self.job = None

    def _part(self) -> Path:
        return bundle.part_of(self.code_dir, self.sha256)

    def _find_part(self) -> None:
        path = self._part()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = sorted(path.parent.glob("*.part"), key=lambda part: part.stat().st_mtime)
        for part in parts[: -limits.CODE_PARTS_KEPT]:  # Begun and left, perhaps on purpose.
            part.unlink()
        self.have = path.stat().st_size if path.exists() else 0
        if self.have > self.size:
            path.unlink()
            self.have = 0
        self._givers = {_EARLIER} if self.have else set()

    def _write(self, offset: int, data: bytes) -> None:
        file = os.open(self._part(), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_size != offset:
                raise OSError(f"its file ends elsewhere than at {offset}")
            if os.pwrite(file, data, offset) != len(data):
                raise OSError("the file system took only a part of a chunk")
        finally:
            os.close(file)

    def _want(self, now_ms: int) -> None:
        self._asked_ms = now_ms
        message = {"op": "want", "ask": self.ask, "url": self.url, "commit": self.commit}
        self.send(self.source, message)

    def _go_on(self, now_ms: int) -> None:
        """Keep the window of asked chunks full; what is not sent is asked for later."""
        if self.have == self.size:
            self.stage = "whole"
            return
        self._asked_ms = now_ms
        ahead = limits.CODE_CHUNKS_ASKED * limits.CODE_CHUNK_BYTES
        while self._asked_to < min(self.size, self.have + ahead):
            message = {
                "op": "read", "ask": self.ask, "commit": self.commit, "sha256": self.sha256,
                "offset": self._asked_to,
            }  # fmt: skip
            if not self.send(self.source, message):
                return
            self._asked_to += limits.CODE_CHUNK_BYTES
