"""Live streams through NVDEC beside FFmpeg on the CPU: the same frames, whatever happens on the way."""

import base64
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from mgts_trt import PersonSearch
from mgts_trt.annotating.annotate import annotate
from mgts_trt.annotating.inputs import find_inputs
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import SourceError
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.live_stream import LiveFrame, Stalled, frames_on_cpu, stream_frames
from mgts_trt.gallery.indexing.nvdec import Nvdec, load_nvdec
from mgts_trt.gallery.indexing.nvdec_streams import StreamsOnGpu
from mgts_trt.gallery.indexing.reading import Failure, LiveOptions, Note, Picture, Read
from mgts_trt.gallery.indexing.sources import Source, find_sources
from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.gallery.indexing.watching import read_stream
from mgts_trt.gallery.question import Question
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.runtime.cuda.picture import DevicePicture
from mgts_trt.watching.alarm_journal import AlarmJournal
from mgts_trt.watching.alarms import Alarms, Watched
from mgts_trt.watching.watch_sources import watch
from tests.helpers.camera_scenes import scene
from tests.helpers.coded_films import write_coded
from tests.helpers.fake_nvdec import FakeNvdec
from tests.helpers.h264 import enlarged, number_of
from tests.helpers.read_frames import read_frames
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.rtsp_camera import rtsp_camera
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_machine import simulated_machine
from tests.helpers.tiny_bundle import make_tiny_bundle

FRAMES = [cv2.resize(scene(seed), (96, 64)) for seed in range(24)]


class Machine:
    """A GPU with NVDEC.

    Attributes:
        notes: What was told.
        launches: How many kernels ran.
        expected: What FFmpeg makes of the packets.
    """

    def __init__(self, strict: bool = False) -> None:
        self.device, self.notes, self.launches = SimulatedDevice(seed=3), [], 0
        register_kernels(self.device)
        self.nvc = FakeNvdec(self.device)
        self.decode = StreamsOnGpu(Nvdec(self.nvc, self.device), strict=strict)
        self.expected: list[np.ndarray] = []
        launch = self.device.launch
        self.device.launch = lambda *arguments: (setattr(self, "launches", self.launches + 1), launch(*arguments))

    def beside(self, stream, name, on_note):
        """A `StreamDecoder` that lets FFmpeg decode the same packets."""
        frames = self.decode(stream, name, on_note)
        context = av.CodecContext.create(stream.codec_context.name, "r")
        context.extradata = stream.codec_context.extradata

        def both(packet) -> Sequence[LiveFrame]:
            if packet.size:
                self.expected += [
                    frame.to_ndarray(format="rgb24") for frame in context.decode(av.Packet(bytes(packet)))
                ]
            return frames(packet)

        return both

    def read(self, url: str, count: int, at: Callable[[int], object] = lambda _: None, **how):
        """So many pictures of a stream, and its end if that comes before."""
        frames = stream_frames(url, decode=self.beside, name="camera", on_note=self.notes.append, **how)
        return read_frames(frames, count, at)


@pytest.fixture
def gpu():
    return Machine()


def assert_same(got, expected, most=5):
    """FFmpeg's own conversion is rougher by up to three steps."""
    for mine, theirs in zip(got, expected, strict=True):
        assert isinstance(mine, DevicePicture)
        assert mine.shape == theirs.shape == mine.pixels.shape
        difference = np.abs(mine.pixels.astype(int) - theirs)
        assert (difference.max() <= most, difference.mean() < 2) == (True, True)


def numbers(pictures):
    return [number_of(picture.pixels if isinstance(picture, DevicePicture) else picture) for picture in pictures]


@pytest.mark.parametrize("how", [{}, {"transport": "udp"}, {"in_band": False}])
def test_frames_of_a_camera_are_those_of_the_cpu(gpu, how):
    transport = {key: how[key] for key in how if key == "transport"}
    with rtsp_camera(**{key: how[key] for key in how if key != "transport"}) as camera:
        got, end = gpu.read(camera.url, 25, **transport)
    assert end is None
    assert_same(got, gpu.expected[: len(got)])
    assert all(b - a == 1 for a, b in pairwise(numbers(got)))
    assert (gpu.nvc.latencies, gpu.notes) == (["LOW"], [])


