"""Turns a bundle's models into plans. The runtime never imports it."""
