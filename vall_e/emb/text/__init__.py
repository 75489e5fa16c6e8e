"""Text on its way to phonemes."""
