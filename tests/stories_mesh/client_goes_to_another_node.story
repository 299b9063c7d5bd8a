# A client whose node is gone submits what was not acknowledged to another one, under the same ids.  A
# voter knows the call: it is acknowledged, taken over in its time, and runs once.
mesh 3 workers=n2
submit n0 s0 c1 from=ann
deliver n0->n1 n0->n2
drop *->n0
crash n0
dead n0 at n1 n2
again n1 c1 from=ann
----
n0 -> n1 STORE c1
n0 -> n2 STORE c1
lost: n1 -> n0 STORED c1
lost: n2 -> n0 STORED c1

tick 1000
deliver
----
n1 -> n2 PREPARE c1 epoch 1 of n1
n2 -> n1 PROMISE c1 epoch 1 of n1
n1: c1 taken over, epoch 1
ann <- ACCEPTED c1 quorum 2/3
n1 -> n2 RUN c1 attempt 1
n2: START c1 attempt 1

done c1 at n2
deliver quietly
----
ann <- DONE c1 by n2
n1: c1 superseded, attempt 1
