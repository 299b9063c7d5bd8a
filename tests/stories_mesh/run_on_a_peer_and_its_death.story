# The owner hosts no worker; a peer runs the call for it.  The peer dies: that is no outcome and no fault
# of the call, so it goes to the next peer and no attempt is counted.
mesh 3 workers=n1,n2
submit n0 s0 c1 from=ann
deliver quietly
show n0
----
ann <- ACCEPTED c1 quorum 2/3
n1: START c1 attempt 1
n0: c1 RUNNING at n1, attempt 1
n0: c1 voters n0 n1 n2: owns it, promised epoch 0 of n0

crash n1
dead n1 at n0 n2
flying
deliver
----
flying: n0 -> n2 RUN c1 attempt 1
n0 -> n2 RUN c1 attempt 1
n2: START c1 attempt 1

done c1 at n2
deliver quietly
show
----
ann <- DONE c1 by n2
n0: c1 superseded, attempt 1
n0: c1 ended, seen by n0 n2; that all have seen it knows nobody
n0: c1 on record, DONE
n1: down
n2: c1 ended, seen by n0 n2; that all have seen it knows nobody
n2: c1 on record, DONE
