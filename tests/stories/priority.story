# 9 runs before 4 (where none is given) before 0; equals in the order of their coming.
socket a
submit a low from=ann priority=0
submit a one two from=ann
submit a high from=ann priority=9
worker w1
----
ann <- ACCEPTED low
ann <- ACCEPTED one two
ann <- ACCEPTED high
w1 <- START high attempt 1

done high
done one
done two
done low
----
w1 <- START one attempt 1
w1 <- START two attempt 1
w1 <- START low attempt 1
ann <- DONE high
ann <- DONE one
ann <- DONE two
ann <- DONE low
