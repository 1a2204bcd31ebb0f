"""What is said of a measure once holds wherever it is shown."""

from __future__ import annotations

import pytest

from tsnn_uq.results.measures import COSTS, MEASURES, QUALITY, SCALED, measure_of
from tsnn_uq.results.tables import COLUMNS, summarize


def test_a_summary_has_the_columns_of_the_measures_in_their_units() -> None:
    names = {"family": "dropout", "quantized_part": "all", "method": "direct"}
    row = dict.fromkeys([*COLUMNS, *QUALITY, *SCALED], 0.5) | names
    summary = summarize([row | {"storage_bytes": 2e6, "flops": 3e6, "seed": 0}])
    for measure in (*QUALITY.values(), *SCALED.values(), *COSTS.values()):
        default = 0.5 * {"%": 100, "10⁻³": 1000}.get(measure.unit, 1)
        shown = {"storage_bytes": 2.0, "flops": 3.0}.get(measure.name, default)
        assert summary[f"{measure.column}_mean"].tolist() == [shown]
        assert measure_of(measure.column) == (measure, measure.factor if measure.column == measure.name else 1.0)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_texts_of_a_measure_agree(measure) -> None:
    assert measure.factor * measure.size == 1
    assert measure.size in measure.units.values()  # the summary's unit is one of those that the page chooses from
    assert measure.label.startswith(measure.heading)
    assert measure.text(measure.size) == f"{1:.{measure.digits}f} {measure.unit}".strip()
    assert not measure.left_out or measure.name in SCALED
