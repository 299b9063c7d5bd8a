"""`mesh add|update|delete|get processor`, `mesh ls processors|processor`, `mesh proc ...`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meshcode.cli import objects, output, plain, prompting
from meshcode.cli.belonging import tell_unplaced
from meshcode.cli.labels import having, map_option, selectors_option
from meshcode.cli.node import say_of_here
from meshcode.cli.objects import LABELS, Field
from meshcode.cli.options import DURATION, SIZE, command, listing, styled
from meshcode.cli.output import Column, Style, column
from meshcode.cli.secret import (
    new_password,
    new_password_options,
    password_options,
    unlock_options,
    unlocking,
)
from meshcode.cli.session import declare, model, session
from meshcode.cli.session import objects as all_objects
from meshcode.cli.tree import Lines
from meshcode.cli.trees import graph_option, names_below, show_graph
from meshcode.cli.waiting import dry_option, wait_options
from meshcode.cli.watch import watch as follow
from meshcode.cli.watch import watch_option
from meshcode.errors import MeshError, NotAllowed

KIND = "processor"
_TEXT, _INT = click.STRING, click.INT
# Words of the original for what is requested of a processor.
_STATUSES = {"ready": "start", "started": "start", "running": "start", "stopped": "stop",
             "paused": "pause"}  # fmt: skip


class _Commit(click.ParamType[Any]):
    """A commit; a small number was meant for something else."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is."""
        if str(value).isdigit() and len(str(value)) < 7:
            self.fail(f"{value} is no commit, which has 7 digits or more; how many workers there"
                      f" are, and so how many calls run at once, is `-w {value}`", param, ctx)
        return str(value)


class _Status(click.ParamType[Any]):
    """A requested status, also in the words of the original."""

    name = "text"

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> str:
        """Our word for it; what is none is refused by the model."""
        return _STATUSES.get(str(value), str(value))


FIELDS = [
    Field(
        ("-g", "--gitrepo"),
        "git",
        _TEXT,
        "URL of the git repository.",
        required=True,
        metavar="URL",
    ),
    Field(
        ("-m", "--module"),
        "module",
        _TEXT,
        "Python module with the tasks: pkg.module.",
        required=True,
    ),
    Field(("-br", "--branch"), "branch", _TEXT, "Branch to check out.  [default: main]"),
    Field(("-c", "--commit"), "commit", _Commit(), "Commit to check out, 7 digits or more."),
    Field(("--tag",), "tag", _TEXT, "Tag to check out."),
    Field(("-rq", "--requirements"), "requirements", _TEXT, "Requirements file of the repository."),
    Field(
        ("-mp", "--modulepath"), "module_path", _TEXT, "Folder in the repository to import from."
    ),
    Field(
        ("-w", "--workers"), "workers", _INT, "Worker processes without deployments.  [default: 1]"
    ),
    Field(("-r", "--retries"), "retries", _INT, "Further attempts of a call that failed."),
    Field(
        ("--retry-delay",), "retry_delay_ms", DURATION, "First delay before a retry; it doubles."
    ),
    Field(("--time-limit",), "time_limit_ms", DURATION, "Longest run time of one attempt."),
    Field(
        ("--rate-limit",), "rate_limit", _TEXT, "Calls per time: 10/s, 60/m, 5/h.", metavar="RATE"
    ),
    Field(
        ("--recycle-calls",),
        "recycle_calls",
        _INT,
        "Replace a worker after so many calls; it first runs what it was handed ahead, up to 511.",
    ),
    Field(
        ("--recycle-age",),
        "recycle_age_ms",
        DURATION,
        "Replace a worker after so long.",
    ),
    Field(
        ("--recycle-bytes",),
        "recycle_bytes",
        SIZE,
        "Replace a worker that holds so much memory: 512MiB.",
    ),
    Field(
        ("-rs", "--requested-status"),
        "requested_status",
        _Status(),
        "start, stop or pause.  [default: start]",
        metavar="STATUS",
    ),
    LABELS,
]
COLUMNS = [
    column("name"), column("module"), column("git", "Repository"), column("branch"),
    column("commit"), column("ready"), column("wanted"), column("old_ready", "Old"),
    column("requested_status", "Requested"), column("status"),
    Column("running_commit", "Runs", plain.short_commit),
]  # fmt: skip


