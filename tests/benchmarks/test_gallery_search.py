import sys

import numpy as np
import pytest

from benchmarks import gallery_search
from benchmarks.gallery_search import DIM, FRAMES, Data, Report, make_embeddings
from mgts_trt.cli.run import run_app
from mgts_trt.gallery import Gallery, vector_index

pytest.importorskip("lancedb")


@pytest.mark.parametrize("data", Data)
def test_a_small_gallery(data, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(vector_index, "INDEX_FROM", 1000)
    monkeypatch.setattr(vector_index, "FEW", 20)
    words = ["--people", 3600, "--later", 400, "--probes", 5, "--data", data.value]
    words += ["--folder", tmp_path / "g", "--json", tmp_path / "report.json"]
    monkeypatch.setattr(sys, "argv", ["benchmarks.gallery_search", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run_app(gallery_search.app)
    assert not ended.value.code
    report = Report.model_validate_json((tmp_path / "report.json").read_text())
    assert (report.people, report.added_later, report.data) == (3600, 400, data)
    assert [search.exact for search in report.searches] == ([False] * 2 + [True] + [False] * 5) * 2
    assert [search.frames for search in report.searches] == [False] * 8 + [True] * 8
    for search in report.searches:
        assert search.recall == 1  # 40 probes look into all partitions of so few
        assert 0 < search.p50 <= search.p95
    shares = {(search.frames, search.name): search.share for search in report.searches}
    assert (shares[True, "a hundredth of the time"], shares[False, "a hundredth of the time"]) == (0.01, 0.1)
    with Gallery.open(tmp_path / "g") as gallery:
        summary = gallery.summary()
        assert (summary.people, summary.frames, summary.indexed) == (4000, 200, 3600)
    assert "recall" in capsys.readouterr().out


def test_people_are_as_alike_as_told() -> None:
    embeddings, _ = make_embeddings(4000, 50, Data.people)
    blocks = embeddings.reshape(-1, FRAMES, FRAMES, DIM)
    within = np.einsum("bfpd,bgpd->bpfg", blocks, blocks)[..., *np.triu_indices(FRAMES, 1)]
    assert within.mean() == pytest.approx((1 + gallery_search.NOISE**2 / 2) / (1 + gallery_search.NOISE**2), abs=0.02)
    others = np.einsum("bfpd,bfqd->bfpq", blocks, blocks)[..., *np.triu_indices(FRAMES, 1)]
    assert others.mean() == pytest.approx(0, abs=0.03)
    uniform, _ = make_embeddings(4000, 50, Data.uniform)
    assert np.linalg.norm(uniform, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.abs(uniform.mean(axis=0)).max() < 0.01
