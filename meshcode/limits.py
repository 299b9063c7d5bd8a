"""Every bound of the system, in one place: what it is, its unit, and why this number."""

from __future__ import annotations

# Sizes of one envelope and one frame.
NAME_BYTES_MAX = 255  # One length byte in the header; the seed's names are dotted module paths.
META_BYTES_MAX = 16 * 1024  # Options of one call; anything larger belongs in the arguments.
ROUTE_BYTES_MAX = META_BYTES_MAX // 2  # Names of plugs that a result chooses, within such a meta.
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
CLIENTS_OUTBOX_BYTES_MAX = 256 * 1024 * 1024  # For all of them; with little memory less:
CLIENTS_OUTBOX_SHARE = 4  # This part of what a node may take, at most.
TURN_EVENTS_MAX = 64  # Link messages drained in one turn, so that timers never starve.
TURN_WORK_MAX = 8192  # Of clients; a plain call is 1. One frame or part of one may pass it.
PART_WORK_MAX = 4096  # Of a frame taken in one step, as a whole frame of plain calls.
CALL_WORK = 3  # Of a call that goes the long way, of a step of a flow, and of a copy.
ASK_WORK = 40  # Of a request: 0.1 ms, as cancelling a call.
TURN_BYTES_MAX = 8 * 1024 * 1024  # The same in bytes of clients; one frame may pass it.
TURNS_UNSYNCED_MAX = 8  # Turns thought but not yet synced; above, links are left unread.
FRESH_TRUSTED_MS = 10_000  # Of an id made longer ago the node looks up whether it ended already.
ID_AHEAD_MS = 3_600_000  # Clocks of clients are wrong by minutes, or by a zone that was not set.
CLIENTS_MAX = 1024  # Live client sessions of one node.

# The core.
TIMERS_AT_ONCE = 512  # Fired in one step: 200,000 calls that expire together took 10 s.
COPIES_AT_ONCE = 256  # Of broadcasts, made in one step: 4,096 calls to four workers took 0.7 s.
RETRIES_DEFAULT = 5  # Further attempts after a worker died under a call (RELIABILITY rule 3).
RETRY_DELAY_MS_MIN = 200  # Before the second attempt; doubled for each further one.
RETRY_DELAY_MS_MAX = 60_000  # Doubling ends here: a fault is noticed gone in a minute.
RUNNING_MARK_MS = 1_000  # A call running longer is marked, so a crash counts its attempt.
STUCK_MS = 100  # Calls staged behind one that runs longer than this are taken back.
CREDIT_CALLS_MAX = 512  # Calls staged at one worker, however short they are.
CREDIT_WORK_US = 5_000  # Work staged at one worker, in microseconds of its usual run time.
STAGE_AHEAD_US = 50_000  # Of longer calls none is staged behind another.
CREDIT_BYTES_MAX = 8 * 1024 * 1024  # Bytes staged at one worker.
PRIORITY_MAX = 9  # 0 is least, 9 runs first.
PRIORITY_DEFAULT = 4  # Room for less and for more urgent calls.
STORY_EVENTS_MAX = 64  # Events kept per call; the first and the newest stay.
OPEN_CALLS_MAX = 20_000_000  # Waiting and running calls of one node, and copies of others' calls.
OPEN_CALLS_MIN = 1_000  # So many are taken whatever the memory says: else nothing might go on.
MEMORY_BYTES_MIN = 64 * 1024 * 1024  # Of a node: idle it takes half of it.
CALL_BYTES = 1_024  # More than an open call of usual size takes, with its envelope.
BODIES_IN_MEMORY_BYTES_MAX = 256 * 1024 * 1024  # Bodies above this are read back from the log.
FETCH_CALLS_MAX = 512  # Envelopes of one line read back from the log at once.
FETCH_BYTES_MIN = 1024 * 1024  # Of one line, however full the memory is; one call may be larger.

