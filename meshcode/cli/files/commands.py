"""`mesh apply`, `mesh diff`, `mesh export`, `mesh compose build|kill`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import output
from meshcode.cli.app import say_error
from meshcode.cli.files import carrying, writing
from meshcode.cli.files.carrying import (
    Known,
    Wish,
    carry_out,
    make_plan,
    read_model,
    wait_ready,
)
from meshcode.cli.files.compose import Compose, read_compose
from meshcode.cli.files.document import Document, read_all
from meshcode.cli.files.reading import FORMATS, read_files
from meshcode.cli.files.selecting import select_nodes
from meshcode.cli.files.showing import counts_of, lines_of
from meshcode.cli.objects import yes_option
from meshcode.cli.options import DURATION, command, styled
from meshcode.cli.output import Style
from meshcode.cli.scheduled import tell
from meshcode.cli.session import session
from meshcode.errors import BadData, MeshError
from meshcode.model.checks import near
from meshcode.model.kinds import KINDS, MADE, PLURALS
from meshcode.model.plan import Wanted, plan_file, plan_removal

if TYPE_CHECKING:
    from meshcode.client import Client
    from meshcode.model.plan import Plan
    from meshcode.model.steps import Key

DIFFERENT, TROUBLE = 1, 2  # Exit statuses of `mesh diff`.


def _files_options(function: Any) -> Any:
    for option in (
        click.option(
            "--node", "nodes", multiple=True, metavar="NAME",
            help="Only what runs on this node and what that needs; may be repeated.",
        ),
        click.option(
            "--prune", is_flag=True,
            help="Delete what the files do not have, of the kinds that they name.",
        ),
        click.option(
            "--format", "form", type=click.Choice(FORMATS),
            help="What the files are.  [default: by their names; stdin YAML or JSON]",
        ),
        click.option(
            "-f", "--file", "paths", multiple=True, required=True, metavar="FILE",
            help="File or folder, - for stdin; may be repeated.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def _wait_options(function: Any) -> Any:
    decorated = click.option(
        "--timeout", type=DURATION, default="30s", show_default=True, help="How long to --wait."
    )(function)
    return click.option(
        "--wait", is_flag=True, help="Until the workers of its processors are ready here."
    )(decorated)


_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show the plan, have the node check it, and change nothing."
)


@command()
@_files_options
@_dry_run_option
@yes_option
@_wait_options
@styled
def apply(
    paths: tuple[str, ...], form: str | None, prune: bool, nodes: tuple[str, ...], dry_run: bool,
    yes: bool, wait: bool, timeout: int, style: Style,
) -> None:  # fmt: skip
    """Make the model what files say, in one change: all of it or nothing.

    An object in a file is whole: an option taken out of the file goes back to its default.
    Applied again it does nothing. A user needs the right to each change, as for the change by
    itself (ADD_QUEUE, UPDATE_SOCKET...), and READ_ or LS_ of what is there.

    Examples:
      mesh apply -f net.yaml --dry-run
      mesh apply -f queues.toml -f shop/ --wait
      mesh export | mesh --home other apply -f -
      mesh apply -f net.yaml --prune -y
    """
    document = _read(paths, form, prune, nodes)
    with session() as client:
        _localhost(client, document.wanted)
        if nodes:
            document.wanted = select_nodes(document.wanted, nodes)
        carry_out(
            client, _planner(document.wanted, prune), document.places,
            Wish(style, dry_run=dry_run, yes=yes, kinds=list(document.wanted)),
        )  # fmt: skip
        if wait and not dry_run:
            wait_ready(client, document.wanted.get("processor", {}), timeout)
        if not dry_run:
            _tell_unfit(client, document.wanted)


def _tell_unfit(client: Client, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Say which schedules call what is mounted already with arguments that do not fit."""
    for name, options in wanted.get("schedule", {}).items():
        tell(client, {"name": name, **options})


@command()
@_files_options
@styled
def diff(
    paths: tuple[str, ...], form: str | None, prune: bool, nodes: tuple[str, ...], style: Style
) -> int:
    """Show what `mesh apply` would do; status 0: nothing, 1: something, 2: it cannot be known.

    A user compares with what it may read (READ_QUEUE or LS_QUEUES...); what is left out is said.

    Examples:
      mesh diff -f net.yaml
      mesh diff -f net.yaml --prune -o json
    """
    try:
        document = _read(paths, form, prune, nodes)
        with session() as client:
            _localhost(client, document.wanted)
            if nodes:
                document.wanted = select_nodes(document.wanted, nodes)
            current = read_model(client)
        current.tell(list(document.wanted))
        plan = make_plan(_planner(document.wanted, prune), current, document.places)
    except MeshError as error:
        say_error(error)
        return TROUBLE
    if style.format != "table":
        carrying.show_items(plan, style)
    elif plan.differences:
        output.write_lines(lines_of(plan.differences))
        output.say(counts_of(plan.differences))
    return DIFFERENT if plan.differences else 0


@command()
@click.option(
    "-o", "--output", "form", type=click.Choice(FORMATS), default="yaml", show_default=True,
    help="Format of the file.",
)  # fmt: skip
@click.argument("kinds", metavar="[KIND]...", nargs=-1)
def export(kinds: tuple[str, ...], form: str) -> None:
    """Print the model, or some kinds of it, as a file for `mesh apply`.

    A user gets what it may read (READ_QUEUE or LS_QUEUES...); stderr says what is left out.

    Examples:
      mesh export > net.yaml
      mesh export queues sockets -o toml
    """
    chosen = [_kind(word) for word in kinds] or [kind for kind in KINDS if kind not in MADE]
    with session() as client:
        found = read_model(client)
    found.tell(chosen)
    for what in writing.secrets_in(found.model, chosen):
        output.say(f"note: the environment of {what} is written in clear")
    sys.stdout.write(writing.to_text(writing.to_document(found.model, chosen), form))


