# One call per customer at once; the others pass by.
socket a key_concurrency=1
worker w1 w2 w3
submit a x1 x2 x3 from=ann key=x
submit a y1 from=ann key=y
----
w1 <- START x1 attempt 1
ann <- ACCEPTED x1 x2 x3
w2 <- START y1 attempt 1
ann <- ACCEPTED y1

done x1
----
w1 <- START x2 attempt 1
ann <- DONE x1

# The next of a key is cancelled while it runs elsewhere: the one behind it is not forgotten.
processor p requested_status=pause
done x2
cancel x3 by=ann
submit a x4 from=ann key=x
processor p requested_status=start
----
ann <- DONE x2
ann <- CANCELLED x3 cancelled by ann
ann <- OK cancelled
ann <- ACCEPTED x4
w1 <- START x4 attempt 1
