"""Gates: scores of an utterance, and the thresholds past which it is rejected."""
