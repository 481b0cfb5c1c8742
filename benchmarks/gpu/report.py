"""What the GPU benchmark writes as JSON; tables and plots are made from it alone."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel

from benchmarks.environment import Environment
from mgts_trt.choices import Lowering, Mode


class Latency(BaseModel):
    """Milliseconds of one thing over its runs."""

    p50: float
    p90: float
    p99: float
    mean: float
    runs: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Self:
        """Percentiles (linear between samples) of one sample or more."""
        p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, [50, 90, 99]))
        return cls(p50=p50, p90=p90, p99=p99, mean=float(np.mean(milliseconds)), runs=len(milliseconds))


class SideResult(BaseModel):
    """One of several things that do the same, measured in turns."""

    label: str
    error: str | None = None
    """Why it could not be measured, in the words of what refused."""
    latency: Latency | None = None
    stages: dict[str, Latency] = {}
    """As `People.timings` names them, of the same runs."""
    images_per_second: dict[int, float] = {}
    """Pictures in flight → throughput."""
    at_once: dict[int, Latency] = {}
    """Pictures in one run of detector and mask net → a picture's share of the latency."""
    notes: list[str] = []
    lowering: Lowering | None = None
    """Of the operators, where it is one of our forms on TensorRT."""
    graphs: bool | None = None
    """Whether it runs as CUDA graphs, likewise."""
    over_graph: float | None = None
    """Times as fast as the same with its operators as `graph`: the median of the rounds."""


class Group(BaseModel):
    """Sides measured in turns, so that whatever the clocks did happened to all of them."""

    what: str
    """A mode of the pipeline, or a model."""
    precision: str
    people: int
    sides: list[SideResult]

    def ratio(self, side: SideResult, baseline: str) -> float | None:
        """How many times `side` is faster than the side with the label `baseline`, by p50; None without both."""
        base = next((each.latency for each in self.sides if each.label == baseline), None)
        return base.p50 / side.latency.p50 if base and side.latency else None


class PlanTrial(BaseModel):
    """Whether one plan loads and runs on this GPU."""

    model: str
    precision: str
    target: str
    lowering: Lowering
    batch: int = 1
    flavour: str
    reached: Literal["nothing", "built", "loaded", "context", "ran"]
    """How far it came."""
    message: str | None = None
    """What stopped it."""
    log: list[str] = []
    """TensorRT's warnings and errors, word for word."""
    milliseconds: dict[str, float] = {}
    """Of each step."""


class Ceilings(BaseModel):
    """The most this device did in this run."""

    tflops: dict[str, float]
    """Precision → TFLOP/s of a large matrix product."""
    copy_gbs: float
    """GB/s of a large copy inside the device's memory, read and written bytes together."""
    how: str


class RooflineRow(BaseModel):
    """One network on one side, beside what the ceilings allow at best."""

    model: str
    precision: str
    side: str
    gflop: float
    model_mb: float
    """Inputs, weights and outputs of the whole network, once."""
    layers_mb: float
    """Inputs, weights and outputs of every layer: what moves without fusion or cache."""
    floor_ms: float
    """All arithmetic at the ceilings, or `model_mb`, whichever takes longer."""
    unfused_ms: float
    """Sum over layers of arithmetic or traffic, whichever takes longer."""
    bound: Literal["compute", "memory"]
    """What `floor_ms` comes from."""
    measured_ms: float

    @property
    def over_floor(self) -> float:
        """Measured ÷ floor."""
        return self.measured_ms / self.floor_ms


class OperatorWork(BaseModel):
    """What one operator of a network has to do."""

    network: str
    precision: str
    operator: str
    node: str
    work: str
    """Types and shapes, from inputs to outputs."""
    read_kb: float
    """Inputs, once; of maps, no more than the points of all regions touch."""
    written_kb: float
    mflop: float
    """In float32."""


class OperatorFloor(OperatorWork):
    """What one operator of a network must cost at least."""

    supposed: bool
    """The bundle does not hold the network in this precision: counted as if the operator's maps were."""
    floor_us: dict[str, float]
    """GPU → microseconds."""


class NetworkFloor(BaseModel):
    """What one network must cost at least."""

    network: str
    precision: str
    supposed: bool
    """The bundle does not hold it in this precision: counted as if all products and weights were."""
    gmac: float
    model_mb: float
    """Inputs, weights and outputs of the whole network, once."""
    floor_ms: dict[str, float]
    """GPU → milliseconds."""


