# A broadcast that n0 accepts reaches both workers of n1 and of n2.  Its outcome, agreed to by a
# majority, names a copy for each of the four seats, and a call that gathers what they say.  Copies have
# owners like all calls; whoever that is gives each to the node of its seat.
mesh 3 workers=n1,n2 crew=2
submit n0 s0 c1 from=ann broadcast=yes
deliver quietly
tick 1000
deliver quietly
----
ann <- ACCEPTED c1 quorum 2/3
ann <- DONE c1 a flow of 5 steps
n1: START c1/n1-0 attempt 1
n1: START c1/n1-1 attempt 1
n2: START c1/n2-0 attempt 1
n2: START c1/n2-1 attempt 1

# n2 dies before its workers have said anything.  What is for them waits for the node, and is given to
# nobody else.
crash n2
dead n2 at n0 n1
done c1/n1-0 at n1
done c1/n1-1 at n1
deliver quietly
tick 20000
deliver quietly
show n0
----
n0: c1/n1-0 superseded, attempt 1
n0: c1/n1-1 superseded, attempt 1
n0: c1/n2-0 WAITING, attempt 0
n0: c1/n2-1 WAITING, attempt 0
n0: c1/gather GATHERING, attempt 0: waits for 2 of 4 calls
n0: c1/n1-0 ended, seen by n0 n1; that all have seen it knows nobody
n0: c1/n1-1 ended, seen by n0 n1; that all have seen it knows nobody
n0: c1/n2-0 voters n0 n1 n2: owns it, promised epoch 1 of n0
n0: c1/n2-1 voters n0 n1 n2: owns it, promised epoch 1 of n0
n0: c1/gather voters n0 n1 n2: owns it, promised epoch 1 of n0
n0: c1 on record, DONE
n0: c1/n1-1 on record, DONE
n0: c1/n1-0 on record, DONE

# It is back: its workers get what was for them, and the broadcast comes to its end.
boot n2
tick 6000
deliver quietly
watch n0 c1/gather from=ann
done c1/n2-0 at n2
done c1/n2-1 at n2
deliver quietly
tick 3000
deliver quietly
----
n2: boot 2
n2: START c1/n2-0 attempt 1
n2: START c1/n2-1 attempt 1
n0: c1/n2-0 superseded, attempt 1
n0: c1/n2-1 superseded, attempt 1
ann <- DONE c1/gather [{'socket': 's0', 'node': 'n1', 'place': 0, 'value': [1, 1248, 1]}, {'socket': 's0', 'node': 'n1', 'place': 1, 'value': [1, 1250, 1]}, {'socket': 's0', 'node': 'n2', 'place': 0, 'value': [2, 27462, 1]}, {'socket': 's0', 'node': 'n2', 'place': 1, 'value': [2, 27464, 1]}]
