# A node is evicted while a broadcast waits for its worker: that copy ends with an error, and what the
# other worker said is kept.
mesh 3 workers=n1,n2 crew=1
crash n2
dead n2 at n0 n1
submit n0 s0 c1 from=ann broadcast=yes
deliver quietly
----
ann <- ACCEPTED c1 quorum 2/3
ann <- DONE c1 a flow of 3 steps
n1: START c1/n1-0 attempt 1

evict n2
tick 30000
deliver quietly
tick 6000
deliver quietly
show n1
----
n1: c1/n1-0 voters n0 n1 n2: votes, promised epoch 1 of n0
n1: c1/gather voters n0 n1 n2: votes, promised epoch 1 of n0
n1: c1 on record, DONE
n1: c1/n2-0 on record, FAILED

watch n1 c1/gather from=ann
done c1/n1-0 at n1
deliver quietly
----
n0: c1/n1-0 superseded, attempt 1
ann <- DONE c1/gather [{'socket': 's0', 'node': 'n1', 'place': 0, 'value': [1, 36208, 1]}, {'socket': 's0', 'node': 'n2', 'place': 0, 'error': {'code': 'seat_gone', 'text': 'not run: it was for worker 0 (from 0) of socket s0, and node n2 was evicted; what the other workers said is kept; call again to reach those that are there now', 'fields': {'socket': 's0', 'node': '6e6f6465020202020202020202020202', 'place': 0}}}]
