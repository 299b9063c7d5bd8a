# Two nodes: no majority could outlive one of them, so the home alone decides, and the other keeps a copy
# without a vote.  It never runs the copy by itself, for the home may live; a person may say so when the
# home is gone for good.
mesh 2 workers=n0,n1
submit n0 s0 c1 from=ann
deliver
show
----
n0: START c1 attempt 1
n0 -> n1 KEEP c1
n1 -> n0 KEPT c1
ann <- ACCEPTED c1 local 2/2
n0: c1 RUNNING, attempt 1
n1: c1 a copy without a vote, for n0

destroy n0
dead n0 at n1
tick 60000
deliver
show
----
n0: gone for good
n1: c1 a copy without a vote, for n0

evict n0
recover n1 c1 by=bob
deliver
----
answer: OK recovered from a copy
n1: START c1 attempt 1

done c1 at n1
show
----
n0: gone for good
n1: c1 on record, DONE
