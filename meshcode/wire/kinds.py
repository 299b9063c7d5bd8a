"""The kinds of envelope and the small codes in their headers; `docs/wire.md` has their bytes."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Kind(IntEnum):
    """What an envelope is.  Client and node use 1 to 19, node and worker 13, 15 and 20 to 39."""

    HELLO = 1  # client -> node: opens a session.  body: {"version", "session", "pid"}
    SUBMIT = 2  # client -> node: one call.  name: socket, meta: options, body: arguments
    ASK = 3  # client -> node: one request.  id: request id, name: operation, body: {fields}
    BYE = 4  # client -> node: the session ends; its calls go on
    WELCOME = 10  # node -> client: answers HELLO.  body: {"node", "boot", "window_calls", ...}
    ACCEPTED = 11  # node -> client: number: sequence of the SUBMIT frame; code: level
    REFUSED = 12  # node -> client: id: the call; body: error data
    OUTCOME = 13  # node -> client, worker -> node.  id: the call; code: Outcome; body: value, error
    ANSWER = 14  # node -> client: id: request id; code 0 good, 1 error; body: data
    ITEM = 15  # worker -> node -> client: number: index of the item; body: value
    EVENT = 16  # node -> client: id: the request that subscribed; body: data
    LAGGED = 17  # node -> client: some messages for this session were dropped: ask again by id
    READY = 30  # worker -> node: the worker can take calls.  body: {"pid", ...}
    START = 31  # node -> worker: attempt numbers of the SUBMIT envelopes that follow, 4 bytes each
    STOP = 32  # node -> worker: finish what runs, report, leave
    OUTPUT = 33  # worker -> node: captured output.  id: the call; code: 1 stdout, 2 stderr
    RETURNED = 35  # worker -> node: ids of staged calls that it gives back, 16 bytes each
    SETUP = 34  # node -> worker: the sockets it serves changed.  body: {"sockets": {socket: task}}
    STREAM = 36  # node -> worker: id: the call; number: units of items it may have sent, 0: drop it


    # Peer -> peer, 40 to 82.  Body: plain data; 48 to 82 carry lists of entries (docs/wire.md).
    PEER_HELLO = 40  # Opens one direction between two nodes.
    PEER_CREDIT = 41  # The last frame that was handled.
    SWIM = 42  # Membership.
    ROSTER = 43  # Signed members and evictions.
    MODEL = 44  # Declared objects.
    CODE = 45  # Commits, for peers that cannot reach the git server.
    RELAY = 46  # What a client asked of a node that has not got it.
    PEER_BYE = 47
    NOTE = 48  # The owner's word on the attempts of a call.
    GONE = 49  # No record: forgotten.
    STORE = 50  # Keep this call.
    STORED = 51  # It is on disk.
    PREPARE = 52  # Promise me this call.
    PROMISE = 53  # Promised; and what was accepted before.
    PROPOSE = 54  # Accept this outcome.
    AGREED = 55  # Accepted.
    OVERTAKEN = 56  # A higher epoch was promised.
    NEED = 57  # Send me the call, or its outcome.
    TOLD = 58  # The outcome is chosen.
    PARENT = 59  # How far is the instance that caused mine?
    PARENT_SAYS = 60
    GRANT = 61  # Calls that the sender's workers have room for.
    RUN = 62  # Run these calls.
    RAN = 63  # What came of them.
    INTERRUPT = 64  # End this one.
    GIVE_BACK = 65  # Return what has not begun.
    GAVE_BACK = 66
    CHUNK = 67  # Part of a large envelope.
    HOLDS = 68  # Do you still have these calls of mine?
    TAKEN = 69  # The report has come.
    KEEP = 70  # Keep a copy of this call, without a vote.
    KEPT = 71  # It is on disk.
    DROP = 72  # It ended, or has voters now.
    CHILD = 73  # Most of the voters of this child of mine are lost: has it ended, as you know?
    CHILD_SAYS = 74
    OUTCOME_OF = 75  # How did this call end?
    OUTCOME_IS = 76
    ARRIVED = 77  # A value for a call that waits for several.
    ITEMS = 80  # An item of a stream that runs here for you.
    CREDIT = 81  # So many of them were taken, and so many may follow.
    SEATS = 82  # How many workers the sender is to have for each processor.


class Outcome(IntEnum):
    """How a call ended; chosen once."""

    DONE = 1
    FAILED = 2
    CANCELLED = 3
    MOVED = 4


class Level(IntEnum):
    """What is true when the node says ACCEPTED."""

    LOCAL = 1  # On one disk, synced.
    QUORUM = 2  # On a majority of three disks.
    ALL = 3  # On every voter's disk.


class Flag(IntFlag):
    """Bits of the header's flags byte."""

    FRESH = 1  # SUBMIT: this id was made now and never sent before, so nothing can be known of it.
    LAST = 2  # ANSWER, EVENT, ITEM: nothing more comes for this request.
    KWARGS = 4  # SUBMIT: the body holds a second object, the keyword arguments.
    AGAIN = 16  # SUBMIT: another node may have this call; ask the peers before it is new.
    RETRY = 8  # OUTCOME from a worker: the failure may be tried again.
