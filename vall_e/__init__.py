"""Raw speech into training data for VALL-E-style text-to-speech. See README.md and docs/."""

__version__ = "0.1.0"
