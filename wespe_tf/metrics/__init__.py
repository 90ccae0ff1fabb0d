"""How good pictures are, and whether a run has collapsed."""
