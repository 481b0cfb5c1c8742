"""The user's pictures for calibration: which can be used, and what to say about them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mgts_trt.bundle.manifest import Calibration
from mgts_trt.errors import ImageError, PrecisionError
from mgts_trt.precisions.recording import Recording, Sizes, start_recording

FEW = 16
"""Below this many pictures a note says what that means."""

OnNote = Callable[[str], None]


def read_calibration(
    paths: Sequence[Path], sizes: Sizes, on_note: OnNote
) -> tuple[list[Recording], Calibration | None]:
    """Put pictures onto the canvas; those that cannot be read are left out, with a note.

    Args:
        paths: Picture files.
        sizes: Of the canvas.
        on_note: Called with a sentence for each thing the user should know.

    Returns:
        The pictures, and the manifest's entry; nothing and None where there are no paths.

    Raises:
        PrecisionError: Not one of them can be read.
    """
    recordings, used, broken = [], [], []
    for path in paths:
        try:
            recordings.append(start_recording(path, sizes))
            used.append(path)
        except ImageError as error:
            broken.append((path, error))
    if broken and not used:
        raise PrecisionError(f"None of the {len(broken)} calibration pictures can be read. The first: {broken[0][1]}")
    if broken:
        names = ", ".join(path.name for path, _ in broken[:3]) + (", …" if len(broken) > 3 else "")
        on_note(
            f"{len(broken)} of {len(paths)} calibration pictures cannot be read and are left out ({names}): "
            f"{broken[0][1]}"
        )
    return recordings, Calibration.of(used) if used else None


def require_calibration(recordings: Sequence[Recording], on_note: OnNote) -> None:
    """What INT8 needs beyond that: some pictures, and better not a few.

    Raises:
        PrecisionError: There are none.
    """
    if not recordings:
        raise PrecisionError(
            "INT8 takes its scales from real pictures, and there are none. Name a folder of pictures like those the "
            "system will see with --calibration DIR; 100 are plenty, 16 will do."
        )
    if len(recordings) < FEW:
        on_note(
            f"INT8 is calibrated on {len(recordings)} picture{'s' * (len(recordings) > 1)}: what other pictures make "
            f"greater is clipped. Take {FEW} or more, then look at what it cost with `mgts-trt parity`."
        )


def check_people(recordings: Sequence[Recording], least_score: float, on_note: OnNote) -> None:
    """Note where the detector finds nobody in most pictures: patches for re-ID then show no people.

    Args:
        recordings: With the detector's outputs.
        least_score: Of a person.
        on_note: See `read_calibration`.
    """
    empty = [item.name for item in recordings if not (item.outputs["detector.scores"] >= least_score).any()]
    if 2 * len(empty) > len(recordings):
        on_note(
            f"The detector finds nobody in {len(empty)} of {len(recordings)} calibration pictures (such as "
            f"{empty[0]}), so the scales of the re-ID networks come from background. Take pictures with people."
        )
