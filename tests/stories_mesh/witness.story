# A witness votes and keeps no calls.  So two nodes and a witness acknowledge only when both nodes have the
# call; then either may die, and the witness makes the majority.
mesh 3 kinds=core,core,witness workers=n0,n1
submit n0 s0 c1 from=ann
deliver n0->n2
deliver n2->n0
----
n0 -> n2 STORE c1
n2 -> n0 STORED c1

deliver n0->n1
deliver n1->n0
deliver
----
n0 -> n1 STORE c1
n1 -> n0 STORED c1
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1

destroy n0
dead n0 at n1 n2
tick 1000
deliver
----
n1 -> n2 PREPARE c1 epoch 1 of n1
n2 -> n1 PROMISE c1 epoch 1 of n1
n1: c1 taken over, epoch 1
n1: START c1 attempt 1

done c1 at n1
deliver quietly
show
----
n0: gone for good
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1 on record, DONE
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
