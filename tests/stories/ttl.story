# A call that waits longer than the time to live of its queue is CANCELLED, never begun late.
socket a message_ttl_ms=300
submit a c1 from=ann
submit a c2 from=ann expires_ms=100
----
ann <- ACCEPTED c1
ann <- ACCEPTED c2

wait 200
----
at 100 ms:
ann <- CANCELLED c2 not run: it expired after waiting 100 ms

wait 200
worker w1
----
at 300 ms:
ann <- CANCELLED c1 not run: it expired after waiting 300 ms

# A shorter time to live holds for those that wait already.
socket a message_ttl_ms=1000
processor p requested_status=pause
submit a c3 from=ann
wait 100
socket a message_ttl_ms=50
----
ann <- ACCEPTED c3
ann <- CANCELLED c3 not run: it expired after waiting 100 ms
