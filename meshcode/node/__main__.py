"""`python -m meshcode.node`: see `daemon.py`."""

import sys

from meshcode import ahead

ahead.use()  # Before anything imports the core.

from meshcode.node.daemon import main  # noqa: E402

sys.exit(main())
