"""Files as plain data, with the line of everything in them: YAML, TOML and JSON.

What is read is only data: no tags, no code.  A key that stands twice is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshcode.cli import standard
from meshcode.errors import BadData
from meshcode.limits import BODY_BYTES_MAX

SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
FORMATS = ("yaml", "toml", "json")
STDIN = "-"

Way = tuple[str | int, ...]  # The keys and places that lead to a value.


@dataclass(frozen=True, slots=True)
class Source:
    """One file that was read."""

    name: str  # As it was given; `stdin` for that.
    folder: Path  # What files that it names are relative to.
    data: Any  # A map of kinds; of a flow, what its document is.
    lines: Mapping[Way, int] = field(default_factory=dict)  # Of keys, counted from 1.

    def where(self, way: Sequence[str | int]) -> str:
        """`net.yaml:12`: of the key, else of the nearest around it; else the file alone."""
        for length in range(len(way), 0, -1):
            line = self.lines.get(tuple(way[:length]))
            if line is not None:
                return f"{self.name}:{line}"
        return self.name


def read_files(
    paths: Sequence[str], form: str | None = None, *, kinds: bool = True
) -> list[Source]:
    """Read files in their order; a folder is its files, `-` is stdin.

    Args:
        paths: as they were given.
        form: yaml, toml or json for all of them; None goes by their names.
        kinds: they are files of the model, so each is a map of kinds.

    Raises:
        BadData: a file that cannot be read, with its name and, where known, the line.
    """
    found: list[Source] = []
    for path in paths:
        if path == STDIN:
            found.append(_read("stdin", Path.cwd(), _stdin(), form))
        elif Path(path).is_dir():
            found += [_read_path(inside, form) for inside in _files_in(Path(path))]
        else:
            found.append(_read_path(Path(path), form))
    for source in found:
        if kinds and not isinstance(source.data, dict):
            what = type(source.data).__name__
            raise BadData(f"{source.name} is a {what}; it must be a map of kinds")
    return found


def _files_in(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if not files:
        endings = ", ".join(SUFFIXES)
        raise BadData(f"the folder {folder} has no file that ends with {endings}")
    return files


def _read_path(path: Path, form: str | None) -> Source:
    try:
        with path.open("rb") as file:
            content = file.read(BODY_BYTES_MAX + 1)
    except OSError as exc:
        raise BadData(f"{path} cannot be read: {exc.strerror or exc}") from None
    form = form or SUFFIXES.get(path.suffix)
    if form is None:
        endings = ", ".join(SUFFIXES)
        raise BadData(f"{path} ends with none of {endings}; say what it is with --format")
    return _read(str(path), path.parent, content, form)


def _stdin() -> bytes:
    return standard.read_stdin(BODY_BYTES_MAX + 1)


def _read(name: str, folder: Path, content: bytes, form: str | None) -> Source:
    if len(content) > BODY_BYTES_MAX:
        raise BadData(f"{name} has more than {BODY_BYTES_MAX} bytes; cut it into several files")
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        byte = f"byte {exc.start} is 0x{content[exc.start]:02x}"
        raise BadData(f"{name} is not UTF-8 text: {byte}") from None
    if form is None:  # JSON is YAML as well, but needs nothing to be installed.
        form = "json" if text.lstrip()[:1] == "{" else "yaml"
    lines: Mapping[Way, int] = {}
    if form == "yaml":
        from meshcode.cli.files.yamlfile import read_yaml

        data, lines = read_yaml(text, name)
    elif form == "toml":
        data, lines = _read_toml(text, name)
    else:
        data, lines = _read_json(text, name)
    if data is None:
        data = {}
    return Source(name, folder, data, lines)


def _read_json(text: str, name: str) -> tuple[Any, Mapping[Way, int]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in pairs:
            if key in data:
                raise BadData(f"{name} has {key!r} twice in one map; nothing was changed")
            data[key] = value
        return data

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as exc:
        raise BadData(
            f"{name}:{exc.lineno}: column {exc.colno}: this is not JSON: {exc.msg}"
        ) from None
    except RecursionError:
        raise BadData(f"{name} is nested too deep") from None
    return data, _JsonLines(text)


class _JsonLines(dict[Way, int]):
    """Lines of JSON: found when the first is asked for, which is when something is wrong."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text: str | None = text

    def get(self, way: Any, default: Any = None) -> Any:
        """The line of a key; YAML's reader knows lines, and JSON is YAML."""
        if self._text is not None:
            text, self._text = self._text, None
            try:
                from meshcode.cli.files.yamlfile import read_yaml

                self.update(read_yaml(text, "json")[1])
            except BadData:  # No reader is installed, or tabs: there are no lines then.
                self.clear()
        return super().get(way, default)


def _read_toml(text: str, name: str) -> tuple[Any, Mapping[Way, int]]:
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise BadData(f"{name}: this is not TOML: {exc}") from None
    except RecursionError:
        raise BadData(f"{name} is nested too deep") from None
    return data, _toml_lines(text)


def _toml_lines(text: str) -> dict[Way, int]:
    """Lines of `[table]` headers and of the keys under them."""
    import tomllib

    def way_of(key: str) -> Way:
        try:
            node: Any = tomllib.loads(f"{key} = 0")
        except tomllib.TOMLDecodeError:  # A line inside a text of several lines.
            return ()
        way: list[str] = []
        while isinstance(node, dict):
            ((part, node),) = node.items()
            way.append(part)
        return tuple(way)

    lines: dict[Way, int] = {}
    table: Way = ()
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if word.startswith("["):
            table = way = way_of(word.partition("#")[0].strip().strip("[]"))
        else:
            inner = way_of(word.partition("=")[0].strip()) if "=" in word else ()
            way = (*table, *inner) if inner else ()
        for length in range(1, len(way) + 1):
            lines.setdefault(way[:length], number)
    return lines