def _env_option(*, update: bool = False) -> Any:
    """Add --env; the command gets the whole environment as `env`, or None."""
    text = "Environment variable of its workers"
    return map_option("--env", "env", "NAME=VALUE", text, update=update)


@command()
@objects.name_option(KIND)
@objects.fields(FIELDS)
@_env_option()
@click.option("-h", "--hostname", metavar="HOST", help="Deploy on this host.  [default: any]")
@click.option("-cs", "--cpus", type=int, help="CPUs of the deployment.  [default: as -w]")
@click.option("-d", "--deploy", is_flag=True, help="Add a deployment of the same name too.")
@password_options
@objects.exists_ok_option
@wait_options
@dry_option
@styled
def add(
    name: str,
    ask_password: bool,
    password_file: str | None,
    hostname: str | None,
    cpus: int | None,
    deploy: bool,
    exists_ok: bool,
    wait: float | None,
    dry: bool,
    style: Style,
    **given: Any,
) -> None:
    """Add a processor: a git repository, a module in it, and how to run it.

    Examples:
      mesh add processor -n proc1 -g file:///home/me/repo -m pkg.module
      mesh add processor -n proc1 -g https://github.com/me/repo -m pkg.module -br main -w 4
      mesh add processor -n proc1 -g file:///srv/repo -m pkg.module -rq requirements.txt
      mesh add processor -n proc1 -g file:///srv/repo -m pkg.module -h localhost -w 2
      mesh add processor -n proc1 -g file:///srv/repo -m pkg.module --password
    """
    lock = new_password(ask=ask_password, file=password_file)
    fields = objects.given_fields({**given, **lock})
    placed = objects.given_fields({"host": hostname, "cpus": cpus})
    with session() as client:
        if deploy or placed:
            added = _add_placed(client, name, fields, placed, style, dry=dry, exists_ok=exists_ok)
        else:
            again = {"exists_ok": True} if exists_ok else {}
            added = model(client, "add", KIND, name, dry=dry, **fields, **again)
        objects.done(KIND, name, objects.verb_of(added), added, style, dry=dry)
        if deploy or placed:
            tell_unplaced(client, {"name": name, **placed})
        objects.wait_for(client, KIND, added, None if dry else wait)


def _add_placed(
    client: Any, name: str, fields: dict[str, Any], placed: dict[str, Any], style: Style, *,
    dry: bool, exists_ok: bool,
) -> Any:  # fmt: skip
    """Add a processor with its deployment, both or neither; the processor as it is then."""
    there = "refuse" if exists_ok else "new"
    if "workers" in fields:  # Only the deployment says how many there are.
        placed = {"cpus": fields["workers"], **placed}
    wanted = {KIND: fields, "deployment": {"processor": name, **placed}}
    answer = declare(client, [
        {"kind": kind, "name": name, "options": options, "there": there}
        for kind, options in wanted.items()
    ], dry=dry)  # fmt: skip
    existed = answer.get("existed", ())  # Places in the request.
    told: list[dict[str, Any]] = [{"existed": True} if at in existed else {} for at in (0, 1)]
    if style.is_text:
        objects.done("deployment", name, objects.verb_of(told[1]), None, style, dry=dry)
    if style.is_text or dry:
        return {"name": name, **fields, **told[0]}
    found = {**model(client, "get", KIND, name), **told[0]}
    return {key: value for key, value in found.items() if key != "used_by"}


