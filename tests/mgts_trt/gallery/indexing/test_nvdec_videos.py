"""NVDEC beside FFmpeg on the CPU: the same frames, numbers, times and errors."""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np
import pytest

from mgts_trt import PersonSearch
from mgts_trt.annotating.annotate import annotate
from mgts_trt.annotating.inputs import find_inputs
from mgts_trt.annotating.results import Wanted
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import SourceError
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.nvdec import Nvdec, load_nvdec
from mgts_trt.gallery.indexing.nvdec_videos import VideosOnGpu
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.runtime.cuda.picture import DevicePicture
from tests.helpers.camera_scenes import scene
from tests.helpers.coded_films import write_coded
from tests.helpers.fake_nvdec import FakeNvdec
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_machine import simulated_machine
from tests.helpers.tiny_bundle import make_tiny_bundle
from tests.helpers.video_files import write_film

FRAMES = [cv2.resize(scene(seed), (96, 64)) for seed in range(12)]


class Machine:
    """A GPU with NVDEC, and what is noted."""

    def __init__(self, strict: bool = False) -> None:
        self.device, self.notes, self.launches = SimulatedDevice(seed=3), [], 0
        register_kernels(self.device)
        self.nvc = FakeNvdec(self.device)
        self.decode = VideosOnGpu(Nvdec(self.nvc, self.device), strict=strict, on_note=self.notes.append)
        launch = self.device.launch
        self.device.launch = lambda *arguments: (setattr(self, "launches", self.launches + 1), launch(*arguments))


@pytest.fixture
def gpu():
    return Machine()


def all_of(frames):
    """What a generator gives, what it returns, and what it raises."""
    found = []
    try:
        while True:
            found.append(next(frames))
    except StopIteration as end:
        return found, end.value, None
    except SourceError as error:
        return found, None, str(error)


def every(number):
    return True


def assert_same(got, expected, most=5):
    assert [(frame.number, frame.seconds) for frame in got] == [(frame.number, frame.seconds) for frame in expected]
    for mine, theirs in zip(got, expected, strict=True):
        assert isinstance(mine.image, DevicePicture)
        assert mine.image.shape == theirs.image.shape == mine.image.pixels.shape
        # FFmpeg's own conversion is rougher by up to three steps.
        difference = np.abs(mine.image.pixels.astype(int) - theirs.image)
        assert (difference.max() <= most, difference.mean() < 2) == (True, True)


KINDS = [
    ("plain.mp4", "libx264", {}),
    ("wide.mp4", "libx264", {"space": 1}),
    ("full.mkv", "libx264", {"space": 5, "full": True}),
    ("quarter.mp4", "libx264", {"turns": 1}),
    ("half.mp4", "libx264", {"turns": 2, "rate": 30}),
    ("three.mp4", "libx264", {"turns": 3}),
    ("transport.ts", "libx264", {"rate": 25}),
    ("later.mp4", "libx265", {}),
    ("web.webm", "libvpx-vp9", {}),
    ("old.webm", "libvpx", {}),
]
"""Name, encoder, and what `write_coded` is told of it."""


@pytest.mark.parametrize(("name", "codec", "options"), KINDS)
def test_frames_are_those_of_the_cpu(tmp_path, gpu, name, codec, options):
    path = str(write_coded(tmp_path / name, FRAMES, codec, **options))
    expected, count, _ = all_of(video_frames(path, every))
    got, counted, error = all_of(video_frames(path, every, gpu.decode))
    assert (error, counted, len(got)) == (None, count, 12)
    assert_same(got, expected)
    assert (gpu.notes, gpu.nvc.decoders) == ([], 1)


def test_odd_sizes(tmp_path, gpu):
    """FFmpeg blurs the colours of such."""
    path = str(write_coded(tmp_path / "odd.webm", [frame[:63, :95] for frame in FRAMES], "libvpx"))
    assert_same(list(video_frames(path, every, gpu.decode)), list(video_frames(path, every)), most=40)


