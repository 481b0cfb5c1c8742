"""The support tables of docs/plans.md, from what the code decides by.

`python -m tests.helpers.support_table` writes them anew.
"""

from mgts_trt.plans.extras import PLATFORMS
from mgts_trt.plans.support import GPU_KINDS, PORTABLE_ON, FlavourName, supported_by, title
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs/plans.md"
BEGIN, END = "<!-- support: begin -->\n", "<!-- support: end -->\n"


def tables() -> str:
    """Both, in Markdown."""
    rows = [
        "| machine | TensorRT | CUDA | Python | extra | GPUs | FP32, FP16 | INT8 | building | running |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in PLATFORMS:
        gpus = ", ".join(each.gpus) or f"{len(supported_by(each.flavour))} kinds, below"
        int8 = "builds; may gain nothing" if each.flavour == "tensorrt_rtx" else "yes"
        cells = (
            f"{title(each.flavour)} {each.version}", each.cuda, each.python, f"`{each.extra}`", gpus, "yes", int8,
            each.builds, each.runs,
        )  # fmt: skip
        rows.append(f"| {' | '.join((each.name, *cells))} |")
    rows += [
        "",
        "| GPUs | for example | TensorRT-RTX | its portable plans | TensorRT |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in GPU_KINDS:
        portable = "yes" if kind.sm in PORTABLE_ON else "own plan" if "tensorrt_rtx" in kind.since else "–"
        since = [_since(kind.since.get(name)) for name in _ORDER]
        rows.append(f"| {kind.sm} ({kind.family}) | {kind.examples} | {since[0]} | {portable} | {since[1]} |")
    return "\n".join(rows) + "\n"


_ORDER: tuple[FlavourName, ...] = ("tensorrt_rtx", "tensorrt")


def _since(version: tuple[int, int] | None) -> str:
    return "–" if version is None else f"{version[0]}.{version[1]} and newer"


def with_tables(page: str) -> str:
    """The page with the tables between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
