"""A Dockerfile followed line by line where no container engine runs.

Each stage is an overlay over this machine's root, entered by chroot; the machine stands in for the base image, with the
Python that runs the tests at /usr/local, as Python's own images have it, and nothing beside it but pip.
"""

import ensurepip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import dockerfile
import pytest

LIBRARY = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
WAY_TO_THE_INDEX = ("PIP_", "UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_MOUNTS = """
mount --make-rprivate /
mount -t overlay overlay -o "$ROOT_OPTIONS" "$MERGED"
mount -t overlay overlay -o "$PYTHON_OPTIONS" "$MERGED/usr/local"
mount --bind "$PACKAGES" "$MERGED/usr/local/$LIBRARY"
mount --rbind /dev "$MERGED/dev"
mount -t proc proc "$MERGED/proc"
"""


def pairs(line: dockerfile.Command) -> Iterator[tuple[str, str]]:
    """The names and values of ENV and LABEL."""
    return zip(line.value[::2], line.value[1::2], strict=True)


def require_namespaces() -> None:
    """Skip, or in CI fail, where this user may not mount and unshare."""
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"]
    may = os.geteuid() == 0 and shutil.which("unshare") and not subprocess.run(probe, check=False).returncode
    if not may or sys.base_prefix == "/usr":
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "needs root, Linux namespaces, and a Python with a folder of its own"
        )


@dataclass
class Stage:
    """One stage: what it wrote, and what its lines say of how it is run."""

    folder: Path
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"LD_LIBRARY_PATH": "/usr/local/lib"})
    """Of Python's own images ldconfig knows that folder."""
    user: str = "0:0"
    workdir: str = "/"
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """What it wrote, as paths from its root."""
        return self.folder / "root"

    def path(self, inside: str) -> Path:
        """Where a path of the image that it wrote lies on this machine."""
        local = inside.removeprefix("/usr/local/")
        return self.root / inside.lstrip("/") if local == inside else self.folder / "python" / local

    def script(self, then: str, *, read_only: bool = False) -> tuple[list[str], dict[str, str]]:
        """A command that mounts the stage and does `then` in it, and its environment: $MERGED is the root.

        With `read_only` it also is process 1 of a network of its own that reaches nothing.
        """
        layers = {"ROOT": ("root", "/"), "PYTHON": ("python", sys.base_prefix)}
        environment = {"PATH": os.environ["PATH"], "MERGED": str(self.folder / "merged"), "LIBRARY": LIBRARY}
        environment["PACKAGES"] = str(self.folder / "packages")
        for name, (upper, lower) in layers.items():
            written = self.folder / upper
            environment[f"{name}_OPTIONS"] = (
                f"ro,lowerdir={written}:{lower}"
                if read_only
                else f"lowerdir={lower},upperdir={written},workdir={self.folder / f'{upper}.work'}"
            )
        namespaces = ["unshare", "--mount", *(["--net", "--pid", "--fork", "--kill-child"] if read_only else [])]
        return [*namespaces, "sh", "-euc", _MOUNTS + then], environment


class Build:
    """Follows a file's lines, in order.

    Args:
        path: The Dockerfile.
        context: The folder that COPY takes from.
        folder: Where stages go; of a file system other than the root's, since overlays may not overlap.
        arguments: As `--build-arg` gives them.
    """

    def __init__(self, path: Path, context: Path, folder: Path, **arguments: str) -> None:
        self.context, self.folder, self._given = context, folder, arguments
        self.stages: dict[str, Stage] = {}
        self.followed: list[str] = []
        self._globals: dict[str, str] = {}
        for line in dockerfile.parse_file(str(path)):
            getattr(self, f"_{line.cmd.lower()}")(line)
            self.followed.append(line.cmd)

    @property
    def last(self) -> Stage:
        """The stage of the last FROM."""
        return list(self.stages.values())[-1]

    def _from(self, line: dockerfile.Command) -> None:
        base, _, name = line.value
        assert Template(base).substitute(self._globals).startswith("python:"), "other bases are not stood in for"
        stage = self.stages[name] = Stage(self.folder / name)
        for part in ("root", "root.work", "python/bin", "python.work", "packages", "merged"):
            (stage.folder / part).mkdir(parents=True)
        bundled = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        with zipfile.ZipFile(bundled) as archive:
            archive.extractall(stage.folder / "packages")
        pip = stage.path("/usr/local/bin/pip")
        pip.write_text("#!/usr/local/bin/python3\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n")
        pip.chmod(0o755)

    def _arg(self, line: dockerfile.Command) -> None:
        name, given, value = line.value[0].partition("=")
        known = self.last.arguments if self.stages else self._globals
        if given or name in self._given:
            known[name] = self._given.get(name, value)

    def _env(self, line: dockerfile.Command) -> None:
        for name, value in pairs(line):
            known = {"PATH": "/usr/local/bin:/usr/bin:/bin", **self.last.arguments, **self.last.environment}
            self.last.environment[name] = Template(value).substitute(known)

    def _label(self, line: dockerfile.Command) -> None:
        for name, value in pairs(line):
            self.last.labels[name] = Template(json.loads(value)).substitute(self.last.arguments)

    def _workdir(self, line: dockerfile.Command) -> None:
        self.last.workdir = line.value[0]
        self.last.path(line.value[0]).mkdir(parents=True, exist_ok=True)

    def _user(self, line: dockerfile.Command) -> None:
        self.last.user = line.value[0]

    def _expose(self, line: dockerfile.Command) -> None:
        assert line.value == ("8000",)

    def _copy(self, line: dockerfile.Command) -> None:
        source, target = line.value
        stage = next((flag.partition("=")[2] for flag in line.flags if flag.startswith("--from=")), None)
        found = self.stages[stage].path(source) if stage else self.context / source
        place = self.last.path(str(Path(self.last.workdir, target)))
        if target.endswith("/"):
            place /= found.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            linked = os.link if stage else shutil.copy2
            shutil.copytree(found, place, symlinks=True, copy_function=linked)
        else:
            shutil.copy2(found, place)

    def _run(self, line: dockerfile.Command) -> None:
        binds = ""
        for flag in line.flags:
            mount = dict(part.partition("=")[::2] for part in flag.removeprefix("--mount=").split(","))
            if mount["type"] == "cache":
                source = Path.home() / ".cache" / Path(mount["target"]).name  # what was fetched here is not again
                source.mkdir(parents=True, exist_ok=True)
            else:
                source = self.stages[mount["from"]].path(mount["source"])
            self.last.path(mount["target"]).mkdir(parents=True, exist_ok=True)
            binds += f"mount --bind '{source}' \"$MERGED{mount['target']}\"\n"
        inside = {
            "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
            **{name: value for name, value in os.environ.items() if name.startswith(WAY_TO_THE_INDEX)},
            **self.last.arguments, **self.last.environment,
        }  # fmt: skip
        (text,) = line.value
        command, environment = self.last.script(binds + 'exec chroot "$MERGED" "$@"')
        step = ["env", "-i", *(f"{name}={value}" for name, value in inside.items())]
        step += ["sh", "-euc", f"cd {self.last.workdir}; {text}"]
        done = subprocess.run(
            [*command, "RUN", *step], env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"RUN {text}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"

    def _healthcheck(self, line: dockerfile.Command) -> None:
        assert line.json
        assert line.value[0] == "CMD"
        self.last.healthcheck = list(line.value[1:])

    def _entrypoint(self, line: dockerfile.Command) -> None:
        assert line.json
        self.last.entrypoint = list(line.value)

    def _cmd(self, line: dockerfile.Command) -> None:
        assert line.json
        self.last.command = list(line.value)