def test_frames_that_nobody_wants_are_not_converted_and_pixels_come_down_once(tmp_path, gpu, monkeypatch):
    path = str(write_coded(tmp_path / "film.mp4", FRAMES))
    got = list(video_frames(path, lambda number: not number % 5, gpu.decode))
    assert ([frame.number for frame in got], gpu.launches) == ([0, 5, 10], 3)
    copies, copy = [], gpu.device.copy
    monkeypatch.setattr(gpu.device, "copy", lambda *arguments: (copies.append(arguments), copy(*arguments)))
    assert got[1].image.pixels is got[1].image.pixels
    assert len(copies) == 1


def test_all_memory_is_given_back(tmp_path, gpu):
    path = str(write_coded(tmp_path / "film.mp4", FRAMES))
    frames = video_frames(path, every, gpu.decode)
    list(islice(frames, 3))
    frames.close()
    assert not any(memory.kind == "device" and not memory.freed for memory in gpu.device._memories)


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.9])
def test_a_broken_file_is_told_as_on_the_cpu(tmp_path, gpu, kept):
    whole = write_coded(tmp_path / "whole.mkv", FRAMES * 5)
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: int(kept * whole.stat().st_size)] or b"no video at all" * 100)
    expected, count, told = all_of(video_frames(str(path), every))
    got, counted, error = all_of(video_frames(str(path), every, gpu.decode))
    assert told is not None
    assert (len(got), counted, error) == (len(expected), count, told)


def unsuited(machine, tmp_path):
    """Videos NVDEC does not take, and why."""
    deep = write_coded(tmp_path / "deep.mp4", FRAMES, pixels="yuv420p10le")
    yield deep, r"its pixels are yuv420p10le, and 8 bits of 4:2:0 are taken"
    motion_jpeg = tmp_path / "jpeg.avi"
    write_film(motion_jpeg, range(12))
    yield motion_jpeg, r"its codec is mjpg, and H\.264, HEVC, VP8 and VP9 are taken"
    machine.nvc.able["width_max"] = 90
    yield write_coded(tmp_path / "wide.mp4", FRAMES), r"its width is 96 pixels, and this GPU decodes H264 of 16 to 90"
    machine.nvc.able["num_decoder_engines"] = 0
    yield write_coded(tmp_path / "vp9.webm", FRAMES, "libvpx-vp9"), r"this GPU decodes no VP9"
    machine.nvc.able.clear()
    machine.nvc.fail_at = [machine.nvc.packets + 1]
    yield write_coded(tmp_path / "odd.mp4", FRAMES), r"NVDEC says 'HandleVideoSequence : unsupported'"


def test_what_nvdec_does_not_take_is_decoded_on_the_cpu_and_told_once(tmp_path, gpu):
    for path, why in unsuited(gpu, tmp_path):
        expected, count, _ = all_of(video_frames(str(path), every))
        for _ in range(2):
            got, counted, error = all_of(video_frames(str(path), every, gpu.decode))
            assert (error, counted) == (None, count)
            for mine, theirs in zip(got, expected, strict=True):
                assert mine[:2] == theirs[:2]
                if not gpu.nvc.fail_at:
                    np.testing.assert_array_equal(mine.image, theirs.image)
            gpu.nvc.fail_at = gpu.nvc.fail_at and [gpu.nvc.packets + 1]
        [note] = gpu.notes
        assert note.startswith(f"{path} is decoded on the CPU: ")
        assert why.replace("\\", "") in note
        gpu.notes.clear()


def test_asked_for_strictly_it_is_an_error(tmp_path):
    strict = Machine(strict=True)
    for path, why in unsuited(strict, tmp_path):
        with pytest.raises(SourceError, match=rf"cannot be decoded on the GPU: {why}.*--decode auto"):
            next(video_frames(str(path), every, strict.decode))
    assert strict.notes == []


def test_a_decoder_that_fails_amid_a_file_is_an_error(tmp_path, gpu):
    path = str(write_coded(tmp_path / "film.mp4", FRAMES))
    gpu.nvc.fail_at = [9]
    got, _, error = all_of(video_frames(path, every, gpu.decode))
    assert 0 < len(got) < 9
    assert "cannot be decoded on the GPU: NVDEC says 'HandleVideoSequence : unsupported'" in error
    assert "--decode cpu" in error
    assert gpu.notes == []


