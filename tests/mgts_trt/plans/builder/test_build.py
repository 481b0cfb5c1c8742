import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import onnx
import pytest
from onnx import helper
from rich.console import Console

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, write_manifest
from mgts_trt.bundle.recipe import Profile
from mgts_trt.cli.build import plan_report
from mgts_trt.errors import BackendError, BuildError, BundleError, MgtsError, PlanError
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.builder import build, staging
from mgts_trt.plans.builder.build import BuildEvent, build_bundle, build_plan, parse_targets
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour, require_flavour
from mgts_trt.plans.plan import PlanIdentity, find_plan, plan_folders, verify_plan
from mgts_trt.runtime.session import tensorrt as session
from mgts_trt.runtime.session.tensorrt import usable_plan
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import make_model, make_tiny_bundle

FLAVOUR = find_flavour("tensorrt_rtx")
pytestmark = pytest.mark.skipif(
    FLAVOUR is None or FLAVOUR.name != "tensorrt_rtx",
    reason="builds for real need TensorRT-RTX, which is not installed",
)
A4000 = Gpu("NVIDIA RTX A4000", (8, 6), 16 << 30, "550.54")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def bundle(tiny, tmp_path):
    return Bundle.open(shutil.copytree(tiny, tmp_path / "bundle"))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(build, "find_gpus", list)
    monkeypatch.setattr(session, "find_gpus", list)


def left_in(bundle):
    return sorted(path.name for path in bundle.plans.iterdir()) if bundle.plans.exists() else []


def replace_model(bundle, name, model, precision="fp32"):
    """Put another ONNX file into the bundle, with a manifest that agrees."""
    entry = bundle.model(name)
    file = f"{name}.{precision}.onnx"
    onnx.save(model, bundle.root / file)
    changed = entry.model_copy(update={"files": {**entry.files, precision: BundleFile.of(bundle.root, file)}})
    models = {**bundle.manifest.models, name: changed}
    write_manifest(bundle.root, bundle.manifest.model_copy(update={"models": models}))
    return Bundle.open(bundle.root)


class TestTargets:
    def test_default(self):
        assert parse_targets(None, FLAVOUR, []) == ["portable"]

    @pytest.mark.parametrize(
        ("text", "gpus", "expected"),
        [
            ("portable", [], ["portable"]),
            (" portable , sm_86 ,", [], ["portable", "sm_86"]),
            ("sm_86,current,sm_86", [A4000], ["sm_86"]),
            ("current", [Gpu("H100", (9, 0))], ["sm_90"]),
            ("sm_90", [Gpu("H100", (9, 0))], ["sm_90"]),
        ],
    )
    def test_names(self, text, gpus, expected):
        assert parse_targets(text, FLAVOUR, gpus) == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sm_70", "cannot build for 'sm_70'; it builds for portable, current, sm_75"),
            ("Portable", "cannot build for 'Portable'"),
            (" , ", "No target named"),
            ("current", "no NVIDIA GPU was found; name one of portable, sm_75"),
        ],
    )
    def test_impossible(self, text, message):
        with pytest.raises(BuildError, match=message):
            parse_targets(text, FLAVOUR, [])

    def test_plain_tensorrt_without_a_gpu(self):
        with pytest.raises(BuildError, match="build on the machine that will run the plan, or ahead of time"):
            parse_targets(None, Flavour("tensorrt", "10.9", FLAVOUR.module), [])

    def test_plain_tensorrt_has_no_portable_plans(self):
        with pytest.raises(BuildError, match="it builds for current"):
            parse_targets("portable", Flavour("tensorrt", "10.9", FLAVOUR.module), [A4000])


