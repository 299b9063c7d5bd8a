# A child has ended, and two of its three voters burn before its parent's voters heard that it is kept.
# Those would issue it again, and it would be recorded twice; so they ask the one voter that is left.
mesh 6 others=n5 ttl=1000 dead_letter=s1
submit n0 s0 c1 from=ann
deliver
tick 1000
deliver only=PROPOSE
deliver only=AGREED
deliver only=STORE
deliver only=STORED
----
n0 -> n1 STORE c1
n0 -> n3 STORE c1
n1 -> n0 STORED c1
ann <- ACCEPTED c1 quorum 2/3
n3 -> n0 STORED c1
n0 -> n1 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child
n0 -> n3 PROPOSE c1 epoch 0 of n0: CANCELLED (not run) and 1 child
n1 -> n0 AGREED c1 epoch 0 of n0
ann <- CANCELLED c1 (not run)
n3 -> n0 AGREED c1 epoch 0 of n0
n0 -> n2 STORE c1/child
n0 -> n5 STORE c1/child
n2 -> n0 STORED c1/child
n5 -> n0 STORED c1/child

# n5 takes the child over and runs it, for what n0 and n2 say is lost; n0, which knows that it is kept, never
# gets to say so.
drop n0->*
drop n2->*
tick 2600
drop n0->*
drop n2->*
deliver only=PREPARE
deliver only=PROMISE
done c1/child at n5
deliver n5->n0 n5->n2
deliver n0->n5 n2->n5
destroy n0 n2
evict n0 n2
----
lost: n0 -> n2 PREPARE c1/child epoch 1 of n0
lost: n0 -> n5 PREPARE c1/child epoch 1 of n0
lost: n0 -> n1 TOLD c1 ended, seen
lost: n0 -> n3 TOLD c1 ended, seen
lost: n2 -> n0 PREPARE c1/child epoch 1 of n2
lost: n2 -> n5 PREPARE c1/child epoch 1 of n2
n5 -> n0 PREPARE c1/child epoch 1 of n5
n5 -> n2 PREPARE c1/child epoch 1 of n5
n0 -> n5 PROMISE c1/child epoch 1 of n5
n5: START c1/child attempt 1
n2 -> n5 PROMISE c1/child epoch 1 of n5
n5 -> n0 PROPOSE c1/child epoch 1 of n5: DONE by n5
n5 -> n2 PROPOSE c1/child epoch 1 of n5: DONE by n5
n0 -> n5 AGREED c1/child epoch 1 of n5
n2 -> n5 AGREED c1/child epoch 1 of n5

tick 7000
deliver n1->* n3->* n4->*
deliver
show
----
n1 -> n3 PREPARE c1 epoch 1 of n1
n3 -> n1 PREPARE c1 epoch 1 of n3
n5 -> n1 PARENT of c1/child? round 1
n5 -> n3 PARENT of c1/child? round 1
n3 -> n1 OVERTAKEN c1 epoch 1 of n3
n1 -> n3 PROMISE c1 epoch 1 of n3, who accepted CANCELLED (not run) and 1 child
n1 -> n5 PARENT_SAYS to c1/child: held, round 1
n3 -> n5 PARENT_SAYS to c1/child: held, round 1
n3 -> n1 PROPOSE c1 epoch 1 of n3: CANCELLED (not run) and 1 child
n1 -> n3 AGREED c1 epoch 1 of n3
n3 -> n5 CHILD c1/child
n5 -> n3 CHILD_SAYS c1/child has ended
n3 -> n1 TOLD c1 ended, seen
n1 -> n3 TOLD c1 ended, seen
n1 -> n3 TOLD c1 ended, seen by all
n3 -> n1 TOLD c1 ended, seen by all
n0: gone for good
n1: c1 on record, CANCELLED
n2: gone for good
n3: c1 on record, CANCELLED
n4: nothing
n5: c1/child ended, seen by n5; that all have seen it knows n5
n5: c1/child on record, DONE
