"""Row-level security on Postgres: the rules of `policy.py` as policies of every owned table.

`mesh_grants()` finds once for each statement who `mesh.principal` is and what it was given;
`mesh_may()` says of one row whether that is enough.  Both are written from the lists that the
Python rules use.  FORCE, since the role of the node usually owns the tables.

A superuser, and a role with BYPASSRLS, is not held by any policy: `bypassing` tells of one.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, event, inspect, text

from meshcode.errors import NotAllowed
from meshcode.model.kinds import KINDS
from meshcode.model.policy import DOINGS, ON_ONESELF, OWNER, RIGHTS_FOR
from meshcode.model.rightnames import ALL, CONTAINED_IN
from meshcode.model.rights import ADMIN_ROLE, WITHIN
from meshcode.model.tables import TABLES, Base

SETTING = "mesh.principal"
_NO_PRIVILEGE = "42501"

# Who it is, from a transaction's setting: null is nobody, "*" the owner, else a map.  What it looks
# up it must see whole, so it is the owner for so long; an error ends the transaction and that too.
_GRANTS = f"""
CREATE OR REPLACE FUNCTION mesh_grants() RETURNS jsonb LANGUAGE plpgsql AS $body$
DECLARE
    principal text := nullif(current_setting('{SETTING}', true), '');
    found jsonb;
BEGIN
    IF principal IS NULL THEN RETURN NULL; END IF;
    IF principal = '{OWNER}' THEN RETURN to_jsonb(principal); END IF;
    PERFORM set_config('{SETTING}', '{OWNER}', true);
    SELECT jsonb_build_object('user', u.name, 'grants', coalesce((
        SELECT jsonb_agg(jsonb_build_array(g."right", g."on", g.revoked)) FROM (
            SELECT p."right", p."on", p.revoked FROM privileges p WHERE p."user" = u.name
            UNION ALL
            SELECT p."right", p."on", p.revoked FROM privileges p JOIN roles r ON r.name = p.role
                WHERE jsonb_exists(u.roles::jsonb, r.name)
            UNION ALL
            SELECT '{ALL}', NULL, false FROM roles r
                WHERE r.name = '{ADMIN_ROLE}' AND jsonb_exists(u.roles::jsonb, r.name)
        ) g
    ), '[]'::jsonb)) INTO found FROM users u WHERE u.name = principal AND u.enabled;
    PERFORM set_config('{SETTING}', principal, true);
    RETURN found;
END $body$
"""

# Itself and what it belongs to, and their labels.
_PLACES = """
CREATE OR REPLACE FUNCTION mesh_places(kind text, item jsonb) RETURNS text[] LANGUAGE plpgsql
AS $body$
DECLARE
    found text[] := ARRAY[kind || ':' || (item ->> 'name')];
    target jsonb;
BEGIN
    IF jsonb_typeof(item -> 'labels') = 'object' THEN
        found := found || ARRAY(
            SELECT 'label:' || l.key || '=' || l.value FROM jsonb_each_text(item -> 'labels') l);
    END IF;
    {ways}
    RETURN found;
END $body$
"""

_WAY = """
    IF kind = '{kind}' AND item ->> '{option}' IS NOT NULL THEN
        SELECT to_jsonb(t) INTO target FROM {table} t WHERE t.name = item ->> '{option}';
        found := found || mesh_places('{target}',
            coalesce(target, jsonb_build_object('name', item ->> '{option}')));
    END IF;
"""

# `wanted`: for each right that would do, that right and those that contain it.  Where an object is
# costs most, so it is looked up only when what is on everything does not decide.
_MAY = f"""
CREATE OR REPLACE FUNCTION mesh_may(
    grants jsonb, doing text, wanted jsonb, kind text, item jsonb
) RETURNS boolean LANGUAGE plpgsql AS $body$
DECLARE
    who text := grants ->> 'user';
    mine boolean := coalesce(item ->> 'owner' = grants ->> 'user', false);
    gives boolean := mine AND doing <> 'INSERT';
    undecided boolean := false;
    places text[];
    above jsonb;
    speaking record;
