from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tsnn_uq.checks import InputError
from tsnn_uq.results.figures.style import (
    COLUMN_WIDTH,
    METHOD_COLORS,
    METHOD_STYLES,
    as_tensor,
    in_order,
    method_styles,
    new_figure,
    save_figure,
    style,
)

pytestmark = pytest.mark.usefixtures("rendered")

# Okabe and Ito, "Color Universal Design" (2008).
OKABE_ITO = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}


def lightness(color: str) -> float:
    """CIE 1976 L*, 0 to 100, from the sRGB definition."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def small_figure() -> Figure:
    with style():
        figure = new_figure(2, panels=1)
        axes = figure.subplots()
        axes.bar([0, 1], [1, 2], hatch="//")
        axes.set_xlabel("Confidence")
    return figure


def test_methods_differ_in_colour_and_in_grey() -> None:
    assert set(METHOD_COLORS.values()) <= OKABE_ITO
    assert all(abs(lightness(a) - lightness(b)) > 10 for a, b in combinations(METHOD_COLORS.values(), 2))
    for values in zip(*METHOD_STYLES.values(), strict=True):
        assert len(set(values)) == len(METHOD_STYLES)


def test_the_style_ends_with_its_context_and_ignores_what_was_set_before() -> None:
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True}):
        with style():
            assert matplotlib.rcParams["font.size"] == 8
            assert not matplotlib.rcParams["axes.grid"]
        assert matplotlib.rcParams["font.size"] == 20
        assert matplotlib.rcParams["axes.grid"]


def test_float_comes_first() -> None:
    assert in_order(["distill", "indirect", "float", "direct"]) == ["float", "direct", "indirect", "distill"]


def test_names_of_ones_own_keep_their_order_and_have_a_look() -> None:
    assert in_order(["mine.py:Method", "direct", "float"]) == ["mine.py:Method", "direct", "float"]
    assert method_styles(["mine.py:Method", "direct"])["mine.py:Method"].color not in METHOD_COLORS.values()
    with pytest.raises(InputError, match="at least one method"):
        in_order([])


@pytest.mark.parametrize("ours", [[], ["float"], ["float", "direct", "indirect", "distill"]])
@pytest.mark.parametrize("names", [["ab", "ba", "c"], ["ba", "ab", "c"], ["x", "y", "z"]])
def test_no_two_methods_of_a_figure_look_alike(ours: list[str], names: list[str]) -> None:
    looks = method_styles([*names, *ours])
    assert list(looks) == [*names, *ours]
    assert len({look.color for look in looks.values()}) == len(looks)
    assert all(looks[name] == METHOD_STYLES[name] for name in ours)


def test_many_strangers_take_all_looks_before_one_comes_twice() -> None:
    assert len({look.color for look in method_styles(map(str, range(7))).values()}) == 7
    assert len(method_styles(map(str, range(20)))) == 20


def test_arrays_of_every_origin_become_detached_tensors() -> None:
    array = np.array([1.0, 2.0])
    array.flags.writeable = False  # as a table's columns are
    for given in (array, torch.tensor([1.0, 2.0], requires_grad=True)):
        tensor = as_tensor(given)
        assert tensor.tolist() == [1, 2]
        assert not tensor.requires_grad


def test_a_saved_figure_is_vector_text_and_a_column_wide(tmp_path: Path) -> None:
    pdf, png = save_figure(small_figure(), tmp_path / "new" / "figure.v1")
    assert (pdf.name, png.name) == ("figure.v1.pdf", "figure.v1.png")
    assert sorted(path.name for path in pdf.parent.iterdir()) == ["figure.v1.pdf", "figure.v1.png"]
    content = pdf.read_bytes()
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content
    # Bytes 16 to 20 of a PNG are its width.
    assert int.from_bytes(png.read_bytes()[16:20], "big") == COLUMN_WIDTH * 200


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    first = [path.read_bytes() for path in save_figure(small_figure(), tmp_path / "a")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    second = [path.read_bytes() for path in save_figure(small_figure(), tmp_path / "b")]
    assert first == second
    assert b"CreationDate" not in first[0]


def test_a_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pdf, png = save_figure(small_figure(), tmp_path / "figure")
    before = pdf.read_bytes(), png.read_bytes()

    def interrupted(path: Path, **options: object) -> None:
        path.write_bytes(b"%PDF")
        raise KeyboardInterrupt

    figure = small_figure()
    monkeypatch.setattr(figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_figure(figure, tmp_path / "figure")
    assert (pdf.read_bytes(), png.read_bytes()) == before
    assert sorted(tmp_path.iterdir()) == [pdf, png]


def test_paths_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"path_without_suffix: expected a path without \.pdf"):
        save_figure(small_figure(), tmp_path / "figure.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write here"):
        save_figure(small_figure(), tmp_path / "file" / "figure")
