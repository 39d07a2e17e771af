"""The screen: a stage leaves it when it is done, whatever the order of its events; results as a person reads them."""

import pandas as pd

from fusebench.pipeline import Event
from fusebench.show import Screen


def shown(*events):
    """Return the titles that still have a bar after these events."""
    with Screen(quiet=False) as screen:
        screen.announce(2, 3)
        for event in events:
            screen.listen(event)
        return set(screen._tasks)


def test_a_running_stage_has_a_bar():
    assert shown(Event("start", "a"), Event("progress", "a", 1, 2), Event("start", "b")) == {"a", "b"}


def test_a_finished_stage_has_none():
    assert shown(Event("start", "a"), Event("done", "a", seconds=1.0)) == set()


def test_a_stage_heard_to_start_after_it_is_done_has_none():
    assert shown(Event("done", "a", seconds=1.0), Event("start", "a"), Event("progress", "a", 1, 2)) == set()


def test_one_item_has_a_value_and_no_error_and_none_is_unavailable(capsys):
    lines = [("one", 1, 0.25, float("nan")), ("many", 40, 0.5, 0.08), ("none", 0, float("nan"), float("nan"))]
    place = {"method": "m", "suite": "s", "metric": "acc"}
    found = [{**place, "task": t, "title": t, "n": n, "value": v, "stderr": e} for t, n, v, e in lines]
    with Screen(quiet=True) as screen:
        screen.results(pd.DataFrame(found))
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "0.2500", "1", "acc"] in cells
    assert ["many", "0.5000", "±", "0.0800", "40", "acc"] in cells
    assert ["none", "unavailable", "0", "acc"] in cells
