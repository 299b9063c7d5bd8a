"""What is done for every call, in two twins: C where it was compiled, Python everywhere.

Both have the same functions.  Most give the same rows, faults, drafts and records for the same
bytes, whichever twin is in use:

    index, pick, check    a frame or an envelope is checked, and its rows told
    seal                  the checksums of a frame
    mold                  drafts of calls that are alike
    scan                  the shape of packed data
    Slots                 which calls a worker is in
    pack_done, pack_vote, group, flatten, append, open_rows
                          records and batches of the log
    numbered_ids          ids of the steps of a flow
    prctl                 what ties a worker to its node

The others may say that they do not do it, by None or NotImplemented, and the caller does it the
longer way, to the same end.  C says so of what is not simple, the pure twin of everything:

    pack_simple, pack_items, unpack_simple, unpack_items
                          values of simple kinds; the longer way is msgpack
    pack_words            the same for all that is said to other nodes
    plain_words           whether what a peer says is plain; else `meshcode.router.heardmany`
    plain_reports         the same of a worker's outcomes; else `meshcode.node.workerwords`
    seal_rows, feed_first envelopes of the steps of a flow; else `meshcode.wire.frame`
    dealer                a worker's link; else pyzmq

`TWIN` says which one is in use: `"c"` or `"pure"`; the environment variable MESHCODE_PURE=1 chooses
pure at run time, and skips the C build at install time.

The same library has the C that writes the log (staging.c); who uses it is `meshcode.store.binding`.
"""

from __future__ import annotations

import os

_PURE_WANTED = os.environ.get("MESHCODE_PURE", "") not in ("", "0")

try:
    if _PURE_WANTED:
        raise ImportError("MESHCODE_PURE is set")
    from meshcode.native.compiled import (
        Slots,
        append,
        check,
        dealer,
        feed_first,
        flatten,
        group,
        index,
        mold,
        numbered_ids,
        open_rows,
        pack_done,
        pack_items,
        pack_simple,
        pack_vote,
        pack_words,
        pick,
        plain_reports,
        plain_words,
        prctl,
        scan,
        seal,
        seal_rows,
        unpack_items,
        unpack_simple,
    )

    TWIN = "c"
except ImportError:  # Not wanted or not compiled here: what the pure twin does is slower.
    from meshcode.native.pure import (
        Slots,
        append,
        check,
        dealer,
        feed_first,
        flatten,
        group,
        index,
        mold,
        numbered_ids,
        open_rows,
        pack_done,
        pack_items,
        pack_simple,
        pack_vote,
        pack_words,
        pick,
        plain_reports,
        plain_words,
        prctl,
        scan,
        seal,
        seal_rows,
        unpack_items,
        unpack_simple,
    )

    TWIN = "pure"

__all__ = [
    "TWIN", "Slots", "append", "check", "dealer", "feed_first", "flatten", "group", "index",
    "mold", "numbered_ids", "open_rows", "pack_done", "pack_items", "pack_simple", "pack_vote",
    "pack_words", "pick", "plain_reports", "plain_words", "prctl", "scan", "seal", "seal_rows",
    "unpack_items", "unpack_simple",
]  # fmt: skip
