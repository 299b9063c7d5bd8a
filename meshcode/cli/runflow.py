"""`mesh run --flow`: a composition from a file or from the model, submitted and waited for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import output, standard
from meshcode.cli.result import print_result, wait_and_print
from meshcode.cli.session import model, session
from meshcode.errors import BadData

if TYPE_CHECKING:
    from meshcode.client import Client


def run_flow(
    given: str,
    args: Sequence[Any],
    named: Mapping[str, Any],
    *,
    no_wait: bool,
    form: str,
    timeout: int | None,
    stream: bool,
) -> None:
    """Submit a flow; print its id when it is safe, or its value when it has ended.

    Args:
        given: a file, or the name of a flow of the model.
        args: come first in the arguments of its first stage.
        named: go with them.
        no_wait: print the id and do not wait.
        form: of the result, one of RESULT_FORMATS.
        timeout: milliseconds to wait.
        stream: print the values of its branches in order, each as soon as it is there.
    """
    document = _of_file(given) if _is_file(given) else None
    with session() as client:
        if document is None:
            document = _of_model(given, client)
        from meshcode.client.flows.document import compose

        flow = client.submit(compose(document, client), *args, **named)
        if no_wait:
            flow.wait_accepted()
            standard.holds(f"flow {flow.id} is safe: `mesh call get {flow.id}` waits for it")
            output.write(flow.id)
            return
        if stream:
            flow.wait_accepted()
            for value in flow:
                print_result(value, form if form != "auto" else "line")
            return
        wait_and_print(client, flow, form=form, timeout=timeout, stream=False)


def refuse_options(options: Mapping[str, Any]) -> None:
    """Options of one call have no meaning for a flow.

    Raises:
        click.UsageError: there are some.
    """
    for name in options:
        flag = f"--{name.replace('_', '-')}"
        raise click.UsageError(
            f"{flag} is of one call; in a flow each call has its own: write them as `options` of"
            " the call in its document"
        )


def _is_file(given: str) -> bool:
    from meshcode.cli.files.reading import STDIN, SUFFIXES

    path = Path(given)
    return given == STDIN or path.suffix in SUFFIXES or "/" in given or path.is_file()


def _of_file(given: str) -> Any:
    from meshcode.cli.files.reading import read_files

    if Path(given).is_dir():
        raise BadData(f"{given} is a folder; a flow is one file; nothing was sent")
    (source,) = read_files([given], kinds=False)
    return source.data


def _of_model(name: str, client: Client) -> Any:
    document = model(client, "get", "flow", name)["document"]
    return json.loads(document) if isinstance(document, str) else document