class TestOnePlan:
    def test_the_plan_and_what_is_said_of_it(self, bundle, capfd):
        result = build_plan(bundle, "mgts", "fp32")
        record = result.record
        assert result.fresh
        assert result.files[0].stat().st_size == record.plan_bytes
        assert sorted(path.name for path in result.folder.iterdir()) == ["build.log", "mgts.plan", "plan.json"]
        assert verify_plan(result.folder, PlanIdentity.of(bundle, "mgts", "fp32", "portable", FLAVOUR)) == record
        assert record.profile == {"N": Profile(min=1, opt=8, max=64)}
        assert record.inputs == bundle.model("mgts").inputs
        assert record.macs == {"fp32": 8 * 2 * 16 * 27 * 32 * 16 + 8 * 256 * 128}
        assert record.onnx_nodes == record.onnx_nodes_with_layer == 20
        assert record.peak_memory_mib > 10
        assert "Engine generation completed" in (result.folder / "build.log").read_text()
        assert left_in(bundle) == [result.folder.name]
        assert capfd.readouterr() == ("", "")

    def test_a_model_in_half(self, bundle):
        record = build_plan(replace_model(bundle, "mgts", make_model("mgts", "fp16"), "fp16"), "mgts", "fp16").record
        assert list(record.macs) == ["fp16"]

    def test_a_model_that_is_half_in_name_only(self, bundle):
        bundle = replace_model(bundle, "mgts", make_model("mgts", "fp32"), "fp16")
        with pytest.raises(
            BuildError, match=r"to be fp16, but of its 3\.8 MMACs 100% fp32 .* expected\).*/Conv_3 \(Conv,"
        ):
            build_plan(bundle, "mgts", "fp16")
        assert plan_folders(bundle) == []

    def test_the_profile_reaches_tensorrt(self, bundle, monkeypatch):
        configs = []
        create = Flavour.create_config
        monkeypatch.setattr(Flavour, "create_config", lambda *args: configs.append(create(*args)) or configs[-1])
        build_plan(bundle, "mgts", "fp32")
        build_plan(bundle, "detector", "fp32")
        assert [config.num_optimization_profiles for config in configs] == [1, 0]

    def test_nothing_changed_nothing_done(self, bundle, monkeypatch):
        first = build_plan(bundle, "idnet", "fp32")
        monkeypatch.setattr(Flavour, "create_builder", lambda self: pytest.fail("it builds again"))
        second = build_plan(bundle, "idnet", "fp32")
        assert not second.fresh
        assert (second.folder, second.record) == (first.folder, first.record)

    def test_force_builds_again(self, bundle):
        first = build_plan(bundle, "idnet", "fp32")
        (first.folder / "build.log").write_text("old")
        second = build_plan(bundle, "idnet", "fp32", force=True)
        assert second.fresh
        assert (second.folder / "build.log").read_text() != "old"
        assert left_in(bundle) == [first.folder.name]

    def test_an_altered_plan_is_built_again(self, bundle):
        first = build_plan(bundle, "idnet", "fp32")
        data = bytearray(first.files[0].read_bytes())
        data[len(data) // 2] ^= 1
        first.files[0].write_bytes(data)
        with pytest.raises(PlanError, match="altered"):
            find_plan(bundle, first.record.identity)
        assert build_plan(bundle, "idnet", "fp32").fresh
        assert find_plan(bundle, first.record.identity).files[0] == first.files[0]

    def test_another_version_builds_another_plan_and_refuses_this_one(self, bundle):
        first = build_plan(bundle, "idnet", "fp32")
        newer = dataclasses.replace(FLAVOUR, version="9.8.7")
        wanted = PlanIdentity.of(bundle, "idnet", "fp32", "portable", newer)
        with pytest.raises(PlanError, match=rf"built by {FLAVOUR}, this is TensorRT-RTX 9\.8\.7"):
            find_plan(bundle, wanted)
        assert build_plan(bundle, "idnet", "fp32", flavour=newer).fresh
        assert len(plan_folders(bundle)) == 2
        assert first.files[0].is_file()

    def test_a_plan_for_one_compute_capability(self, bundle):
        result = build_plan(bundle, "idnet", "fp32", "sm_86")
        assert result.record.identity.target == "sm_86"
        assert ".sm_86." in result.folder.name

    def test_current_is_the_gpu_that_is_here(self, bundle, monkeypatch):
        monkeypatch.setattr(build, "find_gpus", lambda: [A4000])
        result = build_plan(bundle, "idnet", "fp32", "current")
        assert result.record.identity.target == "sm_86"
        assert not build_plan(bundle, "idnet", "fp32", "sm_86").fresh

    def test_the_plain_flavour_goes_the_same_way(self, bundle, monkeypatch):
        # TensorRT-RTX's package stands in for the plain one, whose builder needs a GPU, as its timing cache would.
        monkeypatch.setenv("MGTS_TRT_CACHE", "off")
        monkeypatch.setattr(build, "find_gpus", lambda: [A4000])
        result = build_plan(bundle, "idnet", "fp32", flavour=Flavour("tensorrt", "10.9", FLAVOUR.module))
        assert (result.record.identity.flavour, result.record.identity.target) == ("tensorrt", "sm_86")

    @pytest.mark.parametrize(
        ("model", "precision", "target", "error", "message"),
        [
            ("idnet", "int8", None, BundleError, "holds idnet in fp32, not in int8"),
            ("nose", "fp32", None, BundleError, "has no nose"),
            ("idnet", "fp32", "sm_1", BuildError, "cannot build for 'sm_1'"),
            ("idnet", "fp32", "current", BuildError, "no NVIDIA GPU was found"),
        ],
    )
    def test_impossible_wishes_leave_nothing(self, bundle, no_gpu, model, precision, target, error, message):
        with pytest.raises(error, match=message):
            build_plan(bundle, model, precision, target)
        assert left_in(bundle) == []

    def test_a_precision_the_recipe_does_not_know(self, bundle):
        entry = bundle.model("idnet")
        files = {**entry.files, "fp3": entry.files["fp32"]}
        models = {"idnet": entry.model_copy(update={"files": files})}
        odd = Bundle(bundle.root, bundle.manifest.model_copy(update={"models": models}))
        with pytest.raises(BuildError, match=r"recipe of idnet knows the precisions .*, not fp3"):
            build_plan(odd, "idnet", "fp3")

    def test_without_tensorrt(self, bundle, monkeypatch):
        monkeypatch.setattr(
            build, "flavour_to_build", lambda *_: (_ for _ in ()).throw(BackendError("TensorRT is not installed"))
        )
        with pytest.raises(BackendError, match="not installed"):
            build_plan(bundle, "idnet", "fp32")


class TestFailure:
    def test_unsupported_operator(self, bundle):
        model = onnx.load(bundle.model_path("idnet", "fp32"))
        relu = next(node for node in model.graph.node if node.op_type == "Relu")
        relu.op_type, relu.domain = "Fantasy", "own"
        model.opset_import.append(helper.make_opsetid("own", 1))
        bundle = replace_model(bundle, "idnet", model)
        with pytest.raises(BuildError, match=rf"cannot parse .*node {relu.name} \(Fantasy\)") as caught:
            build_plan(bundle, "idnet", "fp32")
        assert plan_folders(bundle) == []
        [log] = left_in(bundle)
        assert log.endswith(".failed.log")
        assert log in str(caught.value)

    def test_a_plan_tensorrt_refuses_to_make(self, bundle):
        with pytest.raises(BuildError, match=r"(?s)could not build mgts in fp32 for sm_75: .*Turing") as caught:
            build_plan(bundle, "mgts", "fp32", "sm_75")
        [log] = bundle.plans.glob("*.failed.log")
        assert str(log) in str(caught.value)
        assert "[error]" in log.read_text()
        assert plan_folders(bundle) == []

    def test_the_log_of_a_failure_goes_with_the_next_success(self, bundle):
        failed = bundle.plans / f"{PlanIdentity.of(bundle, 'idnet', 'fp32', 'portable', FLAVOUR).folder}.failed.log"
        bundle.plans.mkdir()
        failed.touch()
        build_plan(bundle, "idnet", "fp32")
        assert not failed.exists()

    def test_tensors_that_are_not_the_manifest_s(self, bundle):
        model = onnx.load(bundle.model_path("idnet", "fp32"))
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
        with pytest.raises(BuildError, match=r"original is float32 \[3, 3, 32, 16\] to TensorRT; the manifest says"):
            build_plan(replace_model(bundle, "idnet", model), "idnet", "fp32")

    @pytest.mark.parametrize(
        ("number", "advice"),
        [(errno.ENOSPC, "Free some space"), (errno.EROFS, "Copy the bundle"), (errno.EACCES, "Copy")],
    )
    def test_a_disk_that_refuses(self, bundle, monkeypatch, number, advice):
        def refuse(self, data):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(BuildError, match=rf"Cannot write the plan into .*plans: {os.strerror(number)}.*{advice}"):
            build_plan(bundle, "idnet", "fp32")
        assert plan_folders(bundle) == []
        assert not list(bundle.plans.glob(".building*"))

    def test_a_folder_that_cannot_be_made(self, bundle):
        bundle.plans.write_text("in the way")
        with pytest.raises(BuildError, match="Cannot write the plan into"):
            build_plan(bundle, "idnet", "fp32")


class TestInterruption:
    def test_progress_goes_from_zero_to_one(self, bundle):
        seen = []
        build_plan(bundle, "idnet", "fp32", on_progress=lambda phase, fraction: seen.append((phase, fraction)))
        fractions = [fraction for _, fraction in seen]
        assert fractions == sorted(fractions)
        assert fractions[0] == 0.0
        assert fractions[-1] == pytest.approx(1.0)
        assert all(phase for phase, _ in seen)

    def test_a_callback_that_raises_cancels(self, bundle):
        class EnoughError(Exception):
            pass

        calls = []

        def stop(phase, fraction):
            calls.append(phase)
            raise EnoughError

        with pytest.raises(EnoughError):
            build_plan(bundle, "idnet", "fp32", on_progress=stop)
        assert len(calls) == 1
        assert left_in(bundle) == []
        assert build_plan(bundle, "idnet", "fp32").fresh

    def test_control_c_cancels(self, bundle):
        before = signal.getsignal(signal.SIGINT)
        seen = []

        def press(phase, fraction):
            seen.append(fraction)
            os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            build_plan(bundle, "idnet", "fp32", on_progress=press)
        assert max(seen) < 1.0
        assert left_in(bundle) == []
        assert signal.getsignal(signal.SIGINT) is before

    def test_other_threads_may_build(self, bundle):
        results = []
        threads = [
            threading.Thread(target=lambda m=model: results.append(build_plan(bundle, m, "fp32")))
            for model in ("idnet", "detector")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(result.record.identity.model for result in results) == ["detector", "idnet"]

    def test_a_killed_build_leaves_no_plan_and_the_next_one_cleans_up(self, bundle):
        process = in_another_process(bundle, "idnet", "lambda *a: (print('half way', flush=True), time.sleep(60))")
        assert process.stdout.readline().strip() == "half way"
        process.kill()
        process.wait()
        process.stdout.close()
        assert plan_folders(bundle) == []
        assert len(list(bundle.plans.glob(".building-*"))) == 1
        build_plan(bundle, "detector", "fp32")
        assert not list(bundle.plans.glob(".building-*"))

    def test_a_living_process_keeps_its_folder(self, bundle):
        with staging.staging_folder(bundle.plans) as mine:
            build_plan(bundle, "detector", "fp32")
            assert mine.is_dir()
        assert not mine.exists()

    def test_two_processes_at_once(self, bundle):
        processes = [in_another_process(bundle, "idnet", "None") for _ in range(2)]
        answers = {process.communicate(timeout=120)[0].strip() for process in processes}
        assert [process.returncode for process in processes] == [0, 0]
        assert len(answers) == 1
        [folder] = plan_folders(bundle)
        assert str(folder) == answers.pop()
        verify_plan(folder)
        assert left_in(bundle) == [folder.name]


def in_another_process(bundle, model, on_progress):
    code = (
        "import time; from mgts_trt.bundle.bundle import Bundle; from mgts_trt.plans.builder.build import build_plan;"
        f"print(build_plan(Bundle.open({str(bundle.root)!r}), {model!r}, 'fp32', on_progress={on_progress}).folder)"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)


class TestPublish:
    def make(self, folder, text):
        folder.mkdir()
        (folder / "file").write_text(text)
        return folder

    def test_a_free_name(self, tmp_path):
        staging.publish(self.make(tmp_path / "new", "new"), tmp_path / "final", keep=lambda: pytest.fail("asked"))
        assert (tmp_path / "final" / "file").read_text() == "new"

    @pytest.mark.parametrize(("keep", "text"), [(True, "old"), (False, "new")])
    def test_a_taken_name(self, tmp_path, keep, text):
        self.make(tmp_path / "final", "old")
        staging.publish(self.make(tmp_path / "new", "new"), tmp_path / "final", keep=lambda: keep)
        assert (tmp_path / "final" / "file").read_text() == text
        assert not (tmp_path / "new-old").exists()

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "final").write_text("file")
        staging.publish(self.make(tmp_path / "new", "new"), tmp_path / "final", keep=lambda: False)
        assert (tmp_path / "final" / "file").read_text() == "new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["final"]

    def test_a_name_that_is_always_taken_again(self, tmp_path):
        final = self.make(tmp_path / "final", "old")

        def spoil():
            if not final.exists():
                self.make(final, "again")
            return False

        new = self.make(tmp_path / "new", "new")
        original = Path.rename

        def rename(self, target):
            answer = original(self, target)
            if self == final:
                spoil()
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "rename", rename)
            with pytest.raises(BuildError, match="replaced over and over"):
                staging.publish(new, final, keep=spoil)


