"""`mesh node admit`: one more node that may invite, evict and sign new keys."""

from __future__ import annotations

from pathlib import Path

import click

from meshcode import paths
from meshcode.cli import leave, output
from meshcode.cli.nodes import my_identity, refuse_evicted
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.errors import NotAllowed, WrongState

_ADVICE = "The key by which this node lets others in. It stays on this node."


@command()
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="The root key (root.key).  [default: the one in this home, if it is still there]",
)  # fmt: skip
@styled
def admit(key: str | None, style: Style) -> None:
    """Let this node invite, evict and sign new keys, as the one of `mesh init` may.

    Do it on a second node before the first one dies. The root key is read and not kept. The key
    that is made never leaves this node; evicting the node ends it.

    Examples:
      mesh node admit --key /media/stick/root.key
    """
    from meshcode.ids import unix_ms
    from meshcode.trust import admitting, folder, identity, signing
    from meshcode.trust.rosterfile import RosterFile

    leave.ask(paths.home(), "node.may", audited=False)
    mine = my_identity()
    refuse_evicted()
    file = RosterFile(None, mine.root_key)
    roster, held = file.load(), identity.load_admit_key()
    if held is not None and roster.may_admit(held.public):
        raise WrongState(f"node {mine.name} admits already; nothing was changed")
    root = identity.load_root_key() if key is None else identity.read_signing_key(Path(key))
    if root is None:
        raise NotAllowed(
            "only the root key can let a node admit, and it is not in this home; nothing was"
            " changed; give it with --key"
        )
    if root.public != mine.root_key:
        raise NotAllowed(
            f"that is the key {root.public.hex()[:8]}, the root key of this mesh is"
            f" {mine.root_key.hex()[:8]}; nothing was changed"
        )
    leave.tell("admit", f"node {mine.name}")
    if held is None:  # One that is there was written by an attempt that was cut short.
        held = signing.make_key()
        identity.write_signing_key(folder.folder_of() / folder.ADMIT_KEY, held, _ADVICE)
    roster.merge(admitting.delegate(root, held.public, mine.node, now_unix_ms=unix_ms()))
    file.save(roster)
    item = {"name": mine.name, "node": mine.node.hex(), "admits": True, "key": held.public.hex()}
    pairs = [
        ("node", mine.name), ("admitting key", held.public.hex()[:8]),
        ("next", "`mesh invite` works here; a running node takes the key within a second"),
    ]  # fmt: skip
    output.show_facts("node", item, pairs, style)
