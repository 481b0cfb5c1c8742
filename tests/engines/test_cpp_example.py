"""The C++ of `engines/cpp`: built by its CMake file, run on a simulated GPU, and compared with Python's pipeline."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt import PersonSearch, read_image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import read_manifest, write_manifest
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.machine.files import file_sha256
from mgts_trt.plans.plan import RECORD, PlanRecord
from mgts_trt.runtime.people import People
from tests.helpers.appliance.building import build_example, compile_cpp, find_toolkit, host_kernels, simulate
from tests.helpers.appliance.networks import answering, copy_for_appliance, put_plan
from tests.helpers.paths import TRAINED
from tests.helpers.tiny_bundle import CANVAS, CELL, make_tiny_bundle

MODELS = ("detector", "masknet", "mgts", "idnet", "joint")
EXAMPLE = engines_folder() / "cpp" / "person_search_example.cpp"


@dataclass(frozen=True)
class Appliance:
    """The program, and the machine it believes to be on."""

    program: Path
    machine: dict[str, str]

    def run(self, *words: object, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the program; `settings` are the machine's, in lower case."""
        changed = {f"SIMULATED_{name.upper()}": value for name, value in settings.items()}
        command = [str(self.program), *map(str, words)]
        return subprocess.run(
            command, env={**os.environ, **self.machine, **changed}, capture_output=True, text=True, timeout=120
        )

    def searched(self, *words: object, **settings: str) -> list[dict]:
        """What it says of each picture."""
        done = self.run(*words, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def refusal(self, *words: object, code: int = 2, **settings: str) -> str:
        """Why it searches nothing: a paragraph."""
        done = self.run(*words, **settings)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        assert "exception" not in done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def toolkit():
    try:
        return find_toolkit()
    except LookupError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def appliance(toolkit, tensorrt_headers, tmp_path_factory) -> Appliance:
    """JetPack 6's TensorRT on an Orin."""
    folder, headers = tmp_path_factory.mktemp("appliance"), tensorrt_headers / "10.3" / "include"
    simulated = simulate(headers, toolkit, folder)
    program = build_example(headers, toolkit, simulated, folder / "build")
    machine = {
        "LD_LIBRARY_PATH": f"{simulated.parent}:{toolkit.nvrtc.parent}",
        "SIMULATED_KERNELS": str(host_kernels(folder / "kernels")),
    }
    return Appliance(program, machine)


@pytest.fixture(scope="module")
def tiny_source(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", models=MODELS)


@pytest.fixture
def tiny(tiny_source, tmp_path) -> Path:
    """A bundle of small networks, as an appliance has it."""
    return copy_for_appliance(tiny_source, tmp_path / "bundle")


@pytest.fixture(scope="module")
def networks(tiny_source, tmp_path_factory) -> Iterator[str]:
    """Where the networks of that bundle answer."""
    socket = tmp_path_factory.mktemp("socket") / "s"
    with answering(tiny_source, MODELS, socket):
        yield str(socket)


def ppm(path: Path, image: np.ndarray) -> Path:
    """Write a picture as the program reads it."""
    path.write_bytes(f"P6\n# a comment\n{image.shape[1]} {image.shape[0]}\n255\n".encode() + image.tobytes())
    return path


def scene(seed: int, hw: tuple[int, int] = CANVAS) -> np.ndarray:
    """A picture in which the tiny networks find up to four people."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (CANVAS[0] // CELL[0], CANVAS[1] // CELL[1], 1))
    noisy = np.kron(cells, np.ones((*CELL, 3))) + rng.integers(-9, 9, (*CANVAS, 3))
    return cv2.resize(np.clip(noisy, 0, 255).astype(np.uint8), hw[::-1], interpolation=cv2.INTER_LINEAR)


def same(told: dict, people: People) -> None:
    """What the program says of a picture is what Python finds."""
    height, width = people.letterbox.image_hw
    assert told["image"] == {"height": height, "width": width}
    assert [row["mask"] for row in told["people"]] == [row["mask"] for row in people.to_dict()["people"]]
    for name, values in (("box", people.boxes), ("score", people.scores), ("embedding", people.embeddings)):
        rows = np.array([row[name] for row in told["people"]], np.float32).reshape(values.shape)
        np.testing.assert_array_equal(rows, values)


def masks(folder: Path, picture: Path, count: int) -> np.ndarray:
    """Those the program has written, bool [N, H, W]."""
    assert len(list(folder.glob(f"{picture.stem}.*.pgm"))) == count
    read = (cv2.imread(str(folder / f"{picture.stem}.{i}.pgm"), cv2.IMREAD_GRAYSCALE) for i in range(count))
    return np.stack([image > 0 for image in read])


@pytest.mark.parametrize("version", [pytest.param("10.13", marks=pytest.mark.slow), "11.1"])
def test_it_compiles_without_a_warning(toolkit, tensorrt_headers, version):
    """With the headers of 10.3 it is built, and run."""
    compile_cpp([*toolkit.includes(tensorrt_headers / version / "include"), "-fsyntax-only", str(EXAMPLE)])


def test_a_photo_is_searched_as_python_searches_it(appliance, tmp_path, public_photos):
    """The trained bundle, in the mode with all networks; each is run once, in order, and so are the kernels."""
    bundle, photo = copy_for_appliance(TRAINED, tmp_path / "bundle"), public_photos[-1]
    image = read_image(photo)
    picture = ppm(tmp_path / "photo.ppm", image)
    record = tmp_path / "record"
    with answering(TRAINED, MODELS[:3], tmp_path / "s"):
        [told] = appliance.searched(
            bundle, picture, "--masks", tmp_path / "masks", networks=str(tmp_path / "s"), record=str(record)
        )
    with PersonSearch.open(TRAINED, mode="net", backend="onnxruntime", threads=1) as search:
        people = search(image)
    assert len(people) >= 5
    same(told, people)
    np.testing.assert_array_equal(masks(tmp_path / "masks", picture, len(people)), people.masks)
    assert record.read_text().split("\n") == [
        "load detector", "load mgts", "load masknet", "kernel letterbox", "network detector", "kernel select_people",
        "network masknet", "kernel paint_instances", "kernel separate_people", "kernel person_patches_f32",
        "network mgts", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "order"),
    [("net", "lazy"), ("net", "others"), ("box", "others"), ("none", "eager"), ("joint", "lazy")],
)
def test_every_mode_and_picture_after_picture(appliance, tiny, tiny_source, networks, tmp_path, mode, order):
    """Of other sizes, with other people, and with nobody; re-ID in turns."""
    images = [scene(0), scene(1, (150, 100)), scene(2, (40, 301)), np.zeros((8, 8, 3), np.uint8), scene(3)]
    pictures = [ppm(tmp_path / f"{number}.ppm", image) for number, image in enumerate(images)]
    out = tmp_path / "masks"
    told = appliance.searched(
        tiny, *pictures, "--mode", mode, "--max-people", 3, "--masks", out, networks=networks, order=order
    )
    with PersonSearch.open(tiny_source, mode=mode, backend="onnxruntime") as search:
        found = [search(image) for image in images]
    assert len(told) == len(images)
    assert sorted({len(people) for people in found})[0] == 0
    assert max(len(people) for people in found) == 4
    for row, people, picture in zip(told, found, pictures, strict=True):
        same(row, people)
        assert row["picture"] == str(picture)
        if mode in ("none", "joint"):
            assert not out.exists() or not list(out.glob("*.pgm"))
        elif len(people):
            np.testing.assert_array_equal(masks(out, picture, len(people)), people.masks)


def test_what_is_not_waited_for_shows(appliance, tiny, networks, tmp_path):
    """Else the orders above would prove nothing: of each picture's three waits one does nothing."""
    pictures = [ppm(tmp_path / f"{number}.ppm", scene(number)) for number in range(2)]

    def found(order: str, deaf: str) -> dict[str, list]:
        out = tmp_path / f"masks{deaf}"
        told = appliance.searched(tiny, *pictures, "--masks", out, networks=networks, order=order, deaf=deaf)
        people = [row["people"] for row in told]
        drawn = [masks(out, each, len(row)).tolist() for each, row in zip(pictures, people, strict=True)]
        return {"people": people, "masks": drawn}

    right = found("lazy", "")
    for deaf, order, differs in (
        ("0", "others", "people"),  # the mask net waits until the canvas is drawn
        ("1", "lazy", "people"),  # the majority vote, until the map is painted
        ("2", "lazy", "masks"),  # the result, until the map is on the host
    ):
        wrong = found(order, deaf)
        assert next(name for name in right if right[name] != wrong[name]) == differs


@pytest.mark.parametrize("mode", ["net", "joint"])
def test_given_people_are_described(appliance, tiny, tiny_source, networks, tmp_path, mode):
    image = scene(1, (150, 100))
    boxes = [[10, 5, 60, 149], [-20.5, 30, 33.25, 400], [70, 70, 71, 71], [0, 0, 100, 150]]
    words = [word for box in boxes for word in ("--box", ",".join(map(str, box)))]
    record = tmp_path / "record"
    picture = ppm(tmp_path / "p.ppm", image)
    [told] = appliance.searched(tiny, picture, *words, "--mode", mode, networks=networks, record=str(record))
    with PersonSearch.open(tiny_source, mode=mode, backend="onnxruntime") as search:
        same(told, search.embed(image, boxes))
    assert "network detector" not in record.read_text()
    assert record.read_text().count("network joint") == (2 if mode == "joint" else 0)  # three places a run


def test_plans_for_several_pictures_and_with_plugins(appliance, tiny_source, networks, tmp_path):
    """Of a model's plans those with plugins come first, and of these one for a single picture."""
    folder, bundle = tmp_path / "bundle", Bundle.open(tiny_source)
    copy_for_appliance(tiny_source, folder, batch=4)
    picture, library, record = ppm(tmp_path / "p.ppm", scene(0)), tmp_path / "plugins.so", tmp_path / "record"
    [plainly] = appliance.searched(folder, picture, networks=networks)
    library.touch()
    for batch in (2, 1):
        put_plan(bundle, folder, "detector", lowering="plugin", batch=batch)
    shutil.rmtree(next((folder / "plans").glob("detector.fp32.sm_87.batch4.*")))
    [told] = appliance.searched(folder, picture, "--plugins", library, networks=networks, record=str(record))
    assert told["people"] == plainly["people"]
    assert record.read_text().startswith(f"plugins {library}\nload detector\n")
    assert "no library of them is named" in appliance.refusal(folder, picture)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"flavour_version": "10.8.0.43"}, "it was built by TensorRT 10.8.0.43, this is TensorRT 10.3.0"),
        ({"flavour": "tensorrt_rtx", "flavour_version": "1.7.1.116"}, "it was built by TensorRT-RTX 1.7.1.116"),
        ({"target": "sm_110"}, "it was built for sm_110, not for sm_87"),
        ({"platform": "linux-riscv"}, "it was built on linux-riscv, this is linux-"),
        ({"onnx_sha256": "a" * 64}, "it was built from another ONNX file"),
        ({"operators": 2}, "its operators are not of version 1"),
        ({"lowering": "kernel"}, "it is a chain of engines.*build with --ops plugin"),
        ({"precision": "fp16"}, r"has no plan of detector in fp32\. Build it with `mgts-trt build"),
    ],
)
def test_a_plan_that_is_not_of_this_machine(appliance, tiny_source, tmp_path, changes, says):
    folder = copy_for_appliance(tiny_source, tmp_path / "bundle", **changes)
    assert re.search(says, appliance.refusal(folder, "p.ppm"))


