"""Programs and their outcomes: run in parallel, identical ones once, the machine's own failures told apart."""

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from fusebench.evaluate.sandbox.box import Ended, Limits
from fusebench.evaluate.sandbox.jail import run
from fusebench.evaluate.sandbox.language import RUN, Language
from fusebench.evaluate.sandbox.languages import find_language

STATUSES = ("ok", "wrong", "compile_error", "timeout", "unavailable", "error")
"""`unavailable`: sandbox or toolchain missing; `error`: the sandbox itself failed, twice. Neither is a wrong answer."""

CPU_EXIT = 128 + signal.SIGXCPU
KILL_EXIT = 128 + signal.SIGKILL
TRIES = 3


@dataclass(frozen=True)
class Program:
    """A whole program, its tests included: it is right when it exits with 0."""

    language: str
    source: str


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Args:
        status: one of `STATUSES`.
        exit_code: None where the program did not run or was stopped.
        stdout, stderr: cut to the limit; for `unavailable`, stderr says what is missing.
        seconds: by the clock.
    """

    status: str
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_programs(
    programs: Sequence[Program],
    *,
    workers: int | None = None,
    limits: Limits = RUN,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Return the outcome of every program, in order.

    Args:
        programs: of any languages, mixed.
        workers: programs at a time; None is the number of cores.
        limits: of the run itself; compilers have their own.
        progress: called with (done, total).

    Raises:
        DataError: a language that has no runner.
    """
    from fusebench.evaluate.sandbox.gate import all_ready

    different = list(dict.fromkeys(programs))
    named = sorted({p.language for p in different})
    blocked = dict(zip(named, all_ready(named), strict=True))
    outcomes = {
        p: Outcome("unavailable", stderr=reason) for p in different if (reason := blocked[p.language]) is not None
    }
    waiting = [p for p in different if p not in outcomes]
    with ThreadPoolExecutor(workers or cores()) as pool:
        jobs = {pool.submit(run_one, p, limits): p for p in waiting}
        for job in as_completed(jobs):
            outcomes[jobs[job]] = job.result()
            if progress is not None:
                progress(len(outcomes), len(different))
    return [outcomes[p] for p in programs]


def run_one(program: Program, limits: Limits = RUN) -> Outcome:
    """Return the outcome of one program; where sandbox or compiler found no room, or broke, it is tried again."""
    language = find_language(program.language)
    for number in range(TRIES):
        time.sleep(0.3 * number)  # what is short now may be free in a moment
        ended = run(language.steps(limits), {language.file: program.source.encode()}, language.box())
        if ended.started and (ended.exit_code is not None or ended.killed) and not _no_room(language, ended):
            return Outcome(verdict(language, ended, limits), ended.exit_code, ended.stdout, ended.stderr, ended.wall)
    return Outcome("error", None, ended.stdout, ended.stderr, ended.wall)


def _no_room(language: Language, ended: Ended) -> bool:
    # A compiler writes where we let it; that it found no room is no fault of the program.
    compiling = bool(language.compile) and ended.step == 0 and ended.exit_code != 0
    return compiling and os.strerror(errno.ENOSPC) in ended.stderr + ended.stdout


def verdict(language: Language, ended: Ended, limits: Limits = RUN) -> str:
    """Return the status of a program from the way it ended."""
    compiling = bool(language.compile) and ended.step == 0
    # Go and others catch SIGXCPU; the hard limit, a second later, then kills them.
    out_of_cpu = ended.exit_code == CPU_EXIT or (ended.exit_code == KILL_EXIT and ended.wall >= limits.cpu)
    if ended.killed == "wall" or out_of_cpu:
        return "timeout"
    if compiling:
        return "compile_error"
    if ended.exit_code == 0 and not ended.killed:
        return "ok"
    return "compile_error" if language.unreadable(ended.stderr + ended.stdout) else "wrong"
