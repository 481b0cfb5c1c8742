"""What is written beside the models as JSON: how far a bundle was at parity, and the ranges of its layers."""

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgts_trt._typing import Self
from mgts_trt.errors import BundleError, first_fault
from mgts_trt.machine.data_files import read_json


class _Record(BaseModel):
    # A field that a newer version writes is no fault.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    WRITER: ClassVar[str]
    """What writes such records, for errors."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record from its file.

        Raises:
            BundleError: It cannot be read, or is no such record.
        """
        try:
            return cls.model_validate(read_json(path))
        except OSError as error:
            raise BundleError(f"Cannot read {path}: {error.strerror}.") from error
        except ValidationError as error:
            raise BundleError(f"{path} is not what {cls.WRITER} writes: {first_fault(error)}.") from error
        except ValueError as error:
            raise BundleError(f"{path} is not what {cls.WRITER} writes: it is no JSON, {error}.") from error


class TensorRow(BaseModel):
    """One number of one model on one golden; see `mgts_trt.evaluation.parity.Comparison`."""

    model: str
    precision: str
    picture: str
    metric: str
    value: float | None
    """None where it is not a number."""
    bound: float
    ok: bool


class TaskRow(BaseModel):
    """One number of one precision on a labelled set; see `mgts_trt.evaluation.task.TaskComparison`."""

    part: str
    precision: str
    metric: str
    value: float | None
    reference: float | None
    bound: float | None
    delta: float | None
    ok: bool


class TaskRecord(BaseModel):
    """What was measured on a labelled set.

    Attributes:
        reference: What it is compared with.
        pictures: In the set.
        people: In them.
        comparisons: One a number.
    """

    reference: str
    pictures: int
    people: int
    comparisons: tuple[TaskRow, ...]


class ParityRecord(_Record):
    """Everything one run of `mgts-trt parity` compared.

    Attributes:
        version: Of mgts-trt.
        manifest_sha256: Of the bundle; it tells which export the record is of.
        backend: What ran.
        device: What it ran on.
        ok: Whether everything was within tolerance.
        comparisons: Tensors against the goldens.
        task: Results on labelled pictures; None where there were none.
    """

    WRITER = "`mgts-trt parity --record`"

    version: str
    manifest_sha256: str
    backend: str
    device: str
    ok: bool
    comparisons: tuple[TensorRow, ...]
    task: TaskRecord | None


class Range(BaseModel):
    """The values of one node's output, over all pictures.

    Attributes:
        node: Its name.
        op: Its operator.
        tensor: The output.
        min: Least value.
        max: Greatest value.
        largest: Greatest magnitude.
        subnormal: Share of the values that are not zero and smaller than half's normal numbers, 0…1.
        overflow: Share of the values that half cannot hold, 0…1.
    """

    model_config = ConfigDict(frozen=True)

    node: str
    op: str
    tensor: str
    min: float
    max: float
    largest: float
    subnormal: float
    overflow: float


class RangesRecord(_Record):
    """The ranges of a model's layers on real pictures.

    Attributes:
        pictures: Their names.
        ranges: One a node, at least one.
    """

    WRITER = "the export"

    pictures: tuple[str, ...]
    ranges: tuple[Range, ...] = Field(min_length=1)

    def write(self, path: Path) -> None:
        """Write it with one row a node on a line of its own; its folder is made if need be.

        Raises:
            OSError: The disk refuses.
        """
        lines = ",\n".join(row.model_dump_json() for row in self.ranges)
        pictures = self.model_dump_json(include={"pictures"}).removesuffix("}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{pictures}, "ranges": [\n{lines}\n]}}\n', encoding="utf-8")
