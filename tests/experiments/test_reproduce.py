"""The paper's table by seeds and regularizers: what is planned, what is shared, and what becomes of failures."""

from __future__ import annotations

import sys
import threading

import pandas as pd
import pytest

from tests.helpers.events import write_nmnist
from tests.helpers.experiments import tiny, without_time
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, Grid, compare, run, sweep
from tsnn_uq.experiments.comparison import do_plan
from tsnn_uq.experiments.plan import Plan, place_grids, plan_reproduction
from tsnn_uq.experiments.run import do_run

SUM = "variance:5+outliers:0.5"


@pytest.fixture
def events(tmp_path):
    """A data folder with a small N-MNIST."""
    write_nmnist(tmp_path / "data" / "nmnist", train=12, test=2)
    return tmp_path / "data"


@pytest.fixture
def without_figures(monkeypatch):
    """Figures take longer than such small runs."""
    monkeypatch.setattr("tsnn_uq.experiments.comparison.draw_figures", lambda *_: [])


def small(out, regularizers=("none",), budget="quick"):
    """A plan of two grids with few runs each."""
    parts = {}
    for text in regularizers:
        first = Grid(methods=("float", "direct"), seeds=2, run=tiny(regularizer=text))
        second = Grid(families=("slayer",), methods=("float",), seeds=1, run=tiny(family="slayer", regularizer=text))
        folder = out / text.replace(":", "-")
        parts[text] = place_grids([first, second], folder, f"{folder.name}/" if len(regularizers) > 1 else "")
    return Plan(out, parts, budget)


def test_the_plan_is_the_papers_table_by_seeds_and_regularizers(events, tmp_path):
    plan = plan_reproduction(tmp_path, seeds=2, regularizers=["none", SUM], data_dir=events)
    assert [(part.grid.families, part.grid.run.data.name) for part in plan.groups["none"]] == [
        (("dropconnect", "dropout"), "mnist"),
        (("slayer",), "nmnist"),
        (("plif",), "mnist"),
    ]
    for parts in plan.groups.values():
        assert sum(len(part.tasks()) for part in parts) == 16 * 2
    assert {part.grid.run.train_limit for part in plan.groups["none"]} == {0}
    folders = [part.folder for part in plan.parts]
    assert len(set(folders)) == 6
    assert folders[3] == tmp_path / "variance-5+outliers-0.5" / "mnist-dropconnect-dropout"


def test_events_have_the_terms_that_do_not_need_images(events, tmp_path):
    of_images = ["outliers:0.5", "outliers:0.5+passes:4"]
    plan = plan_reproduction(tmp_path, regularizers=[SUM, *of_images], data_dir=events)
    assert [part.grid.run.regularizer.name for part in plan.groups[SUM]] == [SUM, "variance:5.0", SUM]
    for text in of_images:
        assert [part.grid.families[0] for part in plan.groups[text]] == ["dropconnect", "plif"]


def test_the_quick_budget_is_small_everywhere_and_asks_for_no_more_than_there_is(events, tmp_path):
    plan = plan_reproduction(tmp_path, budget="quick", data_dir=events)
    full = plan_reproduction(tmp_path, data_dir=events)
    for few, all_ in zip(plan.groups["none"], full.groups["none"], strict=True):
        quick, usual = few.grid, all_.grid
        assert quick.run.epochs < usual.run.epochs
        assert 0 < quick.run.train_limit < 60_000
        assert sum(quick.run.network.hidden) < sum(usual.run.network.hidden)
        assert len(quick.runs()) == len(usual.runs())
    slayer = plan.groups["none"][1].grid.run
    assert slayer.train_limit == 20  # 120 recordings, of which 100 are for validation
    assert slayer.network.steps == slayer.data.steps
    assert slayer.data.steps * slayer.data.bin_ms == slayer.network.steps * slayer.neuron.step_ms == 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": "quik"}, "budget: expected one of"),
        ({"regularizers": ["none", "none"]}, "regularizers: expected at least one, each once"),
        ({"regularizers": ["varianec:5"]}, r"regularizer: .*did you mean 'variance'\?"),
        ({"regularizers": ["variance"]}, "regularizer_weight: expected"),
        ({"regularizers": ["quantization-gap:1"]}, "regularizer: expected no quantization-gap with indirect"),
        ({"seeds": 0}, "seeds: expected a positive whole number"),
    ],
)
def test_bad_plans_are_refused(arguments, message, events, tmp_path):
    with pytest.raises(InputError, match=message):
        plan_reproduction(tmp_path, data_dir=events, **arguments)