@command()
@objects.one_name(KIND)
@objects.fields(FIELDS, update=True)
@_env_option(update=True)
@new_password_options
@unlock_options
@click.option("-p", "--prompt", is_flag=True, help="Ask for each option that is not given.")
@wait_options
@dry_option
@styled
def update(
    name: str, ask_password: bool, password_file: str | None, no_password: bool, unlock: bool,
    prompt: bool, unlock_file: str | None, wait: float | None, dry: bool, style: Style,
    **given: Any,
) -> None:  # fmt: skip
    """Change a processor; workers with the new code replace the old ones. Without any option, and
    with -p, each is asked for.

    A change of where its code is from, or of --env, also fetches the newest commit of its branch.
    What is so already changes nothing: `mesh proc restart` fetches it. --wait says which one came.

    Examples:
      mesh update processor -n proc1 -c 4f2a9c1
      mesh update processor -n proc1 -w 8 --time-limit 30s
      mesh update processor -n proc1 -c none -br main
      mesh update processor -n proc1 --env STAGE=prod --env LEVEL=3
      mesh update processor -n proc1 --unlock --no-password
      mesh update processor proc1 -p
    """
    about_password = ask_password or password_file or no_password or None
    if prompting.wanted(prompt, {**given, "password": about_password}):
        with session() as client:
            now = objects.one(client, KIND, name)
        given = prompting.ask(FIELDS, now, given)
    opening = unlocking(unlock=unlock, unlock_file=unlock_file, kept=not ask_password)
    lock = new_password(ask=ask_password, file=password_file, gone=no_password)
    changes = {**given, **lock}
    dropped = None if given["env"] is None else _tell_dropped(name)

    def then(client: Any, changed: Mapping[str, Any]) -> None:
        if dropped is not None:
            dropped(client, changed)
        if changed.get("unchanged") and not (changed.get("commit") or changed.get("tag")):
            output.say(f"mesh: a newer commit of its branch comes by `mesh proc restart -n {name}`")

    objects.update(KIND, name, changes, style, dry=dry, wait=wait, then=then, **opening)


def _tell_dropped(name: str) -> objects.Then:
    """Have it said which variables a change of the environment takes away."""
    try:
        with session() as client:
            before = objects.one(client, KIND, name).get("env") or {}
    except MeshError:  # Not there, or not to be seen: the change itself says what is wrong.
        before = {}

    def tell(_client: Any, changed: Mapping[str, Any]) -> None:
        gone = [variable for variable in before if variable not in (changed.get("env") or {})]
        if gone:
            output.say(f"mesh: {', '.join(gone)} {'is' if len(gone) == 1 else 'are'} not in the"
                       " environment any more; --env gives all of it")  # fmt: skip

    return tell


@command()
@objects.one_name(KIND)
@objects.yes_option
@unlock_options
@dry_option
@styled
def delete(
    name: str, yes: bool, unlock: bool, unlock_file: str | None, dry: bool, style: Style
) -> None:
    """Remove a processor that no socket uses.

    Examples:
      mesh delete processor proc1 -y
    """
    opening = unlocking(unlock=unlock, unlock_file=unlock_file)
    objects.delete(KIND, name, yes=yes, style=style, dry=dry, **opening)


@command()
@objects.one_name(KIND)
@watch_option
@styled
def get(name: str, watch: bool, style: Style) -> None:
    """Show a processor.

    Examples:
      mesh get processor proc1 -o json
    """
    objects.show_one(KIND, name, style, watch=watch)


@command()
@click.option("-g", "--gitrepo", is_flag=True, help="Repositories; columns that are asked for.")
@click.option("-m", "--module", is_flag=True, help="Modules.")
@click.option("-c", "--commit", is_flag=True, help="Commits.")
@click.option("--owner", is_flag=True, help="Owners.")
@selectors_option
@watch_option
@listing
def ls_processors(
    gitrepo: bool, module: bool, commit: bool, owner: bool, labels: tuple[str, ...], watch: bool,
    style: Style,
) -> None:  # fmt: skip
    """List processors, with their workers on this node: those that are ready, and how many are
    wanted. Old: those of the code before that still take calls. Status and Runs, the commit that
    runs, are those of this node, too.

    Examples:
      mesh ls processors
      mesh ls processors --columns name,commit,status
      mesh ls processors -l env=prod
    """
    asked = {"git": gitrepo, "module": module, "commit": commit, "owner": owner}
    if any(asked.values()) and style.columns is None:
        style = style._replace(columns=("name", *(key for key, wanted in asked.items() if wanted)))
    with session() as client:
        if watch:
            follow(client, KIND, lambda: having(_rows(client)[0], labels), KIND, COLUMNS, style)
            return
        rows, status = _rows(client)
    empty = "no processor yet; add one: mesh add processor -n NAME -g URL -m MODULE"
    if labels:
        empty = "no processor has these labels"
    output.show(KIND, having(rows, labels), COLUMNS, style, empty=empty)
    if status is not None and style.columns is None:
        say_of_here(status, "Ready and Wanted are")


def _rows(client: Any) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """All processors, with what runs of them on this node; its status, unless it may not be seen.

    The `workers` of a processor are no number of what runs: with a deployment its CPUs count, and
    elsewhere.
    """
    rows = all_objects(client, KIND)
    return rows, _add_running(client, rows)


