"""What the example programs of the original import."""
