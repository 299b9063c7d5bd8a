# A voter is struck from the mesh for ever while the call waits (nobody hosts its processor).  Its owner
# lets the two that are left choose the outcome MOVED: the call goes on with three voters again.
mesh 4
submit n0 s0 c1 from=ann
deliver quietly
show
----
ann <- ACCEPTED c1 quorum 2/3
n0: c1 WAITING, attempt 0
n0: c1 voters n0 n1 n3: owns it, promised epoch 0 of n0
n1: c1 voters n0 n1 n3: votes, promised epoch 0 of n0
n2: nothing
n3: c1 voters n0 n1 n3: votes, promised epoch 0 of n0

evict n1
tick 1000
deliver
show
----
n0 -> n3 PROPOSE c1 epoch 0 of n0: MOVED to n0 n3 n2
n3 -> n0 AGREED c1 epoch 0 of n0
n0: c1 left, another node took it over
n0 -> n3 STORE c1 generation 1
n0 -> n3 PREPARE c1 generation 1 epoch 1 of n0
n0 -> n2 STORE c1 generation 1
n0 -> n2 PREPARE c1 generation 1 epoch 1 of n0
n3 -> n0 STORED c1 generation 1
n3 -> n0 PROMISE c1 generation 1 epoch 1 of n0
n0: c1 taken over, epoch 1
n2 -> n0 STORED c1 generation 1
n2 -> n0 PROMISE c1 generation 1 epoch 1 of n0
n0 -> n3 TOLD c1 ended, seen
n3 -> n0 TOLD c1 ended, seen
n3 -> n0 TOLD c1 ended, seen by all
n0 -> n3 TOLD c1 ended, seen by all
n0: c1 WAITING, attempt 0
n0: c1 generation 1 voters n0 n3 n2: owns it, promised epoch 1 of n0
n1: c1 voters n0 n1 n3: votes, promised epoch 0 of n0
n2: c1 generation 1 voters n0 n3 n2: votes, promised epoch 1 of n0
n3: c1 generation 1 voters n0 n3 n2: votes, promised epoch 1 of n0

# The new instance is born without an owner; the first of its voters claims it.
tick 1000
deliver quietly
show
----
n0: c1 WAITING, attempt 0
n0: c1 generation 1 voters n0 n3 n2: owns it, promised epoch 1 of n0
n1: c1 voters n0 n1 n3: votes, promised epoch 0 of n0
n2: c1 generation 1 voters n0 n3 n2: votes, promised epoch 1 of n0
n3: c1 generation 1 voters n0 n3 n2: votes, promised epoch 1 of n0
