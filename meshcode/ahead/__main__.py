"""`python -m meshcode.ahead`: compile the core.  See `build.py`."""

import sys
import time

from meshcode.ahead.build import CannotCompile, build

begin = time.monotonic()
try:
    place, is_new = build()
except CannotCompile as error:
    sys.exit(f"meshcode: {error}")
if is_new:
    print(f"the core is compiled, after {time.monotonic() - begin:.0f} s: {place}")
else:
    print(f"the core was compiled already: {place}")
