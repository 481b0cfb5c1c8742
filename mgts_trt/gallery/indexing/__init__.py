"""Fills a gallery from photos, videos and live streams."""
