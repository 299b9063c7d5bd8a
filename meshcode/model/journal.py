"""The journal: which objects somebody changed, line by line, in the order of the commits.

Triggers of the database write it, so it has what commands, other processes and people with another
program did; whoever read the model before reads on from the last line it saw (`reader.py`).

Lines have growing numbers, and a random mark: whoever finds its last line gone, or with another
mark, has another database before it (an older copy, one that was made anew) or one in which the
lines in between are gone, and must read all of it.  Writers take the model's lock before they
write a line, so that the order of the numbers is that of the commits.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, event, func, insert, inspect, select
from sqlalchemy.orm import Session

from meshcode.model.kinds import KINDS
from meshcode.model.tables import TABLES, Base, Journal

LINES_KEPT = 8_192  # Older ones are dropped; who did not read for so long reads everything.
ALL = ""  # The kind of a line that says that anything may be another.

Line = tuple[int, int]  # Its number and its mark.

# A statement of SQLite that replaces a row fires no trigger for the row that it takes away, when
# that had another name.  No command of ours does; what is changed by hand is always read whole.
_SQLITE = (
    """
    CREATE TRIGGER IF NOT EXISTS mesh_journal_{table}_insert AFTER INSERT ON {table} BEGIN
        INSERT INTO model_journal (mark, kind, name) VALUES (random(), '{kind}', NEW.name);
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS mesh_journal_{table}_update AFTER UPDATE ON {table} BEGIN
        INSERT INTO model_journal (mark, kind, name) VALUES (random(), '{kind}', NEW.name);
        INSERT INTO model_journal (mark, kind, name)
            SELECT random(), '{kind}', OLD.name WHERE OLD.name <> NEW.name;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS mesh_journal_{table}_delete AFTER DELETE ON {table} BEGIN
        INSERT INTO model_journal (mark, kind, name) VALUES (random(), '{kind}', OLD.name);
    END
    """,
)

_MARK = "(random() * 9007199254740992)::bigint"
_POSTGRES_FUNCTIONS = f"""
CREATE OR REPLACE FUNCTION mesh_journal() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO model_journal (mark, kind, name) VALUES ({_MARK}, '{ALL}', '');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO model_journal (mark, kind, name) VALUES ({_MARK}, TG_ARGV[0], OLD.name);
    END IF;
    IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND OLD.name <> NEW.name) THEN
        INSERT INTO model_journal (mark, kind, name) VALUES ({_MARK}, TG_ARGV[0], NEW.name);
    END IF;
    RETURN NULL;
END $body$;
CREATE OR REPLACE FUNCTION mesh_journal_lock() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM FROM model_state FOR UPDATE;
    RETURN NULL;
END $body$
"""
_POSTGRES = """
DROP TRIGGER IF EXISTS mesh_journal_lock ON {table};
CREATE TRIGGER mesh_journal_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION mesh_journal_lock();
DROP TRIGGER IF EXISTS mesh_journal_rows ON {table};
CREATE TRIGGER mesh_journal_rows AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION mesh_journal('{kind}');
DROP TRIGGER IF EXISTS mesh_journal_all ON {table};
CREATE TRIGGER mesh_journal_all AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION mesh_journal('{kind}')
"""


def keep(connection: Connection) -> None:
    """Give every table of objects that is there its triggers, in the connection's transaction.

    What is in them may be another than before, so that is noted.  Safe to do again.
    """
    there = set(inspect(connection).get_table_names())
    if Journal.__tablename__ not in there:
        return
    tables = {kind: TABLES[kind].__tablename__ for kind in KINDS}
    words = {kind: {"kind": kind, "table": f'"{name}"'} for kind, name in tables.items()}
    if connection.dialect.name == "postgresql":
        statements = [_POSTGRES_FUNCTIONS]
        statements += [_POSTGRES.format(**words[kind]) for kind in KINDS if tables[kind] in there]
        cursor = connection.connection.cursor()  # Past what SQLAlchemy takes for parameters.
        cursor.execute(";\n".join(statements))
        cursor.close()
    else:
        for kind in KINDS:
            if tables[kind] in there:
                for statement in _SQLITE:
                    connection.exec_driver_sql(statement.format(kind=kind, table=tables[kind]))
    note_all(connection)


def note_all(connection: Connection) -> None:
    """Add a line that says that anything may be another, in the connection's transaction."""
    server = connection.dialect.name == "postgresql"
    mark = func.floor(func.random() * (1 << 53)) if server else func.random()
    connection.execute(insert(Journal).values(mark=mark, kind=ALL, name=""))


def last_line(session: Session) -> Line | None:
    """The newest line that this transaction sees; None when there is none."""
    row = session.execute(select(Journal.at, Journal.mark).order_by(Journal.at.desc()).limit(1))
    found = row.first()
    return None if found is None else (found[0], found[1])


def lines_after(
    session: Session, last: Line, most: int
) -> tuple[Line, set[tuple[str, str]]] | None:
    """What was changed after a line that was seen: the newest line, and kinds and names.

    None: that cannot be told from the journal, or is more than `most` lines.
    """
    columns = (Journal.at, Journal.mark, Journal.kind, Journal.name)
    query = select(*columns).where(Journal.at >= last[0]).order_by(Journal.at).limit(most + 2)
    rows = session.execute(query).all()
    if not rows or (rows[0][0], rows[0][1]) != last or len(rows) > most + 1:
        return None
    keys = {(row[2], row[3]) for row in rows[1:]}
    if any(kind not in TABLES for kind, _name in keys):
        return None
    return (rows[-1][0], rows[-1][1]), keys


def drop_old(session: Session, newest: int) -> None:
    """Drop lines that are too old, in a write transaction; `newest` is the number of the last."""
    session.execute(delete(Journal).where(Journal.at <= newest - LINES_KEPT))


@event.listens_for(Base.metadata, "after_create")
def _made(_metadata: Any, connection: Any, **_more: Any) -> None:
    if isinstance(connection, Connection):  # Else somebody only asks for the statements.
        keep(connection)