@pytest.mark.parametrize("size", [(320, 240), (96, 72)])
def test_a_resolution_that_changes_in_mid_stream(gpu, size):
    with rtsp_camera() as camera:
        got, _ = gpu.read(camera.url, 30, lambda count: setattr(camera, "size", size if count >= 5 else (160, 120)))
    sizes = [picture.shape[1::-1] for picture in got]
    assert sizes.count(size) > 5
    assert_same(got, gpu.expected[: len(got)])
    assert all(b - a == 1 for a, b in pairwise(numbers(got))), "none is lost or scaled"
    assert (gpu.nvc.decoders, gpu.notes) == (2, [])


def test_a_stall(gpu):
    with rtsp_camera() as camera:
        got, end = gpu.read(camera.url, 10**6, lambda _: camera.stalled.set(), patience=1.0)
    assert isinstance(end, Stalled)
    assert_same(got, gpu.expected)


def test_lost_datagrams_end_nothing(gpu):
    with rtsp_camera(loss=0.1) as camera:
        got, end = gpu.read(camera.url, 40, transport="udp")
    assert end is None
    assert {picture.shape for picture in got} == {(120, 160, 3)}


def test_a_failure_costs_the_frames_up_to_the_next_key_frame(gpu):
    gpu.nvc.fail_at = {5, 25}
    with rtsp_camera(key=10) as camera:
        got, _ = gpu.read(camera.url, 40)
    steps = [b - a for a, b in pairwise(numbers(got))]
    lost = [step for step in steps if step > 1]
    assert len(lost) == 2
    assert max(lost) <= 11
    assert (gpu.nvc.decoders, gpu.notes) == (3, [])


def test_what_always_fails_goes_to_the_cpu_and_is_told_once(gpu):
    gpu.nvc.fail_at = range(1, 100)
    with rtsp_camera(key=5) as camera:
        for _ in range(2):
            got, _ = gpu.read(camera.url, 12)
            assert not any(isinstance(picture, DevicePicture) for picture in got)
            assert all(b - a == 1 for a, b in pairwise(numbers(got)))
    why = "NVDEC says 'HandleVideoSequence : unsupported', 3 times in a row"
    assert gpu.notes == [f"camera is decoded on the CPU: {why}."]
    assert gpu.nvc.decoders == 4, "in another opening one more failure is enough"


@pytest.mark.parametrize("strict", [False, True])
def test_a_size_it_does_not_take_from_mid_stream_on(strict):
    gpu = Machine(strict)
    gpu.nvc.able["width_max"] = 200

    def grow(count):
        camera.size = (320, 240) if count >= 5 else (160, 120)

    with rtsp_camera() as camera:
        if strict:
            with pytest.raises(SourceError, match=r"camera cannot be decoded on the GPU: its width is 320 .*auto"):
                gpu.read(camera.url, 60, grow)
            return
        got, _ = gpu.read(camera.url, 40, grow)
    assert [type(picture) for picture in got] == [
        DevicePicture if picture.shape[1] == 160 else np.ndarray for picture in got
    ]
    assert all(b - a == 1 for a, b in pairwise(numbers(got))), "the CPU begins with the key frame"
    assert len(gpu.notes) == 1


CONTAINERS = [
    ("fragments.mp4", "libx264", {}),
    ("wide.mp4", "libx264", {"space": 1}),
    ("full.mkv", "libx264", {"space": 5, "full": True}),
    ("quarter.mp4", "libx264", {"turns": 1}),
    ("three.mp4", "libx264", {"turns": 3}),
    ("transport.ts", "libx264", {}),
    ("flash.flv", "libx264", {}),
    ("later.mp4", "libx265", {}),
    ("later.ts", "libx265", {}),
    ("web.webm", "libvpx-vp9", {}),
    ("old.webm", "libvpx", {}),
]
"""As streams bring them over HTTP and RTMP: with lengths or start codes, parameter sets in the head, or in band."""


def pictures_of(path, decode, notes=None, skip=0):
    """The pictures of a file's packets, and after how many packets each came."""
    found, came = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = decode(stream, "camera", [].append if notes is None else notes.append)
        for number, packet in enumerate(container.demux(stream)):
            for frame in frames(packet) if number >= skip else ():
                found.append(frame.image)
                came.append(number)
    return found, came


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS)
def test_frames_of_containers_are_those_of_the_cpu(tmp_path, gpu, name, codec, options):
    path = write_coded(tmp_path / name, FRAMES, codec, **options)
    got, _ = pictures_of(path, gpu.decode, gpu.notes)
    expected, _ = pictures_of(path, frames_on_cpu)
    assert len(got) == 24
    assert got[0].shape == ((96, 64, 3) if options.get("turns") else (64, 96, 3))
    assert_same(got, expected)
    assert (gpu.notes, gpu.nvc.decoders) == ([], 1)
    assert gpu.nvc.latencies == ["NATIVE" if codec in ("libx264", "libx265") else "LOW"], "these have B-frames"


