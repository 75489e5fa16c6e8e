"""The stages that turn audio into codes, phonemes and speaker prompts."""
