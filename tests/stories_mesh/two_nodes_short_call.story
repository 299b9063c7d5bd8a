# Two nodes: a call that has ended before the home hears that its copy is kept.  The keeper has the outcome
# on record; word that the home has no such call any more does not throw it away.
mesh 2 workers=n0
submit n0 s0 c1 from=ann
done c1 at n0
deliver
show
----
n0: START c1 attempt 1
ann <- ACCEPTED c1 local 1/2
ann <- DONE c1 by n0
n0 -> n1 KEEP c1
n0 -> n1 DROP c1
n1 -> n0 KEPT c1
n0 -> n1 DROP c1
n0: c1 on record, DONE
n1: c1 on record, DONE

# The word of an outcome is lost with the link.  The keeper asks after a while, and asks again how it ended.
submit n0 s0 c2 from=ann
deliver
done c2 at n0
flying
drop
tick 60000
deliver
show
----
n0: START c2 attempt 1
n0 -> n1 KEEP c2
n1 -> n0 KEPT c2
ann <- ACCEPTED c2 local 2/2
ann <- DONE c2 by n0
flying: n0 -> n1 DROP c2
lost: n0 -> n1 DROP c2
n1 -> n0 KEPT c2
n0 -> n1 DROP c2
n1 -> n0 OUTCOME_OF c2
n0 -> n1 OUTCOME_IS c2
n0: c1 on record, DONE
n0: c2 on record, DONE
n1: c1 on record, DONE
n1: c2 on record, DONE