# Flows.
FLOW_STEPS_MAX = 131_072  # Steps of one plan: all of them are one batch of the log.
NEED_ASK_MS = 2_000  # Peers are asked again for an outcome that a step waits for.
KEEPER_AWAY_MS = 60_000  # A node away longer keeps no calls of schedules.
LATE_TICK_ASK_MS = 10_000  # Peers are asked so long whether they have made a tick of before.
LONE_TICK_ASK_MS = 1_000  # Before a node makes alone what three would keep, were they here.
NEEDS_ASKED_MAX = 1_024  # Of those at once.
FLOW_STEP_ARGUMENTS_MAX = 253  # A header tells up to 254, and one may be what the step is fed.
FLOW_NESTING_MAX = 60  # Compositions within each other: each may be a level of the value.

# Streams (docs/streams.md).
STREAM_WINDOW = 256  # Units of one stream in flight; hides the way of an item through the log.
STREAM_UNIT_BYTES = 32 * 1024  # Of an item: a larger one counts as several, so 8 MiB are in flight.
STREAM_ITEM_BYTES_MAX = BODY_BYTES_MAX - 128 * 1024  # It travels to peers, and along plugs.
STREAM_SLICE_MS = 10  # A generator that has credit lets other calls of its worker run after this.
STREAM_ACK_ITEMS = 32  # Items of a peer after which they are acknowledged, an eighth of the window.
STREAM_READ_ITEMS = 512  # Given to one reader at once.
STREAM_READ_BYTES = 1024 * 1024  # The same in bytes; one larger item may pass alone.
STREAM_WAIT_MS = 2_000  # A reader without an item is answered by then; below RELAY_PATIENCE_MS.
STREAM_READERS_MAX = 10_000  # Waiting at one node; each costs under a kilobyte.

# The log.
BLOB_BYTES_MIN = 64 * 1024  # Records above this live in files beside the log.
DISK_TIGHT_RATIO = 0.85  # Above: no new calls.
DISK_FULL_RATIO = 0.95  # Above: outcomes only.
DISK_STUCK = 3  # The level of a disk (`events.DiskChanged`) from which on nothing begins.
DISK_WAITS_BYTES_MAX = 32 * 1024 * 1024  # Of outcomes that wait for room in memory; then no more.
DISK_NEVER_RATIO = 0.98  # Never given away: what is above is kept for deletes.
DISK_TIGHT_FREE_BYTES = 4 * 1024**3  # A disk with more than this left is never tight, at any ratio.
DISK_FULL_FREE_BYTES = 1024**3  # The same for full.
BALLAST_BYTES = 32 * 1024 * 1024  # Freed first when the disk is full.
BALLAST_FREE_BYTES = 128 * 1024 * 1024  # A disk with less free gets none (`store/ballast.py`).

# Workers.
CANCEL_GRACE_MS = 2_000  # From interrupt to kill.
OUTPUT_BYTES_MAX = 256 * 1024  # Captured stdout and stderr kept per call; the tail is kept.
WORKERS_LOG_BYTES_MAX = 8 * 1024 * 1024  # Looked at once a second; when it has more,
WORKERS_LOG_BYTES_KEPT = 4 * 1024 * 1024  # its newest are kept.
TRACEBACK_BYTES_MAX = 32 * 1024  # Of a failed call's traceback and text; the tail is kept.
FLUSH_MS = 2  # A worker reports finished calls at least this often.
ASYNC_CALLS_MAX = 64  # `async def` calls running at once in one worker.

# History; how much is kept are the settings retention_age, _calls and _bytes.
RETENTION_MS_MIN = 60_000  # What ended since is never forgotten: a client may be about to ask.
RETENTION_LOOK_MS = 10_000  # Between two looks at what to forget, when there is no more at once.
RETENTION_LOOK_CALLS = 512  # Looked at, and forgotten, in one go: some milliseconds.
RETENTION_PAUSE_MS = 10  # Between two looks when there is more, so that calls go in between,
RETENTION_SHARE = 10  # and so long at least that no more than one part of this takes of its time.
RETENTION_TIMES_MS = 500  # How long it is good enough to know at which times open calls were made.

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
JOIN_CONNECTIONS_PER_MINUTE = 30  # Of one remote address; each costs a descriptor.
JOIN_ADDRESSES_MAX = 1_024  # Remote addresses that are counted; the oldest are forgotten.
JOIN_MESSAGES_PER_TURN = 16  # Answered before the node's loop goes on.
JOIN_WAIT_MS = 10_000  # A joiner waits this long for each step of one address.

