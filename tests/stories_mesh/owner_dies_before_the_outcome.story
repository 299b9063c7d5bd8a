# The node that accepted the call dies while it runs there.  The first voter in line claims it: a
# majority promises, and since nobody has accepted an outcome, it runs again.
mesh 3 workers=n0,n2
submit n0 s0 c1 from=ann
deliver
----
n0 -> n1 STORE c1
n0 -> n2 STORE c1
n1 -> n0 STORED c1
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
n2 -> n0 STORED c1

crash n0
dead n0 at n1 n2
tick 1000
flying
----
flying: n1 -> n2 PREPARE c1 epoch 1 of n1

# n1 has the call and no worker: it owns it now, and lets n2 run it.
deliver
show
----
n1 -> n2 PREPARE c1 epoch 1 of n1
n2 -> n1 PROMISE c1 epoch 1 of n1
n1: c1 taken over, epoch 1
n1 -> n2 RUN c1 attempt 1
n2: START c1 attempt 1
n0: down
n1: c1 RUNNING at n2, attempt 1
n1: c1 voters n0 n1 n2: owns it, promised epoch 1 of n1
n2: c1 voters n0 n1 n2: votes, promised epoch 1 of n1

done c1 at n2
watch n1 c1 from=ann
deliver quietly
show
----
ann <- DONE c1 by n2
n1: c1 superseded, attempt 1
n0: down
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1 on record, DONE
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1 on record, DONE

# The other two keep a trace until n0 has heard of it too: forgetting is by agreement, never by time.
boot n0
show n0
----
n0: boot 2
n0: c1 voters n0 n1 n2: votes, promised epoch 0 of n0

tick 5000
deliver
show
----
n0 -> n1 PREPARE c1 epoch 1 of n0
n0 -> n2 PREPARE c1 epoch 1 of n0
n1 -> n0 TOLD c1 ended, seen
n2 -> n0 TOLD c1 ended, seen
n1 -> n0 TOLD c1 ended, seen, DONE by n2
n2 -> n0 TOLD c1 ended, seen, DONE by n2
n0 -> n1 NEED c1: the value
n0 -> n2 NEED c1: the value
n0 -> n1 TOLD c1 ended, seen
n0 -> n2 TOLD c1 ended, seen
n0 -> n1 TOLD c1 ended, seen by all
n0 -> n2 TOLD c1 ended, seen by all
n1 -> n0 TOLD c1 ended, seen, DONE by n2
n2 -> n0 TOLD c1 ended, seen, DONE by n2
n1 -> n0 TOLD c1 ended, seen by all
n1 -> n2 TOLD c1 ended, seen by all
n2 -> n0 TOLD c1 ended, seen by all
n2 -> n1 TOLD c1 ended, seen by all
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE
