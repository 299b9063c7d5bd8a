"""`mesh task run|show|code`, `mesh ls tasks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meshcode.cli import objects, output
from meshcode.cli.data import arguments_of, parse_data, parse_json
from meshcode.cli.options import command, complete, listing, styled
from meshcode.cli.output import Style, column
from meshcode.cli.result import result_options
from meshcode.cli.run import call_options, has_stdin, keyword_arguments, read_stdin, submit
from meshcode.cli.session import objects as all_objects
from meshcode.cli.session import session
from meshcode.cli.tree import Lines, vertical
from meshcode.cli.trees import graph_option
from meshcode.errors import NotAllowed, UnknownSocket
from meshcode.nearest import nearest


@command()
@click.argument("word", metavar="SOCKET", required=False, shell_complete=complete("socket"))
@click.option("-s", "--socket", shell_complete=complete("socket"), help="SOCKET as an option.")
@click.option(
    "-n", "--name", "task", metavar="TASK", help="A task instead: any socket with it is called."
)
@click.option("-d", "--data", metavar="VALUE", help="The arguments; - is the text of stdin.")
@click.option("-nd", "--nodata", is_flag=True, help="No argument, whatever is piped in.")
@click.option(
    "-a", "--argument", metavar="NAME", help="The data are the value of this one argument."
)
@click.option(
    "-k", "--keyword", "keywords", multiple=True, metavar="NAME=VALUE", help="Keyword argument."
)
@click.option("--json-stdin", is_flag=True, help="stdin is JSON, read as --data is.")
@call_options
@result_options
def run(
    word: str | None,
    socket: str | None,
    task: str | None,
    data: str | None,
    nodata: bool,
    argument: str | None,
    keywords: tuple[str, ...],
    json_stdin: bool,
    options: Mapping[str, Any],
    no_wait: bool,
    form: str,
    timeout: int | None,
    stream: bool,
) -> None:
    """Call a socket and print the result. --data is JSON or a Python literal: a list or tuple is
    the positional arguments, anything else is one argument. Without --data, the text of a piped
    stdin is the argument; with -a it, or the whole of --data, is the one of that name.

    Examples:
      mesh task run --socket pkg.module.fn --data "['some data']"
      mesh task run shop.add --data '[2, 3]'
      mesh task run -n add -d 2 -a a -k b=3
      mesh task run -s shop.beat -nd
      mesh task run -s shop.clear -nd --broadcast    on every worker, on every node
      echo 'HI THERE!' | mesh task run -s shop.clean | mesh task run -s shop.count
      curl -s https://host/x.json | mesh task run -s shop.load --json-stdin
    """
    if word is not None and (socket or task) is not None:
        raise click.UsageError(
            f"name one, as SOCKET, with -s SOCKET or with -n TASK; this names {word!r} and"
            f" {socket or task!r}; arguments are given with -d and -k"
        )
    socket = word if socket is None else socket
    if socket is None and task is None:
        raise click.UsageError("give a socket, or a task with -n")
    if nodata and (data is not None or json_stdin or argument is not None):
        raise click.UsageError("-nd means no argument; give no --data, --json-stdin and -a with it")
    if argument is not None and data not in (None, "-"):
        args = [parse_data(data)]
    else:
        args = [] if nodata else call_arguments(data, json_stdin=json_stdin)
    named = keyword_arguments(keywords, text=False)
    if argument is not None:
        if len(args) != 1:
            raise click.UsageError(f"-a {argument} takes one value; give it with -d, or on stdin")
        if argument in named:
            raise click.UsageError(f"the argument {argument} is given with -a and with -k")
        named[argument] = args.pop()
    if socket is None:
        socket = _with_task(str(task))
    elif task is not None:
        _check_task(socket, task)
    submit(socket, args, named, options, no_wait=no_wait, form=form, timeout=timeout, stream=stream)


def _check_task(socket: str, task: str) -> None:
    """Look whether a socket that is named with a task has it.

    Raises:
        click.UsageError: it has another one.
    """
    found = _describe(socket)
    if task not in (found.get("task"), f"{found.get('processor')}.{found.get('task')}"):
        raise click.UsageError(
            f"socket {socket} calls the task {found.get('task')!r}, not {task!r}; give one of"
            " -s SOCKET and -n TASK, or both of the same",
            click.get_current_context(),
        )


def socket_of(client: Any, name: str) -> str:
    """The socket that a name means: its own, that of a task, or that of a PROCESSOR.TASK.

    Raises:
        UnknownSocket: several tasks have the name.
    """
    try:
        rows = all_objects(client, "socket")
    except NotAllowed:  # Who may see one socket need not see all.
        return name
    if any(row["name"] == name for row in rows):
        return name
    found = [row for row in rows if name in (row["task"], f"{row['processor']}.{row['task']}")]
    tasks = sorted({f"{row['processor']}.{row['task']}" for row in found})
    if len(tasks) > 1:
        raise UnknownSocket(
            f"{len(tasks)} processors have a task {name!r}; name one of {', '.join(tasks)}"
        )
    return str(found[0]["name"]) if found else name


def _with_task(task: str) -> str:
    """The name of a socket with a task.

    Raises:
        UnknownSocket: none has it.
    """
    from meshcode.client.api import Socket as Found

    try:
        return Found(task=task).name
    except UnknownSocket as error:
        with session() as client:
            rows = all_objects(client, "socket")
        if any(row["name"] == task for row in rows):
            hint = f"that is a socket: -s {task}"
        else:
            near = nearest(task, {row["task"] for row in rows})
            hint = f"did you mean {near!r}?" if near else "`mesh ls tasks` shows what there is"
        error.text = f"no socket has the task {task!r}; {hint}"
        raise


def call_arguments(data: str | None, *, json_stdin: bool) -> list[Any]:
    """The positional arguments from --data or stdin.

    Raises:
        BadData: what was given cannot be read.
        click.UsageError: both were given.
    """
    if json_stdin:
        if data not in (None, "-"):
            raise click.UsageError("give --data or --json-stdin, not both")
        return arguments_of(parse_json(read_stdin()))
    if data == "-":
        return [read_stdin()]
    if data is not None:
        return arguments_of(parse_data(data))
    return [read_stdin()] if has_stdin() else []


def _describe(name: str) -> dict[str, Any]:
    with session() as client:
        found = client.ask("task.show", name=name)
    return found if isinstance(found, dict) else {}


@command()
@objects.one_name("socket")
@click.option("-g", "--gitrepo", is_flag=True, help="Also the repository it comes from.")
@styled
def show(name: str, gitrepo: bool, style: Style) -> None:
    """Show a task: its signature, its module and the sockets that call it.

    Examples:
      mesh task show clean
      mesh task show shop.clean -g
      mesh task show shop.clean -o json
    """
    with session() as client:
        name = socket_of(client, name)
    show_task(name, style, gitrepo=gitrepo)


def show_task(name: str, style: Style, *, gitrepo: bool) -> None:
    """Print what is known of the task of a socket."""
    item = _describe(name)
    item.pop("source", None)
    if gitrepo:
        with session() as client:
            item["git"] = objects.one(client, "processor", str(item["processor"]))["git"]
    signature = item.get("signature")
    shown = {**item, "signature": signature.get("text")} if isinstance(signature, dict) else item
    output.show_facts("task", item, objects.pairs_of(shown), style)


@command()
@objects.one_name("socket")
def code(name: str) -> None:
    """Print the source of a task as it runs now.

    Examples:
      mesh task code shop.clean
    """
    with session() as client:
        name = socket_of(client, name)
        found = client.ask("task.code", name=name)
    if not found["source"]:
        why = "not known yet; its processor is not mounted"
        if found["signature"]:  # It was looked at.
            why = "not to be had: it is in no file of Python"
        output.say(f"mesh: the source of {name} is {why}")
        click.get_current_context().exit(3)
    output.write(str(found["source"]).rstrip("\n"))


@command()
@objects.one_name("socket")
@click.option("-c", "--code", "with_code", is_flag=True, help="Also its source.")
@graph_option
@styled
def ls_task(name: str, with_code: bool, graph: bool, strokes: Lines, style: Style) -> None:
    """Show a task, by a socket that calls it, its name, or PROCESSOR.TASK; -g: all sockets that
    call it, and where their results go.

    Examples:
      mesh ls task shop.clean
      mesh ls task clean
      mesh ls task shop.clean -g
      mesh ls task shop.clean -c
    """
    with session() as client:
        name = socket_of(client, name)
    if graph:
        from meshcode.cli.graph import graph as whole

        with session() as client:
            found = whole(client, "socket", objects.one(client, "socket", name))
        branch = found.task(found.find("socket", name))
        if style.is_text:
            output.write_lines(vertical(branch, strokes))
        else:
            output.show_document("task", [branch.data()], style.format)
    else:
        show_task(name, style, gitrepo=True)
    if with_code and style.is_text:
        click.get_current_context().invoke(code, name_word=name, name=None)


@command()
@click.option("-g", "--gitrepo", is_flag=True, help="Also the repository they come from.")
@listing
def ls_tasks(gitrepo: bool, style: Style) -> None:
    """List tasks with their sockets.

    Examples:
      mesh ls tasks
      mesh ls tasks -g
    """
    with session() as client:
        sockets = all_objects(client, "socket")
        processors = {p["name"]: p for p in all_objects(client, "processor")}
        overrides = {(o["processor"], o["task"]): o for o in known_overrides(client)}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for socket in sockets:
        key = (socket["processor"], socket["task"])
        row = rows.setdefault(
            key,
            {
                "name": socket["task"],
                "module": processors.get(socket["processor"], {}).get("module"),
                "git": processors.get(socket["processor"], {}).get("git"),
                "processor": socket["processor"],
                "override": _made_by(overrides.get(key)),
                "sockets": [],
            },
        )
        row["sockets"].append(socket["name"])
    columns = [column("name"), column("module"), column("processor"), column("sockets")]
    if overrides:
        columns.append(column("override", "Overridden"))
    if gitrepo:
        columns.append(column("git", "Repository"))
    output.show(
        "task", [rows[key] for key in sorted(rows)], columns, style,
        empty="no task yet; `mesh add socket` declares one",
    )  # fmt: skip


def known_overrides(client: Any) -> list[dict[str, Any]]:
    """All overrides that this person may see; none when it may not see code."""
    from meshcode.errors import NotAllowed

    try:
        return all_objects(client, "override")
    except NotAllowed:
        return []


def _made_by(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    made_ms = found.get("made_ms")
    when = f" at {output.value_text('made_ms', made_ms)}" if made_ms else ""
    return f"by {found.get('by') or found['owner']}{when}"
