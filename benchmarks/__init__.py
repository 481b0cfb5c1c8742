"""Reproducible measurements. Each is a module: `python -m benchmarks.NAME --help`."""