def test_a_broken_plan_costs_itself(appliance, tiny, tiny_source):
    """One that another version left, beside one of this machine."""
    for number, change in enumerate((lambda t: t[:99], lambda t: t.replace('"format": 5', '"format": 4'))):
        left = put_plan(Bundle.open(tiny_source), tiny, "detector", settings={"workspace_mib": number})
        altered(left / RECORD, change)
    assert "p.ppm is not there" in appliance.refusal(tiny, "p.ppm", code=1)


def altered(path: Path, change: Callable[[str], str]) -> None:
    """Change a text file."""
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def first_plan(bundle: Path) -> Path:
    """The folder of the detector's."""
    return next((bundle / "plans").glob("detector.*"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda b: shutil.rmtree(b), "manifest.json is not there. Name the folder of a bundle"),
        (lambda b: altered(b / "manifest.json", lambda t: t[:900]), "manifest.json is truncated or altered"),
        (lambda b: altered(b / "manifest.json", lambda t: t.replace("0.5", "0.4")), "its checksum does not match"),
        (lambda b: altered(b / "manifest.json", lambda t: t.replace('"format": 3', '"format": 4')),
         "manifest.json has format 4; this program reads 3"),
        (lambda b: (b / "manifest.json").write_text("[]"), "truncated or altered: it is no JSON object"),
        (lambda b: shutil.rmtree(b / "plans"), "has no plan of detector in fp32. Build it with"),
        (lambda b: altered(first_plan(b) / RECORD, lambda t: t.replace("sm_87", "sm_88")), "is altered: its checksum"),
        (lambda b: (first_plan(b) / RECORD).unlink(), "plan.json is not there. Build it with"),
        (lambda b: (first_plan(b) / "detector.plan").unlink(), "detector.plan is not there. Build it again"),
        (lambda b: altered(first_plan(b) / "detector.plan", lambda t: t + "\n"), "detector.plan is altered"),
    ],
)  # fmt: skip
def test_a_bundle_that_is_damaged(appliance, tiny, damage, says):
    damage(tiny)
    assert says in appliance.refusal(tiny, "p.ppm")


