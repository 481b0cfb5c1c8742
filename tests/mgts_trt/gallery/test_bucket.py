import signal
import subprocess
import sys
import threading

import pytest

from mgts_trt.gallery import Gallery
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
        writers, killed = [start(url, 0, 6), start(url, 0, 6)], start(url, 10, 2000)
        for line in killed.stdout:
            if int(line) >= 14:
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
        assert done >= {entry(number).frame.key for number in (*range(6), *range(10, 14))}
        # Whoever goes on with the killed one's work doubles and loses nothing.
        every = [entry(number) for number in (*range(6), *range(10, 30))]
        gallery.add(every)
        assert contents(gallery) == expected(every)
        assert gallery.summary().frames == 26
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
