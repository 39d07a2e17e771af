"""Runs the stages that are not fresh, as many at a time as the recipe allows, longest way to the end first."""

import logging
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusebench.artifacts import building, check_folder
from fusebench.errors import ArtifactError, FusebenchError
from fusebench.pipeline.stage import Stage, find_folder, freshness, in_order

log = logging.getLogger("fusebench")


@dataclass(frozen=True)
class Job:
    """A stage, made plain so that another process can run it."""

    title: str
    function: str
    key: str
    folder: Path
    inputs: dict[str, Path]
    types: dict[str, str]
    parents: dict[str, str]
    params: dict[str, Any]
    private: dict[str, Any]
    seed: int | None


@dataclass(frozen=True)
class Event:
    """What happened to a stage: `start`, `progress`, `done`; `total` 0 is unknown."""

    kind: str
    title: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0


Listener = Callable[[Event], None]


def make_job(stage: Stage, run: Path) -> Job:
    """Return the job of a stage whose inputs are finished."""
    from fusebench.pipeline.functions import FUNCTIONS

    return Job(
        title=stage.title,
        function=stage.function,
        key=stage.key,
        folder=stage.folder(run),
        inputs={role: find_folder(parent, run) for role, parent in stage.inputs.items()},
        types={role: FUNCTIONS[parent.function].type for role, parent in stage.inputs.items()},
        parents={role: parent.key for role, parent in stage.inputs.items()},
        params=dict(stage.params),
        private=dict(stage.private),
        seed=stage.seed,
    )


def run_job(job: Job, listener: Listener) -> float:
    """Run one job into its folder and return its seconds.

    Raises:
        ArtifactError: an input is not whole, or of another type than the stage that should have made it writes.
    """
    from fusebench.pipeline.functions import FUNCTIONS, Context

    started = time.monotonic()
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.2 or done == total:
            last = now
            listener(Event("progress", job.title, done, total))

    function = FUNCTIONS[job.function]
    for role, folder in job.inputs.items():
        check_folder(folder, type=job.types[role])
    listener(Event("start", job.title))
    log.info("start %s", job.title)
    params = {**job.params, **({"private": job.private} if job.private else {})}
    context = Context(job.seed or 0, progress, job.folder.parents[1])
    with building(
        job.folder,
        type=function.type,
        stage=job.title,
        key=job.key,
        parents=job.parents,
        params=params,
        seed=job.seed,
    ) as out:
        function.run(job.inputs, {**job.params, **job.private}, out, context)
    seconds = time.monotonic() - started
    log.info("done %s in %.1f s", job.title, seconds)
    return seconds


def execute(wanted: list[Stage], run: Path, *, workers: int, listener: Listener) -> int:
    """Run what is not fresh of the wanted stages and all they stand on; return how many stages ran.

    Raises:
        FusebenchError: of the first stage that failed; stages already running are finished first, so nothing
            that was computed is lost.
    """
    stages = in_order(wanted)
    todo = {stage.key: stage for stage in stages if not freshness(stage, run).cached}
    if not todo:
        return 0
    height = _heights(stages)
    with lock(run), _pool(workers, run, listener) as submit:
        _drive(todo, height, run, submit, workers, listener)
    return len(todo)


def _drive(
    todo: Mapping[str, Stage],
    height: Mapping[str, int],
    run: Path,
    submit: Callable[[Job], "Future[float]"],
    workers: int,
    listener: Listener,
) -> None:
    waiting = dict(todo)
    running: dict[Future[float], Stage] = {}
    failure: BaseException | None = None
    while waiting or running:
        unfinished = {*waiting, *(stage.key for stage in running.values())}
        ready = [s for s in waiting.values() if not any(p.key in unfinished for p in s.inputs.values())]
        ready.sort(key=lambda stage: -height[stage.key])
        while ready and len(running) < workers and failure is None:
            stage = ready.pop(0)
            del waiting[stage.key]
            running[submit(make_job(stage, run))] = stage
        if not running:
            break
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            stage = running.pop(future)
            error = future.exception()
            if error is None:
                listener(Event("done", stage.title, seconds=future.result()))
            elif failure is None:
                failure = _named(error, stage)
                log.error("failed %s: %s", stage.title, error, exc_info=error)
    if failure is not None:
        raise failure


def _named(error: BaseException, stage: Stage) -> BaseException:
    if isinstance(error, BrokenProcessPool):
        return ArtifactError(
            f"stage `{stage.title}` was killed by the system",
            why="its process ended without a word, most often for lack of memory",
            fix="run again with `--set workers=1` or smaller batches; what was finished is kept",
        )
    if isinstance(error, FusebenchError):
        log.info("stage %s raised", stage.title)
    return error


def _heights(stages: list[Stage]) -> dict[str, int]:
    """Return for every stage the length of the longest way from it to the end."""
    height = {stage.key: 0 for stage in stages}
    for stage in reversed(stages):
        for parent in stage.inputs.values():
            height[parent.key] = max(height[parent.key], height[stage.key] + 1)
    return height


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold a run folder, so that two commands do not write to it at once.

    Raises:
        ArtifactError: another command holds it, or it cannot be written.
    """
    import fcntl

    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("w")
    except OSError as error:
        raise ArtifactError(
            f"cannot write to the run folder `{run}`",
            why=f"the system says: {error.strerror or error}",
            fix="choose another one with --run-dir",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ArtifactError(
                f"the run folder `{run}` is in use",
                why="another fusebench command is writing to it",
                fix="wait for it, or choose another folder with --run-dir",
            ) from error
        yield


@contextmanager
def _pool(workers: int, run: Path, listener: Listener) -> Iterator[Callable[[Job], "Future[float]"]]:
    if workers == 1:
        yield lambda job: _here(job, listener)
        return
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    stop = threading.Event()

    def listen() -> None:
        while not stop.is_set():
            try:
                listener(events.get(timeout=0.2))
            except queue.Empty:
                continue

    threads = max(1, (os.cpu_count() or 1) // workers)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read once, when the worker loads its numerical libraries
    try:
        with ProcessPoolExecutor(workers, context, _prepare_worker, (events, threads, run)) as pool:
            yield lambda job: pool.submit(_in_worker, job)
    finally:
        stop.set()
        thread.join()
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _here(job: Job, listener: Listener) -> "Future[float]":
    future: Future[float] = Future()
    try:
        future.set_result(run_job(job, listener))
    except (FusebenchError, AssertionError) as error:
        future.set_exception(error)
    return future


_events: Any = None


def _prepare_worker(events: Any, threads: int, run: Path) -> None:
    global _events  # noqa: PLW0603  a process has one queue, and a pool's initialiser has no other place for it
    _events = events
    log_to_file(run)
    import torch

    torch.set_num_threads(threads)


def _in_worker(job: Job) -> float:
    return run_job(job, _events.put)


def log_to_file(run: Path) -> None:
    """Send the log of this process to `fusebench.log` of the run; libraries' warnings go there too."""
    run.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(run / "fusebench.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)