def test_it_begins_with_a_key_frame(tmp_path, gpu):
    """Its first packets need frames that were cut off."""
    path = write_coded(tmp_path / "film.ts", FRAMES * 2)
    data = path.read_bytes()
    late = tmp_path / "late.ts"
    # The tables of a transport stream, and all after the first key frame's packets.
    late.write_bytes(data[: 188 * 3] + data[188 * 20 :])
    got = list(video_frames(str(late), every, gpu.decode))
    assert 0 < len(got) < 24
    assert np.abs(got[-1].image.pixels.astype(int) - FRAMES[-1]).mean() < 12


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    """A pipeline on TensorRT, and NVDEC, on one simulated GPU."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "bundle"))
    trt = simulated_machine(monkeypatch, bundle)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", FakeNvdec(trt.device))
    with PersonSearch(bundle, mode="none", pictures_in_flight=2) as search:
        assert search.runtime.backend == "tensorrt"
        yield search, trt.device


def test_the_pipeline_reads_frames_where_they_are(tmp_path, simulated, monkeypatch):
    search, device = simulated
    film = write_coded(tmp_path / "film.mp4", FRAMES)
    copies, copy = [], device.copy

    def counted(destination, source, stream):
        copies.append((destination.shape, isinstance(destination, np.ndarray)))
        copy(destination, source, stream)

    monkeypatch.setattr(device, "copy", counted)
    notes, found = [], {}
    for decode in ("cpu", "gpu"):
        copies.clear()
        with Gallery.create(str(tmp_path / decode), Space.of(search.bundle, search.mode)) as gallery:
            sources = find_sources([str(film)])
            report = index(search, sources, gallery, decode=decode, optimise=False, on_note=notes.append)
            assert (report.frames, report.failures) == (12, [])
            found[decode] = report.people
        whole = [down for shape, down in copies if shape == (64, 96, 3)]
        # The last but two has nobody: no pixel of it comes down. None of any goes up.
        assert whole == [True] * (0 if decode == "cpu" else 11)
    assert found["cpu"] == found["gpu"] > 11
    assert notes == ["videos and live streams are decoded on the GPU, by PyNvVideoCodec 2.2.4"]


@pytest.mark.parametrize("draw", [True, False])
def test_annotated_films_take_their_pixels_from_the_gpu(tmp_path, simulated, draw):
    search, _ = simulated
    film = write_coded(tmp_path / "film.mp4", FRAMES)
    people = []
    for decode in ("cpu", "gpu"):
        out = tmp_path / decode
        out.mkdir()
        inputs, _ = find_inputs([str(film)], out=out)
        report = annotate(search, inputs, out, wanted=Wanted(draw, None, None, True), decode=decode)
        assert (report.frames, report.failures) == (12, [])
        people.append(report.people)
        if draw:
            [drawn] = out.glob("*.people.mp4")
            people.append(sum(float(frame.image.mean()) for frame in video_frames(str(drawn), every)) // 12)
    assert people[: len(people) // 2] == people[len(people) // 2 :]


@pytest.mark.gpu
class TestOnAGpu:
    """With the package, on a GPU that has NVDEC: an H100, say."""

    @pytest.fixture
    def decode(self):
        pytest.importorskip("PyNvVideoCodec", reason="needs pip install 'mgts-trt[nvdec]'")
        from mgts_trt.runtime.cuda.nvidia import CudaDevice

        return VideosOnGpu(Nvdec(load_nvdec(), CudaDevice()), strict=True)

    @pytest.mark.parametrize(("name", "codec", "options"), KINDS)
    def test_frames_are_those_of_the_cpu(self, tmp_path, decode, name, codec, options):
        frames = [cv2.resize(frame, (384, 256)) for frame in FRAMES]  # NVDEC takes nothing very small
        path = str(write_coded(tmp_path / name, frames, codec, **options))
        got, counted, error = all_of(video_frames(path, every, decode))
        assert (error, counted) == (None, 12)
        assert_same(got, list(video_frames(path, every)))

    def test_sixteen_at_once(self, tmp_path, decode):
        frames = [cv2.resize(frame, (384, 256)) for frame in FRAMES]
        path = str(write_coded(tmp_path / "film.mp4", frames * 5))
        expected = list(video_frames(path, every))
        with ThreadPoolExecutor(16) as pool:
            for got in pool.map(lambda _: list(video_frames(path, every, decode)), range(16)):
                assert_same(got, expected)
