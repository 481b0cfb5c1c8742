"""Raises an alarm when a watched person is seen."""
