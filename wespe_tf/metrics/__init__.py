"""Metrics: how good pictures are, and whether a run has collapsed."""
