"""How many workers a processor is to have is said by its deployments, where it has any."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshcode.errors import WrongState
from meshcode.model.acting import as_owner
from meshcode.model.tables import Deployment, Processor

NAMED_MAX = 5  # Deployments that the text of a refusal names.


def scale(session: Session, row: Processor, workers: int, now_ms: int) -> bool:
    """Give the one deployment of a processor as many CPUs; whether it has others than before.

    Raises:
        WrongState: it has several, and nobody can tell which one is meant.
    """
    query = select(Deployment).where(Deployment.processor == row.name).order_by(Deployment.name)
    with as_owner(session):  # Whoever may change the processor may say how many workers it has.
        found = session.scalars(query).all()
        if len(found) > 1:
            names = ", ".join(f"{one.name} ({one.cpus})" for one in found[:NAMED_MAX])
            more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
            raise WrongState(
                f"processor {row.name} has {len(found)} deployments, which say how many workers"
                f" there are: {names}{more}; it is unchanged; change one of them:"
                f" `mesh update deployment -n {found[0].name} -c {workers}`",
                kind="processor", name=row.name,
            )  # fmt: skip
        if not found or found[0].cpus == workers:
            return False
        found[0].cpus = workers
        found[0].revision += 1
        found[0].updated_ms = now_ms
        session.flush()
    return True