# Code from peers.
CODE_BUNDLE_BYTES_MAX = 512 * 1024 * 1024  # All files of one commit, packed; more wants a mirror.
CODE_CHUNK_BYTES = 256 * 1024  # Read in one go on the node's thread: well under a millisecond.
CODE_CHUNKS_ASKED = 8  # Asked for and not yet here: 2 MiB hide 20 ms of round trip at 100 MB/s.
CODE_CHUNKS_OWED_MAX = 256  # Asked of this node by all peers and not yet taken by their links.
CODE_BUNDLES_KEPT = 16  # Bundle files on disk, kept to serve others; the oldest go first.
CODE_PARTS_KEPT = 8  # Bundles that came in part, to go on with; twice what is fetched at once.
CODE_PULLS_MAX = 4  # Commits that are fetched from peers at once; further ones wait.
CODE_SEARCHES_MAX = 256  # Processors without their code; a model has fewer repositories.
CODE_ANSWER_COMMITS_MAX = 8  # Commits one peer may name for one question.
CODE_PEERS_ASKED_MAX = 64  # For one commit; that many nodes have it or nobody has.
CODE_MAKES_WAITING_MAX = 16  # Bundles asked of this node and not yet made, of all peers.
CODE_MAKES_PER_PEER_MAX = 4  # The same of one peer.
CODE_LIARS_MAX = 1_024  # Pairs of a peer and a commit it lied about; the oldest are forgotten.
CODE_ASK_MS = 2_000  # For answers to who has a commit; late ones do not count.
CODE_SILENCE_MS = 10_000  # A peer that gives nothing for so long is left for the next one.
CODE_SOURCE_MS_MAX = 600_000  # Nor may it trickle: after this the next peer goes on, if any.
CODE_JOB_MS_MAX = 600_000  # One child that makes or checks a bundle; git has ends of its own.

# Mounting code.
IMPORT_MS_MAX = 60_000  # Of one module; the setting import_ms of the mesh goes before it.
MOUNT_END_MS_MAX = 10_000  # One that is told to end ends its programs and cleans up before.

