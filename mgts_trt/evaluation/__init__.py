"""Metrics, goldens, parity with PyTorch, labelled sets, bench."""
