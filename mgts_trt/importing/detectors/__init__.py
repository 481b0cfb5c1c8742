"""Detectors of other people: families recognised, decoding and pre-processing put into the graph."""
