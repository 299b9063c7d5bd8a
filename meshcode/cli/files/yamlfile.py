"""YAML with the line of every key.  PyYAML is optional: what is not YAML needs none of it."""

from __future__ import annotations

from typing import Any

from meshcode.errors import BadData

NODES_MAX = 500_000  # Values of one file, counted where an alias repeats them.
_DEPTH_MAX = 100
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


def read_yaml(text: str, name: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """The one document of a text, and the lines of its keys by the way to them.

    Raises:
        BadData: it is not YAML, has a key twice, a tag of some program, or aliases that grow
            without bound; or PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise BadData(
            f"{name} is YAML, and PyYAML is not installed; install it with"
            " `pip install pyyaml`, or write TOML or JSON"
        ) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    _remember(loader)
    try:
        node = loader.get_single_node()
        reader = _Reader(loader, name)
        return (None if node is None else reader.value(node, (), 0)), reader.lines
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
        where = f"{name}:{mark.line + 1}: column {mark.column + 1}" if mark else name
        why = getattr(exc, "problem", None) or " ".join(str(exc).split())
        raise BadData(f"{where}: this is not YAML: {why}") from None
    except RecursionError:
        raise BadData(f"{name} is nested too deep") from None
    finally:
        loader.dispose()


def _remember(loader: Any) -> None:
    """Work out what kind of value each text is once: keys and values come back thousands of times.

    PyYAML tries a dozen patterns on each, in Python.
    """
    real, known = loader.resolve, {}

    def resolve(kind: Any, value: Any, implicit: Any) -> Any:
        key = (kind, value, implicit)
        found = known.get(key)
        if found is None:
            found = known[key] = real(kind, value, implicit)
        return found

    loader.resolve = resolve


class _Reader:
    def __init__(self, loader: Any, name: str) -> None:
        self.loader = loader
        self.name = name
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.count = 0
        self.checked: set[int] = set()  # Maps, by identity; the document holds them.

    def value(self, node: Any, way: tuple[str | int, ...], depth: int) -> Any:
        """What a node of the document stands for."""
        self.count += 1
        if self.count > NODES_MAX or depth > _DEPTH_MAX:
            what = f"has more than {NODES_MAX} values" if depth <= _DEPTH_MAX else "is nested deep"
            raise BadData(f"{self.name} {what}, aliases counted where they are used")
        if node.id == "scalar":
            return self._scalar(node)
        if node.id == "sequence":
            return [
                self.value(item, (*way, place), depth + 1) for place, item in enumerate(node.value)
            ]
        self._refuse_double(node)
        self.loader.flatten_mapping(node)
        data = {}
        for key_node, inner in node.value:  # What `<<` brings comes first, so the own key holds.
            key = self._key(key_node)
            self.lines[(*way, key)] = key_node.start_mark.line + 1
            data[key] = self.value(inner, (*way, key), depth + 1)
        return data

    def _scalar(self, node: Any) -> Any:
        return node.value if node.tag == _TEXT else self.loader.construct_object(node)

    def _key(self, node: Any) -> Any:
        line = node.start_mark.line + 1
        if node.id != "scalar":
            raise BadData(f"{self.name}:{line}: a key must be a text, not a {node.id}")
        key = self._scalar(node)
        if not isinstance(key, str):
            raise BadData(
                f"{self.name}:{line}: the key {node.value} is read as a {type(key).__name__};"
                " write it in quotes"
            )
        return key

    def _refuse_double(self, node: Any) -> None:
        if id(node) in self.checked:  # Used again by an alias, and merged into by now.
            return
        self.checked.add(id(node))
        seen: dict[str, int] = {}
        for key_node, _inner in node.value:
            if key_node.tag == _MERGE or key_node.id != "scalar":
                continue
            line = key_node.start_mark.line + 1
            if key_node.value in seen:
                raise BadData(
                    f"{self.name}:{line}: {key_node.value!r} stands in line {seen[key_node.value]}"
                    " of the same map already; nothing was changed"
                )
            seen[key_node.value] = line
