"""What the model keeps beside the network: settings, secrets, files, flows and versions."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.objects.asking import Wanted, client_of, got, listed, model
from meshcode.client.objects.base import Declared, Named

if TYPE_CHECKING:
    from typing import Self



class Setting(Declared):
    """A value that holds on all nodes: `Setting("retention_age_ms", value=86_400_000)`."""

    kind: ClassVar[str] = "setting"
    _required = ("value",)


class Secret(Declared):
    """Where something secret is on each host: `Secret("token", source="file:/run/token")`."""

    kind: ClassVar[str] = "secret"
    _required = ("source",)


class Version(Named):
    """What a file or flow was after one of its changes; only seen."""

    kind: ClassVar[str] = "version"

    def read(self) -> bytes:
        """What it was; of a flow its document as JSON."""
        return _bytes_of(self)


class _Versioned(Declared):
    """A declared object of which every change is kept."""

    def versions(self) -> list[Version]:
        """Those that are kept, oldest first, without what they were: `restore` has it back."""
        link, of = client_of(self._client), f"{self.kind}:{self.name}"
        rows = [row for row in listed(link, "version") if row["of"] == of]
        return [Version._of(r, self._client) for r in sorted(rows, key=lambda r: r["number"])]

    def version(self, number: int) -> Version:
        """One of them, with what it was.

        Raises:
            UnknownObject: it is not kept any more, or never was.
        """
        name = f"{self.kind}:{self.name}@{number}"
        return Version._of(got(client_of(self._client), "version", name), self._client)

    def restore(self, number: int) -> Self:
        """Make it what it was in a version; that is a new version.

        Raises:
            UnknownObject: it is not kept; the object is unchanged.
        """
        link, fields = client_of(self._client), {"restore": number}
        self._take(model(link, "update", self.kind, self.name, fields))
        return self


class File(_Versioned):
    """At most 64 KiB that every node has: `File("rates", content=b"...")`; see `Declared`.

    `content` may be text or bytes.
    """

    kind: ClassVar[str] = "file"

    @classmethod
    def _given(cls, found: list[Wanted], options: Mapping[str, Any]) -> dict[str, Any]:
        given = super()._given(found, options)
        content = given.get("content")
        if isinstance(content, bytes | bytearray):
            given["content"] = base64.b64encode(content).decode()
            given["encoding"] = "base64"
        elif isinstance(content, str):
            given.setdefault("encoding", "text")
        return given

    def read(self) -> bytes:
        """What is in it, as of the last reading of the object."""
        return _bytes_of(self)


class SavedFlow(_Versioned):
    """A saved composition of calls: `SavedFlow("night", document={"pipeline": ["a", "b"]})`.

    docs/model.md, "Flows", has the form of a document.
    """

    kind: ClassVar[str] = "flow"
    _required = ("document",)


def _bytes_of(found: Named) -> bytes:
    if "content" not in found._data:  # It came from a listing, which has none.
        fresh = got(client_of(found._client), found.kind, found.name)
        object.__setattr__(found, "_data", fresh)
    text = str(found._data["content"])
    return base64.b64decode(text) if found._data["encoding"] == "base64" else text.encode()
