# A call is acknowledged when two of its three voters have it on disk.  Only then does it run, here
# at the only node with a worker; all three learn how it ended, and then forget it by agreement.
mesh 3 workers=n1
submit n0 s0 c1 from=ann
flying
----
flying: n0 -> n1 STORE c1
flying: n0 -> n2 STORE c1

deliver n0->n1
----
n0 -> n1 STORE c1

deliver n1->n0
show
----
n1 -> n0 STORED c1
ann <- ACCEPTED c1 quorum 2/3
n0: c1 RUNNING at n1, attempt 1
n0: c1 voters n0 n1 n2: owns it, promised epoch 0 of n0
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: nothing

deliver n0->n2
deliver n2->n0
deliver
----
n0 -> n2 STORE c1
n2 -> n0 STORED c1
n0 -> n1 RUN c1 attempt 1
n1: START c1 attempt 1

done c1 at n1
deliver
----
n1 -> n0 RAN c1 DONE by n1
n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n1
n0 -> n2 PROPOSE c1 epoch 0 of n0: DONE by n1
n0 -> n1 TAKEN c1
n1 -> n0 AGREED c1 epoch 0 of n0
ann <- DONE c1 by n1
n1 -> n0 RAN c1 DONE by n1
n0: c1 superseded, attempt 1
n2 -> n0 AGREED c1 epoch 0 of n0
n0 -> n1 TAKEN c1
n0 -> n1 TOLD c1 ended, seen by all
n0 -> n2 TOLD c1 ended, seen by all
n1 -> n0 TOLD c1 ended, seen by all
n1 -> n2 TOLD c1 ended, seen by all
n2 -> n0 TOLD c1 ended, seen by all
n2 -> n1 TOLD c1 ended, seen by all

show
----
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE
