import json

from mgts_trt.machine.cache import VARIABLE


def test_tune(run, pristine, photo, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    code, out, err = run(
        "tune", pristine, "--image", photo, "--rounds", 1, "--mode", "box", "--json", tmp_path / "t.json"
    )
    assert code == 0, err
    report = json.loads((tmp_path / "t.json").read_text())
    assert {each["setting"]["backend"] for each in report["settings"]} == {"onnxruntime"}
    assert "Kept for --backend auto --precision fp32: onnxruntime, fp32" in out
    assert out.count("100.0% found") == len(report["settings"])
    code, out, _ = run("bench", pristine, "--image", photo, "--runs", 1, "--mode", "box", "--precision", "auto")
    assert code == 0
    assert "mgts-trt tune" in out


def test_nowhere_to_keep_it(run, pristine, photo, monkeypatch):
    monkeypatch.setenv(VARIABLE, "off")
    code, _, err = run("tune", pristine, "--image", photo, "--rounds", 1, "--mode", "box")
    assert (code, "no cache folder" in err) == (2, True)
