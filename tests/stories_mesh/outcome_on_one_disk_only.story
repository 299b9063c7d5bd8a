# The owner dies with an outcome that only its own disk has.  Nobody else can know, so the call runs
# again, and another outcome is chosen.  When the old owner is back, its own result does not count:
# two executions, one outcome.
mesh 3 workers=n0,n2
submit n0 s0 c1 from=ann
deliver quietly
done c1 at n0
drop n0->*
crash n0
dead n0 at n1 n2
tick 1000
deliver quietly
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
lost: n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n0
lost: n0 -> n2 PROPOSE c1 epoch 0 of n0: DONE by n0
n1: c1 taken over, epoch 1
n2: START c1 attempt 1

done c1 at n2
deliver quietly
show
----
n1: c1 superseded, attempt 1
n0: down
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1 on record, DONE
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1 on record, DONE

boot n0
show n0
tick 5000
deliver quietly
show
----
n0: boot 2
n0: c1 voters n0 n1 n2: votes, promised epoch 0 of n0, accepted DONE by n0
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE

watch n0 c1 from=ann
----
ann <- DONE c1 by n2