@command()
@click.argument("words", metavar="FILE [NODE]...", nargs=-1)
@click.option("-f", "--file", "path", metavar="FILE", help="The file, when it is not the first.")
@click.option("-d", "--deploy", is_flag=True, help="Deploy the processors of a node there.")
@_dry_run_option
@_wait_options
@styled
def build(
    words: tuple[str, ...], path: str | None, deploy: bool, dry_run: bool, wait: bool,
    timeout: int, style: Style,
) -> None:  # fmt: skip
    """Declare what a compose file of ElasticCode has, or only what is on some nodes of it.

    Examples:
      mesh compose build network.yaml -d
      mesh compose build network.yaml alpha beta
    """
    name, nodes = _words(words, path)
    compose = _read_compose(name, deploy=deploy, nodes=nodes)
    wanted = compose.document.wanted

    def planner(current: Known) -> Plan:
        new: dict[str, dict[str, Any]] = {
            queue: {} for queue in compose.implied if queue not in current.model["queue"]
        }
        whole = {**wanted, "queue": {**wanted.get("queue", {}), **new}}
        hidden = current.left_out
        return plan_file(current.model, _chosen(whole, nodes, compose), hidden=hidden)

    _chosen(wanted, nodes, compose)  # Which refuses a node that is not there, before any asking.
    with session() as client:
        _localhost(client, wanted)
        carry_out(client, planner, compose.document.places, Wish(style, dry_run=dry_run))
        if wait and not dry_run:
            wait_ready(client, _chosen(wanted, nodes, compose).get("processor", {}), timeout)
        if not dry_run:
            _tell_unfit(client, wanted)


@command()
@click.argument("words", metavar="FILE", nargs=-1)
@click.option("-f", "--file", "path", metavar="FILE", help="The file, when it is not given so.")
@_dry_run_option
@yes_option
@styled
def kill(
    words: tuple[str, ...], path: str | None, dry_run: bool, yes: bool, style: Style
) -> None:
    """Delete what a compose file declares, and nothing else; refused when others use it.

    Examples:
      mesh compose kill network.yaml -y
    """
    name, nodes = _words(words, path)
    if nodes:
        raise click.UsageError(f"one file, and this names {nodes[0]!r} too")
    document = _read_compose(name, deploy=True).document
    names: list[Key] = [(kind, each) for kind in document.wanted for each in document.wanted[kind]]
    wish = Wish(
        style, dry_run=dry_run, yes=yes, equal="nothing to do: nothing of it is in the model"
    )
    with session() as client:
        carry_out(client, lambda current: plan_removal(current.model, names), document.places, wish)


def _read(
    paths: tuple[str, ...], form: str | None, prune: bool, nodes: tuple[str, ...]
) -> Document:
    if prune and nodes:
        raise click.UsageError(
            "--prune with --node would delete what runs on the other nodes; give one of them"
        )
    document = read_all(read_files(paths, form))
    for note in document.notes:
        output.say(f"note: {note}")
    if document.problems.count:
        _tell_all(document, prune)
    return document


def _tell_all(document: Document, prune: bool) -> None:
    """Refuse a wrong file with all that is wrong, also that which only the model can tell.

    Raises:
        BadData: always.
    """
    try:
        with session() as client:
            current = read_model(client)
    except MeshError:
        document.problems.check()  # What the files alone tell: nobody has the model.
        return
    kinds = list(document.wanted) if prune else ()
    plan = plan_file(
        current.model, document.wanted, prune=kinds, broken=document.broken,
        hidden=current.left_out,
    )  # fmt: skip
    for problem in plan.problems:
        where = document.places.get((problem.kind, problem.name), "the model")
        document.problems.add(where, problem.text)
    document.problems.count += plan.more_problems
    document.problems.check()


def _planner(wanted: Wanted, prune: bool) -> carrying.Planner:
    kinds = list(wanted) if prune else ()
    return lambda current: plan_file(
        current.model, wanted, prune=kinds, hidden=current.left_out
    )


def _localhost(client: Client, wanted: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Write this node's name for `localhost`, as the mesh does; else it would differ for ever."""
    here = [d for d in wanted.get("deployment", {}).values() if d.get("host") == "localhost"]
    if here:
        found = client.ask("nodes")
        if found["mesh"] is not None:
            for deployment in here:
                deployment["host"] = str(found["nodes"][0]["name"])


def _kind(word: str) -> str:
    for kind, plural in PLURALS.items():
        if word in (kind, plural):
            return kind
    known = list(PLURALS.values())
    raise BadData(f"there is no kind {word!r}{near(word, known)}; there are {', '.join(known)}")


def _words(words: tuple[str, ...], path: str | None) -> tuple[str, tuple[str, ...]]:
    if path is not None:
        return path, words
    if not words:
        raise click.UsageError("name a file, as FILE or with -f FILE", click.get_current_context())
    return words[0], words[1:]


def _read_compose(path: str, *, deploy: bool, nodes: tuple[str, ...] = ()) -> Compose:
    (source,) = read_files([path], "json" if path.endswith(".json") else "yaml")
    compose = read_compose(source, deploy=deploy, nodes=nodes)
    if compose.ignored:
        parts = [
            f"{key} ({where}{f', {count} times' if count > 1 else ''})"
            for key, (where, count) in sorted(compose.ignored.items())
        ]
        output.say(f"note: without effect here: {', '.join(parts)}")
    return compose


def _chosen(wanted: dict[str, Any], nodes: tuple[str, ...], compose: Compose) -> dict[str, Any]:
    return select_nodes(wanted, nodes, compose.placed) if nodes else wanted
