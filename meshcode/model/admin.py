"""Work on the model's database as a whole: `python -m meshcode.model.admin VERB`.

A child of `mesh db`, which does not import SQLAlchemy.  The address comes in MESH_MODEL, the
outcome goes to standard output as one JSON map: {"ok": {...}} or {"error": {...}}.  Each verb is
one transaction, so a node that has the database open sees all of it or nothing, and follows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshcode.errors import BadData, MeshError, ModelUnavailable
from meshcode.model import document, files, journal, snapshot
from meshcode.model.database import DB_VARIABLE, Database, set_number
from meshcode.model.tables import SCHEMA_VERSION, TABLES, Base

Answer = dict[str, Any]


def look(database: Database, _options: argparse.Namespace) -> Answer:
    """What is there; an older database is upgraded by looking, as a node would."""
    with database.read() as session:
        return {"objects": document.count(session), "number": snapshot.read_number(session)}


def init(database: Database, _options: argparse.Namespace) -> Answer:
    """Make what is not there."""
    with database.read() as session:
        objects = document.count(session)
    made = {name: name in database.made for name in Base.metadata.tables}
    return {"tables": made, "objects": objects, "bypassing": database.bypassing()}


def drop(database: Database, _options: argparse.Namespace) -> Answer:
    """Take the tables of all objects away.

    `model_state` stays, with the next number: else a node would take the database for one that was
    lost, and make all of it again from its last snapshot.
    """
    return _drop(database, again=False)


def rebuild(database: Database, _options: argparse.Namespace) -> Answer:
    """`drop`, and the same tables anew, at once."""
    return _drop(database, again=True)


def _drop(database: Database, *, again: bool) -> Answer:
    with database.write() as session:
        objects = document.count(session)
        number = snapshot.read_number(session) + 1
        set_number(session, number)
        link = session.connection()
        tables = [TABLES[kind].__table__ for kind in TABLES]
        Base.metadata.drop_all(link, tables)
        journal.note_all(link)
        if again:
            Base.metadata.create_all(link, tables)
    return {"objects": objects, "number": number, "tables": [table.name for table in tables]}


def migrate(database: Database, _options: argparse.Namespace) -> Answer:
    """Opening it is all there is to do; say from where it came."""
    with database.read():
        return {"from": database.version_found, "to": SCHEMA_VERSION}


def show(database: Database, _options: argparse.Namespace) -> Answer:
    """Everything as JSON, but for what opens something."""
    with database.read() as session:
        found = document.without_secrets(document.read(session))
    return {"text": document.to_text(found), "objects": _count(found["objects"])}


def backup(database: Database, options: argparse.Namespace) -> Answer:
    """A copy of one state: of SQLite a SQLite file, of a server the JSON document."""
    with files.written_whole(options.file) as draft:
        if database.path is None:
            with database.read() as session:
                found = document.read(session)
            draft.write_text(document.to_text(found), encoding="utf-8")
        else:
            database.examine()
            files.copy_sqlite(database.path, draft)
            found = _read_sqlite(draft)  # What cannot be read back is no backup.
    size = options.file.stat().st_size
    return {"file": str(options.file), "objects": _count(found["objects"]), "bytes": size}


def restore(database: Database, options: argparse.Namespace) -> Answer:
    """Make what a file says all that is declared; nothing of it unless all of it is good."""
    path: Path = options.file
    if files.is_sqlite(path):
        try:
            found = _read_sqlite(path)
        except ModelUnavailable as exc:  # It is the file, as of a damaged document, not the model.
            raise BadData(f"{exc.text}; nothing was changed") from None
    else:
        found = document.from_text(files.read_whole(path), str(path))
    rows = document.check(found, str(path))
    with database.write() as session:
        before = document.count(session)
        number = document.replace(session, rows, number=found["number"], over=options.replace)
    return {
        "objects": sum(map(len, rows.values())), "before": before, "number": number,
        "problems": document.dangling(rows),
    }  # fmt: skip


def _read_sqlite(path: Path) -> dict[str, Any]:
    """The document of a copy, which may be of an older version and stays as it is."""
    with files.scratch_copy(path) as copy:
        database = Database(str(copy), make=False)
        try:
            with database.read() as session:
                return document.read(session)
        except ModelUnavailable as exc:
            reason = exc.text.split("; ")[0].removeprefix("the model's database ")
            reason = reason.replace(f"sqlite:///{copy}", "it")
            raise ModelUnavailable(f"{path} cannot be used: {reason}") from None
        finally:
            database.close()


def _count(objects: dict[str, list[Any]]) -> int:
    return sum(map(len, objects.values()))


VERBS: dict[str, Callable[[Database, argparse.Namespace], Answer]] = {
    "look": look, "init": init, "drop": drop, "rebuild": rebuild, "migrate": migrate,
    "json": show, "backup": backup, "restore": restore,
}  # fmt: skip
MAKING = ("init", "restore")  # The others refuse a database that is not there.


def main(arguments: list[str] | None = None) -> int:
    """Do one verb; the exit status is 0 when standard output has its outcome."""
    parser = argparse.ArgumentParser(prog="python -m meshcode.model.admin", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--file", type=Path, help="to write or to read")
    parser.add_argument("--replace", action="store_true", help="objects that are there may go")
    options = parser.parse_args(arguments)
    address = os.environ.get(DB_VARIABLE)
    if not address:
        parser.error(f"{DB_VARIABLE} must name the database")
    os.umask(0o077)
    database = Database(address, make=options.verb in MAKING)
    try:
        answer = {"ok": {"where": database.where, **VERBS[options.verb](database, options)}}
    except MeshError as exc:
        answer = {"error": exc.to_data()}
    finally:
        database.close()
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
