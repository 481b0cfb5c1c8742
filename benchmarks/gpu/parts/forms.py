"""Our own side on TensorRT: each lowering of the operators that this machine runs, with and without CUDA graphs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.gpu.job import Job
from benchmarks.gpu.report import SideResult
from benchmarks.gpu.timing import Samples, times_as_fast
from mgts_trt.choices import Lowering


@dataclass(frozen=True)
class Form:
    """One way to run our side on TensorRT.

    Attributes:
        lowering: Of the operators.
        graphs: Whether engines run as CUDA graphs.
    """

    lowering: Lowering
    graphs: bool

    def __str__(self) -> str:
        return f"TensorRT, {'CUDA graphs' if self.graphs else 'launches'}, operators as {self.lowering}"


def forms(job: Job, *, operators: bool = True) -> list[Form]:
    """All forms there are to measure.

    Args:
        job: Knows the lowerings.
        operators: Whether what is run has any; without, its lowerings are one.
    """
    lowerings: tuple[Lowering, ...] = job.lowerings if operators else ("graph",)
    return [Form(lowering, graphs) for lowering in lowerings for graphs in (False, True)]


def compare_lowerings(
    results: Sequence[SideResult], samples: Mapping[str, Samples], ours: Mapping[str, Form], repeats: int
) -> None:
    """Note of each of our sides which form it is, and how many times as fast as the same with its operators as graph.

    Args:
        results: Of all sides of a group.
        samples: Label → what that side gave.
        ours: Label → form, of those sides that are ours.
        repeats: Runs a turn.
    """
    for result in results:
        form = ours.get(result.label)
        if form is None:
            continue
        result.lowering, result.graphs = form.lowering, form.graphs
        baseline = samples.get(str(Form("graph", form.graphs)))
        if baseline is not None:
            result.over_graph = times_as_fast(samples[result.label], baseline, repeats)
