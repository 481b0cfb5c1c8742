"""Metrics on labelled data through a bundle, and the paper's analyses."""
