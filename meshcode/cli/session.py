"""Talking to the node: one connection per command, opened when the first question is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from meshcode.cli import output
from meshcode.errors import MeshError, NoNode, NotAllowed, WaitTimeout

if TYPE_CHECKING:
    from meshcode.client import Client

Told = TypeVar("Told")

CONNECT_S = 5.0  # A node that has the link open and does not greet for so long is not well.
COMPLETE_S = 0.15  # A Tab that takes longer feels broken.


def address() -> str:
    """Where the node of this shell listens: the setting `node`, else the run folder of its home."""
    from meshcode import paths

    return paths.clients_address()


def no_node(where: str) -> MeshError:
    """Why nothing answers at an address, as far as this machine knows: to be raised."""
    from meshcode import paths

    home = paths.home()
    if where == paths.clients_address(home):
        refuse_home_of_others(home)
        if os.path.exists(paths.pid_file(home)):
            from meshcode.cli import process  # Mostly there is none to look for.

            silent = process.find_process(home)
            if silent is not None:
                return NoNode(process.silence(home, silent.pid), address=where, pid=silent.pid)
    return NoNode(
        f"no node answers at {where}; start one with `mesh up` or `mesh dev`", address=where
    )


def refuse_home_of_others(home: str) -> None:
    """Say so where nothing can be known of a node: its home is another user's.

    Raises:
        NotAllowed: this user may not look into the home.
    """
    from meshcode import paths

    try:
        os.stat(paths.pid_file(home))
    except PermissionError:
        try:
            owner = f"uid {os.stat(home).st_uid}"
        except OSError:
            owner = "another user"
        raise NotAllowed(
            f"{home} belongs to {owner}, and you are uid {os.geteuid()}, who may not look into it:"
            " nothing can be said of its node, and nothing was done; become that user, or name a"
            " home of yours with --home or MESH_HOME",
            home=home,
        ) from None
    except OSError:
        return  # There is none yet, or the node says what is wrong with it.


def listens(where: str) -> bool:
    """Whether any process has this ipc address open; True for what cannot be asked this way."""
    from meshcode import paths

    return paths.listens(where)


@contextmanager
def session(*, timeout: float = CONNECT_S) -> Iterator[Client]:
    """A connected client, closed at the end.

    Raises:
        NoNode: nothing listens at the address, which is known at once, or nothing greets within
            `timeout` seconds.
        NotAllowed: the home is another user's.
    """
    from meshcode import paths

    where, home = address(), paths.home()
    if where == paths.clients_address(home):
        refuse_home_of_others(home)
    if not listens(where):
        raise no_node(where)
    from meshcode.client import connect

    try:
        client = connect(where, timeout=timeout)
    except NoNode:
        if "tcp://" in where:  # Of another machine the client knows more than this one: why.
            raise
        raise no_node(where) from None
    try:
        yield client
    except WaitTimeout:
        client.close(0)  # It was waited for as long as it was to be.
        raise
    except BaseException:
        with suppress(WaitTimeout):  # What ends the command matters more.
            client.close()
        raise
    client.close()


def model(
    client: Client, do: str, kind: str, name: str | None = None, *, dry: bool = False, **fields: Any
) -> Any:
    """One request to the model behind the node; `dry` is undone when it has been checked."""
    request: dict[str, Any] = {"do": do, "kind": kind, "fields": fields}
    if dry:
        request["dry"] = True
    if name is not None:
        request["name"] = name
    found = client.ask("model", **request)
    if do in ("add", "delete") and not dry:
        from meshcode.cli import names

        names.forget(address())
    return found


def declare(client: Client, rows: list[dict[str, Any]], *, dry: bool = False) -> dict[str, Any]:
    """Let the model find or add all of these objects, or none (docs/model.md, `declare`)."""
    request: dict[str, Any] = {"do": "declare", "fields": {"objects": rows}}
    if dry:
        request["dry"] = True
    answer: dict[str, Any] = client.ask("model", **request)
    if not dry:
        from meshcode.cli import names

        names.forget(address())
    return answer


def objects(client: Client, kind: str) -> list[dict[str, Any]]:
    """All objects of a kind, each with its `name`, in the order of names."""
    found = model(client, "list", kind)
    rows = found.get("items", []) if isinstance(found, dict) else found
    return sorted(rows, key=lambda row: str(row["name"]))


def beside(what: str, ask: Callable[[], Told]) -> Told | None:
    """What a command only adds to that which it was asked for: what `ask` gives.

    None when this user lacks the right to it; stderr says that `what` is left out.
    """
    return all_beside({what: ask}).get(what)


def all_beside(asks: Mapping[str, Callable[[], Told]]) -> dict[str, Told]:
    """What each of `asks` gives, by what it is called; one line says what is left out of all."""
    found: dict[str, Told] = {}
    refused: dict[str, NotAllowed] = {}
    for what, ask in asks.items():
        try:
            found[what] = ask()
        except NotAllowed as error:
            refused[what] = error
    tell_left_out(refused)
    return found


def tell_left_out(refused: Mapping[str, NotAllowed]) -> None:
    """Say on stderr what of an answer is not in it, for want of which rights."""
    tell_without({what: str(error.fields.get("right")) for what, error in refused.items()})


def tell_without(needed: Mapping[str, str]) -> None:
    """Say on stderr what of an answer is not in it: each with the right that it needs."""
    if needed:
        output.say(
            f"mesh: left out, since you may not see it: {', '.join(needed)}; that needs"
            f" {', '.join(dict.fromkeys(needed.values()))}: `mesh whoami` shows what you may do"
        )


def names_of(kind: str) -> list[str]:
    """Names for the completion of a shell: quick, and empty on any failure."""
    from meshcode.cli import names

    try:
        where = address()
    except Exception:  # A file of settings is wrong: a Tab is no place to say so.
        return []
    return names.of(kind, where, asked_names, near_s=COMPLETE_S)


def asked_names(kind: str, seconds: float) -> list[str]:
    """The names of all objects of a kind, as the node says within `seconds`."""
    with session(timeout=seconds) as client:
        return [str(row["name"]) for row in objects(client, kind)]


def who() -> str:
    """The name this person goes by, for `by` fields: the login name, else the user id."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}"
