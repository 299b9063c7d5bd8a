# A queue that overflows into a dead-letter socket takes every call: what does not fit is CANCELLED,
# and lives on there as its child.  Both are in one batch of the log.
socket graveyard
socket a max_length=1 overflow=dead-letter dead_letter=graveyard
submit a c1 c2 from=ann
----
ann <- ACCEPTED c1 c2
ann <- CANCELLED c2 not run: the line of socket a holds 1 calls, its queue a.queue allows 1; it goes on as c2/dead-letter at socket graveyard

log
----
open c1
open c2/dead-letter
done c2 CANCELLED after 0 attempts

again c2 from=ann
show
----
ann <- ACCEPTED c2
ann <- CANCELLED c2 not run: the line of socket a holds 1 calls, its queue a.queue allows 1; it goes on as c2/dead-letter at socket graveyard
c1 PARKED attempt 0: processor p has no worker here: its processor has no worker yet
c2/dead-letter PARKED attempt 0: processor p has no worker here: its processor has no worker yet