# Links between nodes (docs/transport.md).
PEER_FRAME_BYTES_MAX = 256 * 1024  # One link message between nodes: what libzmq holds at once.
PEER_PARTS_MAX = 6  # Parts of one message; ours have one, and libzmq bounds only each part.
PEER_HWM_FRAMES = 256  # libzmq's queue each way; above the credit, so that it never decides.
PEER_CREDIT_FRAMES = 64  # Sent to one peer and not yet told handled.
PEER_CREDIT_BYTES = 4 * 1024 * 1024  # The same in bytes.
PEER_BULK_BYTES = 2 * 1024 * 1024  # Of these for chunks: half stays free for small envelopes.
PEER_OWED_FRAMES = 32  # Handled frames after which the sender is told at once: half its credit.
PEER_OWED_BYTES = 1024 * 1024  # The same in bytes: half of what chunks may use.
PEER_OUTBOX_BYTES_MAX = 40 * 1024 * 1024  # Waiting for one peer: two of the largest envelopes.
PEER_OUTBOX_ENVELOPES_MAX = 16_384  # The same in envelopes.
PEER_CHUNK_BYTES_MIN = 4 * 1024  # A chunk smaller than this waits for the next frame.
PEER_BAD_FRAMES_MAX = 3  # In a row, then the session is closed.
PEER_ADDRESSES_MAX = 8  # Addresses of one peer that are tried.
PEER_ABOUT_BYTES_MAX = 8 * 1024  # What a node tells of itself in HELLO.
PEER_REFUSALS_KEPT = 256  # Refused handshakes not yet told; older ones are counted only.
PEER_NEWS_MAX = 4_096  # News not yet taken; the oldest are dropped and counted.
PEERS_MAX = 1_024  # Peers of one node: each costs four descriptors and a queue.
PEER_HELLO_MS_MIN = 1_000  # An unanswered HELLO is said again after this, doubled each time.
PEER_HELLO_MS_MAX = 30_000  # Doubling ends here.
PEER_CREDIT_DELAY_MS = 500  # Handled frames are told after this, when nothing carries it before.
PEER_STALL_MS = 2_000  # Frames unacknowledged for this long: ask whether they arrived.
PEER_SILENT_MS = 15_000  # Asked for this long without a frame back: the session is down.
PEER_SKEW_MS = 300_000  # Clocks further apart than this are told to people.
PEER_PARTIAL_MS = 60_000  # A large envelope without a further chunk for this long is dropped.
PEER_BLOCK_MS = 60_000  # A key that sent a message of too many parts stays out for this long.
PEER_DIAL_MS = 10_000  # An address that did not answer for this long gives way to the next one.
PEER_RETELL_MS = 60_000  # The same refusal is told again after this, and counted in between.
PEER_ANSWER_MS = 1_000  # One refused peer is answered at most this often.
DOOR_RESTART_MS = 5_000  # The listening link is restarted to cut a live session at most this often.
DOOR_GRACE_MS = 1_000  # From the answer to an evicted peer to the cut, so that the answer arrives.
ZAP_BEAT_MS = 1_000  # The ZAP handler is asked whether it lives.
ZAP_DEAD_MS = 5_000  # Unanswered for this long: the node stops serving.

# Membership.
SWIM_UPDATES_MAX = 64  # Claims in one message; 500 members are eight messages.
SWIM_BYTES_MAX = 8 * 1024  # Of all claims of one message: never more than a few packets.
SWIM_META_BYTES_MAX = 1024  # Of one member's meta; it is gossiped on each change.
SWIM_META_DEPTH_MAX = 4  # Nesting of meta; addresses are a list in a dict.
SWIM_ACCUSERS_MAX = 4  # Named with a suspicion; three already bring it to its least time.
SWIM_MEMBERS_MAX = 4096  # Of one mesh; the design is for 500.
SWIM_RELAYS_MAX = 256  # Probes done for others at once; above, their askers hear nothing.
SWIM_RELAY_MS_MAX = 120_000  # A probe for another waits at most so long; edge at worst health.
SWIM_PUSH_GAP_MS = 1_000  # Whole tables to one member are at least so far apart.
SWIM_LEAVING_MS_MAX = 60_000  # A restart that takes longer is an absence.
SWIM_TELL_MAX = 16  # Members told of a leave at once; the rest hear by gossip.
SWIM_GOSSIP_FANOUT = 3  # Members per round of gossip (memberlist's choice).
SWIM_HEALTH_MAX = 8  # The worst score: own probes nine times slower (Lifeguard).
SWIM_LOOP_LAG_MS = 250  # A loop later than this was not watching.
SWIM_COMMIT_MS = 1_000  # A disk slower than this stalls all that answers.
SWIM_CLOCK_STEP_MS = 1_000  # A clock that stepped further makes waiting times meaningless.
SWIM_SICK_PROBES = 3  # Probe intervals that a node distrusts itself after it was late.
SWIM_NUMBER_MAX = 2**48  # Boots, counters: more openings than any store will see.
SWIM_INCARNATION_MAX = 2**31  # Refutations in one boot: one a second for 68 years.
SWIM_RTT_MS_MAX = 60_000  # Round trips above this are noise of a resumed host.

# The model between nodes.
MODEL_MESSAGE_BYTES_MAX = 200 * 1024  # One peer message; an object has 64 KiB at the most.
MODEL_OBJECTS_MAX = 50_000  # Of a mesh, deleted ones included; what one pipe message carries.
MODEL_BYTES_MAX = 10 * 1024 * 1024  # The same in bytes: a snapshot must fit BODY_BYTES_MAX.
MODEL_EDITORS_MAX = 16  # Nodes whose edits of an object are remembered; more only dim a warning.
MODEL_STAMP_JUMP_MAX = 1 << 32  # No mesh makes so many changes while a node is away: it is a lie.

