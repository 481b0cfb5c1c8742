"""Datasets: every one a sequence of `Scene`s."""
