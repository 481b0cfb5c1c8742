"""Shows who was found where it was found: annotated pictures and videos, with the numbers beside them."""
