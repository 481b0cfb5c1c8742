"""How a process is stopped, or its disk filled, or its clock turned."""

import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk import steps

BY_STEP = ("killed", "full")
BY_CHANCE = ("moment", "short", "filled")
NEEDS_NO_ROOM = ("remove", "end")
"""How steps begin that a full disk does not hinder."""
_DISK = 64 << 20
_READY = "MGTS_ERASURE_KILLS"
_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
long mgts_clock_shift = 0;
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(which, now);
    if (!status && which == CLOCK_REALTIME) now->tv_sec += mgts_clock_shift;
    return status;
}
"""
"""Another clock for a process: nobody may set the machine's."""


class Fault(NamedTuple):
    """What befalls a process.

    Attributes:
        kind: `killed` before its step of that number; from then on each step that writes finds the disk `full`; killed
            at a `moment`; no file may be longer than that, all are cut `short`; the disk is `filled` but for so much.
        at: Number of the step from 0, milliseconds, or bytes.
        clock: By how many seconds its clock is wrong.
    """

    kind: str
    at: int
    clock: int = 0


def arm(fault: Fault, folder: Path) -> None:
    """Have it befall this process, which works in a folder."""
    turn_clock(fault.clock)
    if fault.kind == "short":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, resource.RLIM_INFINITY))
    if fault.kind == "filled":
        left = shutil.disk_usage(folder).free
        with (folder / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, left - fault.at))
    left = fault.at

    def on_step(name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0 and fault.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if left < 0 and fault.kind == "full" and not name.startswith(NEEDS_NO_ROOM):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    steps.on_step = on_step


def make_room(folder: Path) -> None:
    """After a full disk."""
    (folder / "filler").unlink(missing_ok=True)


def child(task: Callable[[], object], kill_after: float | None = None) -> int:
    """Run in a process of its own, which may be killed; returns its status, 0 if all went well.

    The process that calls it has LanceDB loaded, and has called nothing of it: its threads do not outlive a fork.
    """
    process = beside(task)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    return wait(process)


def beside(task: Callable[[], object]) -> int:
    """Run in a process of its own meanwhile; returns its id."""
    if process := os.fork():
        return process
    code = 1
    try:
        task()
        code = 0
    except (GalleryError, OSError) as error:
        if os.environ.get(_READY) == "loud":
            print(error, file=sys.stderr)
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(process: int) -> int:
    """The status with which a process ended."""
    return os.waitpid(process, 0)[1]


def again_with_clock_and_disk(folder: Path, module: str) -> int | None:
    """Run a module once more, with a clock that can be turned and where it may mount a disk; returns its exit code.

    Returns None in the process that was started so: there, `folder` now is a small disk of its own, if the system
    allows that.
    """
    if _READY in os.environ:
        if "disk" in os.environ[_READY]:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", folder], check=False)
        return None
    command, told = [sys.executable, "-W", "ignore", "-m", module, *sys.argv[1:]], {_READY: "started"}
    for way in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        trial = [*way, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
        if shutil.which("unshare") and not subprocess.run(trial, capture_output=True).returncode:
            command, told[_READY] = [*way, *command], "disk"
            break
    if compiler := shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
        source, library = folder / "mgts_clock.c", folder / "mgts_clock.so"
        source.write_text(_SHIM)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        told["LD_PRELOAD"] = str(library)
    return subprocess.run(command, env={**os.environ, **told}).returncode


def give_back(folder: Path) -> None:
    """Unmount the disk, if there is one, before its folder is removed."""
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)


def clock() -> "ctypes.c_long | None":
    """By how many seconds the clock of this process is wrong, to be set; None where there is none that can be."""
    with suppress(ValueError):
        return ctypes.c_long.in_dll(ctypes.CDLL(None), "mgts_clock_shift")
    return None


def turn_clock(seconds: int) -> None:
    """Have the clock of this process wrong by so much."""
    if (found := clock()) is not None:
        found.value = seconds
