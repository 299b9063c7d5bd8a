# A copy of a STORE comes when the call has ended and everybody has forgotten it.  It must not bring the
# call back: the channel takes no number twice.  Nor does it take what was said to an earlier life.
mesh 3 workers=n0
submit n0 s0 c1 from=ann
double n0->n2
deliver quietly
done c1 at n0
deliver quietly
show
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
ann <- DONE c1 by n0
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE

replay
show n2
----
n0 -> n2 STORE c1: dropped, of an older life or a number that was used
n2: c1 on record, DONE

submit n0 s0 c2 from=ann
double n0->n2
deliver quietly
done c2 at n0
deliver quietly
crash n2
boot n2
replay
show n2
----
ann <- ACCEPTED c2 quorum 2/3
n0: START c2 attempt 1
ann <- DONE c2 by n0
n2: boot 2
n0 -> n2 STORE c2: dropped, of an older life or a number that was used
n2: c1 on record, DONE
n2: c2 on record, DONE
