"""`Processor`: code in a git repository, started, stopped and scaled from Python."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.objects.asking import Wanted, as_json, client_of, warn
from meshcode.client.objects.base import Declared

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


_LOGIN = re.compile(r"(?<=^https://)[^/@]*@")
_EGG = re.compile(r"#egg=[^#]*$")


class Processor(Declared):
    """A processor: `Processor("p1", git="/srv/shop", module="shop.orders")`; see `Declared`.

    `git` may also be a path of this machine that begins with `.` or `~`, or a `Path`.

    Of the original: `gitrepo` is `git`, without the login and the `#egg=` of its URL;
    `concurrency` is `workers`, `gittag` `tag`, `modulepath` `module_path`; `ratelimit` is calls per
    minute, kept as `rate_limit`.  `hostname`, `agent`, `id` and `beat` are not used.
    """

    kind: ClassVar[str] = "processor"
    _required = ("git", "module")
    _renamed = {
        "gitrepo": "git", "concurrency": "workers", "gittag": "tag", "modulepath": "module_path",
        "ratelimit": "rate_limit",
    }  # fmt: skip
    _unused = {
        "hostname": "a processor has no host; a Deployment puts it on one",
        "agent": "a processor has no host; a Deployment puts it on one",
        "id": "it is found by its name",
        "beat": "schedules need none: the mesh itself fires them",
    }

    @classmethod
    def _plain(cls, found: list[Wanted], option: str, value: Any) -> Any:
        if option == "gitrepo" and isinstance(value, str):
            value = _repository(value)
        if option in ("git", "gitrepo") and isinstance(value, str | os.PathLike):
            return _local(os.fspath(value), always=not isinstance(value, str))
        if option == "ratelimit" and str(value).isdecimal():
            return f"{value}/m"
        return super()._plain(found, option, value)

    def start(self) -> Self:
        """Start its workers."""
        return self._tell("start")

    def stop(self) -> Self:
        """Stop its workers; its calls wait."""
        return self._tell("stop")

    def restart(self) -> Self:
        """Start fresh worker processes."""
        return self._tell("restart")

    def pause(self) -> Self:
        """Keep the workers, give them no calls.

        Raises:
            WrongState: it is stopped; it is unchanged.
        """
        return self._tell("pause")

    def resume(self) -> Self:
        """Give them calls again.

        Raises:
            WrongState: it is stopped; it is unchanged.
        """
        return self._tell("resume")

    def remove(self) -> None:
        """Delete it with its deployments.

        Raises:
            WrongState: a socket uses it; everything is unchanged.
        """
        client_of(self._client).ask("proc", do="remove", name=self.name)

    def _tell(self, action: str) -> Self:
        self._take(client_of(self._client).ask("proc", do=action, name=self.name))
        return self

    def __repr__(self) -> str:
        """As of every object, without the values of `env`, which may be secret."""
        env: Mapping[str, str] = self._data.get("env") or {}
        return as_json({**self.to_dict(), "env": dict.fromkeys(env, "***")})


def _repository(url: str) -> str:
    """A URL of the original without what must not be in one here, with a word about it."""
    kept = _LOGIN.sub("", url)
    if kept != url:
        warn("the login in the URL of a repository is not kept: URLs are shown and published; name"
             " where it is by `mesh add repo -u URL --credential env:NAME`")  # fmt: skip
    return _EGG.sub("", kept)


def _local(text: str, *, always: bool) -> str:
    """A path of this machine made absolute; any other text as it is."""
    if always or text.startswith(("~", ".")):
        return os.path.abspath(os.path.expanduser(text))
    return text
