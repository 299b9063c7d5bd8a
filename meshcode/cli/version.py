"""`mesh version`: the versions of everything in use, here and in the node."""

from __future__ import annotations

import platform
from typing import Any

import click

from meshcode import __version__
from meshcode.cli import output
from meshcode.cli.options import help_text, styled
from meshcode.cli.output import Style
from meshcode.cli.session import listens, session
from meshcode.errors import MeshError


def versions() -> dict[str, Any]:
    """What runs in this process; nothing is asked of a node."""
    import lmdb
    import msgpack
    import zmq

    from meshcode.native import TWIN

    return {
        "name": "mesh",
        "client": __version__,
        "python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        "pyzmq": zmq.pyzmq_version(),
        "lmdb": ".".join(str(part) for part in lmdb.version()),
        "msgpack": ".".join(str(part) for part in msgpack.version),
        "framing": TWIN,
    }


@click.command(
    help=help_text(
        "Print the versions of everything in use, and of the node when one answers.",
        "mesh version",
        "mesh version -o json",
        "mesh --version",
    )
)
@styled
def version(style: Style) -> None:
    found = versions()
    found["node"] = _node_version()
    output.show_facts(
        "version", found, [(k, str(v or "")) for k, v in found.items() if k != "name"], style
    )
    if found["node"] not in (None, found["client"]):
        output.say(
            f"mesh: the node is {found['node']} and this command is {found['client']};"
            " restart the node with `mesh down` and `mesh up`"
        )


def _node_version() -> str | None:
    from meshcode.cli.session import address

    try:
        if not listens(address()):
            return None
        with session(timeout=1.0) as client:
            return str(client.ask("status").get("version"))
    except MeshError:
        return None
