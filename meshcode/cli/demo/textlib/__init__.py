"""The code that `mesh demo` puts into a git repository: statistics of text files."""
