"""Every bound of the system, in one place: what it is, its unit, and why this number."""

from __future__ import annotations

# Sizes of one envelope and one frame.
NAME_BYTES_MAX = 255  # One length byte in the header; the seed's names are dotted module paths.
META_BYTES_MAX = 16 * 1024  # Options of one call; anything larger belongs in the arguments.
BODY_BYTES_MAX = 16 * 1024 * 1024  # Arguments or result of one call.
ENVELOPE_BYTES_MAX = 80 + NAME_BYTES_MAX + META_BYTES_MAX + BODY_BYTES_MAX  # All at their limit.
FRAME_BYTES_MAX = 20 * 1024 * 1024  # One link message; one full envelope fits with room to spare.
FRAME_ENVELOPES_MAX = 4096  # Rows of one index call.
FRAME_BYTES_GOAL = 256 * 1024  # A sender closes a batch here; larger gains nothing.
DATA_DEPTH_MAX = 64  # Nesting of one value; deeper is refused, never recursed into.

# Back-pressure between a client and its node.
WINDOW_CALLS = 8192  # Submitted and not yet acknowledged, per client.
WINDOW_BYTES = 16 * 1024 * 1024  # The same in bytes; one larger call may always pass alone.
CLIENT_OUTBOX_BYTES_MAX = 64 * 1024 * 1024  # Waiting for a slow client; then it lags.
TURN_EVENTS_MAX = 64  # Link messages drained in one turn, so that timers never starve.
TURN_BYTES_MAX = 8 * 1024 * 1024  # The same in bytes of clients; one frame may pass it.
TURNS_UNSYNCED_MAX = 8  # Turns thought but not yet synced; above, links are left unread.
CLIENTS_MAX = 1024  # Live client sessions of one node.

# The core.
RETRIES_DEFAULT = 5  # Further attempts after a worker died under a call (RELIABILITY rule 3).
RETRY_DELAY_MS_MIN = 200  # Before the second attempt; doubled for each further one.
RETRY_DELAY_MS_MAX = 60_000  # Doubling ends here: a fault is noticed gone in a minute.
RUNNING_MARK_MS = 1_000  # A call running longer is marked, so a crash counts its attempt.
STUCK_MS = 100  # Calls staged behind one that runs longer than this are taken back.
CREDIT_CALLS_MAX = 512  # Calls staged at one worker, however short they are.
CREDIT_WORK_US = 5_000  # Work staged at one worker, in microseconds of its usual run time.
CREDIT_BYTES_MAX = 8 * 1024 * 1024  # Bytes staged at one worker.
PRIORITY_MAX = 9  # 0 is least, 9 runs first.
PRIORITY_DEFAULT = 4  # Room for less and for more urgent calls.
STORY_EVENTS_MAX = 64  # Events kept per call; the first and the newest stay.
OPEN_CALLS_MAX = 20_000_000  # Waiting and running calls of one node.
BODIES_IN_MEMORY_BYTES_MAX = 256 * 1024 * 1024  # Bodies above this are read back from the log.
FETCH_CALLS_MAX = 512  # Envelopes of one line read back from the log at once.
FETCH_BYTES_MIN = 1024 * 1024  # Of one line, however full the memory is; one call may be larger.

# The log.
BLOB_BYTES_MIN = 64 * 1024  # Records above this live in files beside the log.
COMMIT_DELETES_MAX = 256  # Deletions per housekeeping transaction: large free lists slow commits.
DISK_TIGHT_RATIO = 0.85  # Above: no new calls.
DISK_FULL_RATIO = 0.95  # Above: outcomes only.
DISK_NEVER_RATIO = 0.98  # Never given away: what is above is kept for deletes.
DISK_TIGHT_FREE_BYTES = 4 * 1024**3  # A disk with more than this left is never tight, at any ratio.
DISK_FULL_FREE_BYTES = 1024**3  # The same for full.
BALLAST_BYTES = 32 * 1024 * 1024  # Freed first when the disk is full.

# Workers.
CANCEL_GRACE_MS = 2_000  # From interrupt to kill.
OUTPUT_BYTES_MAX = 256 * 1024  # Captured stdout and stderr kept per call; the tail is kept.
TRACEBACK_BYTES_MAX = 32 * 1024  # Of a failed call's traceback and text; the tail is kept.
FLUSH_MS = 2  # A worker reports finished calls at least this often.
ASYNC_CALLS_MAX = 64  # `async def` calls running at once in one worker.

# History.
RESULT_KEEP_MS = 7 * 24 * 3600 * 1000  # Outcomes stay readable for a week.
RESULT_KEEP_COUNT = 10_000_000  # About 5 GB of small calls; the oldest go first.

# Trust: the roster and joining.
NODE_NAME_BYTES_MAX = 64  # Shown in every listing; a DNS label has 63.
ROSTER_MEMBERS_MAX = 2_048  # Chains of members, evicted ones too; we simulate 500 nodes.
ROSTER_DELEGATIONS_MAX = 64  # Admitting keys ever delegated; each one is a risk.
ROSTER_BYTES_MAX = 4 * 1024 * 1024  # A packed roster: 2,048 members with a few rotations each.
ROTATIONS_MAX = 64  # Entries of one member's chain: over five years of monthly rotation.
KEEPS_MAX = 4_096  # Statements an eviction lets stand: every member, once rotated.
KEY_OVERLAP_MS = 24 * 3600 * 1000  # An old key is good this long: a day off-line costs nothing.
KEY_OVERLAP_EDGE_MS = 30 * 24 * 3600 * 1000  # Edge nodes are off-line for weeks.
INVITE_TTL_MS_MAX = 24 * 3600 * 1000  # A line in a chat log must not stay a door.
INVITES_MAX = 256  # Files of invitations; what is long expired is removed first.
INVITE_LINE_BYTES_MAX = 1_024  # Eight addresses with room to spare.
INVITE_HOSTS_MAX = 8  # Addresses in one line; each is tried for seconds.
JOIN_MESSAGE_BYTES_MAX = 8 * 1024  # A request has 600 bytes; strangers may send no more.
JOIN_ATTEMPTS_PER_MINUTE = 10  # Of one remote address; a person joins a node once.
JOIN_MESSAGES_PER_MINUTE = 240  # Of one remote address, waiting for approval included.
JOIN_ADDRESSES_MAX = 1_024  # Remote addresses that are counted; the oldest are forgotten.
JOIN_MESSAGES_PER_TURN = 16  # Answered before the node's loop goes on.
JOIN_WAIT_MS = 10_000  # A joiner waits this long for each step of one address.
