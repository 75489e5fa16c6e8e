"""VALL-E as two networks: read `transformer.py`, `ar.py`, `nar.py` and `sampling.py`, in this order."""
