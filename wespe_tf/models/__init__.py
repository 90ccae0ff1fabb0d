"""Networks, their layers, and the training steps."""
