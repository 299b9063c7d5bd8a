"""How the mesh behaves as everything grows: one file per curve, one runner."""
