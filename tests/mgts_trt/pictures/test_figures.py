import sys
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.pictures.figures import new_figure, save_figure
from mgts_trt.pictures.image import read_image
from mgts_trt.pictures.palette import PEOPLE, SURFACE, contrast


def test_axes_look_like_the_page_and_the_applications_do_not() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    before = dict(matplotlib.rcParams)
    figure = new_figure(4, 3)
    one, other = figure.subplots(2)
    for axes in (one, other):
        colours = [to_hex(axes.plot([0, 1], [0, i])[0].get_color()) for i in range(6)]
        assert set(colours) < set(PEOPLE)
        assert len(set(colours)) == 6
        assert min(contrast(colour, SURFACE) for colour in colours) > 1.9
        assert not axes.spines["top"].get_visible()
    assert dict(matplotlib.rcParams) == before
    assert Figure().add_subplot().spines["top"].get_visible()


def test_the_ground_is_opaque_whatever_the_application_likes(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"savefig.transparent": True, "savefig.facecolor": "black"}):
        figure = new_figure(2, 1)
        figure.add_subplot()
        save_figure(figure, tmp_path / "new" / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png")[0, 0], 255)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MgtsError, match="pip install matplotlib"):
        new_figure(1, 1)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.png", tmp_path / "a.xyz"):
        with pytest.raises(MgtsError, match="Cannot write the figure"):
            save_figure(new_figure(1, 1), path)
