# A full queue refuses, with both numbers; the caller may try again.  What runs is not in the queue.
socket a max_length=2
submit a c1 c2 c3 from=ann
----
ann <- REFUSED c3 queue_full: the line of socket a holds 2 calls, its queue a.queue allows 2; the call was not accepted; try again later
ann <- ACCEPTED c1 c2

worker w1
again c3 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c3
