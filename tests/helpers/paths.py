"""Where the checkout's own files lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "docs" / "pictures" / "samples"
TINY = ROOT / "tests" / "helpers" / "tiny.toml"
TRAINED = ROOT / "bundle"
