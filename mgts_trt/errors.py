"""Everything that can go wrong for a reason the user can act on.

Each message says what is wrong (with the offending value), what was expected, and what to do. The CLI prints it in
one paragraph and exits with code 2; `--debug` shows the traceback.
"""

from typing import TYPE_CHECKING

from mgts_trt.urls import masked

if TYPE_CHECKING:
    from pydantic import ValidationError


class MgtsError(Exception):
    """Base of all errors this package raises on purpose; no message shows a URL's password, see `urls.masked`."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(masked(item) if isinstance(item, str) else item for item in arguments))


class ImageError(MgtsError):
    """A picture that cannot be read or is not an image of the accepted kind."""


class TooLargeError(ImageError):
    """A picture that has more pixels than are taken."""


class BundleError(MgtsError):
    """A bundle that is missing, altered, foreign, or newer than this version understands."""


class SignatureError(BundleError):
    """A bundle that is not signed by the key asked for, or a key that cannot be used."""


class OnnxError(MgtsError):
    """An ONNX file that cannot be read, or no package to read it with."""


class PrecisionError(MgtsError):
    """A model that cannot be written in another precision, or an ONNX file that is not valid."""


class RecipeError(MgtsError):
    """An engine recipe that is malformed or does not fit the bundle."""


class BuildError(MgtsError):
    """TensorRT could not turn a model into a plan."""


class PlanError(MgtsError):
    """A plan that is missing, altered, or was built for something else."""


class BackendError(MgtsError):
    """A backend that was asked for but cannot run here, or that failed while it ran."""


class GalleryError(MgtsError):
    """A gallery that is missing, of another model, newer than this version, or that cannot be read or written."""


class SealedError(GalleryError):
    """Pictures of a gallery that are encrypted, and no key, or another one."""


class AccessError(MgtsError):
    """Keys that cannot be read or written, are open to others, or can be guessed."""


class AuditError(MgtsError):
    """A log of who did what that cannot be read or written."""


class FilterError(GalleryError):
    """A filter of a gallery that cannot be read."""


class ProtocolError(MgtsError):
    """A request of the inference protocol that cannot be read, or that does not fit the model it asks."""


class LabelError(MgtsError):
    """A labelled set that is missing, malformed, or does not fit its pictures."""


class MetricError(MgtsError):
    """Results that cannot be evaluated: not finite, of the wrong shape, or without any ground truth."""


class ClusterError(GalleryError):
    """A Ray cluster that cannot be had, or has no room."""


class SourceError(GalleryError):
    """Nothing that can be indexed, or a source that cannot be read."""


class QueryError(MgtsError):
    """A probe that cannot be searched for."""


def first_fault(error: "ValidationError") -> str:
    """Where a pydantic model does not hold, and what is wrong there: `at golden.0.name: Field required`.

    Only the first fault: what follows is often its consequence. What the data itself says is shortened.
    """
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(_short(str(part), 60) for part in fault["loc"]) or "its top"
    return f"at {where}: {_short(fault['msg'].removeprefix('Value error, '), 300)}"


def _short(text: str, most: int) -> str:
    """At most so many characters of a text of unknown origin, on one line."""
    line = "".join(c if c.isprintable() else "�" for c in text[:most])
    return line if len(text) <= most else f"{line}…"
