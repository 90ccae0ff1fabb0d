"""Trained weights of every format, in and out."""
