"""A newcomer's path: the documents' commands pasted in their order into the shell of a bare machine.

The machine has Python, and of ours no command before an environment is made and activated. What pip would fetch comes
from the packages installed here, as if from an index; nothing else does.
"""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.documents import Code, Document, documents
from tests.helpers.paths import ROOT

PAGES = (
    "docs/quickstart.md", "README.md", "docs/embedding.md", "docs/examples/README.md", "docs/gallery.md",
    "docs/watching.md", "docs/service.md", "docs/serving.md", "docs/cluster.md", "docs/plans.md", "docs/debugging.md",
    "docs/operators.md", "docs/plugins.md", "engines/cpp/README.md", "docs/bundle.md", "docs/weights.md",
    "docs/deployment.md", "docs/observability.md", "docs/deepstream.md", "benchmarks/README.md", "CONTRIBUTING.md",
)  # fmt: skip
"""In the order a reader may take: who set up once goes on in the same shell."""

PROBE = "docs/pictures/samples/store_aisle/0000.jpg@240,63,320,231"

LEFT_OUT = {
    "make demo": "CI begins with it",
    "make test": "it is what runs this",
    "make check": "it is part of make test",
    "make dist": "tests/test_wheel.py follows it",
    "pip install dist/": "tests/test_wheel.py follows it",
    'pip install -e ".[dev]"': "CI begins with it",
    'pip install -e ".[rtx,plot,train]" onnxruntime-gpu': "it wants another ONNX Runtime than the one that is here",
    "python -m pytest": "it is part of make test",
    "mgts-trt parity\n": "tests/docs/test_running.py follows the quickstart",
    "mgts-trt detect docs/": "the same",
    f"mgts-trt search --query {PROBE} --gallery docs/": "the same",
    f"mgts-trt search --query {PROBE} --gallery my-gallery": "the same",
    "mgts-trt bench --image": "the same",
    "mgts-trt index docs/pictures/samples/one_by_one": "the same",
    "mgts-trt index docs/pictures/samples/store_aisle --gallery my-gallery": "the same",
    "mgts-trt gallery info my-gallery": "the same",
    "mgts-trt index docs/pictures/samples -g gallery --workers": "tests of indexing/ray_index.py start Ray",
    "mgts-trt index s3:": "a cluster and a bucket",
    "mgts-trt index photos/ --gallery s3:": "a bucket; tests/mgts_trt/gallery/test_bucket.py has one",
    "ray job submit": "a cluster and a bucket",
    "mgts-trt serve --gallery my-gallery --host": "open to others; tests of the service's guard do it",
    'curl -H "X-API-Key': "HOST is another machine",
    "mgts-trt build": "minutes, or a GPU; tests/mgts_trt/plans builds",
    "mgts-trt convert": "minutes, and pictures of the reader's own; tests/mgts_trt/precisions converts",
    "mgts-trt sensitivity": "the same",
    "mgts-trt plugins": "a compiler, and TensorRT's headers; tests/mgts_trt/plugins",
    "sudo apt install cmake": "the machine has them; tests/engines/test_cpp_example.py builds and runs the program",
    "cmake -S engines/cpp": "the same",
    "build/cpp/person_search_example": "the same",
    "trtexec": "TensorRT, and a GPU",
    "MGTS_TRT_REGISTER_PLUGINS=1 tritonserver": "Triton, and a GPU",
    "mgts-trt triton bundle --out models --plans": "a plan of TensorRT, which is built on a GPU",
    "tritonserver": "another's server; tests/mgts_trt/triton runs it",
    "python -m export": "weights or pictures of the reader's own, or minutes; tests/export",
    "python -m training": "data sets, and hours; tests/training",
    "python -m benchmarks": "a GPU",
    'pip install -e ".[import,polygraphy,plot]"': "tests of evaluation/polygraphy_files.py run Polygraphy",
    "mgts-trt parity bundle --no-task --polygraphy": "the same",
    "polygraphy run": "the same; or a GPU",
    "OTEL_EXPORTER_OTLP_ENDPOINT=": "a collector of traces; tests/mgts_trt/service/test_tracing.py has one",
    "mgts-trt deepstream": "plugins, and an appliance; tests/mgts_trt/deepstream",
    "docker ": "an engine of containers; tests/deploy follows the Dockerfile",
    "podman ": "the same",
    "alias mgts=": "the same",
    "mgts ": "the same",
    "cd deploy/containers": "the same",
    "openssl ": "the same",
    "sudo ": "the same",
    "mgts-trt diff": "minutes; tests of precisions/layer_diff.py",
    "mgts-trt parity my-bundle": "weights of the reader's own",
    "mgts-trt parity small": "pictures of the reader's own",
    "mgts-trt import": "files of other projects; tests/mgts_trt/importing",
    "mgts-trt parity theirs": "the same",
    "mgts-trt search --query photo.jpg --gallery photos --bundle theirs": "the same",
    "mgts-trt search --query docs/pictures/samples/one_by_one/0180.jpg": "the same",
}
"""Beginnings of commands that are not pasted here, and why."""

SET_UP = "quickstart.md#install"


def shell_blocks(document: Document) -> list[Code]:
    """The blocks that are pasted: those of `sh`, and indented ones that begin with a command."""
    begins = re.compile(r"(?:mgts-trt|python3?|pip|make|ray|curl) ")
    blocks = [
        code for code in document.code() if code.language == "sh" or (not code.language and begins.match(code.text))
    ]
    return sorted(blocks, key=lambda code: code.line)


