# An outcome causes a call: c1 expires and goes to the dead-letter socket.  The child is part of the
# value that is chosen.  Its parent may not be forgotten before a majority of the child's voters has it;
# it is born without an owner, so one of its voters claims it.
mesh 3 ttl=1000 dead_letter=s1
submit n0 s0 c1 from=ann
deliver quietly
tick 1000
flying
----
ann <- ACCEPTED c1 quorum 2/3
flying: n0 -> n1 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child
flying: n0 -> n2 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child

deliver n0->*
deliver *->n0
show
----
n0 -> n1 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child
n0 -> n2 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child
n1 -> n0 AGREED c1 epoch 0 of n0
ann <- CANCELLED c1 (not run)
n2 -> n0 AGREED c1 epoch 0 of n0
n0: c1 ended, seen by nobody; that all have seen it knows nobody
n0: c1/child voters n0 n1 n2: claims it, promised epoch 1 of n0
n0: c1 on record, CANCELLED
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted CANCELLED (not run) and 1 child
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted CANCELLED (not run) and 1 child

# The owner, which was the first to know of the choice, burns before it has sent the child to anybody.
# The others have accepted the value and the child in it: who claims c1 brings the child on.
drop n0->*
destroy n0
dead n0 at n1 n2
tick 1000
deliver only=PREPARE,PROMISE
deliver only=PREPARE,PROMISE
deliver only=PROPOSE
deliver only=AGREED
----
lost: n0 -> n1 STORE c1/child
lost: n0 -> n1 PREPARE c1/child epoch 1 of n0
lost: n0 -> n2 STORE c1/child
lost: n0 -> n2 PREPARE c1/child epoch 1 of n0
n1 -> n2 PREPARE c1 epoch 1 of n1
n2 -> n1 PROMISE c1 epoch 1 of n1, who accepted CANCELLED (not run) and 1 child
n1 -> n2 PROPOSE c1 epoch 1 of n1: CANCELLED (not run) and 1 child
n2 -> n1 AGREED c1 epoch 1 of n1

show n1 n2
deliver
----
n1: c1 ended, seen by nobody; that all have seen it knows nobody
n1: c1/child voters n0 n1 n2: claims it, promised epoch 1 of n1
n1: c1 on record, CANCELLED
n2: c1 voters n0 n1 n2: votes, promised epoch 1 of n1, accepted CANCELLED (not run) and 1 child
n1 -> n2 STORE c1/child
n1 -> n2 PREPARE c1/child epoch 1 of n1
n2 -> n1 STORED c1/child
n2 -> n1 PROMISE c1/child epoch 1 of n1
n1 -> n2 TOLD c1 ended, seen
n2 -> n1 TOLD c1 ended, seen

# Nobody owns the child yet.  The first of its voters in line claims it.
tick 1000
deliver quietly
show
----
n0: gone for good
n1: c1/child WAITING, attempt 0
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1/child voters n0 n1 n2: owns it, promised epoch 1 of n1
n1: c1 on record, CANCELLED
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1/child voters n0 n1 n2: votes, promised epoch 1 of n1
n2: c1 on record, CANCELLED
