"""The screen: a stage leaves it when it is done, whatever the order in which its events arrive."""

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
