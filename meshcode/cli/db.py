"""`mesh db`: the model's database as a whole.  A child process does the work, with SQLAlchemy."""

from __future__ import annotations

from typing import Any

import click

from meshcode import aside
from meshcode.cli import output
from meshcode.cli.objects import confirm, yes_option
from meshcode.cli.options import command, styled
from meshcode.cli.output import Column, Style
from meshcode.errors import CallerError

_DB_HELP = (
    "Path or URI of the database; a URI with a password belongs in $MESH_MODEL."
    "  [env: MESH_MODEL; default: that of the home]"
)
_THERE = click.Path(exists=True, dir_okay=False)
_db = click.option("-d", "--db", metavar="URI", help=_DB_HELP)


def _admin(verb: str, db: str | None, *words: str) -> dict[str, Any]:
    """Let a child do one verb; give its answer.

    Raises:
        MeshError: whatever the child refused.
        ModelUnavailable: it ended without an answer.
    """
    import json
    import subprocess
    import sys

    from meshcode.errors import ModelUnavailable, from_data
    from meshcode.model.client import environment_of

    command_line = [sys.executable, "-P", "-m", "meshcode.model.admin", verb, *words]
    done = subprocess.run(
        command_line, env=environment_of(_address(db)), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ModelUnavailable(
            f"the process that was to {verb} the database ended with status {done.returncode};"
            " the change was made whole or not at all; look with `mesh db json`"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise from_data(answer["error"])
    found: dict[str, Any] = answer["ok"]
    return found


def _address(db: str | None) -> str:
    from meshcode import paths

    return db or paths.model_uri()


def _leave(do: str, db: str | None, *, of: str = "", dry: bool = False) -> None:
    """Ask whether this shell may do that; a change of all that is declared is in the audit log.

    Args:
        of: the file that is restored.
        dry: before anybody is asked whether it is really wanted: nothing is done yet.
    """
    from meshcode import config, paths
    from meshcode.cli import leave
    from meshcode.node.auditlog import WHOLE

    home = paths.home()
    on = f"{config.mask(_address(db))}{f' from {of}' if of else ''}"
    audited = do in WHOLE and not dry
    if not leave.ask(home, "db", audited=audited, do=do, name=on, dry=dry):
        leave.write_down(home, f"model.{do}", on)


def _level(db: str | None) -> None:
    """Let a node that runs write what its peers declared to its database, and look at that.

    It does both before it answers any question about the model.
    """
    from meshcode import paths
    from meshcode.cli.session import address, listens, model, session
    from meshcode.errors import MeshError, NotAllowed

    if (db is not None and db != paths.model_uri()) or not listens(address()):
        return
    try:
        with session() as client:
            model(client, "list", "network")
    except NotAllowed:
        pass  # Whoever has dropped or replaced the users may be none now; the node follows anyway.
    except MeshError as error:
        output.say(f"the node and its database are not level: {error}")


def _count(number: int, word: str = "object") -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


@command()
@_db
@styled
def init(db: str | None, style: Style) -> None:
    """Make the database of the model, if it is not there, and name each of its tables.

    A node does that by itself when the first object is declared. On Postgres every table of objects
    has row-level security; this warns when the role that connects is not held by it.

    Examples:
      mesh db init
      mesh db init -d postgresql://mesh@db.example/mesh
    """
    _leave("init", db)
    found = _admin("init", db)
    rows = [{"name": name, "made": made} for name, made in found["tables"].items()]
    columns = [
        Column("name", "Table"),
        Column("made", "State", lambda made: "made" if made else "there already"),
    ]
    output.show("table", rows, columns, style, footer=f"{found['where']}")
    if found["bypassing"] is not None:
        output.say(
            f"warning: role {found['bypassing']} is a superuser or has BYPASSRLS, so the server's"
            " row-level security does not hold it; the node still checks the rights of users;"
            " let it connect as a role made by CREATE ROLE ... NOSUPERUSER NOBYPASSRLS"
        )


def _dropped(verb: str, db: str | None, *, yes: bool, style: Style) -> None:
    _leave(verb, db, dry=True)
    _level(db)
    if not yes:
        there = _admin("look", db)
        what = f"{verb} {there['where']} with {_count(there['objects'])}"
        confirm(f"{what}, here and on all nodes of this mesh", yes=False)
        confirm("No backup is made of it. Is that really wanted", yes=False)
    _leave(verb, db)
    found = _admin(verb, db)
    _level(db)
    text = f"{_count(found['objects'])} dropped from {found['where']}"
    _said("database", found, f"{text}; calls are as they were", style)


def _said(kind: str, found: dict[str, Any], text: str, style: Style) -> None:
    if style.format == "table":
        output.write(text)
    else:
        output.show_facts(kind, {"name": found["where"], **found}, [], style)


@command()
@_db
@yes_option
@styled
def drop(db: str | None, yes: bool, style: Style) -> None:
    """Drop the tables of all objects: nothing is declared any more. Asks twice.

    A node that runs follows at once, one that does not when it starts, and in a mesh all others do.
    Calls are not touched; those of sockets that are gone wait. The database stays, with a mark that
    it is empty on purpose: a file that is deleted would be made again by the node.

    Examples:
      mesh db backup before.db && mesh db drop
      mesh db drop -y                        for scripts: no question
    """
    _dropped("drop", db, yes=yes, style=style)


@command()
@_db
@yes_option
@styled
def rebuild(db: str | None, yes: bool, style: Style) -> None:
    """Drop the tables of all objects and make empty ones. Asks twice.

    Examples:
      mesh db rebuild
      mesh db rebuild -y
    """
    _dropped("rebuild", db, yes=yes, style=style)


@command()
@_db
@styled
def migrate(db: str | None, style: Style) -> None:
    """Bring the tables to the newest version, in one transaction.

    A node does that by itself when it opens its database; to do it before, and see it done:

    Examples:
      mesh db migrate
      mesh db upgrade                        the same
    """
    _leave("migrate", db)
    found = _admin("migrate", db)
    old, new = found["from"], found["to"]
    way = f"is at version {new}, the newest" if old == new else f"went from version {old} to {new}"
    _said("database", found, f"{found['where']} {way}", style)


@command()
@_db
@click.option("-o", "--output", "file", metavar="FILE", help="Write it there.  [default: stdout]")
def to_json(db: str | None, file: str | None) -> None:
    """Print everything in the database as JSON: the same database, the same bytes.

    `mesh db restore` reads it. It may hold secrets, as values of environments.

    Examples:
      mesh db json | jq '.objects.sockets[].name'
      mesh db json -o model.json
    """
    _leave("json", db)
    _level(db)
    found = _admin("json", db)
    if file is None:
        import sys

        sys.stdout.write(found["text"])
        return
    data = found["text"].encode()
    try:
        aside.write(file, data, durable=True)
    except OSError as error:
        raise CallerError(
            f"{file} cannot be written: {error.strerror}; nothing was written"
        ) from None
    output.write(f"{_count(found['objects'])} in {file}, {_count(len(data), 'byte')}")


@command()
@click.argument("file", type=click.Path(dir_okay=False))
@_db
@styled
def backup(file: str, db: str | None, style: Style) -> None:
    """Copy one state of the database to FILE, while nodes use it.

    Of SQLite it is a SQLite file, of Postgres the document of `mesh db json`; either can be
    restored into both. FILE must not be there yet; it is whole or not there at all, and private.

    Examples:
      mesh db backup model-1.db
    """
    _leave("backup", db)
    _level(db)
    found = _admin("backup", db, "--file", file)
    text = f"{_count(found['objects'])} of {found['where']} in {file}"
    _said("backup", found, f"{text}, {_count(found['bytes'], 'byte')}", style)


@command()
@click.argument("word", required=False, metavar="[FILE]", type=_THERE)
@click.option(
    "-f", "--file", metavar="FILE", type=_THERE,
    help="The same: what `mesh db backup` or `mesh db json` wrote.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="Let the objects that are there go.")
@_db
@styled
def restore(
    word: str | None, file: str | None, replace: bool, db: str | None, style: Style
) -> None:  # fmt: skip
    """Make what a backup has all that is declared. Everything in it is checked first.

    A database that has objects is refused without --replace. It is one transaction; a node that
    runs follows at once, in a mesh all nodes do. Calls are not touched.

    Examples:
      mesh db restore model-1.db
      mesh db restore -f model.json --replace
    """
    given = [path for path in (word, file) if path is not None]
    if len(given) != 1:
        raise click.UsageError(
            "name one file: what `mesh db backup` or `mesh db json` wrote",
            click.get_current_context(),
        )
    (file,) = given
    _leave("restore", db, of=file)
    _level(db)
    found = _admin("restore", db, "--file", file, *(["--replace"] if replace else []))
    _level(db)
    for problem in found["problems"]:
        output.say(problem)
    was = f", in the place of {found['before']:,}" if found["before"] else ""
    text = f"{_count(found['objects'])} of {file} restored to {found['where']}{was}"
    _said("database", found, text, style)
