"""From a trained model to verified TFLite files."""
