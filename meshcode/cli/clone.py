"""`mesh node clone`: what is declared for one node, declared for another one as well."""

from __future__ import annotations

import re
from typing import Any

import click

from meshcode.cli.files import reading, writing
from meshcode.cli.files.carrying import Known, Wish, carry_out, read_model
from meshcode.cli.files.selecting import select_nodes
from meshcode.cli.options import command, complete, styled
from meshcode.cli.output import Style
from meshcode.cli.session import session
from meshcode.errors import NotAllowed, ObjectExists, UnknownObject
from meshcode.model.checks import near
from meshcode.model.kinds import FIELDS, PLURALS
from meshcode.model.plan import plan_file
from meshcode.model.rightnames import READING
from meshcode.model.steps import Model

Wanted = dict[str, dict[str, dict[str, Any]]]


@command(name="clone")
@click.argument("source", shell_complete=complete("node"))
@click.argument("target")
@click.option("-h", "--hostname", metavar="HOST", help="Host of the new node.")
@click.option(
    "--export", "form", type=click.Choice(reading.FORMATS), help="Print a file instead: for another"
    " mesh, with all that the node needs.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would be added and change nothing.")
@styled
def clone(
    source: str, target: str, hostname: str | None, form: str | None, dry_run: bool, style: Style
) -> None:
    """Declare for TARGET what is declared for SOURCE: its network, scheduler and CPUs, and every
    deployment on it. The new node runs the same code with the same environment once it is there.
    A user needs READ_NODE and READ_DEPLOYMENT on all, and ADD_NODE and ADD_DEPLOYMENT.

    Examples:
      mesh node clone alpha beta -h beta.example.org
      mesh node clone alpha beta --dry-run
      mesh node clone alpha beta --export yaml > beta.yaml
    """
    if source == target:
        text = f"{target} is the node itself; give the new node another name"
        raise click.UsageError(text, click.get_current_context())
    with session() as client:
        found = read_model(client)
        model = found.model
        _whole(found, ("node", "deployment"))
        wanted = cloned(model, source, target, hostname)
        if form is None:
            refuse_others(model, wanted, target)
        else:  # For another mesh: what is here of that name is not there.
            found.tell(list(FIELDS))
            whole = with_needs(model, wanted)
            filled = {kind: whole.get(kind, {}) for kind in FIELDS}
            text = writing.to_text(writing.to_document(filled, list(FIELDS)), form)
            click.echo(text, nl=False)
            return
        carry_out(
            client,
            lambda current: plan_file(current.model, wanted, hidden=current.left_out), {},
            Wish(
                style, dry_run=dry_run, equal=f"nothing to do: {target} is as {source} already",
                kinds=(),
            ),
        )  # fmt: skip


def _whole(found: Known, kinds: tuple[str, ...]) -> None:
    """Refuse to copy a part of what a node has for all of it.

    Raises:
        NotAllowed: objects of one of these kinds are left out.
    """
    for kind in kinds:
        if kind in found.left_out:
            right, count = READING[kind][0], found.left_out[kind]
            raise NotAllowed(
                f"{count} {PLURALS[kind] if count > 1 else kind} may not be read by you, so what is"
                f" declared for a node cannot be known whole; nothing was changed; this needs"
                f" {right} on every {kind}: `mesh whoami` shows what you may do",
                right=right,
            )  # fmt: skip


def cloned(model: Model, source: str, target: str, host: str | None) -> Wanted:
    """The entry of the new node and its deployments.

    Raises:
        UnknownObject: nothing is declared of a node of the name `source`.
    """
    hosts = {deployment["host"] for deployment in model["deployment"].values()} - {"*"}
    known = sorted(model["node"].keys() | hosts)
    if source not in known:
        raise UnknownObject(
            f"nothing is declared of a node {source!r}{near(source, known)}; nothing was changed;"
            " `mesh ls nodes --declared` and `mesh ls deployments` show what is",
            kind="node", name=source,
        )  # fmt: skip
    options = {kind: dict(objects) for kind, objects in model.items()}
    found = select_nodes(options, [source])
    entry = dict(found["node"].get(source, {name: s.default for name, s in FIELDS["node"].items()}))
    places = {source, entry.get("host") or source}
    entry["host"] = host
    wanted: Wanted = {"node": {target: entry}, "deployment": {}}
    for name, deployment in sorted(found["deployment"].items()):
        if deployment["host"] in places:
            wanted["deployment"][_named_for(name, source, target)] = {**deployment, "host": target}
    return wanted


def _named_for(name: str, source: str, target: str) -> str:
    """The name of a deployment's copy: `x@source` is `x@target`; parts are what lies between
    signs, so that `data` of a node `a` stays whole.
    """
    renamed = re.sub(rf"(?<![A-Za-z0-9]){re.escape(source)}(?![A-Za-z0-9])", lambda _: target, name)
    return renamed if renamed != name else f"{name}@{target}"


def refuse_others(model: Model, wanted: Wanted, target: str) -> None:
    """Refuse to change what is there.

    Raises:
        ObjectExists: another node or deployment of a new name is there, and differs.
    """
    for kind, objects in wanted.items():
        for name, fields in objects.items():
            there = model[kind].get(name)
            if there is not None and there != fields:
                raise ObjectExists(
                    f"{kind} {name!r} exists already and is another one; nothing was changed;"
                    f" choose another name than {target!r}, or delete it first",
                    kind=kind, name=name,
                )  # fmt: skip


def with_needs(model: Model, wanted: Wanted) -> Wanted:
    """The new node with the processors, sockets and all else that what runs on it needs."""
    whole = {kind: {**model[kind], **wanted.get(kind, {})} for kind in model}
    places = {*wanted["node"], *(entry.get("host") for entry in wanted["node"].values())}
    whole["deployment"] = wanted["deployment"] | {
        name: deployment for name, deployment in model["deployment"].items()
        if deployment["host"] not in places and name not in wanted["deployment"]
    }  # fmt: skip
    return select_nodes(whole, list(wanted["node"]))
