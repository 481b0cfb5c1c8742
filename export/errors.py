"""What can go wrong in an export; apart from the packages it needs, so that their absence can be told."""

from mgts_trt.errors import MgtsError


class ExportError(MgtsError):
    """A network that could not be exported, or whose exported form is not the network."""
