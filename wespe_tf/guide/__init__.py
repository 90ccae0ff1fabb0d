"""The guide: a guess of the enhanced photo, computed from the two folders without training."""
