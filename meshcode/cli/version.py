"""`mesh version`: the versions of everything in use, here and in the node."""

from __future__ import annotations

from meshcode.cli import output
from meshcode.cli.doctor import versions
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.cli.session import listens, session
from meshcode.errors import MeshError


@command()
@styled
def version(style: Style) -> None:
    """Print the versions of everything in use, and of the node when one answers.

    Examples:
      mesh version
      mesh version -o json
      mesh --version
    """
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
