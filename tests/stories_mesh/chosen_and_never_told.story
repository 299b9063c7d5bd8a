# A majority has accepted the outcome, so it is chosen for ever, and the owner dies before it can tell
# anybody, its client included.  Another voter finds it and tells.
mesh 3 workers=n0
submit n0 s0 c1 from=ann
deliver quietly
done c1 at n0
deliver n0->n1 n0->n2
drop *->n0
crash n0
dead n0 at n1 n2
show
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n0
n0 -> n2 PROPOSE c1 epoch 0 of n0: DONE by n0
lost: n1 -> n0 AGREED c1 epoch 0 of n0
lost: n2 -> n0 AGREED c1 epoch 0 of n0
n0: down
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted DONE by n0
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted DONE by n0

# Its client has gone to n2 meanwhile, and waits.
watch n2 c1 from=ann
tick 1000
deliver
----
n1 -> n2 PREPARE c1 epoch 1 of n1
n2 -> n1 PROMISE c1 epoch 1 of n1, who accepted DONE by n0
n1 -> n2 PROPOSE c1 epoch 1 of n1: DONE by n0
n2 -> n1 AGREED c1 epoch 1 of n1
n1 -> n2 TOLD c1 ended, seen
ann <- DONE c1 by n0
n2 -> n1 TOLD c1 ended, seen