def plan_with(bundle: Path, change: Callable[[str], str]) -> None:
    """Change the detector's plan, and its sidecar with it."""
    folder = first_plan(bundle)
    altered(folder / "detector.plan", change)
    record = PlanRecord.read(folder)
    [step] = record.chain.engines
    step = step.model_copy(update={"sha256": file_sha256(folder / step.file)})
    record.model_copy(update={"chain": record.chain.model_copy(update={"steps": (step,)})}).write(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace("input image uint8", "input image float32"),
         "has no input image uint8 [1, 64, 96, 3]; it is float32 [1, 64, 96, 3]. Build it again"),
        (lambda t: t.replace("scores", "score"), "has no output scores float32 [1, 4]. Build it again"),
        (lambda t: t + "output more float32 1 4\n", "has a tensor its sidecar does not name: more"),
        (lambda t: "", "TensorRT failed in loading {folder}/detector.plan: the plan was not made by this TensorRT."),
    ],
)  # fmt: skip
def test_a_plan_with_other_tensors(appliance, tiny, change, says):
    plan_with(tiny, change)
    assert says.format(folder=first_plan(tiny)) in appliance.refusal(tiny, "p.ppm")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "A bundle and a picture are needed.\nusage: person_search_example BUNDLE"),
        (("--mode", "nets"), "There is no mode nets; the modes are net, box, none and joint."),
        (("--mode",), "--mode has no value."),
        (("--what", "x"), "There is no option --what."),
        (("--precision", "int8"), "holds no detector in int8. Take another mode or precision"),
        (("--box", "1,2,3"), "--box 1,2,3 is no box; write x1,y1,x2,y2"),
        (("--max-people", "0"), "--max-people is a number of at least 1."),
        (("--plugins", "none.so"), "none.so is not there. Name the library that `mgts-trt plugins path` prints."),
        (("--kernels", "none"), "none/letterbox.cu is not there. Name the folder engines/kernels with --kernels."),
    ],
)
def test_what_is_asked_wrongly(appliance, tiny, words, says):
    bundle_and_picture: Sequence[object] = (tiny, "p.ppm") if words else (tiny,)
    assert says in appliance.refusal(*bundle_and_picture, *words)