def lines_of(code: Code) -> Iterator[str]:
    """The commands of a block as they are pasted, without what follows a #; a continued one is one."""
    text = textwrap.dedent(code.text).replace("\\\n", " ")
    for line in text.splitlines():
        if command := re.sub(r"\s+#\s.*", "", line).strip():
            yield re.sub(r"\s+", " ", command)


def reason(command: str) -> str | None:
    return next((why for begin, why in LEFT_OUT.items() if f"{command}\n".startswith(begin)), None)


def test_every_page_with_commands_is_in_the_path() -> None:
    found = {d.path.as_posix() for d in documents(ROOT) if shell_blocks(d)} - {"CHANGELOG.md"}
    assert found == set(PAGES)


def says_how_to_set_up(document: Document) -> bool:
    """Whether a reader who begins at the first command knows what must be there."""
    first = shell_blocks(document)[0]
    before = (document.root / document.path).read_text(encoding="utf-8").splitlines()[: first.line]
    return SET_UP in "\n".join(before) or first.text.startswith(("python3 -m venv", "make "))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_how_to_set_up(page: str) -> None:
    assert says_how_to_set_up(Document(ROOT, Path(page)))


def test_a_page_that_does_not_is_caught(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\n```sh\npip install -e .\n```\n\nSee [here](quickstart.md#install).\n")
    assert not says_how_to_set_up(Document(tmp_path, Path("a.md")))


def test_nothing_is_left_out_without_need() -> None:
    """Each reason is one for a command there is, and installing is left out nowhere but where it is said."""
    shown = [line for page in PAGES for code in shell_blocks(Document(ROOT, Path(page))) for line in lines_of(code)]
    assert [begin for begin in LEFT_OUT if not any(f"{line}\n".startswith(begin) for line in shown)] == []
    assert sum(reason(line) is None for line in shown) >= 20


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A fresh checkout, and the environment of a shell beside it that knows nothing of ours."""
    for package in ("hatchling", "lancedb", "fastapi", "matplotlib", "ray", "torch", "onnxscript", "tensorrt_rtx"):
        if importlib.util.find_spec(package) is None:
            why = f"needs what the documents install, and {package} is not here: pip install -e '.[dev]'"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    tmp_path = tmp_path_factory.mktemp("machine")
    ours = {"dist", "out", "runs", "build", "__pycache__"}
    checkout = tmp_path / "mgts-trt"
    shutil.copytree(ROOT, checkout, ignore=lambda _, names: {n for n in names if n[0] == "." or n in ours})
    shutil.rmtree(checkout / "bundle/plans", ignore_errors=True)

    index = tmp_path / "index"
    index.mkdir()
    for folder in (Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")):
        for path in folder.iterdir():
            ours_or_pips = re.match(r"_?_?(mgts_trt|mgts-trt|editable|pip)|.*\.pth$", path.name)
            if not ours_or_pips and not (index / path.name).exists():
                (index / path.name).symlink_to(path)

    tools = tmp_path / "tools"
    tools.mkdir()
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (tools / "python3").symlink_to(python)
    for name in ("python", "pip", "mgts-trt"):
        (tools / name).write_text(f"#!/bin/sh\necho {name}: command not found >&2\nexit 127\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8", "TERM": "dumb"}
    environment |= {
        "PYTHONPATH": str(index),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_CACHE_DIR": "1",
    }
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}
    return checkout, environment


def pasted(pages: tuple[str, ...], port: int) -> Iterator[str]:
    """The lines of a script that pastes the commands of all pages, and says before each what it is.

    The service stays behind in its shell while a second one asks it; its port is one that is free.
    """
    yield "set -e"
    yield "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"
    for page in pages:
        for code in shell_blocks(Document(ROOT, Path(page))):
            yield f'cd "$CHECKOUT"; echo "== {code}"'
            for command in lines_of(code):
                if reason(command) is None:
                    text = command.replace("localhost:8000", f"localhost:{port}")
                    yield f"cat <<'SAID'\n$ {text}\nSAID"
                    if text.startswith("mgts-trt serve"):
                        yield f"{text} --port {port} &"
                        yield f"for try in $(seq 300); do curl -s localhost:{port}/healthz && break; sleep 0.2; done"
                    else:
                        yield text.replace("curl ", "curl --silent --show-error --fail ")


def paste(lines: list[str], checkout: Path, environment: dict[str, str]) -> str:
    """What the shell printed; it must get to the end."""
    script = "\n".join([*lines, ""])
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=checkout, env=environment | {"CHECKOUT": str(checkout)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"the last command ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_every_command_works_in_its_order(machine: tuple[Path, dict[str, str]]) -> None:
    checkout, environment = machine
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = paste(list(pasted(PAGES, port)), checkout, environment)
    where = "cd / && python -c 'import mgts_trt; print(mgts_trt.__file__)'"
    ran = paste([". .venv/bin/activate", where], checkout, environment)
    assert ran == f"{checkout}/mgts_trt/__init__.py\n", "whatever extra was added, the checkout is what runs"
    for sign in ("is whole", "people", '"score"', '"indexed":2'):
        assert sign in said


@pytest.mark.slow
def test_without_the_environment_nothing_works(machine: tuple[Path, dict[str, str]]) -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with 127.*pip: command not found"):
        paste(["set -e", 'pip install -e ".[gallery]"'], *machine)
