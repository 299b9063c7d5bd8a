"""Tables for people, drawn by hand: borders as the original system drew them, no dependency.

A cell never breaks the table or reaches the terminal as a command: control characters are shown
as escapes.  Only on a terminal are wide tables narrowed, and then the widest columns first.
"""

from __future__ import annotations

from collections.abc import Sequence

COLUMN_CHARACTERS_MIN = 8  # A narrowed column stays at least this wide, or as wide as its title.


def clean(text: str) -> str:
    """The text on one line, with control characters shown as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clean_lines(text: str) -> str:
    """The text with its lines and tabs, with all other control characters shown as escapes."""
    return "\n".join(
        "\t".join(clean(part) for part in line.split("\t")) for line in text.split("\n")
    )


def told(text: str) -> str:
    """What is said to a person, which may be somebody else's words: as `clean_lines`, and no line
    after the first passes for another of ours."""
    first, *others = clean_lines(text).split("\n")
    return "\n".join([first, *(_set_in(line) for line in others)])


def _set_in(line: str) -> str:
    return f"  {line}" if line.lstrip("\t ").startswith("mesh:") else line


def width_of(text: str) -> int:
    """How many terminal columns the text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; what is missing at the end is shown as one `…`."""
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        size = width_of(character)
        if used + size > width - 1:
            break
        kept.append(character)
        used += size
    return "".join(kept) + "…"


def _floors(widths: Sequence[int], titles: Sequence[str]) -> list[int]:
    """How narrow each column may become."""
    return [
        min(w, max(len(t), COLUMN_CHARACTERS_MIN)) for w, t in zip(widths, titles, strict=True)
    ]


def _widths(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [
        max([width_of(title), *(width_of(row[i]) for row in cells)])
        for i, title in enumerate(titles)
    ]


def least_width(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The columns of a terminal that a table takes when all that can be narrowed is."""
    cells = [[clean(cell) for cell in row] for row in rows]
    return sum(_floors(_widths(titles, cells), titles)) + 3 * len(titles) + 1


def _fit(widths: list[int], titles: Sequence[str], room: int) -> list[int]:
    """Narrow the widest columns until the table fits `room`, or nothing can be narrowed."""
    floors = _floors(widths, titles)
    widths = list(widths)
    excess = sum(widths) + 3 * len(widths) + 1 - room
    while excess > 0:
        spare = [(w - f, i) for i, (w, f) in enumerate(zip(widths, floors, strict=True)) if w > f]
        if not spare:
            break
        widest = max(spare, key=lambda s: (widths[s[1]], -s[1]))[1]
        widths[widest] -= 1
        excess -= 1
    return widths


def draw(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, room: int | None = None
) -> list[str]:
    """The lines of a bordered table.

    Args:
        titles: one per column.
        rows: cells, as many per row as there are titles.
        room: columns of the terminal; None means nothing is cut.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = _widths(titles, cells)
    if room is not None:
        widths = _fit(widths, titles, room)
    right = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(titles))]
    border = "+" + "+".join("-" * (w + 2) for w in widths) + "+"

    def line(values: Sequence[str], aligned: Sequence[bool]) -> str:
        parts = []
        for value, width, to_right in zip(values, widths, aligned, strict=True):
            text = value if value.isascii() and len(value) <= width else cut(value, width)
            if text.isascii():
                parts.append(text.rjust(width) if to_right else text.ljust(width))
                continue
            space = " " * (width - width_of(text))
            parts.append(space + text if to_right else text + space)
        return "| " + " | ".join(parts) + " |"

    head = line(list(titles), [False] * len(titles))
    return [border, head, border, *(line(row, right) for row in cells), border]


def _is_number(text: str) -> bool:
    return not text or text.lstrip("-").replace(".", "", 1).isdigit()


def facts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of `name  value`, the values in one column; for one object rather than many."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:<{width}}  {clean(value)}".rstrip() for name, value in pairs]
