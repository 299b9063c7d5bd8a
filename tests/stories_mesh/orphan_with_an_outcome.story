# Two of the three voters burn when the last one has accepted an outcome.  Whether another had accepted it
# too, so that it was chosen, nobody can know.  A person has the call issued again, under the home of
# the node that is asked and with whole voters: it does not run, and ends as was accepted.
mesh 5 workers=n2,n4
submit n0 s0 c1 from=ann
deliver quietly
done c1 at n2
deliver n2->n0
deliver n0->n3
drop n0->* n3->*
destroy n0 n1
dead n0 at n2 n3 n4
dead n1 at n2 n3 n4
evict n0 n1
tick 20000
deliver
show
----
ann <- ACCEPTED c1 quorum 2/3
n2: START c1 attempt 1
n2 -> n0 RAN c1 DONE by n2
n0 -> n3 PROPOSE c1 epoch 0 of n0: DONE by n2
lost: n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n2
lost: n0 -> n2 TAKEN c1
lost: n3 -> n0 AGREED c1 epoch 0 of n0
n0: gone for good
n1: gone for good
n2: nothing
n3: c1 voters n0 n1 n3: votes, promised epoch 0 of n0, accepted DONE by n2
n4: nothing

recover n3 c1 by=ann
deliver
tick 5000
deliver quietly
show
----
answer: OK issued again
n3 -> n2 STORE c1 generation 32770
n3 -> n2 PROPOSE c1 generation 32770 epoch 0 of n3: DONE by n2
n3 -> n4 STORE c1 generation 32770
n3 -> n4 PROPOSE c1 generation 32770 epoch 0 of n3: DONE by n2
n2 -> n3 STORED c1 generation 32770
n2 -> n3 AGREED c1 generation 32770 epoch 0 of n3
n4 -> n3 STORED c1 generation 32770
n4 -> n3 AGREED c1 generation 32770 epoch 0 of n3
n3 -> n2 TOLD c1 generation 32770 ended, seen by all
n3 -> n4 TOLD c1 generation 32770 ended, seen by all
n2 -> n3 TOLD c1 generation 32770 ended, seen by all
n2 -> n4 TOLD c1 generation 32770 ended, seen by all
n4 -> n3 TOLD c1 generation 32770 ended, seen by all
n4 -> n2 TOLD c1 generation 32770 ended, seen by all
n0: gone for good
n1: gone for good
n2: c1 on record, DONE
n3: c1 on record, DONE
n4: c1 on record, DONE

watch n2 c1 from=bob
----
bob <- DONE c1 by n2
