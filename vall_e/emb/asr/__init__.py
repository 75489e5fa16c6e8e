"""Recognisers: speech into text."""
