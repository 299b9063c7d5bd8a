"""Names of the original's database package that its programs import."""