BEGIN
    IF grants IS NULL THEN RETURN false; END IF;
    IF grants = to_jsonb('{OWNER}'::text) THEN RETURN true; END IF;
    IF doing = 'INSERT' AND NOT mine THEN RETURN false; END IF;
    IF kind = 'user' AND item ->> 'name' = who AND doing = ANY ('{{{",".join(ON_ONESELF)}}}') THEN
        RETURN true;
    END IF;
    FOR above IN SELECT w.value FROM jsonb_array_elements(wanted) w LOOP
        SELECT count(*) FILTER (WHERE g.value ->> 1 IS NULL) AS given,
            count(*) FILTER (WHERE (g.value ->> 2)::boolean) AS revoked,
            count(*) FILTER (WHERE g.value ->> 1 IS NOT NULL) AS scoped
            INTO speaking FROM jsonb_array_elements(grants -> 'grants') g
            WHERE jsonb_exists(above, g.value ->> 0);
        IF (gives OR speaking.given > 0) AND speaking.revoked = 0 THEN RETURN true; END IF;
        undecided := undecided OR speaking.scoped > 0;
    END LOOP;
    IF NOT undecided THEN RETURN false; END IF;
    FOR above IN SELECT w.value FROM jsonb_array_elements(wanted) w LOOP
        IF places IS NULL THEN
            PERFORM set_config('{SETTING}', '{OWNER}', true);
            places := mesh_places(kind, item);
            PERFORM set_config('{SETTING}', who, true);
        END IF;
        SELECT bool_or((g.value ->> 2)::boolean) AS revoked, count(*) > 0 AS given INTO speaking
            FROM jsonb_array_elements(grants -> 'grants') g
            WHERE jsonb_exists(above, g.value ->> 0) AND (g.value ->> 1 IS NULL OR EXISTS (
                SELECT FROM unnest(places) p WHERE p LIKE
                    translate(replace(g.value ->> 1, '_', '\\_'), '*?', '%_') ESCAPE '\\'));
        IF (gives OR speaking.given) AND NOT coalesce(speaking.revoked, false) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END $body$
"""


def protect(connection: Connection) -> None:
    """Give every table of objects its policies, in the connection's transaction.  Safe to do again.

    Nothing is done on other databases than Postgres, and to tables that are not there.
    """
    if connection.dialect.name != "postgresql":
        return
    there = set(inspect(connection).get_table_names())
    ways = "".join(
        _WAY.format(kind=kind, option=option, target=to, table=TABLES[to].__tablename__)
        for kind, options in WITHIN.items()
        for option, to in options
    )
    statements = [_GRANTS, _PLACES.replace("{ways}", ways), _MAY]
    for kind in KINDS:
        if TABLES[kind].__tablename__ in there:
            statements += _statements(kind)
    cursor = connection.connection.cursor()  # Past what SQLAlchemy takes for parameters.
    cursor.execute(";\n".join(statements))
    cursor.close()


def _statements(kind: str) -> list[str]:
    table = f'"{TABLES[kind].__tablename__}"'
    found = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
    ]
    for doing in DOINGS:
        policy = f"mesh_{doing.lower()}"
        wanted = json.dumps([sorted(CONTAINED_IN[r]) for r in RIGHTS_FOR[kind, doing]])
        rule = (  # The first half alone is quick: the owner reads all of it often.
            f"((SELECT mesh_grants()) = to_jsonb('{OWNER}'::text) OR mesh_may("
            f"(SELECT mesh_grants()), '{doing}', '{wanted}', '{kind}', to_jsonb({table}.*)))"
        )
        using = "" if doing == "INSERT" else f" USING {rule}"
        check = f" WITH CHECK {rule}" if doing in ("INSERT", "UPDATE") else ""
        found += [
            f"DROP POLICY IF EXISTS {policy} ON {table}",
            f"CREATE POLICY {policy} ON {table} FOR {doing}{using}{check}",
        ]
    return found


def set_principal(connection: Connection, principal: str) -> None:
    """Say who the rest of the transaction is for; with its end nobody is again."""
    if connection.dialect.name == "postgresql":
        connection.execute(_SET, {"principal": principal})


_SET = text(f"SELECT set_config('{SETTING}', :principal, true)")


def bypassing(connection: Connection) -> str | None:
    """The name of this connection's role if no policy holds it: a superuser, or BYPASSRLS."""
    if connection.dialect.name != "postgresql":
        return None
    query = "SELECT rolname FROM pg_roles WHERE rolname = current_user"
    found = connection.execute(text(f"{query} AND (rolsuper OR rolbypassrls)"))
    name: str | None = found.scalar_one_or_none()
    return name


def raise_refusal(error: BaseException) -> None:
    """Raise NotAllowed if an error of the driver is that a policy refused to write a row."""
    cause = getattr(error, "orig", None)
    if getattr(cause, "pgcode", None) == _NO_PRIVILEGE and "row-level security" in str(cause):
        raise NotAllowed(
            f"the database refuses this: {' '.join(str(cause).split())}; nothing was changed; ask"
            " somebody who has the right, or the owner of the object"
        ) from error


@event.listens_for(Base.metadata, "after_create")
def _made(_metadata: Any, connection: Any, **_more: Any) -> None:
    if isinstance(connection, Connection):  # Else somebody only asks for the statements.
        protect(connection)
