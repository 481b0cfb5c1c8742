"""Readers of the public data sets, and what of each is held out."""
