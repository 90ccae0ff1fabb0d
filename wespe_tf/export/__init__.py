"""Exports a trained model as verified TFLite files."""
