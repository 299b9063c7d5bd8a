"""The code that `mesh demo --nodes` puts into a git repository: factors of whole numbers."""
