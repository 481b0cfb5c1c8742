import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from mgts_trt.access.master_key import read_master_key
from mgts_trt.errors import BackendError, BundleError, ClusterError, GalleryError, SourceError
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing import ray_index
from mgts_trt.gallery.indexing.index import IndexReport, index
from mgts_trt.gallery.indexing.ray_cluster import _cores, connected, import_ray
from mgts_trt.gallery.indexing.ray_index import _innermost, _Job, _Ledger, _tasks, _Worker, index_with_ray
from mgts_trt.gallery.indexing.sources import Source, find_sources
from mgts_trt.gallery.verifying import verify
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.onnxruntime import CPU, CUDA
from tests.helpers.camera_scenes import write_scenes, write_video
from tests.helpers.no_tensorrt import T4, machine_without_tensorrt
from tests.helpers.paths import ROOT
from tests.helpers.stored_people import content
from tests.helpers.tiny_bundle import make_tiny_bundle
from tests.helpers.walkers import agree, sightings_held

pytest.importorskip("lancedb")


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    with PersonSearch.open(root, mode="box", threads=1) as opened:
        yield opened


def installed_ray():
    """Not by pytest.importorskip: Ray reads what keeps it quiet when it is imported."""
    try:
        return import_ray()
    except ClusterError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def ray(bucket: str):
    """Begun with what leads to the bucket."""
    module = installed_ray()
    before = signal.getsignal(signal.SIGTERM)  # Ray takes it for itself
    module.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    signal.signal(signal.SIGTERM, before)
    yield module
    module.shutdown()


