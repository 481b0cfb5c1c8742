"""Goldens for Polygraphy, judged by Polygraphy: the very commands that `mgts-trt parity --polygraphy` prints."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.golden import load_goldens
from mgts_trt.evaluation.polygraphy_files import _as, quiet_polygraphy, write_polygraphy
from mgts_trt.pictures.image import read_image
from tests.helpers.goldens import add_golden, write_golden
from tests.helpers.tiny_bundle import make_tiny_bundle

TOLERANT = {"scores": 1e-3, "masks": 1e-2}


@pytest.fixture(scope="module", autouse=True)
def needs_polygraphy() -> None:
    pytest.importorskip("polygraphy", reason="needs the extra polygraphy")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = make_tiny_bundle(tmp_path_factory.mktemp("polygraphy") / "a bundle", ("fp32", "fp16"))
    add_golden(root)
    return root


def polygraphy(command: str) -> tuple[int, str]:
    """Run a command as the shell would, with the Polygraphy of this Python; exit code and output."""
    program, *arguments = shlex.split(command)
    assert program == "polygraphy"
    start = "import sys; from polygraphy.tools import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", start, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_printed_commands_pass(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from mgts_trt.cli.app import main

    folder = tmp_path / "for polygraphy"
    monkeypatch.setattr(sys, "argv", ["mgts-trt", "parity", str(root), "--no-task", "--polygraphy", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = capsys.readouterr().out
    commands = [line for line in said.splitlines() if line.startswith("polygraphy run")]
    assert len(commands) == 5, "detector, mask net, MGTS in two modes, IDNet"
    assert "[I]" not in said, "Polygraphy's own words"
    for command in (commands[1], commands[2]):
        code, output = polygraphy(command)
        assert code == 0, output
        assert "Passed: 1/1" in output


def test_another_result_fails(root: Path, tmp_path: Path) -> None:
    """PyTorch, let us say, had given masks that are a little greater than the graph gives."""
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "b"))
    [case] = load_goldens(Bundle.open(root))
    outputs = {**case.outputs, "masknet.masks": case.outputs["masknet.masks"] + np.float32(2 * TOLERANT["masks"])}
    write_golden(bundle.root, read_image(root / "golden/two.png"), outputs)
    bundle = Bundle.open(bundle.root)
    [files] = [each for each in write_polygraphy(bundle, tmp_path) if each.model == "masknet"]
    code, output = polygraphy(files.command(bundle.model_path("masknet", "fp32")))
    assert code == 1
    assert "Mismatched outputs: ['masks']" in output


def test_files_hold_the_networks_own_tensors(root: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(root)
    [case] = load_goldens(bundle)
    written = write_polygraphy(bundle, tmp_path, precision="fp16")
    assert {file.name for file in tmp_path.iterdir()} == {path.name for each in written for path in paths(each)}
    with quiet_polygraphy() as polygraphy:
        for each in written:
            entry = bundle.model(each.model)
            [feed] = polygraphy.json.load_json(str(each.inputs))
            [(name, [found])] = polygraphy.comparator.RunResults.load(str(each.outputs))
            assert (name, each.pictures) == ("goldens", 1)
            for specs, arrays in ((entry.inputs, feed), (entry.outputs, found)):
                assert specs.keys() == dict(arrays).keys()
                assert all(spec.admits(str(arrays[key].dtype), arrays[key].shape) for key, spec in specs.items())
    bounds = {each.model: each.tolerances for each in written}
    assert bounds["detector"] == {"boxes": 0.5, "scores": 5e-3}
    assert bounds["masknet"]["masks"] == 2e-2
    assert bounds["mgts"]["embedding"] == pytest.approx(np.sqrt(2e-3)), "a cosine of 0.999"
    people = len(case.outputs["persons.boxes"])
    assert people == 2
    assert sum(each.model == "mgts" for each in written) == 2, "its modes see different patches"


@pytest.mark.parametrize("shape", [(4, 3), (1, 4, 3), ("B", 4, 3)])
def test_rows_of_zeros_and_a_batch_of_one_where_the_graph_has_them(shape) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    whole = _as(rows, TensorSpec(dtype="float32", shape=shape))
    assert whole.shape == ((4, 3) if len(shape) == 2 else (1, 4, 3))
    assert np.array_equal(whole.reshape(4, 3), [*rows, [0, 0, 0], [0, 0, 0]])


def paths(files) -> tuple[Path, Path]:
    return files.inputs, files.outputs


def test_nobody_in_the_goldens(root: Path, tmp_path: Path) -> None:
    """A re-ID network has nothing to compare then."""
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "b"))
    [case] = load_goldens(Bundle.open(root))
    nobody = {key: array[:0] for key, array in case.outputs.items()}
    write_golden(bundle.root, read_image(root / "golden/two.png"), nobody)
    written = write_polygraphy(Bundle.open(bundle.root), tmp_path)
    assert [each.model for each in written] == ["detector", "masknet"]


def test_without_polygraphy(root: Path, tmp_path: Path, monkeypatch) -> None:
    for module in ("polygraphy", "polygraphy.comparator"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MgtsError, match=r"needs the package polygraphy.*pip install 'mgts-trt\[polygraphy\]'"):
        write_polygraphy(Bundle.open(root), tmp_path)


def test_a_folder_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (tmp_path / "detector.outputs.json").mkdir()
    with pytest.raises(MgtsError, match=r"Cannot write .*: Is a directory\. Name another folder"):
        write_polygraphy(Bundle.open(root), tmp_path)
