"""What a person sees in the terminal: progress with time left, one line per finished stage, tables."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Screen:
    """Progress bars and lines on standard error, so that standard output holds the result alone."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._finished: set[str] = set()
        self._started = time.monotonic()

    def __enter__(self) -> "Screen":
        if not self.quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def announce(self, to_run: int, total: int) -> None:
        """Say how much there is to do."""
        if self._progress is None:
            return
        if to_run:
            self._progress.console.print(f"{to_run} of {total} stages to run", highlight=False)
            self._all = self._progress.add_task("all stages", total=to_run)
        else:
            self._progress.console.print(f"all {total} stages are finished", highlight=False)

    def listen(self, event: Any) -> None:
        """Show one event of the executor."""
        # Workers tell by a queue, so a short stage may be known to be done before it is heard to start.
        if self._progress is None or event.title in self._finished:
            return
        if event.kind == "start":
            self._tasks[event.title] = self._progress.add_task(f"  {event.title}", total=1)
        elif event.kind == "progress" and event.title in self._tasks:
            self._progress.update(self._tasks[event.title], completed=event.done, total=max(1, event.total))
        elif event.kind == "done":
            self._finished.add(event.title)
            if event.title in self._tasks:
                self._progress.remove_task(self._tasks.pop(event.title))
            clock = time.monotonic() - self._started
            line = f"{clock:6.0f} s  {event.title} [dim]({event.seconds:.1f} s)[/dim]"
            self._progress.console.print(line, highlight=False)
            if self._all is not None:
                self._progress.advance(self._all)

    def progress(self, title: str) -> Callable[[int, int], None]:
        """Return a function that shows work done of a total."""

        def advance(done: int, total: int) -> None:
            if self._progress is None:
                return
            if title not in self._tasks:
                self._tasks[title] = self._progress.add_task(title, total=total)
            self._progress.update(self._tasks[title], completed=done, total=max(1, total))

        return advance

    def show(self, value: Any) -> None:
        """Print something that knows how it looks in a terminal."""
        from rich.console import Console

        Console().print(value)

    def data(self, findings: Iterable[Any]) -> None:
        """Print what a data folder holds."""
        rows = [[f.state, f.suite, f.name, f"{f.items} of {f.expected}", f.note] for f in findings]
        self._table(["", "suite", "file", "items", "note"], rows)

    def plan(self, found: Iterable[tuple[Any, Any]]) -> None:
        """Print the stages of a plan."""
        rows = list(found)
        to_run = sum(not fresh.cached for _, fresh in rows)
        self._table(
            ["stage", "state", "why"],
            [[stage.title, "finished" if fresh.cached else "to run", fresh.reason] for stage, fresh in rows],
        )
        print(f"{len(rows)} stages, {to_run} to run")

    def results(self, frame: Any) -> None:
        """Print result rows, one table a suite: a line a task, a column a model."""
        models = list(dict.fromkeys(frame["method"]))
        for suite in dict.fromkeys(frame["suite"]):
            here = frame[frame["suite"] == suite]
            rows = []
            for (_, title, metric), part in here.groupby(["task", "title", "metric"], sort=False):
                values = {one.method: _value(one) for one in part.itertuples()}
                rows.append([title, *(values.get(model, "") for model in models), str(part["n"].max()), metric])
            self._table([suite, *models, "n", "metric"], rows)

    def findings(self, findings: Iterable[Any]) -> None:
        """Print what the doctor found."""
        self._table(
            ["", "what", "found", "fix"],
            [[f.state, f.what, f.found, f.fix] for f in findings],
        )

    def _table(self, columns: list[str], rows: list[list[str]]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)


def _value(result: Any) -> str:
    if not result.n:
        return "unavailable"
    # One item has no standard error.
    return f"{result.value:.4f}" + (f" ± {result.stderr:.4f}" if result.stderr == result.stderr else "")
