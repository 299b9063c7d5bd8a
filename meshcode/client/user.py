"""Who runs this program, as programs written for the original name it: `from ... import USER`."""

from __future__ import annotations

from meshcode.client.call import user_name


class User:
    """A name.  An object that is made with `user=USER` belongs to it.

    It also marks a program of the original, where what exists wins over what is asked for.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"User({self.name!r})"


USER = User(user_name())
