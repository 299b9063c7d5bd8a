"""`./dev versions`, with this checkout as the other one: what it does must pass, and be done."""

from __future__ import annotations

import pytest

from tests.mesh import versions
from tests.mesh.versions import ROOT, main


def test_calls_go_through_all_nodes_over_a_death_and_the_upgrade(monkeypatch, capsys):
    monkeypatch.setattr(versions, "OLD", ((1,),))

    main([str(ROOT), "--calls", "200"])

    told = capsys.readouterr().out.splitlines()
    assert told[0] == "nodes of the other version: n2"
    assert "  n2 was killed meanwhile, and is back" in told
    assert "  n2 runs this version now" in told
    assert told[-1].startswith("OK: ")
    assert sum(" took 200 calls" in line for line in told) == 4


def test_what_is_no_checkout_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])

    assert "is no checkout of meshcode" in capsys.readouterr().err
