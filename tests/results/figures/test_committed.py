"""Each committed figure can be drawn again from the table beside it, and can be understood on its own."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("paper.redraw_figures", reason="needs a checkout: paper/ is not beside tests/")

from paper.redraw_figures import listed_figures
from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import run_command
from tsnn_uq.files import read_toml
from tsnn_uq.results.figures.style import method_styles
from tsnn_uq.results.tables import read_table

FOLDER = Path(__file__).parents[3] / "figures"
LISTED = listed_figures()
OF_ROWS = [  # without those that draw posterior samples for a minute
    name
    for name, entry in read_toml(FOLDER / "list.toml").items()
    if "paper/results/" in entry["command"] and "differences.py" not in entry["command"]
]


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTED)
def test_a_committed_table_draws_a_figure_that_explains_itself(name: str) -> None:
    table = read_table(FOLDER / f"{name}.csv")
    figure = LISTED[name](table)
    text = " ".join(text.get_text().replace("\n", " ") for text in drawn_texts(figure))
    assert faults(figure) == []
    for method in table["method"].unique():
        assert method in text
    assert f"Data: {table['dataset'].iloc[0]}." in text
    assert "seed" in text
    assert ("inputs" not in table) or "N = " in text
    assert ("samples" not in table) or "S = " in text


@pytest.mark.parametrize("name", LISTED)
def test_files_are_complete_and_small(name: str) -> None:
    assert all((FOLDER / f"{name}.{suffix}").exists() for suffix in ("csv", "pdf", "png"))
    assert (FOLDER / f"{name}.csv").stat().st_size < 500_000


def test_every_script_of_a_command_exists() -> None:
    for entry in read_toml(FOLDER / "list.toml").values():
        command = entry["command"].split()
        assert command[0] == "python"
        assert (FOLDER.parent / command[1]).exists()
        assert command[-2:] == ["--out", "figures"]


@pytest.mark.parametrize("name", OF_ROWS)
def test_a_table_is_what_its_command_makes_of_the_measured_rows(name: str, tmp_path: Path, typed, monkeypatch) -> None:
    _, script, *words = read_toml(FOLDER / "list.toml")[name]["command"].split()
    monkeypatch.chdir(FOLDER.parent)
    main = runpy.run_path(script)["main"]
    code, _, error = typed(lambda: run_command(main), script, *words[:-1], tmp_path)
    assert code == 0, error
    assert (tmp_path / f"{name}.csv").read_text() == (FOLDER / f"{name}.csv").read_text()


def test_a_list_that_does_not_fit_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "one.csv").write_text("a\n1\n")
    entries = {name: f'[{name}]\ndraw = "{draw}"\n' for name, draw in (("one", "pie"), ("two", "spike_raster"))}
    for names, problem in (([], "an entry for each CSV"), (["one", "two"], "a CSV for each"), (["one"], "got 'pie'")):
        (folder / "list.toml").write_text("".join(entries[name] for name in names))
        with pytest.raises(InputError, match=problem):
            listed_figures(tmp_path)


@pytest.mark.parametrize(
    "kind",
    [
        "selective",
        "variance",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("anytime", "potentials", "reliability")),
    ],
)
def test_names_are_free_in_every_figure(kind: str) -> None:
    """Strangers' names have looks of their own, and nothing says float or ternary where nobody did."""
    (name, *_) = [name for name in LISTED if kind in name]
    table = read_table(FOLDER / f"{name}.csv")
    names = {method: f"net {number}" for number, method in enumerate(dict.fromkeys(table["method"]))}
    table = table.assign(method=table["method"].map(names), reference="theirs" if kind == "variance" else "net 0")
    texts = [text.get_text() for text in drawn_texts(LISTED[name](table))]
    assert not [text for text in texts if "float" in text or "ternary" in text]
    assert all(any(new in text for text in texts) for new in names.values())
    assert len({look.color for look in method_styles(names.values()).values()}) == len(names)