def workers_below(parent: int) -> list[int]:
    """Ray's worker processes that hold a pipeline, among the descendants of a process."""
    found, parents = [], {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"_Worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError):  # it has ended
            continue

    def ours(pid: int) -> bool:
        return pid == parent or (pid in parents and ours(parents[pid]))

    return [pid for pid in found if ours(pid)]


@pytest.mark.slow
def test_a_killed_worker_leaves_no_trace(
    ray, search: PersonSearch, gallery: Gallery, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write_scenes(folder, range(48))
    write_video(folder / "video.avi", range(5))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 none")
    sources = find_sources([str(folder)], camera="3")
    with Gallery.create(tmp_path / "reference", gallery.space) as reference:
        undisturbed = index(search, sources, reference)
        killed: list[int] = []

        def on_progress(report: IndexReport) -> None:
            if report.frames and not killed:
                killed.append(workers_below(os.getpid())[0])
                os.kill(killed[0], signal.SIGKILL)

        report = index_with_ray(search.bundle.root, sources, gallery, workers=2, threads=1, on_progress=on_progress)
        assert killed
        assert ray.is_initialized()
        assert capfd.readouterr() == ("", "")
        assert [Path(failure.source).name for failure in report.failures] == ["broken.jpg"]
        # What the killed worker had stored, but not yet reported, was there already when its task was done again.
        assert report.frames + report.skipped == undisturbed.frames == 53
        assert content(gallery) == content(reference)
        assert sightings_held(gallery) == sightings_held(reference)
        agree(gallery, str(folder / "video.avi"))
        assert gallery.summary().frames == 53
    assert index(search, sources, gallery).skipped == 53


@pytest.mark.slow
def test_a_killed_worker_leaves_no_trace_in_a_bucket(ray, bucket: str, search: PersonSearch, tmp_path: Path) -> None:
    folder, space = tmp_path / "in", Space.of(search.bundle, search.mode)
    write_scenes(folder, range(35))
    write_video(folder / "video.avi", range(5))
    sources = find_sources([str(folder)], camera="3")
    killed: list[int] = []

    def on_progress(report: IndexReport) -> None:
        if report.frames and not killed:
            killed.append(workers_below(os.getpid())[0])
            os.kill(killed[0], signal.SIGKILL)

    with Gallery.create(f"{bucket}/shared", space) as gallery, Gallery.create(tmp_path / "local", space) as reference:
        index(search, sources, reference)
        report = index_with_ray(search.bundle.root, sources, gallery, workers=2, threads=1, on_progress=on_progress)
        assert killed
        assert report.frames + report.skipped == 40
        assert content(gallery) == content(reference)
        held = sightings_held(gallery)
        assert held[0]
        assert held == sightings_held(reference)
        assert verify(gallery.url).clean
    assert ray.is_initialized()


@pytest.mark.slow
def test_stopped_and_continued(ray, search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(32))
    # A URL to workers, as far as they can tell.
    sources = find_sources([f"local://{tmp_path}/in/*.png"])
    stop = threading.Event()

    def on_progress(report: IndexReport) -> None:
        if report.frames:
            stop.set()

    report = index_with_ray(search.bundle.root, sources, gallery, workers=1, stop=stop, on_progress=on_progress)
    assert report.interrupted
    assert 0 < report.frames < 32
    rest = index(search, sources, gallery)
    assert rest.frames + rest.skipped == 32
    assert gallery.summary().frames == 32


@pytest.mark.slow
def test_the_command_in_a_cluster_of_its_own(search: PersonSearch, tmp_path: Path) -> None:
    """Its workers have the key of the gallery's pictures from the command."""
    installed_ray()
    pytest.importorskip("cryptography", reason="needs the extra encryption")
    key = tmp_path / "key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    write_scenes(tmp_path / "in", range(6))
    command = [
        sys.executable,
        "-m",
        "mgts_trt",
        "index",
        "--bundle",
        search.bundle.root,
        tmp_path / "in",
        "-g",
        tmp_path / "g",
    ]
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--mode", "box", "--workers", "2", "--threads", "1", "--gallery-key", key],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "6 frames with" in done.stdout
    assert "weights are untrained" in done.stderr
    # Not a word of Ray's own.
    assert "ray" not in done.stderr.lower().replace(str(tmp_path).lower(), "")
    with Gallery.open(tmp_path / "g", key=read_master_key(key)) as gallery:
        assert gallery.summary().frames == 6
        assert {person.thumbnail[:2] for person, _ in gallery.rows()} == {b"\xff\xd8"}
        assert {person.stored[:1] for person, _ in gallery.rows()} == {b"\x01"}


class Death(BaseException):
    """Of a process."""


def test_a_picture_that_kills_costs_itself_alone(
    search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch
) -> None:
    """Worker after worker gets the same task, as when Ray replaces them."""
    paths = [str(path) for path in write_scenes(tmp_path / "in", range(4))]

    def index_or_die(pipeline: PersonSearch, sources: list[Source], *rest: object, **options: object) -> IndexReport:
        if any(source.location == paths[2] for source in sources):
            raise Death
        return index(pipeline, sources, *rest, **options)

    monkeypatch.setattr(ray_index, "index", index_or_die)
    job = _Job(str(search.bundle.root), gallery.url, "box", "onnxruntime", "fp32", 1, 1, True)
    ledger, deaths = _Ledger(), 0
    row = {"task": 7, "sources": pickle.dumps([Source(path, "picture") for path in paths])}
    while True:
        try:
            report = pickle.loads(_Worker(job, ledger)(row)["outcome"])
            break
        except Death:
            deaths += 1
    assert deaths == 4  # one of them on all pictures together
    assert (report.frames, report.skipped, gallery.summary().frames) == (1, 2, 3)
    (failure,) = report.failures
    assert failure.source == paths[2]
    assert "ended 3 workers" in str(failure.error)


def test_a_worker_returns_what_stops_it(gallery: Gallery, tmp_path: Path) -> None:
    job = _Job(str(tmp_path / "nothing"), gallery.url, "box", "onnxruntime", "fp32", 1, 1, True)
    outcome = pickle.loads(_Worker(job, _Ledger())({"task": 0, "sources": pickle.dumps([])})["outcome"])
    assert isinstance(outcome, BundleError)
    assert "nothing" in str(outcome)


@pytest.mark.parametrize(("providers", "used"), [([CUDA, CPU], "onnxruntime-cuda"), ([CPU], None)])
def test_a_worker_uses_its_gpu_or_says_why_not(
    search: PersonSearch, gallery: Gallery, monkeypatch, providers: list[str], used: str | None
) -> None:
    """Without TensorRT: by ONNX Runtime's CUDA provider, and never quietly on the CPU."""
    machine_without_tensorrt(monkeypatch, [T4], providers)
    worker = _Worker(_Job(str(search.bundle.root), gallery.url, "box", "auto", "fp32", 1, 1, True, gpu=True), _Ledger())
    outcome = pickle.loads(worker({"task": 0, "sources": pickle.dumps([])})["outcome"])
    if used:
        assert isinstance(outcome, IndexReport)
        assert worker._search.runtime.backend == used
        worker._search.close()
    else:
        assert isinstance(outcome, BackendError)
        assert "has a GPU and cannot use it: TensorRT is not installed. ONNX Runtime" in str(outcome)
        assert "no CUDA provider" in str(outcome)
        assert "leave out --gpus-per-worker" in str(outcome)


@pytest.mark.parametrize(
    ("asked", "gpus", "backend", "gpu"),
    [
        ("auto", 0.0, "onnxruntime", False),
        ("auto", 0.5, "auto", True),
        ("tensorrt", 1.0, "tensorrt", False),
        ("onnxruntime-cuda", 1.0, "onnxruntime-cuda", False),
        ("onnxruntime", 1.0, "onnxruntime", False),
    ],
)
def test_what_workers_run_on(search, gallery: Gallery, monkeypatch, asked, gpus, backend, gpu) -> None:
    jobs = []
    monkeypatch.setattr(ray_index, "connected", lambda *_, **__: nullcontext(1))
    monkeypatch.setattr(ray_index, "_run", lambda job, *_: jobs.append(job) or iter(()))
    index_with_ray(search.bundle.root, [], gallery, workers=1, gpus_per_worker=gpus, backend=asked, batch_size=3)
    assert [(job.backend, job.gpu, job.batch_size) for job in jobs] == [(backend, gpu, 3)]


def test_what_ray_wrapped_is_told_in_a_line() -> None:
    wrapped = RuntimeError("remote\n  Traceback\nKeyError: 'x'.\n")
    wrapped.__cause__ = ValueError()
    assert _innermost(wrapped) == "RuntimeError: KeyError: 'x'"


@pytest.mark.parametrize(
    ("pictures", "videos", "workers", "sizes"),
    [
        (3, 0, 2, [1, 1, 1]),
        (40, 1, 2, [1] + [2] * 20),
        (1000, 0, 2, [16] * 62 + [8]),
        (0, 2, 5, [1, 1]),
    ],
)
def test_tasks(pictures: int, videos: int, workers: int, sizes: list[int]) -> None:
    sources = [Source(f"/{i}.jpg", "picture") for i in range(pictures)]
    sources += [Source(f"/{i}.mp4", "video") for i in range(videos)]
    tasks = _tasks(sources, workers, 16)
    assert [len(task) for task in tasks] == sizes
    assert sorted(source.location for task in tasks for source in task) == sorted(s.location for s in sources)


@pytest.mark.parametrize(
    ("nodes", "workers", "threads", "gpus", "cores"),
    [
        ([(8, 0)], 2, None, 0, 4),
        ([(8, 0)], 3, None, 0, 2),
        ([(5, 0), (5, 0)], 3, None, 0, 2),
        ([(4, 0)], 9, None, 0, 1),  # some wait, or for more nodes
        ([(4, 0)], 2, 3, 0, 3),
        ([(64, 8), (16, 0)], 8, None, 1, 8),
        ([(16, 1)], 2, None, 0.5, 8),
    ],
)
def test_cores_of_a_worker(nodes, workers: int, threads: int | None, gpus: float, cores: int) -> None:
    assert _cores([{"CPU": cpu, "GPU": gpu} for cpu, gpu in nodes], workers, threads, gpus) == cores


@pytest.mark.parametrize(("threads", "gpus", "needed"), [(8, 0, "8 cores"), (None, 1, "1 cores and 1 GPUs")])
def test_no_node_has_room(threads: int | None, gpus: float, needed: str) -> None:
    with pytest.raises(ClusterError, match=f"{needed}, .* the largest of 2 has 4 cores and 0 GPUs"):
        _cores([{"CPU": 2}, {"CPU": 4}], 1, threads, gpus)


def test_refusals(search: PersonSearch, gallery: Gallery, monkeypatch) -> None:
    root, picture = search.bundle.root, [Source("/a.jpg", "picture")]
    with pytest.raises(SourceError, match="rtsp://host/ is a live stream"):
        index_with_ray(root, [Source("rtsp://host/", "stream")], gallery, workers=2)
    with pytest.raises(GalleryError, match="0 workers were asked for"):
        index_with_ray(root, picture, gallery, workers=0)
    with pytest.raises(ClusterError, match="Ray Client"):
        index_with_ray(root, picture, gallery, workers=1, address="ray://head:10001")
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ClusterError, match=r"pip install 'mgts-trt\[ray\]'"),
        connected(None, workers=1, threads=1, gpus=0),
    ):
        pass
