# An evicted node may live and not know it.  Nothing that it says counts any more, nobody waits for it,
# and it can choose nothing alone; the two that are left can.
mesh 3 workers=n0
submit n0 s0 c1 from=ann
deliver quietly
evict n2
done c1 at n0
deliver n0->n1
deliver quietly
show n0 n1
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n0
ann <- DONE c1 by n0
n0: c1 on record, DONE
n1: c1 on record, DONE

submit n2 s0 c2 from=bob
deliver
----
n2 -> n0 STORE c2: not heard, it is evicted
n2 -> n1 STORE c2: not heard, it is evicted
