"""Neural codecs."""
