# Nothing leaves a node before its own disk has it: while the disk of the home is slow, no peer hears of
# the call and no client is answered.  After a crash it never was.
mesh 3 workers=n0
disk slow n0
submit n0 s0 c1 from=ann
flying
deliver
----
nothing

crash n0
boot n0
show n0
----
n0: boot 2
n0: nothing

# The client heard nothing, so it submits again, under the same id.
again n0 c1 from=ann
deliver quietly
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
