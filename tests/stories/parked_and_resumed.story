# Calls whose processor cannot run are PARKED: no timer, no attempt, and a reason.
socket a
submit a c1 from=ann
show
----
ann <- ACCEPTED c1
c1 PARKED attempt 0: processor p has no worker here: its processor has no worker yet

processor p requested_status=pause
worker w1
show
----
c1 PARKED attempt 0: processor p is paused; `mesh proc resume -n p` lets it go on

processor p requested_status=start
----
w1 <- START c1 attempt 1

# Its socket is removed from the model: the call stays.
submit a c2 from=ann
remove a
done c1
show
----
ann <- ACCEPTED c2
ann <- DONE c1
c2 PARKED attempt 0: socket a is not in the model any more; add it again or cancel

submit a c3 from=ann
----
ann <- REFUSED c3 unknown_socket: there is no socket 'a'; `mesh ls sockets` shows what there is
ann <- ACCEPTED

socket a
----
w1 <- START c2 attempt 1
