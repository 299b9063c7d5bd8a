"""`mesh ls network|node|processor|socket|queue` with their trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import click

from meshcode.cli import objects, output
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.cli.session import session
from meshcode.cli.tree import Branch, Lines, ascii_option, horizontal, vertical
from meshcode.errors import NotAllowed, UnknownObject

Facts = Callable[[Any, dict[str, Any]], None]


def shape_options(command: Any) -> Any:
    """Add -h and -v, as the original system has them; the command gets `draw`."""
    from functools import wraps

    @wraps(command)
    def with_shape(*args: Any, **kwargs: Any) -> Any:
        wide, tall = kwargs.pop("across"), kwargs.pop("down")
        if wide and tall:
            raise click.UsageError("give -h or -v, not both", click.get_current_context())
        return command(*args, draw=horizontal if wide else vertical if tall else None, **kwargs)

    decorated = click.option(
        "-v", "--vertical", "down", is_flag=True, help="Its tree, one object a line."
    )(with_shape)
    return click.option(
        "-h", "--horizontal", "across", is_flag=True, help="Its tree, from left to right."
    )(decorated)


def show(
    kind: str,
    name: str,
    style: Style,
    strokes: Lines,
    draw: Callable[[Branch, Lines], list[str]] | None,
    *,
    facts: bool,
    more: Facts | None = None,
) -> None:
    """Print an object with its tree.

    Args:
        kind, name: which; a `task` is named by one of its sockets.
        style: in the formats for programs, the object with its tree as `tree`.
        strokes: to draw with.
        draw: vertical or horizontal; None: no tree, for people.
        facts: also the options of the object, for people.
        more: adds to the item what its kind has beside its options.
    """
    from meshcode.cli.graph import graph

    with session() as client:
        item, declared = _item(client, kind, name)
        if more is not None:
            more(client, item)
        branch = None
        if draw is not None or not style.is_text:
            found = graph(client, kind, item)
            top = found.find(kind, item["name"]) if declared else item  # A node that runs.
            branch = getattr(found, kind)(top)
    if not style.is_text:
        tree = {} if branch is None else {"tree": branch.data()}
        output.show_facts(kind, {**item, **tree}, [], style)
        return
    if facts or style.quiet:
        output.show_facts(kind, item, objects.pairs_of(item), style)
    if branch is not None and draw is not None:
        output.write_lines(draw(branch, strokes))


_RUNS = ("node", "state", "class", "version", "boot", "pid", "uptime_ms", "open", "running",
         "workers", "cpus", "address", "reason")  # fmt: skip


def _item(client: Any, kind: str, name: str) -> tuple[dict[str, Any], bool]:
    """The object, and whether it is declared: a node may run without that.

    Raises:
        UnknownObject: it is neither.
    """
    running = _running(client, name) if kind == "node" else None
    runs = {key: running[key] for key in _RUNS if running.get(key)} if running else {}
    try:
        item = objects.one(client, kind, name)
    except UnknownObject:
        if running is None:
            raise
        return {"name": running["name"], **runs}, False
    if running is not None:
        item["runs"] = runs
    return item, True


def _running(client: Any, wanted: str) -> dict[str, Any] | None:
    """The node of the mesh with that name, or whose id alone begins so; None for no such one."""
    try:
        rows = [dict(row) for row in client.ask("nodes", ask=True)["nodes"]]
    except NotAllowed:  # What is declared may be seen all the same.
        return None
    named = [row for row in rows if row["name"] == wanted]
    if not named and len(wanted) >= 4:
        named = [row for row in rows if str(row["node"]).startswith(wanted.lower())]
    return named[0] if len(named) == 1 else None


def _shaped(kind: str, what: str, also: str = "") -> click.Command:
    def ls(
        name: str, style: Style, strokes: Lines,
        draw: Callable[[Branch, Lines], list[str]] | None, tree: bool,
    ) -> None:  # fmt: skip
        draw = draw or (vertical if tree else None)
        # Condensed, without -h, -v or -t: what it is, and its tree.
        show(kind, name, style, strokes, draw or vertical, facts=draw is None)

    ls.__doc__ = (
        f"Show a {kind} and its tree: {what}.\n\nExamples:\n"
        f"  mesh ls {kind} NAME\n  mesh ls {kind} NAME -v\n  mesh ls {kind} NAME -h --ascii\n{also}"
    )
    decorated: Any = ascii_option(styled(ls))
    decorated = click.option("-t", "--tree", is_flag=True, help="The same as -v.")(decorated)
    decorated = objects.one_name(kind)(shape_options(decorated))
    made: click.Command = command(name=kind)(decorated)
    return made


ls_network = _shaped("network", "its schedulers, nodes and queues")
ls_node = _shaped(
    "node", "the deployments that run there, and their processors",
    "  mesh ls agent NAME                     another name for it; it need not be declared\n",
)  # fmt: skip


def graph_option(function: Any) -> Any:
    """Add -g and --ascii; the command gets `graph` and `strokes`."""
    return click.option("-g", "--graph", is_flag=True, help="Only the tree of what is below it.")(
        ascii_option(function)
    )


def show_graph(
    kind: str, name: str, style: Style, strokes: Lines, *, graph: bool, more: Facts | None = None
) -> None:
    """Print an object, or with -g its tree."""
    draw = vertical if graph else None
    show(kind, name, style, strokes, draw, facts=not graph, more=more)


def names_below(kinds: Mapping[str, str]) -> Facts:
    """Adds, for each kind, the names of those whose option names the item."""
    from meshcode.cli.session import all_beside
    from meshcode.cli.session import objects as all_objects

    fields = {f"{kind}s": field for kind, field in kinds.items()}

    def add(client: Any, item: dict[str, Any]) -> None:
        found = all_beside({f"{kind}s": partial(all_objects, client, kind) for kind in kinds})
        for plural, rows in found.items():
            item[plural] = [r["name"] for r in rows if r.get(fields[plural]) == item["name"]]

    return add
