"""`python -m meshcode.cli` is `mesh`."""

from __future__ import annotations

import sys

from meshcode.cli import main

sys.exit(main())