class TestWholeBundle:
    def test_all_models_and_the_report(self, bundle):
        events: list[BuildEvent] = []
        results = build_bundle(bundle, targets=["portable"], on_event=events.append)
        assert [result.record.identity.model for result in results] == ["detector", "masknet", "mgts", "idnet"]
        frames = [(event.kind, event.index) for event in events if event.kind != "progress"]
        assert frames == [(kind, index) for index in range(4) for kind in ("start", "done")]
        assert all(event.total == 4 for event in events)
        assert [event.result for event in events if event.kind == "done"] == results

        again = build_bundle(bundle, on_event=events.append)
        assert [result.fresh for result in again] == [False] * 4

        console = Console(width=200)
        with console.capture() as captured:
            console.print(plan_report([results[2], again[2]]))
        rows = [line for line in captured.get().splitlines() if "mgts" in line]
        assert all(word in rows[0] for word in ("fp32", "portable", "3.8 MMACs", "100%", "built"))
        assert "up to date" in rows[1]

    def test_some_models_and_targets(self, bundle):
        results = build_bundle(bundle, ["fp32"], ["portable", "sm_89"], models=["idnet"])
        assert [result.record.identity.target for result in results] == ["portable", "sm_89"]

    def test_everything_is_checked_before_the_first_build(self, bundle):
        with pytest.raises(MgtsError, match="has no nose"):
            build_bundle(bundle, models=["idnet", "nose"])
        assert left_in(bundle) == []


