"""`mesh man`: manual pages, written from the commands themselves."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

import click

from meshcode import __version__
from meshcode.cli import output
from meshcode.cli.lazy import LazyGroup
from meshcode.cli.options import command
from meshcode.errors import NodeError, UnknownObject
from meshcode.nearest import nearest

_EXIT = (
    ("0", "done"), ("1", "the task raised, or a check failed"), ("2", "wrong use or wrong data"),
    ("3", "not found"), ("4", "not allowed"), ("5", "cancelled, or the result expired"),
    ("6", "exists already, in use, or in another state"), ("7", "no node answers"),
    ("8", "an answer without some that should be in it"),
    ("9", "refused by a limit, or the database is away"),
    ("74", "stdout could not be written"), ("124", "--timeout passed"),
    ("130, 143", "SIGINT, SIGTERM"), ("141", "the reader of stdout went away"),
)  # fmt: skip
_GLOBAL = "options of mesh itself, which stand before the command, are in mesh(1)."


class Page:
    """One manual page as it is being written."""

    def __init__(self, name: str, what: str) -> None:
        """With its head; `what` is one line."""
        self.name = name
        self.lines = [
            f'.TH "{quoted(name.upper())}" 1 "" "meshcode {__version__}" "meshcode"',
            ".SH NAME",
            f"{quoted(name)} \\- {quoted(what.rstrip('.'))}",
        ]

    def section(self, title: str) -> None:
        """Begin a section."""
        self.lines.append(f".SH {title}")

    def text(self, text: str) -> None:
        """Paragraphs, filled."""
        for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
            if number:
                self.lines.append(".PP")
            self.lines.append(quoted(" ".join(paragraph.split())))

    def verbatim(self, lines: list[str]) -> None:
        """Lines as they are."""
        self.lines += [".nf", *(quoted(line) for line in lines), ".fi"]

    def item(self, term: str, text: str) -> None:
        """A term and what it means."""
        self.lines += [".TP", f"\\fB{quoted(term)}\\fR", quoted(" ".join(text.split()))]

    def roff(self) -> str:
        """The page for `man -l`."""
        return "\n".join(self.lines) + "\n"


def quoted(text: str) -> str:
    """Text in which roff finds no request and no escape, with hyphens that can be typed."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped


def pages() -> Iterator[Page]:
    """Every page: mesh(1), then one for each group and command."""
    from meshcode.cli.app import root

    yield from _pages(root(), ("mesh",), "durable calls on a mesh without a broker")


def _pages(found: click.Command, path: tuple[str, ...], what: str) -> Iterator[Page]:
    context = click.Context(found, info_name=" ".join(path))
    yield _page(found, context, path, what)
    if isinstance(found, LazyGroup):
        for name, entry in found.entries.items():
            child = found.get_command(context, name)
            assert child is not None, name
            yield from _pages(child, (*path, name), entry.help)


def _page(found: click.Command, context: click.Context, path: tuple[str, ...], what: str) -> Page:
    page = Page("-".join(path), what)
    page.section("SYNOPSIS")
    pieces = " ".join(found.collect_usage_pieces(context))
    page.lines.append(f"\\fB{quoted(' '.join(path))}\\fR {quoted(pieces)}")
    page.section("DESCRIPTION")
    about, _, examples = (found.help or what).replace("\b\n", "").partition("Examples:\n")
    about, _, _ = about.partition("Exit status:")
    page.text(about)
    records = [p.get_help_record(context) for p in found.get_params(context)]
    options = [record for record in records if record is not None and record[1]]
    if options:
        page.section("OPTIONS")
        for term, text in options:
            page.item(term, text)
    if isinstance(found, LazyGroup):
        page.section("COMMANDS")
        for name, entry in found.entries.items():
            page.item("-".join((*path, name)) + "(1)", entry.help)
    if examples:
        page.section("EXAMPLES")
        lines = examples.partition("\n\n")[0].splitlines()
        page.verbatim([line.removeprefix("  ") for line in lines])
    _tail(page, path)
    return page


def _tail(page: Page, path: tuple[str, ...]) -> None:
    page.section("EXIT STATUS")
    if len(path) > 1:
        page.text("See mesh(1); " + _GLOBAL)
    else:
        for code, meaning in _EXIT:
            page.item(code, meaning)
        page.section("ENVIRONMENT")
        from meshcode import config

        for key in config.KEYS.values():
            page.item(key.variable, key.text)
        page.item(config.CONTEXT_VARIABLE, "Name of the context: see mesh-context(1).")
    page.section("SEE ALSO")
    above = "-".join(path[:-1]) or "mesh-cheat"
    page.text(f"{above}(1)")


@command()
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.option("--into", metavar="DIR", help="Write the pages of all commands there, as NAME.1.")
def man(words: tuple[str, ...], into: str | None) -> None:
    """Show the manual page of a command; when stdout is no terminal, as roff.

    Examples:
      mesh man ls calls
      mesh man --into ~/.local/share/man/man1
      mesh man run | man -l -
    """
    if into is not None:
        if words:
            raise click.UsageError("--into writes all pages; leave the command out")
        if not into:
            raise click.UsageError("--into is empty; name a folder, like ~/.local/share/man/man1")
        _write_all(into)
        return
    wanted = "-".join(("mesh", *words))
    found = {page.name: page for page in pages()}
    page = found.get(wanted)
    if page is None:
        near = nearest(wanted, found)
        hint = f"; did you mean `{near.replace('-', ' ')}`?" if near else ""
        raise UnknownObject(f"there is no page {wanted}(1){hint}", kind="page", name=wanted)
    _show(page)


def _show(page: Page) -> None:
    import shutil
    import subprocess

    reader = shutil.which("man")
    if sys.stdout.isatty() and reader:
        subprocess.run([reader, "-l", "-"], input=page.roff().encode(), check=False)
        return
    sys.stdout.write(page.roff())


def _write_all(folder: str) -> None:
    count = 0
    try:
        os.makedirs(folder, exist_ok=True)
        for page in pages():
            with open(os.path.join(folder, f"{page.name}.1"), "w", encoding="utf-8") as file:
                file.write(page.roff())
            count += 1
    except OSError as error:
        raise NodeError(
            f"{error.filename or folder} cannot be written: {error.strerror}; {count} pages were"
        ) from None
    output.write(f"{count} pages written to {folder}")
