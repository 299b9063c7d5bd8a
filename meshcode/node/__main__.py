"""`python -m meshcode.node`: see `daemon.py`."""

import sys

from meshcode.node.daemon import main

sys.exit(main())
