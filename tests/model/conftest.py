"""A model on a real SQLite file, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.model.database import Database
from meshcode.model.publish import Publisher

NOW_MS = 1_700_000_000_000


class Model:
    """One publisher, asked as the node asks it; remembers every snapshot that came out."""

    def __init__(self, path: Path) -> None:
        self.database = Database(str(path))
        self.publisher = Publisher(self.database, owner="ann")
        self.now_ms = NOW_MS
        self.published: list[dict[str, Any]] = []

    def ask(self, do: str, kind: str | None = None, name: str | None = None, **fields: Any) -> Any:
        """Refresh and do one request, as the server does; gives the answer's data."""
        self.refresh()
        request: dict[str, Any] = {"do": do, "fields": fields}
        if kind is not None:
            request["kind"] = kind
        if name is not None:
            request["name"] = name
        data, snapshot = self.publisher.request(request, self.now_ms)
        if snapshot is not None:
            self.published.append(snapshot)
        return data

    def refresh(self) -> dict[str, Any] | None:
        snapshot = self.publisher.refresh(self.now_ms)
        if snapshot is not None:
            self.published.append(snapshot)
        return snapshot

    def shop(self) -> None:
        """A queue, a processor, a socket and a deployment."""
        self.ask("add", "queue", "orders")
        self.ask("add", "processor", "shop", git="/srv/shop", module="shop.tasks")
        self.ask("add", "socket", "shop.clean", processor="shop", task="clean", queue="orders")
        self.ask("add", "deployment", "shop-here", processor="shop", host="localhost", cpus=2)

    @property
    def number(self) -> int:
        return self.publisher.number

    def close(self) -> None:
        self.database.close()


@pytest.fixture(scope="session")
def open_model() -> type[Model]:
    """Opens a model on a path."""
    return Model


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return tmp_path / "model" / "model.db"


@pytest.fixture
def model(model_path: Path) -> Iterator[Model]:
    opened = Model(model_path)
    yield opened
    opened.close()
