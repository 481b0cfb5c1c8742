"""Whatever is done to a manifest, it says the same, or the bundle is refused in a sentence."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import DIGEST, MANIFEST, read_manifest
from mgts_trt.errors import BundleError
from mgts_trt.machine.data_files import json_sha256
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import make_tiny_bundle

FLIPS = 400

awkward = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, 10**4000]),
    st.floats(allow_nan=False),  # with infinities: 1e999 is JSON
    st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 1e308]),
    st.text(max_size=8),
    st.sampled_from(["", "..", "\x00", "a" * 5000, "a/" * 1000, "\x1b[2J", "fp32", "0" * 64]),
    st.lists(st.integers(-1, 300), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
    st.builds(lambda deep: json.loads("[" * deep + "]" * deep), st.integers(1, 200)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


def places(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a JSON document."""
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [above] * bool(above) + [way for key, value in inside for way in places(value, (*above, key))]


def attempt(read: Callable[[Path], Any], folder: Path) -> tuple[Any, str]:
    """What is read, or None and why it is refused; any other exception fails the test."""
    try:
        return read(folder), ""
    except BundleError as error:
        return None, str(error)


def test_a_flipped_bit_is_refused_or_says_the_same(tmp_path: Path) -> None:
    """A sample; `python -m benchmarks.manifest_flips` tries every bit."""
    whole = (ROOT / "bundle" / MANIFEST).read_bytes()
    manifest = read_manifest(ROOT / "bundle")
    flips = random.Random(0).sample(range(8 * len(whole)), FLIPS)
    refused = 0
    for bit in flips:
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << bit % 8
        (tmp_path / MANIFEST).write_bytes(altered)
        found, why = attempt(read_manifest, tmp_path)
        assert found is None or found == manifest, f"bit {bit} changes what the manifest says"
        assert why.isprintable()
        refused += found is None
    assert refused > FLIPS // 2


@given(st.data())
@settings(max_examples=1000)
def test_an_altered_manifest_with_a_fitting_digest(folder: Path, data: st.DataObject) -> None:
    """It holds for who can write a digest, too: nothing but a `BundleError`, and what opens is within bounds."""
    original = (folder / MANIFEST).read_text()
    manifest = json.loads(original)
    del manifest[DIGEST]
    for _ in range(data.draw(st.integers(1, 2))):
        way = data.draw(st.sampled_from(places(manifest)))
        inside: Any = manifest
        for key in way[:-1]:
            inside = inside[key]
        kind = data.draw(st.sampled_from(["replace", "remove", "rename"]))
        if kind == "replace" or isinstance(inside, list):
            inside[way[-1]] = data.draw(awkward)
        else:
            value = inside.pop(way[-1])
            if kind == "rename":
                inside[data.draw(st.text(max_size=12).filter(lambda text: text.isascii()))] = value
    text = json.dumps({**manifest, DIGEST: json_sha256(manifest)}).replace("Infinity", "1e999")
    (folder / MANIFEST).write_text(text)
    try:
        opened, why = attempt(Bundle.open, folder)
    finally:
        (folder / MANIFEST).write_text(original)
    assert why.isprintable()
    assert len(why) < 1000
    if opened is not None:
        assert all(1e-3 <= value <= 1e3 for value in opened.manifest.normalisation.std)
        if "mgts" in opened.manifest.models:
            assert opened.model("mgts").inputs["original"].shape == ("N", 3, *opened.manifest.patch)