def test_a_machine_without_a_gpu(appliance, tiny):
    said = appliance.refusal(tiny, "p.ppm", no_gpu="1")
    assert said.startswith("The GPU failed in initialising NVIDIA's driver: no CUDA-capable device is detected.")


def test_kernels_that_do_not_compile(appliance, tiny, tmp_path):
    folder = shutil.copytree(engines_folder() / "kernels", tmp_path / "kernels")
    altered(folder / "letterbox.cu", lambda text: text.replace("int sum[3]", "int sums[3]"))
    said = appliance.refusal(tiny, "p.ppm", "--kernels", folder)
    assert said.startswith("NVRTC cannot compile letterbox.cu for sm_87: NVRTC_ERROR_COMPILATION.")
    assert 'identifier "sum" is undefined' in said


def test_a_bad_picture_costs_itself(appliance, tiny, networks, tmp_path):
    good = ppm(tmp_path / "good.ppm", scene(0))
    cut, grey = tmp_path / "cut.ppm", tmp_path / "grey.ppm"
    cut.write_bytes(good.read_bytes()[:-1])
    grey.write_bytes(b"P5 2 1 255\n\0\0")
    done = appliance.run(tiny, tmp_path / "none.ppm", cut, grey, good, networks=networks)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{tmp_path / 'none.ppm'} is not there. Name a picture.",
        f"{cut} is no whole PPM of 8 bits (P6). Convert it: `convert PHOTO photo.ppm`.",
        f"{grey} is no PPM (P6), and this program was built without OpenCV. Convert it: `convert PHOTO photo.ppm`, or "
        "build with OpenCV.",
    ]
    [told] = [json.loads(line) for line in done.stdout.splitlines()]
    assert told["picture"] == str(good)
    folder = appliance.refusal(tiny, good, "--masks", f"{good}/masks", code=1, networks=networks)
    assert folder == f"Cannot make the folder {good}/masks: Not a directory.\n"
    box = appliance.refusal(tiny, good, "--box", "200,0,300,9", code=1, networks=networks)
    assert box == (
        "The box [200.0, 0.0, 300.0, 9.0] holds no pixel of the 96×64 picture. Boxes are x1, y1, x2, y2 in pixels of "
        "the picture.\n"
    )


@pytest.mark.parametrize("gamma", [1.0, 1.3, 1e16 / 3, 5e-324, 1e-05, 0.0001, 123456789012345680.0, 1e22, 2.5e-07])
def test_digests_are_those_of_python(appliance, tiny, gamma):
    """Numbers and texts whose form in JSON is easily another; the manifest is taken, and then there is no GPU."""
    manifest = read_manifest(tiny)
    training = manifest.training.model_copy(update={"note": 'é "\\ \x7f \u2028 \U0001f600 \t'})
    (tiny / "manifest.json").unlink()
    write_manifest(tiny, manifest.model_copy(update={"gamma": gamma, "training": training}))
    assert "NVIDIA's driver" in appliance.refusal(tiny, "p.ppm", no_gpu="1")
