"""From settings to a trained generator and its run folder."""
