import signal
import subprocess
import sys
import threading

import pytest

from mgts_trt.gallery import Gallery, forgetting
from mgts_trt.gallery.bucket import TableNotes
from mgts_trt.gallery.disk import steps
from mgts_trt.gallery.forgetting import recall
from mgts_trt.gallery.retention import Policy, expire, read_policy, set_policy
from mgts_trt.gallery.verifying import verify
from tests.helpers.bucket_server import bucket_server, objects
from tests.helpers.paths import ROOT
from tests.helpers.stored_people import SPACE, contents, entry, expected, unit

pytest.importorskip("lancedb")


def start(url: str, first: int, last: int) -> subprocess.Popen:
    """Let a process of its own store frames, two at a time."""
    command = [sys.executable, "-m", "tests.helpers.stored_people", url, str(first), str(last)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_writers_readers_and_one_that_is_killed(bucket: str) -> None:
    url = f"{bucket}/many"
    with Gallery.create(url, SPACE) as gallery:
        # Two of the same frames, and one of others that goes on until it is killed.
        writers, killed = [start(url, 0, 4), start(url, 0, 4)], start(url, 10, 2000)
        for line in killed.stdout:
            if int(line) >= 12:
                break
        killed.kill()
        reads = 0
        while any(writer.poll() is None for writer in writers) or not reads:
            seen = contents(gallery)
            assert len(set(seen)) == len(seen)
            assert len(gallery.search(unit(3, rows=3)[0])) == min(10, len(seen)) or reads == 0
            reads += 1
        assert [writer.wait() for writer in writers] == [0, 0]
        assert killed.wait() == -signal.SIGKILL
        done = gallery.done([entry(number).frame.key for number in range(200)])
        assert done >= {entry(number).frame.key for number in (*range(4), *range(10, 12))}
        # Whoever goes on with the killed one's work doubles and loses nothing.
        every = [entry(number) for number in (*range(4), *range(10, 24))]
        gallery.add(every)
        assert contents(gallery) == expected(every)
        assert gallery.summary().frames == 18
        gallery.optimise()
        assert contents(gallery) == expected(every)
        assert verify(url).clean


def add_at_once(url: str, rounds: int) -> int:
    """Two writers at once, each of frames of its own; returns how many people are lost."""
    entries = [entry(4 * number + 3) for number in range(2 * rounds)]
    together = threading.Barrier(2)

    def add(which: int) -> None:
        with Gallery.open(url) as own:
            for number in range(which, 2 * rounds, 2):
                together.wait()
                own.add([entries[number]])

    with Gallery.create(url, SPACE) as gallery:
        threads = [threading.Thread(target=add, args=(which,)) for which in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(set(expected(entries)) - set(contents(gallery)))


def test_a_server_without_conditional_writes_loses_people(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the documents ask for a server that has them."""
    assert add_at_once(f"{bucket}/with", 2) == 0
    with bucket_server(conditional=False) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert any(add_at_once(f"{bucket}/without{attempt}", 4) for attempt in range(5))


def test_what_is_forgotten_is_in_no_object(bucket: str) -> None:
    url = f"{bucket}/forgotten"
    with Gallery.create(url, SPACE) as gallery:
        gallery.add([entry(number, source=f"/a/{number}.jpg", sha256=f"{number:064}") for number in range(1, 6)])
        gone = [b"/a/3.jpg", f"{3:064}".encode(), unit(3, rows=3)[1].tobytes()]
        assert all(any(trace in data for data in objects("forgotten/").values()) for trace in gone)
        assert gallery.forget("/a/3.jpg") == 3
        held = objects("forgotten/")
        assert [(key, trace) for key, data in held.items() for trace in gone if trace in data] == []
        assert len(contents(gallery)) == len({*contents(gallery)}) == 1 + 2 + 0 + 1


def test_notes_that_many_change_at_once(bucket: str) -> None:
    url = f"{bucket}/notes"
    assert TableNotes(url).read("a") is TableNotes(url).stamp("a") is None
    together = threading.Barrier(3)

    def add(which: int) -> None:
        own = TableNotes(url)
        together.wait()
        own.change("a", lambda text: f"{text or ''}{which}", step="")

    threads = [threading.Thread(target=add, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    notes = TableNotes(url)
    assert sorted(notes.read("a")) == ["0", "1", "2"]
    before = notes.stamp("a")
    TableNotes(url).change("it's.b", lambda text: f"secret {text}", step="")
    assert notes.stamp("a") != before
    assert notes.names(".b") == ["it's.b"]
    notes.remove("it's.b")
    notes.remove("it's.b")
    assert notes.read("it's.b") is None
    assert not any(b"secret" in data for data in objects("notes/").values())


def test_what_was_forgotten_stays_out_until_it_is_recalled(bucket: str) -> None:
    url = f"{bucket}/stones"
    photo = {"source": "/a/photo.jpg", "sha256": "7" * 64}
    with Gallery.create(url, SPACE) as gallery, Gallery.open(url) as other:
        gallery.add([entry(3, **photo), entry(2)])
        other.forget("/a/photo.jpg")
        gallery.add([entry(3, **photo), entry(7, **{**photo, "source": "/copy.jpg"})])
        gallery.end_video("/a/photo.jpg", "7" * 64, 9)
        assert contents(gallery) == expected([entry(2)])
        assert not any(b"/a/photo" in data for data in objects("stones/").values())
        assert recall(other, "/a/photo.jpg") == 1
        gallery.add([entry(3, **photo)])
        assert contents(gallery) == expected([entry(2), entry(3)])


@pytest.mark.parametrize("step", ["add people", "add frames"])
def test_forgotten_while_it_is_written(bucket: str, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Where nobody is held off, the writer finds the tombstone when it has written."""
    url = f"{bucket}/meanwhile-{step[4:]}"
    with Gallery.create(url, SPACE) as gallery, Gallery.open(url) as other:
        gallery.add([entry(3), entry(1, source="/other.mp4", sha256="6" * 64)])

        forgot = list[int]()

        def forget(name: str) -> None:
            if name == step and not forgot:
                forgot.append(0)  # its own steps are no more to be stopped at
                forgot.append(other.forget("/a/video.mp4"))

        with monkeypatch.context() as patch:
            patch.setattr(steps, "on_step", forget)
            gallery.add([entry(5), entry(6), entry(2, source="/other.mp4", sha256="6" * 64)])
        assert forgot[1] > 0
        assert contents(gallery) == expected([entry(1), entry(2)])
        assert not any(b"/a/video" in data for data in objects(f"meanwhile-{step[4:]}/").values())
        assert verify(url).clean


def test_what_a_killed_writer_left_of_the_forgotten_goes_with_the_next_optimising(bucket: str) -> None:
    url = f"{bucket}/left"
    with Gallery.create(url, SPACE) as gallery, Gallery.open(url) as other:
        gallery.add([entry(3), entry(2, source="/other.mp4", sha256="6" * 64)])
        other.forget("/a/video.mp4")
        withdraw, forgetting.withdraw = forgetting.withdraw, lambda *_: None
        let_in, gallery.place.tombstones.let_in = gallery.place.tombstones.let_in, lambda items, _: items
        try:
            gallery.add([entry(5)])  # as one that was killed before it asked
        finally:
            forgetting.withdraw, gallery.place.tombstones.let_in = withdraw, let_in
        assert contents(other) == expected([entry(5), entry(2)])
        other.optimise()
        assert contents(other) == expected([entry(2)])


class Killed(BaseException):
    """In the midst of an erasure."""


@pytest.mark.parametrize("step", ["delete people", "end"])
def test_an_erasure_that_was_cut_off_is_finished_by_the_next_writer(
    bucket: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = f"cut-{step.replace(' ', '-')}"
    with Gallery.create(f"{bucket}/{folder}", SPACE) as gallery:
        gallery.add([entry(number, source=f"/a/{number}.jpg", sha256=f"{number:064}") for number in (1, 2, 3, 5)])

    def kill(name: str) -> None:
        if name == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(steps, "on_step", kill)
        with pytest.raises(Killed):
            Gallery.open(f"{bucket}/{folder}").forget("/a/3.jpg")
    found = verify(f"{bucket}/{folder}")
    assert (found.under_way, found.clean) == (1, False)
    with Gallery.open(f"{bucket}/{folder}") as gallery:
        gallery.add([entry(6, source="/a/6.jpg", sha256="6" * 64), entry(3, source="/b/3.jpg", sha256=f"{3:064}")])
        assert contents(gallery) == expected([entry(number) for number in (1, 2, 5, 6)])
    traces = [b"/a/3.jpg", f"{3:064}".encode(), unit(3, rows=3)[1].tobytes()]
    assert not [key for key, data in objects(f"{folder}/").items() if any(trace in data for trace in traces)]
    assert verify(f"{bucket}/{folder}").clean


def test_a_policy_is_kept(bucket: str) -> None:
    with Gallery.create(f"{bucket}/policy", SPACE) as gallery, Gallery.open(f"{bucket}/policy") as other:
        assert not read_policy(gallery)
        set_policy(gallery, Policy(86400.0, {"door": 60.0}))
        assert read_policy(other) == Policy(86400.0, {"door": 60.0})
        gallery.add([entry(3, time=1.7e9), entry(2, time=1.8e9), entry(1, time=1.8e9 - 90, camera="door")])
        assert expire(other, now=1.8e9 + 1).people == 4
        assert contents(gallery) == expected([entry(2)])
