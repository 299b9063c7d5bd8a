"""Secrets of the model on this node: found where they are said to be, when they are needed.

What is found is handed to the process that needs it and kept nowhere: not in the model, the log,
an answer or an error.  A node's own keys and its home are no secrets that the model may name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshcode.errors import MountFailed
from meshcode.model.keptcheck import SECRET, secrets_of_credential, secrets_of_env
from meshcode.worker import policy
from meshcode.worker.private import read_source


class Secrets:
    """The secrets that one snapshot declares."""

    def __init__(self, home: Path) -> None:
        """None is declared yet; `home` is the node's."""
        self._home = os.path.realpath(home)
        self._sources: dict[str, str] = {}

    def changed(self, snapshot: Mapping[str, Any]) -> None:
        """The model is another."""
        declared = snapshot.get("secrets") or {}
        self._sources = {name: fields["source"] for name, fields in declared.items()}

    def sources_of(self, env: Mapping[str, str] | None) -> list[list[str]]:
        """Where the secrets of an environment are: another place is another environment."""
        return [[name, self._sources.get(name, "")] for name in secrets_of_env(env)]

    def rule(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """A rule about a repository, whose credential names a place and no secret."""
        found = dict(rule)
        credential = str(rule.get("credential") or "")
        if self._is_at_home(credential):
            found["credential"] = f"{policy.AT_HOME}:{credential.partition(':')[2]}"
        for name in secrets_of_credential(rule.get("credential")):
            source = self._sources.get(name)
            try:
                self._check(name)
            except MountFailed:
                continue  # The fetch says that it is not there.
            found["credential"] = f"private:{source}"
        return found

    def environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        """An environment with the secrets in the place of their names.

        Raises:
            MountFailed: one of them is not there on this host; the text names it and its place.
        """
        found = dict(env or {})
        for variable, text in found.items():
            if text.startswith(SECRET):
                found[variable] = self._read(text.removeprefix(SECRET), variable)
        return found

    def _check(self, name: str) -> str:
        source = self._sources.get(name)
        if source is None:
            raise _missing(name, "no secret of that name is declared")
        if self._is_at_home(source):
            raise _missing(name, f"{source} is in the node's own home, which it never gives away")
        return source

    def _is_at_home(self, source: str) -> bool:
        how, _, path = source.partition(":")
        return how == "file" and Path(os.path.realpath(path)).is_relative_to(self._home)

    def _read(self, name: str, variable: str) -> str:
        source = self._check(name)
        try:
            return read_source(source)
        except ValueError as error:
            raise _missing(name, f"{error} ({variable} of its environment needs it)") from None


def _missing(name: str, why: str) -> MountFailed:
    return MountFailed(
        f"the secret {name!r} cannot be had on this node: {why}; put it there, or say where it is"
        f" with `mesh update secret {name} --source ...`",
        step="environment",
        reason="no_secret",
    )