class TestSession:
    def test_the_portable_plan_is_found(self, bundle):
        built = build_plan(bundle, "idnet", "fp32")
        assert usable_plan(bundle, "idnet", "fp32", flavour=FLAVOUR, gpus=[]).record == built.record

    def test_a_plan_for_this_gpu_is_preferred(self, bundle):
        portable = build_plan(bundle, "idnet", "fp32")
        assert usable_plan(bundle, "idnet", "fp32", flavour=FLAVOUR, gpus=[A4000]).record == portable.record
        own = build_plan(bundle, "idnet", "fp32", "sm_86")
        assert usable_plan(bundle, "idnet", "fp32", flavour=FLAVOUR, gpus=[A4000]).record == own.record

    @pytest.mark.parametrize(
        ("gpus", "targets"),
        [
            ([], ["portable"]),
            ([A4000], ["sm_86", "portable"]),
            ([Gpu("RTX 2080", (7, 5))], ["sm_75"]),
            ([Gpu("H100", (9, 0))], ["sm_90"]),
        ],
    )
    def test_targets_that_run_here(self, gpus, targets):
        assert session.runnable_targets(FLAVOUR, gpus) == targets

    def test_plain_tensorrt_without_a_gpu_has_nothing_to_check(self, bundle):
        plain = Flavour("tensorrt", "10.9", FLAVOUR.module)
        with pytest.raises(BackendError, match=r"TensorRT 10\.9 runs plans on the GPU they were built on"):
            usable_plan(bundle, "idnet", "fp32", flavour=plain, gpus=[])

    def test_an_altered_plan_is_refused(self, bundle, no_gpu):
        built = build_plan(bundle, "idnet", "fp32")
        built.files[0].write_bytes(built.files[0].read_bytes()[:-1])
        with pytest.raises(PlanError, match="truncated or altered"):
            session.TensorRTSession(bundle, "idnet", "fp32")

    def test_why_not(self, bundle, no_gpu, monkeypatch):
        def why():
            with pytest.raises(MgtsError) as error:
                session.load_engines(bundle, ("detector", "idnet"), "fp32")
            return str(error.value)

        assert why() == f"{require_flavour()} is installed, but no NVIDIA GPU was found."
        monkeypatch.setattr(session, "find_gpus", lambda: [A4000])
        assert why().startswith("There are no plans for this bundle; build them with `mgts-trt build")
        build_plan(bundle, "detector", "fp32")
        assert "has no plan of idnet in fp32" in why()
        monkeypatch.setattr(session, "find_gpus", lambda: [Gpu("NVIDIA H100", (9, 0))])
        assert "but does not support the NVIDIA H100: it runs on" in why()
