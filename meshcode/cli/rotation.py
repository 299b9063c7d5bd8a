"""`mesh node rotate-key`: new keys for this node, signed by a node that admits.

    mesh/node.key.next    the new secrets, before anybody hears of them
    mesh/node.key.draft   what is to be signed; holds no secret, and is kept so that a second
                          attempt asks for the same keys
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshcode import paths
from meshcode.cli import leave, output, plain
from meshcode.cli.node import size_text
from meshcode.cli.nodes import my_identity, newest_roster
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.cli.session import session
from meshcode.errors import CallerError, MeshError, NotAllowed, WrongState

if TYPE_CHECKING:
    from meshcode.trust.identity import Identity

DRAFT = "node.key.draft"
DRAFT_BYTES_MAX = 64 * 1024


@command()
@click.option(
    "--draft", type=click.Path(dir_okay=False), metavar="FILE",
    help="Only write the draft of the new keys, to bring it to a node that admits.",
)
@click.option(
    "--sign", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="On a node that admits: sign the draft of another node, into FILE.signed.",
)
@click.option(
    "--finish", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="Take what --sign wrote.",
)
@click.option(
    "--again", is_flag=True,
    help="Forget new keys that were begun. Only if their draft can nowhere be signed any more.",
)
@styled
def rotate_key(
    draft: str | None, sign: str | None, finish: str | None, again: bool, style: Style
) -> None:
    """Give this node new keys; it keeps its id, its name and its calls.

    The old key is good for 24 hours more, on an edge node for 30 days: restart the node in that
    time. A node that admits signs the new keys; the running node of this home finds one.

    Examples:
      mesh node rotate-key && mesh down && mesh up
      mesh node rotate-key --draft d          here; bring d to a node that admits
      mesh node rotate-key --sign d           there; bring d.signed back
      mesh node rotate-key --finish d.signed  here
    """
    if sum(option is not None for option in (draft, sign, finish)) > 1:
        raise click.UsageError(
            "give one of --draft, --sign and --finish", click.get_current_context()
        )
    leave.ask(paths.home(), "node.may", audited=False)
    mine = my_identity()
    if sign is not None:
        leave.tell("rotate-key", f"the draft {sign} is signed")
        _sign_draft(mine, Path(sign), style)
    elif finish is not None:
        leave.tell("rotate-key", f"node {mine.name}, by {finish}")
        _take_statement(mine, _read(Path(finish)))
        _show_rotated(mine, "", style)
    else:
        leave.tell("rotate-key", f"node {mine.name}{', a draft' if draft else ''}")
        packed = _begin_rotation(mine, again=again)
        if draft is not None:
            _write(Path(draft), packed)
            output.write(
                f"{draft} is written; on a node that admits: mesh node rotate-key --sign {draft};"
                f" then here: mesh node rotate-key --finish {draft}.signed"
            )
            return
        by = _have_signed(mine, packed)
        _show_rotated(mine, by, style)


def _begin_rotation(mine: Identity, *, again: bool) -> bytes:
    """The draft of new keys; the same one as long as a rotation is under way.

    The keys of a first draft would be lost if a second one took their place and the first were
    signed after all: then the old key ends in its time, and the node is locked out.
    """
    from meshcode.ids import unix_ms
    from meshcode.store.filesystem import write_durably
    from meshcode.trust import admitting, folder, identity
    from meshcode.trust.rosterfile import RosterFile

    where = folder.folder_of()
    path = where / DRAFT
    if (where / folder.NEXT_KEY).exists() and not again:
        if path.exists():
            output.say("a change of keys is under way already: going on with it")
            return _read(path)
        raise WrongState(
            f"{where / folder.NEXT_KEY} is there and its draft is not; nothing was changed; if no"
            " draft of it can be signed any more: mesh node rotate-key --again"
        )
    roster = newest_roster(RosterFile(None, mine.root_key))
    changed, packed = admitting.rotate(mine, roster, now_unix_ms=unix_ms())
    write_durably(path, packed)
    identity.save_next(None, changed)
    return packed


def _have_signed(mine: Identity, packed: bytes) -> str:
    """Let this node, or through the running one a peer, sign the draft; who did."""
    from meshcode.ids import unix_ms
    from meshcode.trust import admitting, identity
    from meshcode.trust.rosterfile import RosterFile

    file = RosterFile(None, mine.root_key)
    roster, key = file.load(), identity.load_admit_key()
    if key is not None and roster.may_admit(key.public):
        _take_statement(mine, admitting.countersign(roster, packed, key, now_unix_ms=unix_ms()))
        return mine.name
    try:
        with session() as client:
            found = client.ask("node.countersign", draft=packed)
    except MeshError as error:
        output.say(
            "the new keys wait in mesh/node.key.next; the old ones are in use; try again, or bring"
            " the draft to a node that admits: mesh node rotate-key --draft FILE"
        )
        raise error from None
    _take_statement(mine, found["statement"])
    return str(found["by"])


def _take_statement(mine: Identity, statement: bytes) -> None:
    """Put the signed keys into the roster, and the secret ones in their place."""
    from meshcode.trust import folder, identity
    from meshcode.trust.rosterfile import RosterFile

    where = folder.folder_of()
    RosterFile(None, mine.root_key).add(statement)
    now = identity.load()
    assert now is not None
    if (where / folder.NEXT_KEY).exists():
        raise WrongState(
            "the statement is not for the keys in mesh/node.key.next; the old keys are in use;"
            " sign the newest draft: mesh node rotate-key --draft FILE"
        )
    (where / DRAFT).unlink(missing_ok=True)


def _sign_draft(mine: Identity, path: Path, style: Style) -> None:
    from meshcode.ids import unix_ms
    from meshcode.trust import admitting, identity
    from meshcode.trust.rosterfile import RosterFile

    key = identity.load_admit_key()
    if key is None:
        raise NotAllowed(
            f"node {mine.name} has no mesh/admit.key, so it cannot sign; nothing was changed"
        )
    file = RosterFile(None, mine.root_key)
    statement = admitting.countersign(file.load(), _read(path), key, now_unix_ms=unix_ms())
    file.add(statement)
    signed = path.with_name(path.name + ".signed")
    _write(signed, statement)
    item = {"name": signed.name, "file": str(signed), "bytes": len(statement)}
    then = f"on the node itself: mesh node rotate-key --finish {signed.name}"
    pairs = [("signed", str(signed)), ("size", size_text(len(statement))), ("next", then)]
    output.show_facts("statement", item, pairs, style)


def _show_rotated(old: Identity, by: str, style: Style) -> None:
    now = my_identity()
    until_ms = _old_key_until(now)
    item = {"name": now.name, "node": now.node.hex(), "key": now.public.hex(),
            "old_key": old.public.hex() if old.public != now.public else None,
            "old_key_until_ms": until_ms, "by": by}  # fmt: skip
    pairs = [("node", now.name), ("new key", now.public.hex()[:16]), ("signed by", by),
             ("old key until", plain.local_time(until_ms)),
             ("next", "mesh down, then mesh up, before the old key ends")]  # fmt: skip
    output.show_facts("node", item, pairs, style)


def _old_key_until(now: Identity) -> int:
    from meshcode.trust.rosterfile import RosterFile

    return RosterFile(None, now.root_key).load().members[now.node].old_key_until_ms


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(DRAFT_BYTES_MAX + 1)
    except OSError as error:
        raise CallerError(f"{path}: {error.strerror}; nothing was changed") from None
    if len(data) > DRAFT_BYTES_MAX:
        raise CallerError(
            f"{path} has more than {DRAFT_BYTES_MAX} bytes; it is no draft or statement"
        )
    return data


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CallerError(f"{path}: {error.strerror}; nothing was changed") from None