# Agreement between nodes (docs/replication.md).
CLAIM_FIRST_MS = 1_000  # Between two voters that may be the first to have a call (a child).
CLAIM_RANK_MS = 5_000  # Between two voters that stand in line to take over: one is enough.
CLAIM_JITTER_MS = 500  # So that voters of the same rank in different views do not collide.
CLAIM_QUIET_MS = 15_000  # The owner lives again but may have lost its claim: it claims first.
CLAIM_BACK_MS = 5_000  # A node that was cut off hears first what the others have done.
CLAIM_AGAIN_MS_MAX = 15_000  # Between two claims that found no majority.
PREPARE_MS = 8_000  # A claim that has no majority by then is given up; a busy peer is slow.
# Before a message without an answer is sent again; doubled each time.  Links lose nothing while a
# session lasts, so this is for sessions that broke; much lower doubles the work of a busy mesh.
RESEND_MS_MIN = 4_000  # See above.
RESEND_MS_MAX = 15_000  # A voter that returns is told within this, and at once when it is seen.
AGREE_MS = 200  # An outcome that most have is told to who does not agree by then.
TELL_MS = 200  # Spread of what many instances do at the same moment.
REPLICA_TIMERS_PER_STEP = 512  # Instances looked at in one step, so that clients never starve.
COPYSETS_NODES_MIN = 12  # Above, each node uses few fixed pairs of voters (RELIABILITY P1).
COPYSETS_PER_NODE = 3  # Pairs; fewer loses less to a power cut, more spreads the load better.
VOTERS = 3  # Of a replicated call: survives the loss of one node, decides with two.
PEER_TICK_MS = 1_000  # Keys, addresses and the ZAP handler are looked at this often.
PEER_RETRY_MS = 50  # A frame that libzmq did not take is offered again after this.
PEER_NOTICE_LINGER_MS = 3_000  # An eviction has this long to reach a node that was denied.
PEER_BYE_LINGER_MS = 200  # A node that stops gives its last words this long to leave.
GATHER_MS = 2_000  # A node that was started waits so long for others before it takes calls alone.
WIDEN_AFTER_MS = 5_000  # Others must be there so long before calls kept alone are given to them.
WIDEN_CALLS_PER_TICK = 256  # So that old calls do not hold up new ones.
PEER_WORTH_US = 200  # Calls that run no longer cost more to have run at a peer,
QUICK_LINE_US = 20_000  # unless those that wait would take a worker here longer than this.
PEER_CREDIT_WORK_US = 60_000  # Work staged at a peer, a slot: its way there and back included.
PEER_SLOTS_MAX = 4_096  # That one peer can grant for one processor.
SEAT_CALLS_MAX = 8  # Copies of broadcasts at one worker of a peer: they are short, or far between.
GRANT_QUIET_MS = 50  # A node that had work of its own does not grant again before.
GRANT_AGAIN_MS = 5_000  # Grants are repeated, for one may be lost.
HOLDS_ASK_MS = 3_000  # A call at a peer without a word for so long is asked after.

