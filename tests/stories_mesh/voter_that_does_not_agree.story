# Two of three voters have accepted the outcome, so it is chosen.  The owner waits a moment for the
# third, since all would be told at once then that all have it; but not longer.
mesh 3 workers=n0
submit n0 s0 c1 from=ann
deliver quietly
done c1 at n0
deliver n0->n1
deliver n1->n0
drop n0->n2
tick 100
deliver
show
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n0
n1 -> n0 AGREED c1 epoch 0 of n0
ann <- DONE c1 by n0
lost: n0 -> n2 PROPOSE c1 epoch 0 of n0: DONE by n0
n0: c1 ended, seen by n0; that all have seen it knows nobody
n0: c1 on record, DONE
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted DONE by n0
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0

tick 200
deliver
show
----
n0 -> n1 TOLD c1 ended, seen
n0 -> n2 TOLD c1 ended, seen
n1 -> n0 TOLD c1 ended, seen
n1 -> n2 TOLD c1 ended, seen
n2 -> n0 NEED c1: the value
n2 -> n1 NEED c1: the value
n0 -> n2 TOLD c1 ended, seen, DONE by n0
n1 -> n2 TOLD c1 ended, seen, DONE by n0
n2 -> n0 TOLD c1 ended, seen
n2 -> n1 TOLD c1 ended, seen
n2 -> n0 TOLD c1 ended, seen by all
n2 -> n1 TOLD c1 ended, seen by all
n0 -> n1 TOLD c1 ended, seen by all
n0 -> n2 TOLD c1 ended, seen by all
n1 -> n0 TOLD c1 ended, seen by all
n1 -> n2 TOLD c1 ended, seen by all
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE

# One that is known to be away is not waited for.
submit n0 s0 c2 from=ann
deliver quietly
done c2 at n0
deliver n0->n1
dead n2 at n0
deliver n1->n0
drop n0->n2
deliver
show
----
ann <- ACCEPTED c2 quorum 2/3
n0: START c2 attempt 1
n0 -> n1 PROPOSE c2 epoch 0 of n0: DONE by n0
n1 -> n0 AGREED c2 epoch 0 of n0
ann <- DONE c2 by n0
lost: n0 -> n2 PROPOSE c2 epoch 0 of n0: DONE by n0
lost: n0 -> n2 TOLD c2 ended, seen
n0 -> n1 TOLD c2 ended, seen
n1 -> n0 TOLD c2 ended, seen
n1 -> n2 TOLD c2 ended, seen
n2 -> n1 NEED c2: the value
n1 -> n2 TOLD c2 ended, seen, DONE by n0
n2 -> n0 TOLD c2 ended, seen
n2 -> n1 TOLD c2 ended, seen
n0 -> n1 TOLD c2 ended, seen by all
n0 -> n2 TOLD c2 ended, seen by all
n1 -> n0 TOLD c2 ended, seen by all
n1 -> n2 TOLD c2 ended, seen by all
n2 -> n0 TOLD c2 ended, seen by all
n2 -> n1 TOLD c2 ended, seen by all
n0: c1 on record, DONE
n0: c2 on record, DONE
n1: c1 on record, DONE
n1: c2 on record, DONE
n2: c1 on record, DONE
n2: c2 on record, DONE
