"""The version, where whoever writes it into a file can read it without importing the package's face."""

__version__ = "0.1.0"
