"""Folders of re-ID crops with a table, as `reid_mix` has them."""

from collections.abc import Iterable
from pathlib import Path

from tests.helpers.training_scenes import save


def save_crop_set(folder: Path, rows: Iterable[tuple[str, str, int]], hw: tuple[int, int] = (24, 12)) -> Path:
    """Crops of noise, one a row of set, pid and camera; pids may come again."""
    lines = ["file,set,pid,cam"]
    for number, (name, pid, camera) in enumerate(rows):
        file = f"images/{name}/{pid}_c{camera}_{number:05d}.jpg"
        save(folder / file, *hw)
        lines.append(f"{file},{name},{pid},{camera}")
    (folder / "reid.csv").write_text("\n".join(lines) + "\n")
    return folder


def every_set(people: int = 7) -> list[tuple[str, str, int]]:
    """So many people of each set, under two cameras."""
    sets = ("cuhk03", "cuhk01", "iitd_col780", "prid", "grid", "viper")
    return [(name, f"{name}_{n:03d}", camera) for name in sets for n in range(people) for camera in (1, 2)]
