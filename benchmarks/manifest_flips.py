"""Every bit of a bundle's manifest, flipped one at a time: is each flip refused, in a sentence and at once?

    python -m benchmarks.manifest_flips bundle/

A flip that is not refused must leave what the manifest says as it was. The tests try a sample; this tries all.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.bundle.manifest import MANIFEST, read_manifest
from mgts_trt.cli.console import out, progress
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import BundleError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class FlipReport(BaseModel):
    """What became of the flips; the first four numbers add up to all of them.

    Attributes:
        refused: By a `BundleError`.
        same: The manifest opens and says what it said before.
        changed: Bits whose flip changes what the manifest says, and passes.
        failed: Bit → any other exception.
        slowest_s: The longest that one took, seconds.
    """

    environment: Environment
    bits: int
    refused: int = 0
    same: int = 0
    changed: list[int] = []
    failed: dict[int, str] = {}
    slowest_s: float = 0


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")] = Path("bundle"),
    json_file: JsonOption = None,
) -> None:
    """Flip every bit of a manifest; exit with 1 where one changes what it says and passes, or fails otherwise."""
    report = sweep(bundle)
    out.print(
        f"{report.bits} bits: {report.refused} refused, {report.same} say the same, {len(report.changed)} pass "
        f"changed, {len(report.failed)} fail otherwise; the slowest took {report.slowest_s * 1000:.0f} ms"
    )
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))
    if report.changed or report.failed:
        raise typer.Exit(1)


def sweep(bundle: Path) -> FlipReport:
    """Try every bit of a bundle's manifest, in a temporary folder.

    Raises:
        BundleError: The manifest does not open as it is.
    """
    manifest, whole = read_manifest(bundle), (bundle / MANIFEST).read_bytes()
    report = FlipReport(environment=environment(), bits=8 * len(whole))
    with tempfile.TemporaryDirectory() as name, progress() as bar:
        folder = Path(name)
        for bit in bar.track(range(report.bits), description="bits"):
            altered = bytearray(whole)
            altered[bit // 8] ^= 1 << bit % 8
            (folder / MANIFEST).write_bytes(altered)
            start = time.perf_counter()
            try:
                same = read_manifest(folder) == manifest
            except BundleError:
                report.refused += 1
            except Exception as error:
                report.failed[bit] = f"{type(error).__name__}: {error}"
            else:
                report.same += same
                report.changed += [] if same else [bit]
            report.slowest_s = max(report.slowest_s, time.perf_counter() - start)
    return report


if __name__ == "__main__":
    run_app(app)