def test_a_frame_waits_for_no_later_one(tmp_path, gpu):
    path = write_coded(tmp_path / "film.webm", FRAMES, "libvpx")
    _, came = pictures_of(path, gpu.decode)
    assert came == list(range(24))


def test_it_begins_with_a_key_frame(tmp_path, gpu):
    path = write_coded(tmp_path / "film.ts", FRAMES)
    whole, _ = pictures_of(path, gpu.decode)
    got, _ = pictures_of(path, gpu.decode, skip=3)
    assert 5 <= len(got) < len(whole) - 3
    for mine, theirs in zip(got, whole[-len(got) :], strict=True):
        np.testing.assert_array_equal(mine.pixels, theirs.pixels)


@pytest.mark.parametrize("strict", [False, True])
def test_a_codec_it_does_not_take(tmp_path, strict):
    gpu = Machine(strict)
    path = write_coded(tmp_path / "film.avi", FRAMES, "mjpeg", pixels="yuvj420p")
    if strict:
        with pytest.raises(SourceError, match=r"camera cannot be decoded on the GPU: its codec is mjpeg, and H\.264"):
            pictures_of(path, gpu.decode)
        return
    for _ in range(2):
        assert len(pictures_of(path, gpu.decode, gpu.notes)[0]) == 24
    assert gpu.notes == ["camera is decoded on the CPU: its codec is mjpeg, and H.264, HEVC, VP8 and VP9 are taken."]


def test_deep_colours_go_to_the_cpu_without_a_frame_lost(tmp_path, gpu):
    path = write_coded(tmp_path / "deep.mp4", FRAMES, pixels="yuv420p10le")
    got, _ = pictures_of(path, gpu.decode, gpu.notes)
    expected, _ = pictures_of(path, frames_on_cpu)
    np.testing.assert_array_equal(got, expected)
    assert "its pixels are yuv420p10le" in gpu.notes[0]


def test_only_what_is_read_is_converted(tmp_path, gpu):
    path = write_coded(tmp_path / "film.ts", FRAMES)
    got, _ = pictures_of(path, gpu.decode)
    assert gpu.launches == 0
    assert got[7].pixels is got[7].pixels
    assert gpu.launches == 1
    got.clear()
    held = [memory for memory in gpu.device._memories if memory.kind == "device" and not memory.freed]
    assert not held, "what nobody read is given back"


def read_camera(gpu, channel, camera, **live):
    source = Source(camera.url, "stream")
    read_stream(source, channel, every=1, live=LiveOptions(pauses=(0.1,), **live), decode=gpu.decode)


def test_a_frame_that_gives_way_to_a_newer_one_costs_no_kernel(gpu):
    channel = Channel[Read](4)
    with rtsp_camera() as camera:
        thread = threading.Thread(target=read_camera, args=(gpu, channel, camera))
        thread.start()
        while camera.sent < 90:
            assert not channel.pause(0.05)
        channel.close()
        thread.join(20)
    [picture] = [item for item in channel if isinstance(item, Picture)]
    assert gpu.launches == 32, "of an opening the first 32 are compared with those of the one before"
    assert number_of(picture.pixels) > 60
    assert gpu.launches == 33


