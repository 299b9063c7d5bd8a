"""Both framing twins, each in turn."""

from __future__ import annotations

from types import ModuleType

import pytest

from meshcode import native
from meshcode.native import pure
from meshcode.wire import codec, general

try:
    from meshcode.native import compiled
except ImportError:
    compiled = None

TWINS: dict[str, ModuleType | None] = {"pure": pure, "c": compiled}


@pytest.fixture(params=list(TWINS))
def twin(request, monkeypatch) -> ModuleType:
    """The framing twin that `meshcode.wire` uses during the test."""
    module = TWINS[request.param]
    if module is None:
        pytest.skip("the C twin was not compiled here")
    for name in native.__all__[1:]:
        monkeypatch.setattr(native, name, getattr(module, name))
    for name in ("pack_simple", "pack_items", "unpack_simple", "unpack_items"):
        monkeypatch.setattr(codec, f"_{name}", getattr(module, name))
    monkeypatch.setattr(general, "_COUNT_BYTES_MAX", 0 if request.param == "c" else 64 * 1024)
    return module
