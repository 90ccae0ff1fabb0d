"""Networks. Everything but `wespe` and `dped` needs Keras alone, on any of its backends."""
