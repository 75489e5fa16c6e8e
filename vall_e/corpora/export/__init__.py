"""Utterances of a WORK folder in the layouts of other tools. `vall-e export`."""