def test_missing_recordings_are_told_before_any_work(tmp_path):
    with pytest.raises(InputError, match="nmnist: expected a folder"):
        plan_reproduction(tmp_path / "out", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tables_say_budget_and_regularizer(without_figures, tmp_path):
    plan = small(tmp_path, ["none", "variance:0.1"])
    made = do_plan(plan)
    assert not made.failures
    assert all(path.exists() for path in made.files)
    assert [table.title.partition(":")[0] for table in made.tables] == [
        "regularizer none, quick budget",
        "regularizer variance",
    ]
    results = pd.read_csv(tmp_path / "results.csv")
    assert len(results) == 10
    assert set(results["budget"]) == {"quick"}
    alone = pd.read_csv(tmp_path / "none" / "digits-dropout" / "results.csv")
    assert set(alone["budget"]) == {"quick"}
    for name in ("summary.csv", "table.csv"):
        table = pd.read_csv(tmp_path / name)
        assert set(table["budget"]) == {"quick"}
        assert list(table["regularizer"]) == ["none"] * 3 + ["variance:0.1"] * 3
    assert list(table["algorithm"]) == ["SNN-Dropout", "SNN-Dropout", "SNN-Slayer"] * 2
    again = do_plan(plan)
    assert pd.read_csv(tmp_path / "results.csv").equals(results)
    assert again.files == made.files


def test_a_folder_keeps_its_budget(events, without_figures, tmp_path):
    do_plan(small(tmp_path / "out"))
    with pytest.raises(InputError, match="expected a folder made with budget = 'full'"):
        plan_reproduction(tmp_path / "out", data=["digits"], data_dir=events)


def test_a_failed_run_is_tried_twice_and_the_others_are_done(monkeypatch, tmp_path):
    tried = []

    def fail_one(config, *arguments, **options):
        tried.append(config.name)
        if config.name == "dropout-all-direct-1":
            raise InputError("loss: expected a finite number")
        return do_run(config, *arguments, **options)

    monkeypatch.setattr(sys.modules["tsnn_uq.experiments.runner"], "do_run", fail_one)
    made = do_plan(small(tmp_path))
    assert [(name, str(error)) for name, error in made.failures] == [
        ("dropout-all-direct-1", "loss: expected a finite number")
    ]
    assert tried.count("dropout-all-direct-1") == 2
    assert len(tried) == 6
    assert (tmp_path / "none" / "digits-dropout" / "reliability-dropout.pdf").exists()
    results = pd.read_csv(tmp_path / "results.csv")
    assert len(results) == 4
    monkeypatch.setattr(sys.modules["tsnn_uq.experiments.runner"], "do_run", do_run)
    monkeypatch.setattr("tsnn_uq.experiments.comparison.draw_figures", lambda *_: [])
    assert not do_plan(small(tmp_path)).failures
    assert len(pd.read_csv(tmp_path / "results.csv")) == 5


def test_a_comparison_has_tables_of_what_could_be_done_and_raises_the_rest(without_figures, monkeypatch, tmp_path):
    def fail_direct(config, *arguments, **options):
        if config.method.name == "direct":
            raise InputError("loss: expected a finite number")
        return do_run(config, *arguments, **options)

    monkeypatch.setattr(sys.modules["tsnn_uq.experiments.runner"], "do_run", fail_direct)
    with pytest.raises(InputError, match="loss: expected a finite number"):
        compare(Grid(methods=("float", "direct"), seeds=1, run=tiny()), tmp_path)
    assert list(pd.read_csv(tmp_path / "results.csv")["method"]) == ["float"]


def test_where_all_fail_nothing_is_written(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise InputError("no")

    monkeypatch.setattr(sys.modules["tsnn_uq.experiments.runner"], "do_run", fail)
    made = do_plan(small(tmp_path))
    assert len(made.failures) == 5
    assert made.tables == made.files == ()


def test_two_at_a_time_on_one_folder_share_the_work(tmp_path):
    """The first waits within its first run until the second has trained another: so both are at work for sure."""
    configs = [tiny(seed=seed) for seed in range(4)]
    trained = {"first": set(), "second": set()}
    begun, another = threading.Event(), threading.Event()
    rows = {}

    def first(name, stage, done, total):
        if stage == "train":
            trained["first"].add(name)
        begun.set()
        assert another.wait(300)

    def second(name, stage, done, total):
        if stage == "train":
            trained["second"].add(name)
            another.set()

    def work(who, progress):
        rows[who] = sweep(configs, tmp_path, Context(progress=progress))

    threads = [
        threading.Thread(target=work, args=("first", first)),
        threading.Thread(target=work, args=("second", second)),
    ]
    threads[0].start()
    assert begun.wait(300)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert [without_time(row) for row in rows["first"]] == [without_time(row) for row in rows["second"]]
    assert trained["first"].isdisjoint(trained["second"])
    assert trained["first"] | trained["second"] == {config.name for config in configs}
    assert sorted(path.name for path in tmp_path.iterdir()) == [config.name for config in configs]


def test_a_run_whose_teacher_failed_is_a_failure_too(without_figures, monkeypatch, tmp_path):
    def fail_float(config, *arguments, **options):
        if config.method.name == "float":
            raise InputError("no")
        return do_run(config, *arguments, **options)

    monkeypatch.setattr(sys.modules["tsnn_uq.experiments.runner"], "do_run", fail_float)
    plan = Plan(
        tmp_path, {"none": place_grids([Grid(methods=("direct", "distill"), seeds=1, run=tiny())], tmp_path)}, "quick"
    )
    made = do_plan(plan)
    assert {name for name, _ in made.failures} == {"dropout-none-float-0", "dropout-all-distill-0"}
    row = pd.read_csv(tmp_path / "results.csv").iloc[0].to_dict()
    assert row["method"] == "direct"
    alone = run(tiny(method="direct"), tmp_path / "alone")
    for name, value in without_time(alone).items():
        assert row[name] == value
