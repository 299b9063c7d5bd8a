"""A small model of two people's objects, for tests of who may see and write which rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert

from meshcode.model.database import Database
from meshcode.model.fields import check_new
from meshcode.model.kinds import KINDS
from meshcode.model.tables import TABLES

_CODE = {"git": "/srv/x", "module": "m"}
# Kind, name, owner, options.  Ann made the shop, joe the bank; nobody in particular the network.
OBJECTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("network", "n1", "mesh", {"labels": {"zone": "eu"}}),
    ("queue", "q", "ann", {"network": "n1"}),
    ("queue", "q_x", "mesh", {}),
    ("queue", "free", "joe", {}),
    ("processor", "shop", "ann", {**_CODE, "labels": {"env": "prod"}}),
    ("processor", "bank", "joe", {**_CODE, "labels": {"env": "test"}}),
    ("socket", "shop.sell", "ann", {"processor": "shop", "task": "t", "queue": "q"}),
    ("socket", "shop.try", "ann",
     {"processor": "shop", "task": "t", "queue": "q_x", "labels": {"team": "red"}}),
    ("socket", "bank.pay", "joe", {"processor": "bank", "task": "t", "queue": "free"}),
    ("socket", "lost", "mesh", {"processor": "gone", "task": "t", "queue": "nowhere"}),
    ("deployment", "d", "ann", {"processor": "shop"}),
    ("role", "dev", "mesh", {}),
    ("role", "admin", "mesh", {}),
    ("user", "ann", "mesh", {}),
]  # fmt: skip
NOW = {"created_ms": 1, "updated_ms": 1}


def fill(
    database: Database, roles: tuple[str, ...] = (), privileges: Any = (), *, enabled: bool = True
) -> None:
    """Make the model these objects, and joe with these roles and privileges."""
    joe = {"roles": list(roles), "enabled": enabled}
    rows = [*OBJECTS, ("user", "joe", "mesh", joe)]
    for at, (right, on, *more) in enumerate(privileges):
        who = {"role": more[1]} if len(more) > 1 else {"user": "joe"}
        given = {"right": right, "on": on, "revoked": bool(more and more[0]), **who}
        rows.append(("privilege", f"p{at}", "mesh", given))
    with database.write() as session:
        for kind in KINDS:
            session.execute(delete(TABLES[kind]))
            values = [
                {"name": name, "owner": owner, **NOW, **check_new(kind, name, options)}
                for one, name, owner, options in rows
                if one == kind
            ]
            if values:
                session.execute(insert(TABLES[kind]), values)
