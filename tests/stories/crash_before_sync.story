# The node dies after it thought, before the disk had it.  Nobody was told anything, so nothing was
# promised: the client has no acknowledgement, submits again, and the call is new.
socket a
disk slow
submit a c1 from=ann
----
nothing

crash
boot
show
----
boot 2: 0 open calls

again c1 from=ann
----
ann <- ACCEPTED c1

show
----
c1 PARKED attempt 0: processor p has no worker here: its processor has no worker yet
