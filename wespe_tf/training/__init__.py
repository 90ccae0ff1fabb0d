"""Training: from settings to a trained generator in its run folder."""
