"""Galleries that are written to and erased from, how that is stopped, and what is to be there afterwards."""
