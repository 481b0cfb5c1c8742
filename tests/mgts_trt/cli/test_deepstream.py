"""`mgts-trt deepstream`: what it says, and what it refuses."""

from mgts_trt.bundle.manifest import read_manifest, write_manifest
from tests.helpers.tiny_bundle import make_tiny_bundle


def test_write_a_folder(run, tmp_path):
    bundle, folder = make_tiny_bundle(tmp_path / "bundle"), tmp_path / "appliance"
    code, out, err = run("deepstream", bundle, "--out", folder, "--streams", 2)
    assert code == 0, err
    told = " ".join(out.split())
    assert "Wrote the detector and idnet, mode none, for DeepStream to" in told
    assert 'make PLUGINS="$(mgts-trt plugins path)"' in told
    assert "MGTS_TRT_REGISTER_PLUGINS=1 deepstream-app -c app.txt" in told
    assert "num-sources=2" in (folder / "app.txt").read_text()
    code, _, err = run("deepstream", bundle, "--out", folder)
    assert code == 2
    assert "write over it with --force" in " ".join(err.split())
    assert run("deepstream", bundle, "--out", folder, "--force")[0] == 0


def test_what_will_differ_is_said(run, tmp_path):
    bundle = make_tiny_bundle(tmp_path / "bundle")
    write_manifest(bundle, read_manifest(bundle).model_copy(update={"gamma": 1.3}))
    code, _, err = run("deepstream", bundle, "--out", tmp_path / "a")
    assert code == 0, err
    assert "expanded by 1.3" in " ".join(err.split())
    bare = make_tiny_bundle(tmp_path / "bare", models=("detector", "masknet", "mgts"))
    code, out, err = run("deepstream", bare, "--out", tmp_path / "b")
    assert code == 0, err
    assert "there will be boxes alone" in " ".join(err.split())
    assert "idnet" not in out
