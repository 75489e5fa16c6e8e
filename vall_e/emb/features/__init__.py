"""Features that utterances are compared by."""
