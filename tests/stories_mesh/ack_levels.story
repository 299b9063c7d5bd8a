# A client chooses how safe a call must be before it is acknowledged: `local` is one disk, `all` every
# voter's, without a word a majority.  `strict` refuses what a majority cannot keep.
mesh 3 workers=n0
submit n0 s0 c1 from=ann ack=local
submit n0 s0 c2 from=bob
submit n0 s0 c3 from=eve ack=all
----
ann <- ACCEPTED c1 local 1/3

deliver n0->n1 n1->n0
deliver n1->n0
----
n0 -> n1 STORE c1
n0 -> n1 STORE c2
n0 -> n1 STORE c3
n1 -> n0 STORED c1
n0: START c1 attempt 1
n1 -> n0 STORED c2
bob <- ACCEPTED c2 quorum 2/3
n1 -> n0 STORED c3

deliver n0->n2
deliver n2->n0
----
n0 -> n2 STORE c1
n0 -> n2 STORE c2
n0 -> n2 STORE c3
n2 -> n0 STORED c1
n2 -> n0 STORED c2
n2 -> n0 STORED c3
eve <- ACCEPTED c3 all 3/3

# Two of three are away: what is accepted now is on one disk, and is called so.
dead n1 at n0
dead n2 at n0
submit n0 s0 c4 from=ann
submit n0 s0 c5 from=bob ack=strict
----
ann <- ACCEPTED c4 local 1/1
bob <- REFUSED c5 the call wants 2 of 3 copies, this node reaches 1 node that keeps calls, itself; nothing was accepted; try again, or take ack=quorum and look at what was given

# Asked again after its end: a strict call has ended only where a majority chose it, and that is said.
alive n1 at n0
alive n2 at n0
done c1 at n0
deliver quietly
done c2 at n0
deliver quietly
done c3 at n0
deliver quietly
done c4 at n0
submit n0 s0 c9 from=ann ack=strict
deliver quietly
done c9 at n0
deliver quietly
again n1 c9 from=eve
again n0 c9 from=eve
----
n0: START c2 attempt 1
n0: START c3 attempt 1
n0: START c4 attempt 1
ann <- DONE c1 by n0
bob <- DONE c2 by n0
eve <- DONE c3 by n0
ann <- DONE c4 by n0
ann <- ACCEPTED c9 quorum 2/3
n0: START c9 attempt 1
ann <- DONE c9 by n0
eve <- ACCEPTED c9 quorum 2/3
eve <- DONE c9 by n0
eve <- ACCEPTED c9 quorum 2/3
eve <- DONE c9 by n0
