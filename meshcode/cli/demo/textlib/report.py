"""Writing the report: the second processor of the demo, in an environment with one package more."""

from __future__ import annotations

from typing import Any

try:
    import humanize as sizes  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # The package index was out of reach; the repository brings its own.
    import plainsize as sizes  # type: ignore[import-not-found, no-redef, unused-ignore]

from .clean import note


def line(stats: dict[str, Any], key: str, ledger: str) -> dict[str, Any]:
    """One line of text on one file, with the figures it came from."""
    name = stats["path"].rsplit("/", 1)[-1]
    top = ", ".join(f"{word} {times}" for word, times in stats["top"][:3])
    size = sizes.naturalsize(stats["bytes"], binary=True)
    note(ledger, key)
    return {
        "text": f"{name:<24} {size:>10} {stats['lines']:>6} lines  {top}",
        "bytes": stats["bytes"],
        "words": stats["words"],
    }


def merge(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """All lines as one report, and which package wrote the sizes."""
    total = sum(one["bytes"] for one in lines)
    return {
        "lines": [one["text"] for one in sorted(lines, key=lambda one: -one["bytes"])],
        "bytes": total,
        "words": sum(one["words"] for one in lines),
        "size": sizes.naturalsize(total, binary=True),
        "package": sizes.__name__,
        "version": str(getattr(sizes, "__version__", "")),
        "file": sizes.__file__,
    }