# Discovery (docs/discovery.md).
DISCOVERY_NODES_MAX = 1_024  # As many as peers; a flood of made-up ones costs no more memory.
DISCOVERY_ADDRESSES_MAX = 8  # Of one node, as many as PEER_ADDRESSES_MAX: more are never tried.
DISCOVERY_INTERFACES_MAX = 16  # Each costs a descriptor and a copy of every packet.
DISCOVERY_WATCH_S = 30.0  # Interfaces come and go with cables and Wi-Fi; a look takes 0.5 ms.
MULTICAST_CHECK_S = 1.0  # A packet to oneself takes microseconds; longer means it never comes.
SEEDS_LEARNED_MAX = 256  # Addresses told by others; the fixed ones are kept beside them.
SEED_RETRY_MS_MIN = 1_000  # After the first failure; doubled for each further one.
SEED_RETRY_MS_MAX = 60_000  # Doubling ends here: a node that returns is found within a minute.
PEER_WORDS_MAX = 512  # Entries of one envelope between nodes: a few milliseconds of work.
PEER_WORDS_BYTES_GOAL = 128 * 1024  # The same in bytes: half a frame.
PEER_BACKLOG_BYTES_MAX = 64 * 1024 * 1024  # Waiting for one peer's link; above, it is sent again.
SHARED_BYTES_MAX = BODY_BYTES_MAX - 64 * 1024  # A call or result that travels between nodes.
MESH_META_MS = 5_000  # A node tells its load at most this often.
MODEL_HELLO_MS = 10_000  # Models and rosters are compared with one peer this often.
RELAY_PATIENCE_MS = 3_000  # A peer that does not answer a relayed question by then is left out.
RELAYS_MAX = 10_000  # Questions of clients that are with peers.
COPY_ASK_MS = 30_000  # A copy kept for so long: its home is asked whether it is of use.
PEER_LIVES_KEPT = 16  # Boots of a store that it tells its peers of; older ones are not compared.
PEER_COMMITS_UNKEPT = 64  # Heard of a peer and not yet kept: fewer would let idle logs echo.

# Listening (docs/listening.md).
LISTEN_BYTES_MAX = 1024 * 1024  # Events that wait for one client; above, it misses some.
LISTEN_FRAME_BYTES = 16 * 1024  # Small, so that libzmq's 256 frames hold 4 MiB of them at the most.
LISTEN_EVENTS_PER_SECOND = 10_000  # Of one node, for each that hears it; work goes first.
LISTEN_RESULT_BYTES_MAX = 16 * 1024  # Of a longer result the beginning or the size is told.
LISTEN_PROBLEM_BYTES_MAX = 96 * 1024  # Of an error: a text and a traceback at their limits.
LISTEN_PER_CLIENT = 64  # Subscriptions of one client; each is looked at for each event.
LISTEN_ROWS_MAX = 1_000  # Sockets in one event of the channel queue.
LISTEN_NAMES_MAX = 10_000  # Sockets of which a node remembers whether anybody listens.
LISTEN_PEER_NAMES = 64  # Names of one channel told to peers; with more, all is asked for.
LISTEN_PEER_BYTES = 1024 * 1024  # Events that wait for one peer; above, it is told how many.
LISTEN_MESSAGE_BYTES = 64 * 1024  # Of events in one message to a peer.
LISTEN_MESSAGES = 4  # Sent to a peer and not yet taken: 256 KiB of a link that has 40 MiB.
LISTEN_AGAIN_TICKS = 5  # Seconds after which peers are told again what is wanted.

# Clients over TCP.
CLIENT_HWM_FRAMES = 16  # libzmq's queue of what one client says; a frame may have 20 MiB.
CLIENT_SEND_HWM_FRAMES = 2  # Of what it is told: what libzmq holds is in no outbox.
CLIENT_KEYS_MAX = 4_096  # Keys in mesh/clients.keys.
CLIENT_KEYS_BYTES_MAX = 1024 * 1024  # The same file, comments included; it is read each second.
CLIENT_LOOK_MS = 1_000  # How soon a change of mesh/clients.keys is noticed.

# Schedules (docs/schedules.md).
CATCH_UP_MAX = 100  # Missed firings that are made up for: more is an outage to look at, not to run.
SCHEDULE_LATE_MS = 120_000  # Fired so late is not missed: a take-over or a restart takes this long.
SCHEDULE_INTERVAL_MS_MIN = 100  # Each firing is a durable call; more often is a stream.
SCHEDULE_TIME_MS_MAX = 10 * 365 * 24 * 3_600_000  # Ten years; a longer interval is a wrong unit.
SCHEDULE_JITTER_MS_MAX = 24 * 3_600_000  # A day: later than that is another time.
SCHEDULE_UNIX_MS_MAX = 221_845_392_000_000  # The year 9000, where the search for a time ends.
