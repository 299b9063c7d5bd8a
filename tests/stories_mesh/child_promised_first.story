# A custodian may hear a PREPARE of the child before the child itself.  It promises, with nothing to keep.
# When it learns the outcome of the parent, and the child in it, it must keep the child before it counts
# itself among those who do.
mesh 3 ttl=1000 dead_letter=s1
submit n0 s0 c1 from=ann
deliver quietly
tick 1000
deliver only=PROPOSE
drop n2->*
deliver only=AGREED
drop n0->* only=STORE
flying
----
ann <- ACCEPTED c1 quorum 2/3
n0 -> n1 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child
n0 -> n2 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child
lost: n2 -> n0 AGREED c1 epoch 0 of n0
n1 -> n0 AGREED c1 epoch 0 of n0
ann <- CANCELLED c1 (not run)
lost: n0 -> n1 STORE c1/child
lost: n0 -> n2 STORE c1/child
flying: n0 -> n1 PREPARE c1/child epoch 1 of n0
flying: n0 -> n2 PREPARE c1/child epoch 1 of n0

deliver only=PREPARE
show n1 n2
----
n0 -> n1 PREPARE c1/child epoch 1 of n0
n0 -> n2 PREPARE c1/child epoch 1 of n0
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted CANCELLED (not run) and 1 child
n1: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0, has not the call itself
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted CANCELLED (not run) and 1 child
n2: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0, has not the call itself

# The owner is gone, and with it the only copy of the child.  n1 takes c1 over, and hands the child on.
drop n0->*
destroy n0
dead n0 at n1 n2
tick 1000
deliver only=PREPARE,PROMISE
deliver only=PROPOSE,AGREED
show n1 n2
deliver
----
n1 -> n2 PREPARE c1 epoch 1 of n1
n1: c1 voters n0 n1 n2: claims it, promised epoch 1 of n1, accepted CANCELLED (not run) and 1 child
n1: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0, has not the call itself
n2: c1 voters n0 n1 n2: votes, promised epoch 1 of n1, accepted CANCELLED (not run) and 1 child
n2: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0, has not the call itself
n1 -> n2 NEED c1/child: the call
n2 -> n1 PROMISE c1 epoch 1 of n1, who accepted CANCELLED (not run) and 1 child
n1 -> n2 PROPOSE c1 epoch 1 of n1: CANCELLED (not run) and 1 child
n2 -> n1 AGREED c1 epoch 1 of n1
n1 -> n2 STORE c1/child
n2 -> n1 STORED c1/child
n1 -> n2 TOLD c1 ended, seen
n2 -> n1 TOLD c1 ended, seen

show n1 n2
tick 1000
deliver quietly
show n1 n2
----
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0
n1: c1 on record, CANCELLED
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0
n2: c1 on record, CANCELLED
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0
n1: c1 on record, CANCELLED
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1/child voters n0 n1 n2: votes, promised epoch 1 of n0
n2: c1 on record, CANCELLED

# The next in line claims the child, as if n0 had never been.
tick 500
deliver quietly
tick 500
deliver quietly
tick 500
deliver quietly
tick 500
deliver quietly
tick 500
deliver quietly
tick 500
deliver quietly
show n1 n2
----
n1: c1/child taken over, epoch 2
n1: c1/child WAITING, attempt 0
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1/child voters n0 n1 n2: owns it, promised epoch 2 of n1
n1: c1 on record, CANCELLED
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1/child voters n0 n1 n2: votes, promised epoch 2 of n1
n2: c1 on record, CANCELLED

