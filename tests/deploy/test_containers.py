"""What lies in deploy/containers, read by programs: hadolint, Docker Compose, uv's resolver, our own commands."""

import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from queue import Queue

import dockerfile
import paho.mqtt.client as mqtt
import pytest
import typer
import yaml

from mgts_trt.cli.app import app
from mgts_trt.version import __version__
from tests.helpers.mqtt_broker import PATIENCE, Broker, passwords
from tests.helpers.paths import ROOT

FOLDER = ROOT / "deploy/containers"
BAKE = json.loads((FOLDER / "docker-bake.json").read_text(encoding="utf-8"))
TARGETS = {name: target for name, target in BAKE["target"].items() if not name.startswith("_")}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
PINNED = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?")
BIN = Path(sys.executable).parent


def lint(path: Path) -> str:
    return subprocess.run([BIN / "hadolint", path], capture_output=True, text=True, check=False).stdout


def compose(path: Path) -> subprocess.CompletedProcess[str]:
    """Read by Compose itself, which holds it against the Compose Specification's schema."""
    if platform.machine() != "x86_64":
        pytest.skip("Compose's package is for x86_64 alone")
    command = [BIN / "docker-compose", "--file", path, "config", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    done = compose(FOLDER / "compose.yaml")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    assert lint(FOLDER / "Dockerfile") == ""
    worse = tmp_path / "Dockerfile"
    worse.write_text("FROM python\nRUN cd / && apt-get install curl\n")
    assert "DL3006" in lint(worse)


def test_all_images_are_one_recipe() -> None:
    lines = dockerfile.parse_file(str(FOLDER / "Dockerfile"))
    declared = {line.value[0].partition("=")[0] for line in lines if line.cmd == "ARG"}
    assert set(TARGETS) == {"cpu", "tensorrt-cu12", "tensorrt-cu13", "jetpack6", "jetpack7"}
    assert BAKE["variable"]["VERSION"]["default"] == __version__
    assert set(BAKE["target"]["_common"]["args"]) <= declared
    for name, target in TARGETS.items():
        assert set(target["args"]) <= declared, name
        assert set(target["args"]["EXTRAS"].split(",")) <= set(EXTRAS), name
        assert target["tags"] == [f"${{REGISTRY}}mgts-trt:${{VERSION}}-{name}"]
    bases = [target["args"]["BASE"] for target in TARGETS.values() if "BASE" in target["args"]]
    bases += [line.value[0].partition("=")[2] for line in lines if line.value[0].startswith(("BASE=", "PYTHON="))]
    assert len(bases) == 4
    for base in bases:
        assert PINNED.fullmatch(base), base


@pytest.mark.parametrize(("target", "python", "glibc"), [("jetpack6", "3.10", "2_35"), ("jetpack7", "3.12", "2_39")])
def test_a_jetsons_python_has_wheels_of_all_packages(target: str, python: str, glibc: str) -> None:
    """Of those packages that are not JetPack's: the images have no compiler for the rest."""
    extras = TARGETS[target]["args"]["EXTRAS"].split(",")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--only-binary", ":all:", "pyproject.toml"]
    command += [f"--python-version={python}", f"--python-platform=aarch64-manylinux_{glibc}"]
    command += [f"--extra={extra}" for extra in extras]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and "error sending request" in done.stderr and not os.environ.get("CI"):
        pytest.skip("needs an index of packages")
    assert done.returncode == 0, done.stderr
    assert "cuda-bindings==" in done.stdout
    assert "tensorrt" not in done.stdout.replace("mgts-trt", "")


def test_no_container_of_compose_may_write_but_where_it_must(services: dict[str, dict]) -> None:
    assert set(services) == {"service", "watcher", "camera", "broker"}
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert PINNED.fullmatch(service["image"])
        assert service["healthcheck"]["test"] if name in ("camera", "broker") else True
        for volume in service["volumes"]:
            if volume["type"] == "bind":
                assert volume["read_only"], volume
                assert Path(volume["source"]).exists(), volume
    assert services["service"]["ports"][0]["host_ip"] == "127.0.0.1"
    for name in ("service", "watcher"):
        places = {volume["target"] for volume in services[name]["volumes"]}
        assert places == {"/bundle", "/var/lib/mgts-trt", "/var/cache/mgts-trt"}
        assert services[name]["image"] == f"mgts-trt:{__version__}-cpu"
        assert services[name]["build"]["context"] == str(ROOT)


def test_secrets_are_files_and_nothing_else(services: dict[str, dict]) -> None:
    assert not any(service.get("environment") for service in services.values())
    assert [secret["source"] for secret in services["watcher"]["secrets"]] == ["wanted", "mqtt_password"]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/deploy/containers/secrets/" in ignored
    admitted = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert admitted == ["!pyproject.toml", "!engines", "!mgts_trt"]


def test_what_the_watcher_is_told_it_understands(services: dict[str, dict]) -> None:
    name, *arguments = services["watcher"]["command"]
    command = typer.main.get_command(app).commands[name]
    with command.make_context(name, arguments) as context:
        assert context.params["sources"] == ["rtsp://camera:8554/aisle"]
        assert context.params["mqtt"] == "mqtt://watcher@broker/mgts-trt"
    with pytest.raises(Exception, match="No such option: --mqqt"):
        command.make_context(name, [*arguments, "--mqqt=x"])


def test_compose_refuses_what_its_schema_does_not_know(tmp_path: Path) -> None:
    changed = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    changed["services"]["service"]["readonly"] = True
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(changed))
    done = compose(tmp_path / "compose.yaml")
    assert done.returncode != 0
    assert "readonly" in done.stderr


def test_the_cameras_and_the_brokers_files_are_where_their_images_look(services: dict[str, dict]) -> None:
    found = {
        name: {volume["target"]: volume["source"] for volume in services[name]["volumes"]}
        for name in ("camera", "broker")
    }
    camera = yaml.safe_load(Path(found["camera"]["/mediamtx.yml"]).read_text())
    assert camera["rtspTransports"] == ["tcp"]
    assert list(camera["paths"]) == ["aisle"]
    assert list(Path(found["camera"]["/frames"]).glob("*.jpg"))
    broker = Path(found["broker"]["/mosquitto/config/mosquitto.conf"]).read_text()
    assert "allow_anonymous false" in broker
    assert "password_file /run/secrets/mqtt_users" in broker
    assert [secret["source"] for secret in services["broker"]["secrets"]] == ["mqtt_users"]


def test_the_broker_lets_the_watcher_in_and_nobody_else(tmp_path: Path) -> None:
    config = (FOLDER / "mosquitto.conf").read_text()
    (tmp_path / "users").write_text(passwords("right"))
    for inside, here in (("/run/secrets/mqtt_users", tmp_path / "users"), ("/mosquitto/data/", f"{tmp_path}/")):
        assert config.count(inside) == 1
        config = config.replace(inside, str(here))
    mosquitto = Broker(tmp_path, whole=config + "user root\n" * (os.getuid() == 0))
    mosquitto.start()
    try:
        answers = {password: answer(mosquitto.port, password) for password in ("right", "wrong", "")}
    finally:
        mosquitto.kill()
    assert answers == {"right": "Success", "wrong": "Not authorized", "": "Not authorized"}


def answer(port: int, password: str) -> str:
    """What the broker says to the watcher, or to nobody, if there is no password."""
    said: Queue[str] = Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect = lambda client, data, flags, reason, properties: said.put(reason.getName())
    if password:
        client.username_pw_set("watcher", password)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        return said.get(timeout=PATIENCE)
    finally:
        client.disconnect()
        client.loop_stop()
