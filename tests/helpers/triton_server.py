"""NVIDIA's Triton server, from a wheel that is fetched and never installed.

The wheel of pytriton brings the server without a GPU; of pytriton itself nothing is used. Its Python backend is built
for NumPy 1, whose arrays it reads from memory, so that the Python it runs gets NumPy 1.26 before all else there is.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.fetched import fetch, fetched
from tests.helpers.paths import ROOT

SERVER = "nvidia-pytriton==0.7.0"
NUMPY = "numpy==1.26.4"
REQUIREMENTS = (SERVER, NUMPY)
PATIENCE = 180


def require_triton() -> None:
    """Skip where the server cannot be had; in CI that fails."""
    reason = None
    if sys.platform != "linux" or not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        reason = "Triton's wheel needs Linux and a Python with a shared library"
    else:
        try:
            for requirement in REQUIREMENTS:
                fetch(requirement)
        except subprocess.CalledProcessError:
            reason = "Triton's server could not be fetched"
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Triton:
    """A server that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", http: str, grpc: str, log: Path) -> None:
        self.process, self.http, self.grpc, self.log = process, http, grpc, log

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def triton_serving(repository: Path, work: Path, *options: str) -> Iterator[Triton]:
    """Start it on a model repository, with all of its models, and end it if it still runs.

    Args:
        repository: What is served.
        work: An empty folder, for its log and what it needs beside it.
        options: Further ones.
    """
    backends, python = _backends(work / "backends"), _python(work / "python")
    http, grpc = _free_ports(2)
    home = fetched(SERVER)
    libraries = (home / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR"))
    command = [
        home / "pytriton/tritonserver/bin/tritonserver", f"--model-repository={repository}", "--load-model=*",
        f"--backend-directory={backends}", "--model-control-mode=explicit", "--rate-limit=execution_count",
        "--http-address=127.0.0.1", f"--http-port={http}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}",
        "--allow-metrics=false", *options, "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name=mgts{http}",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PATH": f"{python / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    log = work / "log.txt"
    with log.open("wb") as written:
        process = subprocess.Popen(list(map(str, command)), stdout=written, stderr=written, env=environment, cwd=work)
    try:
        _wait_for(process, log)
        yield Triton(process, f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def main() -> None:
    """Serve a repository until it is interrupted: `python -m tests.helpers.triton_server REPOSITORY`."""
    for requirement in REQUIREMENTS:
        fetch(requirement)
    with tempfile.TemporaryDirectory() as work, triton_serving(Path(sys.argv[1]).resolve(), Path(work)) as server:
        print(f"--triton-http {server.http} --triton-grpc {server.grpc}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while "Started HTTPService" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.1)


def _backends(folder: Path) -> Path:
    """The Python backend, with the stub of this Python beside it."""
    home = fetched(SERVER) / "pytriton/tritonserver"
    shutil.copytree(home / "backends", folder)
    stub = folder / "python/triton_python_backend_stub"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copyfile(home / "python_backend_stubs" / version / stub.name, stub)
    stub.chmod(0o755)
    (home / "bin/tritonserver").chmod(0o755)
    return folder


def _python(folder: Path) -> Path:
    """An environment as this one, but for NumPy: the backend takes its Python from the first `python3` on PATH."""
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/python3").symlink_to(Path(sys._base_executable))
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys._base_executable).parent}\n")
    beside = (fetched(NUMPY), ROOT, sysconfig.get_path("purelib"))
    (site / "beside.pth").write_text("".join(f"{each}\n" for each in beside))
    return folder


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
