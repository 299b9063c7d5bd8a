# Two of the three voters burn.  The last one has the call and no majority: it is never dropped and never
# run, because nobody can know what the others had chosen.  A person may have it issued again.
mesh 3 workers=n2
submit n0 s0 c1 from=ann
deliver n0->n1 n0->n2
deliver n1->n0 n2->n0
drop n0->*
destroy n0 n1
dead n0 at n2
dead n1 at n2
tick 20000
deliver
show
----
n0 -> n1 STORE c1
n0 -> n2 STORE c1
n1 -> n0 STORED c1
ann <- ACCEPTED c1 quorum 2/3
n2 -> n0 STORED c1
lost: n0 -> n2 RUN c1 attempt 1
n0: gone for good
n1: gone for good
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0

evict n0 n1
tick 20000
show
recover n2 c1 by=ann
show
----
n0: gone for good
n1: gone for good
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
answer: OK issued again
n2: START c1 attempt 1
n0: gone for good
n1: gone for good
n2: c1 RUNNING, attempt 1
