"""The image for CPUs, made by its Dockerfile's lines and run as they say: no root, and none to write to."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.helpers.image_steps import Build, require_namespaces
from tests.helpers.paths import ROOT, SAMPLES, TRAINED

pytestmark = pytest.mark.slow

NUMBER = 10001
VOLUMES = ("/var/lib/mgts-trt", "/var/cache/mgts-trt")
ASK = """
import http.client, sys, uuid
path, key, *files = sys.argv[1:]
line = uuid.uuid4().hex.encode()
body = b""
for part in files:
    name, _, value = part.partition("=")
    told = b'--%s\\r\\nContent-Disposition: form-data; name="%s"' % (line, name.encode())
    if value.startswith("@"):
        body += told + b'; filename="photo.jpg"\\r\\n\\r\\n' + open(value[1:], "rb").read() + b"\\r\\n"
    else:
        body += told + b"\\r\\n\\r\\n" + value.encode() + b"\\r\\n"
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
head = {"X-API-Key": key, "Content-Type": "multipart/form-data; boundary=" + line.decode()}
connection.request("POST" if files else "GET", path, body + b"--%s--" % line if files else None, head)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    require_namespaces()
    context = tmp_path_factory.mktemp("context")
    for name in (ROOT / ".dockerignore").read_text().splitlines():
        if name.startswith("!"):
            source, target = ROOT / name[1:], context / name[1:]
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                shutil.copy2(source, target)
    # In memory: an overlay takes no folder of the root that is under it, and a gigabyte of small files goes at once.
    with TemporaryDirectory(dir="/dev/shm", prefix="image-") as folder:
        yield Build(ROOT / "deploy/containers/Dockerfile", context, Path(folder), UV_COMPILE_BYTECODE="0")


class Container:
    """The image as an engine would run it: `--read-only --cap-drop ALL --tmpfs /tmp`, and its volumes."""

    def __init__(self, build: Build, folder: Path, *arguments: str) -> None:
        image = build.last
        then = 'mount -t tmpfs tmpfs "$MERGED/tmp"\nip link set lo up 2> /dev/null || true\n'
        for inside, outside, options in (
            *((volume, folder / Path(volume).parent.name, "rw") for volume in VOLUMES),
            ("/bundle", TRAINED, "ro"),
        ):
            image.path(inside).mkdir(exist_ok=True)
            then += f"mount --bind '{outside}' \"$MERGED{inside}\"\n"
            then += f'mount -o remount,bind,{options} "$MERGED{inside}"\n'
        command, environment = image.script(then + 'exec "$@"', read_only=True)
        user, group = image.user.split(":")
        inside = [*(f"{name}={value}" for name, value in image.environment.items()), "OMP_NUM_THREADS=1"]
        self._chroot = [
            "chroot", str(image.folder / "merged"), "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
            "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
            "env", "-i", f"--chdir={image.workdir}", *inside,
        ]  # fmt: skip
        self._image = image
        self.log = folder / "log.txt"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "run", *self._chroot, *image.entrypoint, *(arguments or image.command)],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def number(self) -> int:
        """Of its first process, as this machine counts."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for _ in range(500):
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.01)
        raise AssertionError(self.log.read_text())

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside it, as `docker exec` runs one."""
        enter = ["nsenter", f"--target={self.number}", "--mount", "--net", "--pid"]
        return subprocess.run(
            [*enter, *self._chroot, *command], capture_output=True, text=True, timeout=90, check=False
        )

    def healthy(self) -> bool:
        return self.execute(*self._image.healthcheck).returncode == 0

    def wait(self) -> int:
        return self._process.wait(60)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    for volume in VOLUMES:
        folder = tmp_path / Path(volume).parent.name
        folder.mkdir(mode=0o700)
        os.chown(folder, NUMBER, NUMBER)
    return tmp_path


def ask(container: Container, path: str, key: str, *form: str) -> tuple[int, dict]:
    """Send a request from inside, where its network is."""
    done = container.execute("/opt/mgts-trt/bin/python", "-c", ASK, path, key, *form)
    status, _, body = done.stdout.partition(" ")
    assert status, done.stderr
    return int(status), json.loads(body)


def test_it_serves_as_another_user_from_a_root_that_is_read_only(build: Build, volumes: Path) -> None:
    photos = volumes / "lib" / "photos"
    photos.mkdir()
    for name in ("0000.jpg", "0045.jpg"):
        shutil.copy(SAMPLES / "store_aisle" / name, photos)
    with Container(build, volumes, "keys", "add", "desk", "--role", "search", "--role", "index") as made:
        assert made.wait() == 0
        key = next(line for line in made.log.read_text().splitlines() if line.startswith("mgts_"))

    with Container(build, volumes) as container:
        waited = 0
        while not container.healthy():
            waited += 1
            assert waited < 300, container.log.read_text()
            time.sleep(0.5)
        status = Path(f"/proc/{container.number}/status").read_text()
        facts = dict(line.partition(":\t")[::2] for line in status.splitlines())
        assert facts["Uid"].split() == [str(NUMBER)] * 4
        assert facts["NSpid"].split()[-1] == "1"
        assert int(facts["CapBnd"], 16) == 0
        for place in ("/", "/opt/mgts-trt", "/usr/local", "/bundle", "/etc", "/run"):
            assert container.execute("touch", f"{place}/written").returncode, place

        there = "/var/lib/mgts-trt/photos"
        assert ask(container, "/index", key, f"images=@{there}/0045.jpg", "camera=3")[1]["people"] >= 2
        code, found = ask(container, "/search", key, f"image=@{there}/0000.jpg", "box=240,63,320,231")
        assert code == 200
        assert found["matches"][0]["likeness"] > 0.7
        assert ask(container, "/detect", "wrong", f"image=@{there}/0000.jpg")[0] == 401
        os.kill(container.number, signal.SIGTERM)
        assert container.wait() == 0, container.log.read_text()
    assert "Traceback" not in container.log.read_text()
    written = {path.name for path in (volumes / "lib").iterdir()}
    assert written == {"photos", "gallery", "keys.json", ".keys.json.lock"}


def test_its_bill_of_materials_lists_what_is_in_it(build: Build) -> None:
    bill = json.loads(build.last.path("/opt/mgts-trt/sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"].lower().replace("_", "-") for part in bill["components"]}
    assert {"mgts-trt", "onnxruntime", "lancedb", "fastapi", "av", "paho-mqtt", "cryptography", "numpy"} <= listed
    assert not {"torch", "pytest", "cyclonedx-bom", "uv"} & listed


def test_every_line_was_followed(build: Build) -> None:
    assert build.followed.count("RUN") == 4
    assert {"FROM", "COPY", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD", "LABEL"} <= set(build.followed)
    assert build.last.labels["org.opencontainers.image.title"] == "mgts-trt"
    assert build.last.user == f"{NUMBER}:{NUMBER}"
    assert not list(build.last.path("/opt/mgts-trt").rglob("*.key")), "no secret lies in a layer"