def _add_running(client: Any, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Add to processors what runs of them on this node; its status, as for `_rows`."""
    try:
        status = dict(client.ask("status"))
    except NotAllowed:  # Who may see the model need not see workers.
        return None
    here = {row["name"]: row for row in status["processors"]}
    for row in rows:
        mine = here.get(row["name"], {"ready": 0, "workers": 0})
        row |= {"ready": mine["ready"], "wanted": mine["workers"]}
        row["old_ready"] = mine.get("old_ready", 0)  # A node of an older version does not say.
    return status


@command()
@objects.one_name(KIND)
@graph_option
@styled
def ls_processor(name: str, graph: bool, strokes: Lines, style: Style) -> None:
    """Show a processor, its sockets and deployments; -g: with its workers, as a tree.

    Examples:
      mesh ls processor proc1
      mesh ls processor proc1 -g
    """
    below = names_below({"socket": "processor", "deployment": "processor"})

    def more(client: Any, item: dict[str, Any]) -> None:
        _add_running(client, [item])
        below(client, item)

    show_graph(KIND, name, style, strokes, graph=graph, more=more)


def act(
    do: str, name: str, style: Style, said: str, *, dry: bool, wait: float | None = None,
    **opening: Any,
) -> None:  # fmt: skip
    """Tell a processor to do something, and say so.

    Args:
        wait: seconds until its workers are level; None does not wait.
        opening: what `unlock_options` gave.
    """
    fields = unlocking(**opening) if opening else {}
    wait = None if dry else wait
    with session() as client:
        before = objects.commit_before(client, KIND, name, wait)
        told = {"fields": fields} if fields else {}
        answer = client.ask("proc", do=do, name=name, **told, **({"dry": True} if dry else {}))
        objects.done(KIND, name, said, answer, style, dry=dry)
        objects.wait_for(client, KIND, {"name": name}, wait, before=before)


@command()
@objects.one_name(KIND)
@wait_options
@dry_option
@unlock_options
@styled
def start(name: str, wait: float | None, dry: bool, style: Style, **opening: Any) -> None:
    """Start the workers of a processor.

    Examples:
      mesh proc start -n proc1
    """
    act("start", name, style, "starts", dry=dry, wait=wait, **opening)


@command()
@objects.one_name(KIND)
@wait_options
@dry_option
@unlock_options
@styled
def stop(name: str, wait: float | None, dry: bool, style: Style, **opening: Any) -> None:
    """Stop the workers of a processor when their calls are done; its calls wait.

    Examples:
      mesh proc stop -n proc1
    """
    act("stop", name, style, "stops", dry=dry, wait=wait, **opening)


@command()
@objects.one_name(KIND)
@wait_options
@dry_option
@unlock_options
@styled
def restart(name: str, wait: float | None, dry: bool, style: Style, **opening: Any) -> None:
    """Replace the workers of a processor by fresh ones, of the newest commit of its branch.

    That is fetched and loaded first; where it cannot be, the old workers go on.

    Examples:
      mesh proc restart -n proc1
    """
    act("restart", name, style, "restarts", dry=dry, wait=wait, **opening)


@command()
@objects.one_name(KIND)
@dry_option
@unlock_options
@styled
def pause(name: str, dry: bool, style: Style, **opening: Any) -> None:
    """Keep the workers and give them no calls.

    Examples:
      mesh proc pause -n proc1
    """
    act("pause", name, style, "pauses", dry=dry, **opening)


@command()
@objects.one_name(KIND)
@wait_options
@dry_option
@unlock_options
@styled
def resume(name: str, wait: float | None, dry: bool, style: Style, **opening: Any) -> None:
    """Give the workers calls again.

    Examples:
      mesh proc resume -n proc1
    """
    act("resume", name, style, "goes on", dry=dry, wait=wait, **opening)


@command()
@objects.one_name(KIND)
@objects.yes_option
@wait_options
@dry_option
@unlock_options
@styled
def remove(
    name: str, yes: bool, wait: float | None, dry: bool, style: Style, **opening: Any
) -> None:
    """Stop a processor and remove it from the model.

    Examples:
      mesh proc remove proc1 -y
    """
    objects.confirm(f"remove processor {name}", yes=yes or dry)
    act("remove", name, style, "removed", dry=dry, wait=wait, **opening)
