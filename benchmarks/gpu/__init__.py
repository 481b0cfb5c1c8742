"""The parts of `python -m benchmarks.gpu`: each a module that lists what it would measure, and measures it."""
