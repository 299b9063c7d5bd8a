"""What the model keeps beside the network: settings, secrets, files, flows and their versions."""

from __future__ import annotations

import base64
from typing import Any

import click

from meshcode.cli import objects, output, standard
from meshcode.cli.noun import Noun, entries
from meshcode.cli.objects import Field
from meshcode.cli.options import command, complete, listing, styled
from meshcode.cli.output import Style, column
from meshcode.cli.session import objects as all_objects
from meshcode.cli.session import session
from meshcode.errors import BadData
from meshcode.units import parse_duration, parse_size

_TEXT = click.STRING
_WORDS = Field(("--description",), "description", _TEXT, "A few words.", metavar="TEXT")
_FILE_READ_MAX = 1 << 20  # The model says what is too much; this only bounds the reading.


def _amount(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The value of a setting in the unit that its name ends with.

    Raises:
        click.UsageError: it is no number, or has a unit of something else.
    """
    text = given.get("value")
    if not isinstance(text, str):
        return given
    try:
        if name.endswith("_ms") and not text.isdigit():
            value = parse_duration(text)
        elif name.endswith("_bytes"):
            value = parse_size(text)
        else:
            value = int(text)
    except ValueError as error:
        context = click.get_current_context()
        raise click.UsageError(f"{name} is {text!r}: {error}", context) from None
    return {**given, "value": value}


SETTING = Noun(
    "setting",
    [
        Field(
            ("-v", "--value"), "value", _TEXT, "With a unit, like 30d or 2GiB, or a number.",
            required=True, metavar="VALUE",
        )
    ],
    [column("name"), column("value"), column("default"), column("text", "Means"), column("owner")],
    what="a value that holds on all nodes; `mesh add setting -n x -v 1` names them all.",
    example="retention_age_ms -v 30d",
    adapt=_amount,
)  # fmt: skip
SECRET = Noun(
    "secret",
    [
        Field(
            ("-s", "--source"), "source", _TEXT, "env:NAME or file:/PATH (0600), on each host.",
            required=True, metavar="SOURCE",
        ),
        _WORDS,
    ],
    [column("name"), column("source"), column("description"), column("owner")],
    what="where something secret is on each host; the model never has the secret itself.",
    example="shop-token -s file:/run/secrets/shop",
)


def read_bytes(path: str) -> bytes:
    """The content of a file, or of stdin for `-`.

    Raises:
        BadData: it cannot be read.
    """
    try:
        if path == "-":
            return standard.read_stdin(_FILE_READ_MAX)
        with open(path, "rb") as file:
            return file.read(_FILE_READ_MAX)
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror or error}") from None


def _content(_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """`--from` as content: text as it is, anything else in base64."""
    path = given.pop("path", None)
    if path is None:
        return given
    data = read_bytes(path)
    try:
        text, encoding = data.decode(), "text"
    except UnicodeDecodeError:
        text, encoding = "", "base64"
    if encoding == "base64" or "\0" in text:
        text, encoding = base64.b64encode(data).decode(), "base64"
    return {**given, "content": text, "encoding": encoding}


def _document(_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """`--file` as the document that is in it: YAML, TOML or JSON."""
    path = given.pop("path", None)
    if path is None:
        return given
    from meshcode.cli.files.reading import SUFFIXES, read_files

    form = None
    if path != "-" and not path.endswith(tuple(SUFFIXES)):
        form = "json" if read_bytes(path).lstrip()[:1] == b"{" else "yaml"
    return {**given, "document": read_files([path], form)[0].data}


_RESTORE = Field(
    ("--restore",), "restore", click.INT, "Make it what it was in this version.", metavar="NUMBER"
)
FILE = Noun(
    "file",
    [
        Field(("--from",), "path", _TEXT, "Its content: a file of this host; `-` is stdin.",
              metavar="PATH"),
        Field(("--folder",), "folder", _TEXT, "Where it is, like reports/2026.", metavar="FOLDER"),
        _WORDS,
    ],
    [column("name"), column("folder"), column("bytes"), column("digest"), column("description"),
     column("owner")],
    what="at most 64 KiB that every node has; `mesh ls versions NAME` has what it was.",
    example="rates.csv --from ./rates.csv",
    adapt=_content,
    update=[_RESTORE],
)  # fmt: skip
FLOW = Noun(
    "flow",
    [
        Field(("-f", "--file"), "path", _TEXT, "Its document, YAML or JSON; `-` is stdin.",
              metavar="PATH"),
        _WORDS,
    ],
    [column("name"), column("steps"), column("sockets"), column("description"), column("owner")],
    what="a saved composition of calls; docs/model.md, \"Flows\", has its form.",
    example="night -f night.yaml",
    adapt=_document,
    update=[_RESTORE],
)  # fmt: skip
globals().update(entries({n.kind: n for n in (SETTING, SECRET, FILE, FLOW)}))


@command(name="file")
@objects.one_name("file")
@click.option("--content", is_flag=True, help="Print what is in it, and nothing else.")
@styled
def get_file(name: str, content: bool, style: Style) -> None:
    """Show a file, or print its content as it is.

    Examples:
      mesh get file rates.csv
      mesh get file rates.csv --content > rates.csv
    """
    _show("file", name, content, style)


@command(name="version")
@objects.one_name("version")
@click.option("--content", is_flag=True, help="Print what it was, and nothing else.")
@styled
def get_version(name: str, content: bool, style: Style) -> None:
    """Show a version of a file or flow: NAME@NUMBER, or flow:NAME@NUMBER.

    Examples:
      mesh get version night@3
      mesh get version file:rates.csv@2 --content
    """
    _show("version", name, content, style)


@command(name="versions")
@click.argument("name", required=False, shell_complete=complete("flow"))
@listing
def ls_versions(name: str | None, style: Style) -> None:
    """List the versions that are kept of a file or flow, or of all.

    Examples:
      mesh ls versions night
      mesh ls versions file:rates.csv -o json
    """
    with session() as client:
        rows = all_objects(client, "version")
    wanted = {name, f"flow:{name}", f"file:{name}"}
    rows = [row for row in rows if name is None or row["of"] in wanted]
    rows.sort(key=lambda row: (row["of"], row["number"]))
    columns = [column("name"), column("bytes"), column("digest"), column("by"),
               column("made_ms", "Made")]  # fmt: skip
    none = f"no version of {name!r} is kept" if name else "no version is kept"
    output.show("version", rows, columns, style, empty=none)


def _show(kind: str, name: str, content: bool, style: Style) -> None:
    with session() as client:
        item = objects.one(client, kind, name)
    if not content:
        shown = {k: v for k, v in item.items() if k != "content"} if style.is_text else item
        output.show_facts(kind, item, objects.pairs_of(shown), style)
        return
    text = item["content"]
    output.write_raw(base64.b64decode(text) if item["encoding"] == "base64" else text.encode())
