# A node whose memory is enough for two open calls takes two: of each frame the rest is refused.
socket a
disk room=2
submit a c1 c2 c3 from=ann
----
ann <- REFUSED c3 busy: this node keeps 2 open calls and copies of calls, it has room for 2 (the setting `memory`); what it accepted is safe; try again when some have ended
ann <- ACCEPTED c1 c2
