# A witness accepted an outcome, and the node that proposed it burned before the third heard of the call at all.
# Only the witness can finish it then: it keeps no calls, but this one need not run any more.
mesh 3 kinds=core,core,witness workers=n0,n1
submit n0 s0 c1 from=ann ack=local
drop n0->n1
deliver
crash n0
boot n0
dead n1 at n0 n2
tick 3000
drop n0->n1
deliver
done c1 at n0
drop n0->n1
deliver n0->n2
----
ann <- ACCEPTED c1 local 1/3
lost: n0 -> n1 STORE c1
n0 -> n2 STORE c1
n2 -> n0 STORED c1
n0: boot 2
lost: n0 -> n1 PREPARE c1 epoch 1 of n0
n0 -> n2 PREPARE c1 epoch 1 of n0
n2 -> n0 PROMISE c1 epoch 1 of n0
n0: c1 taken over, epoch 1
n0: START c1 attempt 1
lost: n0 -> n1 PROPOSE c1 epoch 1 of n0: DONE by n0
n0 -> n2 PROPOSE c1 epoch 1 of n0: DONE by n0

destroy n0
dead n0 at n1 n2
alive n1 at n2
tick 8000
deliver
tick 8000
deliver
show
----
n2 -> n1 PREPARE c1 epoch 2 of n2
n1 -> n2 PROMISE c1 epoch 2 of n2
n2 -> n1 PROPOSE c1 epoch 2 of n2: DONE by n0
n1 -> n2 AGREED c1 epoch 2 of n2
n2 -> n1 TOLD c1 ended, seen
n1 -> n2 TOLD c1 ended, seen
n0: gone for good
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1 on record, DONE
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
