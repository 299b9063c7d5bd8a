"""What the compiler of the core is told about classes; nothing where the source itself runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_):
        """As that of mypy_extensions, which only the compiler needs."""
        return lambda one: one


__all__ = ["mypyc_attr"]
