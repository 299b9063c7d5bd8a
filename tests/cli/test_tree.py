"""How trees are drawn."""

from __future__ import annotations

import io
from itertools import pairwise

from meshcode.cli.tree import ASCII, UTF8, Branch, horizontal, lines_for, vertical

LEAF = Branch("socket", "s")
SHOP = Branch(
    "network", "shop", "ours",
    (
        Branch("node", "n1", "", (Branch("processor", "p", "", (LEAF, Branch("socket", "t"))),)),
        Branch("queue", "q", "2 waiting", (LEAF,)),
    ),
)  # fmt: skip


def test_vertical():
    assert vertical(SHOP, UTF8) == [
        "network shop (ours)",
        "├── node n1",
        "│   └── processor p",
        "│       ├── socket s",
        "│       └── socket t",
        "└── queue q (2 waiting)",
        "    └── socket s",
    ]


def test_vertical_in_ascii():
    assert vertical(SHOP, ASCII) == [
        "network shop (ours)",
        "|-- node n1",
        "|   `-- processor p",
        "|       |-- socket s",
        "|       `-- socket t",
        "`-- queue q (2 waiting)",
        "    `-- socket s",
    ]


def test_horizontal():
    assert horizontal(SHOP, UTF8) == [
        "network shop (ours) ─┬─ node n1 ─── processor p ─┬─ socket s",
        "                     │                           └─ socket t",
        "                     └─ queue q (2 waiting) ─── socket s",
    ]


def test_horizontal_strokes_meet():
    """Every stroke down begins under one, and ends at one."""
    rows = horizontal(SHOP, ASCII)
    for above, below in pairwise(rows):
        for column, character in enumerate(below):
            if character in "|`":
                assert above[column] in "+|", (above, below, column)


def test_a_name_cannot_break_the_tree():
    (line,) = vertical(Branch("queue", "a\x1b[31m\nb"), UTF8)

    assert line == "queue a\\x1b[31m\\nb"


def test_the_locale_decides_which_lines_are_drawn():
    utf8, latin = (io.TextIOWrapper(io.BytesIO(), encoding=e) for e in ("utf-8", "latin-1"))

    assert lines_for(utf8, ascii_only=False) is UTF8
    assert lines_for(latin, ascii_only=False) is ASCII
    assert lines_for(utf8, ascii_only=True) is ASCII
