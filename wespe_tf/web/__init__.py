"""A page that enhances photos in the browser: `python -m wespe_tf.web`."""