class ModeFloor(BaseModel):
    """The networks of a mode together."""

    mode: Mode
    precision: str
    supposed: bool
    floor_ms: dict[str, float]
    aim_ms: dict[str, float]
    """GPU → what the whole pipeline is to take there, where something is aimed at."""


class Floors(BaseModel):
    """What no implementation can go below on GPUs one may not have, by published numbers."""

    people: int
    gpus: dict[str, Ceilings]
    networks: list[NetworkFloor]
    modes: list[ModeFloor]
    operators: list[OperatorFloor]


class KernelResult(BaseModel):
    """One kernel, alone, again and again."""

    kernel: str
    work: str
    kilobytes: float
    """What it must read and write at least."""
    microseconds: float
    copy_microseconds: float
    """A copy that reads and writes as much."""
    error: str | None = None

    @property
    def share(self) -> float:
        """Its bandwidth as a share of the copy's."""
        return self.copy_microseconds / self.microseconds if self.microseconds else 0.0


class OperatorResult(OperatorWork):
    """One operator of a network, alone, again and again, in each form."""

    floor_us: float | None
    """Bytes or arithmetic at the ceilings of this run, whichever takes longer."""
    microseconds: dict[str, float] = {}
    """By lowering: the kernel, and engines of the operator alone; and of a `copy` that moves as many bytes."""
    errors: dict[str, str] = {}
    """Form → what refused."""

    @property
    def bytes(self) -> int:
        """What it must read and write."""
        return round((self.read_kb + self.written_kb) * 1e3)

    def ratio(self, form: str, to: str) -> float | None:
        """How many times one form takes of what another does, or of the `floor`; None without both."""
        base = self.floor_us if to == "floor" else self.microseconds.get(to)
        mine = self.microseconds.get(form)
        return mine / base if mine and base else None


class MemorySample(BaseModel):
    """Memory in use after so many pictures."""

    images: int
    device_mib: float | None
    host_mib: float


class SoakResult(BaseModel):
    """The pipeline, for long."""

    mode: Mode
    precision: str
    depth: int
    images: int
    seconds: float
    first: Latency
    """Between results, in the first tenth after warming up."""
    last: Latency
    """In the last tenth."""
    memory: list[MemorySample]
    growth_mib: float | None
    """Of device memory, from after warming up to the end; None where it cannot be read."""
    flat: bool | None

    @property
    def drift(self) -> float:
        """p50 of the last tenth over that of the first."""
        return self.last.p50 / self.first.p50


class ParityResult(BaseModel):
    """The pipeline on the device beside the reference on the CPU, over a folder."""

    mode: Mode
    precision: str
    lowering: Lowering | None = None
    """Of the operators, on TensorRT."""
    reference: str
    pictures: int
    people: int
    """The reference's."""
    boxes_share: float
    """Of the reference's people, those with a box of IoU ≥ 0.99."""
    worst_iou: float
    cosine_share: float
    """Of those, the ones whose embeddings have a cosine ≥ 0.999."""
    worst_cosine: float
    required: float | None
    """Share both must reach; None where it is shown only."""
    passed: bool | None

    @property
    def where(self) -> str:
        """What was compared, for messages."""
        return f"{self.mode}, {self.precision}{f', operators as {self.lowering}' if self.lowering else ''}"


class Report(BaseModel):
    """Everything one run of the command measured."""

    format: Literal[1] = 1
    environment: Environment
    bundle: str
    preset: str
    trained: bool
    canvas: tuple[int, int]
    image: str
    image_hw: tuple[int, int]
    people: int
    backend: str
    device: str
    quick: bool
    seconds: dict[str, float] = {}
    """Part → how long it took."""
    left_out: dict[str, str] = {}
    """Part, or piece of one → why it was not measured."""
    floors: Floors | None = None
    plans: list[PlanTrial] = []
    pipeline: list[Group] = []
    networks: list[Group] = []
    ceilings: Ceilings | None = None
    roofline: list[RooflineRow] = []
    kernels: list[KernelResult] = []
    operators: list[OperatorResult] = []
    soak: list[SoakResult] = []
    parity: list[ParityResult] = []

    @property
    def failures(self) -> list[str]:
        """What must not be so: results that differ, memory that grows."""
        wrong = [
            f"{row.where}: {row.boxes_share:.1%} of boxes and {row.cosine_share:.1%} of embeddings agree "
            f"with {row.reference}, {row.required:.0%} required"
            for row in self.parity
            if row.passed is False
        ]
        return wrong + [
            f"{row.mode}, {row.precision}: device memory grew by {row.growth_mib:.0f} MiB over {row.images} pictures"
            for row in self.soak
            if row.flat is False
        ]
