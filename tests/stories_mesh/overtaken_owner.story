# The owner is not dead, it only cannot be heard.  The others take its call over; both run it.  When it
# can be heard again its outcome is refused by those who promised a higher epoch: one outcome counts.
mesh 3 workers=n0,n2
submit n0 s0 c1 from=ann
deliver quietly
dead n0 at n1 n2
dead n1 at n0
dead n2 at n0
tick 1000
drop *->n0 n0->*
deliver quietly
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
lost: n1 -> n0 PREPARE c1 epoch 1 of n1
lost: n0 -> n1 NOTE c1
lost: n0 -> n2 NOTE c1
n1: c1 taken over, epoch 1
n2: START c1 attempt 1

done c1 at n0
done c1 at n2
deliver n0->n1
----
n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n0

alive n0 at n1 n2
alive n1 at n0
alive n2 at n0
deliver quietly
show
----
n0: c1 left, another node took it over
n1: c1 superseded, attempt 1
ann <- DONE c1 by n2
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE
