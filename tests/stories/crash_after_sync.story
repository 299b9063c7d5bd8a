# The node dies when the batch was on disk and before the reply.  The client asks again and is told
# the truth: the call is there, once.
socket a
disk slow
submit a c1 from=ann
----
nothing

crash keep
boot
show
----
boot 2: 1 open calls
c1 PARKED attempt 0: processor p has no worker here: its processor has no worker yet

again c1 from=ann
----
ann <- ACCEPTED c1

worker w1
done c1
----
w1 <- START c1 attempt 1
ann <- DONE c1

log
----
done c1 DONE after 1 attempts
