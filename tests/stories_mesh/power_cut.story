# The whole site loses power while a call runs.  Every disk has what was acknowledged.  After the restart
# nobody owns the call, not even its home (no epoch is used twice): it is claimed, and runs again.
mesh 3 workers=n0,n1,n2
submit n0 s0 c1 from=ann
deliver quietly
crash n0 n1 n2
show
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
n0: down
n1: down
n2: down

boot n0 n1 n2
show
tick 1000
deliver
----
n0: boot 2
n1: boot 2
n2: boot 2
n0: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n0 -> n1 PREPARE c1 epoch 1 of n0
n0 -> n2 PREPARE c1 epoch 1 of n0
n1 -> n0 PROMISE c1 epoch 1 of n0
n0: c1 taken over, epoch 1
n0: START c1 attempt 1
n2 -> n0 PROMISE c1 epoch 1 of n0

done c1 at n0
deliver quietly
watch n0 c1 from=ann
show
----
ann <- DONE c1 by n0
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE
