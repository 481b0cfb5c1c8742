"""`mgts-trt triton`: what it hands on, and what it prints."""

from tests.helpers.plan_files import identity, put
from tests.helpers.tiny_bundle import make_tiny_bundle


def test_write_a_repository(run, tmp_path):
    bundle, models = make_tiny_bundle(tmp_path / "bundle"), tmp_path / "models"
    code, out, err = run("triton", bundle, "--out", models, "--gpus", "1,0,1", "--models", "person_search")
    assert code == 0, err
    told = " ".join(out.split())
    assert "Wrote person_search to" in told
    assert "Mode net." in told
    assert "needs mgts-trt and pillow" in told
    assert "gpus: [1, 0]" in (models / "person_search/config.pbtxt").read_text()
    code, _, err = run("triton", bundle, "--out", models)
    assert code == 2
    assert "Replace it with --force" in err
    assert run("triton", bundle, "--out", models, "--force")[0] == 0
    assert (models / "embed/1/model.py").is_file()


def test_write_a_plan(run, tmp_path):
    bundle, models = make_tiny_bundle(tmp_path / "bundle"), tmp_path / "models"
    plan = put(bundle / "plans", identity(flavour="tensorrt", target="sm_87", lowering="plugin"))
    code, out, err = run("triton", bundle, "--out", models, "--plans", plan.name)
    assert code == 0, err
    told = " ".join(out.split())
    assert "Wrote mgts to" in told
    assert "MGTS_TRT_REGISTER_PLUGINS=1 before tritonserver" in told
    assert "Python backend" not in told
    assert [path.name for path in models.iterdir()] == ["mgts"]


def test_gpus_that_are_none(run, tmp_path):
    bundle = make_tiny_bundle(tmp_path / "bundle")
    for gpus in ("", "a", "0,-1"):
        code, _, err = run("triton", bundle, "--out", tmp_path / "models", "--gpus", gpus)
        assert code == 2
        assert "names no GPUs; expected their numbers, as 0 or 0,1" in err
    assert not (tmp_path / "models").exists()