def test_a_camera_that_cannot_be_decoded_is_given_up_and_told():
    gpu = Machine(strict=True)
    gpu.nvc.able["width_max"] = 90
    channel = Channel[Read](4)
    with rtsp_camera(login=("zoe", "s3cret")) as camera:
        source = Source(camera.url_of("zoe", "s3cret"), "stream")
        read_stream(source, channel, every=1, live=LiveOptions(), decode=gpu.decode)
        channel.close()
        items = list(channel)
    assert [type(item) for item in items] == [Note, Failure]
    assert str(items[1].error) == (
        f"{camera.url} cannot be decoded on the GPU: its width is 160 pixels, and this GPU decodes H264 of 16 to 90. "
        "Decode it with --decode auto."
    )


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    """A pipeline on TensorRT, and NVDEC, on one simulated GPU."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "bundle"))
    trt = simulated_machine(monkeypatch, bundle)
    nvc = FakeNvdec(trt.device)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", nvc)
    with PersonSearch(bundle, mode="none", pictures_in_flight=2) as search:
        yield search, nvc


def see(number, size):
    """The same people for a while, whoever looks when."""
    return enlarged(0, size)


def test_one_camera_that_nvdec_does_not_take_costs_itself_alone(tmp_path, simulated):
    search, nvc = simulated
    nvc.able["width_max"] = 100
    notes = []
    with (
        rtsp_camera((96, 64), rate=20, picture=see) as door,
        rtsp_camera((160, 120), rate=20, picture=see) as yard,
        Gallery.create(str(tmp_path / "gallery"), Space.of(search.bundle, search.mode)) as gallery,
    ):
        sources, live = find_sources([door.url, yard.url]), LiveOptions(limit=4)
        report = index(search, sources, gallery, decode="gpu", live=live, optimise=False, on_note=notes.append)
        rows = list(gallery.rows())
    assert (report.frames, nvc.decoders) == (4, 1)
    [failure] = report.failures
    assert (failure.source, "its width is 160 pixels" in str(failure.error)) == (yard.url, True)
    assert notes == [
        "videos and live streams are decoded on the GPU, by PyNvVideoCodec 2.2.4",
        f"{yard.url} is given up",
    ]
    assert {person.source for person, _ in rows} == {door.url}
    assert all(decode_image(person.thumbnail, "thumbnail").any() for person, _ in rows)


@pytest.mark.parametrize("decode", ["cpu", "gpu"])
def test_alarms_and_films_have_the_pixels(tmp_path, simulated, decode):
    search, nvc = simulated
    told, live = [], LiveOptions(limit=4)
    with rtsp_camera((96, 64), rate=20, picture=see) as camera:
        ann = Watched("Ann", Question(search(see(0, (96, 64))).embeddings[:1], np.zeros((0, 0), np.float32)))
        alarms = Alarms([ann], 0.9, AlarmJournal(None), told.append, cool_down=0)
        report = watch(search, find_sources([camera.url]), alarms, decode=decode, live=live)
        assert (report.frames, report.failures) == (4, [])
        inputs, _ = find_inputs([camera.url], out=tmp_path)
        done = annotate(search, inputs, tmp_path, decode=decode, live=live)
        assert (done.frames, done.failures) == (4, [])
    assert nvc.decoders == (2 if decode == "gpu" else 0)
    x1, y1, x2, y2 = (round(value) for value in told[0]["box"])
    crop = decode_image(base64.b64decode(told[0]["crop"]), "crop")
    assert np.abs(crop.mean() - see(0, (96, 64))[y1:y2, x1:x2].mean()) < 10
    [drawn] = tmp_path.glob("*.people.mp4")
    film = list(video_frames(str(drawn), lambda _: True))
    assert np.abs(film[0].image.mean() - see(0, (96, 64)).mean()) < 25


@pytest.mark.gpu
class TestOnAGpu:
    """With the package, on a GPU that has NVDEC."""

    @pytest.fixture
    def decode(self):
        pytest.importorskip("PyNvVideoCodec", reason="needs pip install 'mgts-trt[nvdec]'")
        from mgts_trt.runtime.cuda.nvidia import CudaDevice

        return StreamsOnGpu(Nvdec(load_nvdec(), CudaDevice()), strict=True)

    @pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS)
    def test_frames_of_containers_are_those_of_the_cpu(self, tmp_path, decode, name, codec, options):
        frames = [cv2.resize(frame, (384, 256)) for frame in FRAMES]  # NVDEC takes nothing very small
        path = write_coded(tmp_path / name, frames, codec, **options)
        got, _ = pictures_of(path, decode)
        assert_same(got, pictures_of(path, frames_on_cpu)[0])

    def test_a_camera_whose_resolution_changes(self, decode):
        with rtsp_camera((320, 240), rate=25) as camera:
            frames = stream_frames(camera.url, decode=decode, name="camera")
            got = []
            for frame in frames:
                got.append(frame.image)
                camera.size = (640, 480) if len(got) >= 5 else (320, 240)
                if len(got) == 30:
                    break
        assert all(b - a == 1 for a, b in pairwise(numbers(got)))
