"""The held-out test items of the toy world, by task."""

from dataclasses import dataclass
from typing import Any, Literal

from fusebench.errors import DataError, suggest
from fusebench.toyworld import code, commonsense, reasoning
from fusebench.toyworld.seeded import stream


@dataclass(frozen=True)
class ToyTask:
    """A task: `generate` is graded by exact match, `choice` by likelihood, `program` by running it."""

    name: str
    domain: str
    kind: Literal["generate", "choice", "program"]
    language: str = ""


TASKS = {
    task.name: task
    for task in (
        *(ToyTask(name, "reasoning", "generate") for name in reasoning.DRAW),
        ToyTask("toy_properties", "commonsense", "choice"),
        ToyTask("toy_inheritance", "commonsense", "choice"),
        ToyTask("toy_places", "commonsense", "choice"),
        ToyTask("toy_code_py", "code", "program", "python"),
        ToyTask("toy_code_js", "code", "program", "javascript"),
    )
}
_TRIES_PER_ITEM = 200


def items(task: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return up to `count` different held-out items of a task; fewer where the world has no more.

    `generate`: id, input, target. `choice`: id, question, choices, answer (a number). `program`: id, name, language,
    prompt, tests, stop_tokens, solution.

    Raises:
        DataError: there is no such task.
    """
    known = _find(task)
    if known.kind == "choice":
        return _choice_items(task, count, seed)
    if known.kind == "generate":
        rows = [{"input": p.input, "target": p.target} for p in _problems(task, count, seed, test=True)]
    else:
        rows = _program_items(known, count, seed)
    return [{"id": f"{task}/{number}", **row} for number, row in enumerate(rows)]


def fewshot(task: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return examples (input, target) of a `generate` task from its training part.

    Raises:
        DataError: there is no such task, or it is not of kind `generate`.
    """
    if _find(task).kind != "generate":
        raise DataError(f"`{task}` has no few-shot examples", why="it is asked without", fix="ask with shots: 0")
    return [{"input": p.input, "target": p.target} for p in _problems(task, count, seed, test=False)]


def _find(task: str) -> ToyTask:
    if task not in TASKS:
        raise DataError(f"no toy task `{task}`", why="the toy world does not have it", fix=suggest(task, TASKS))
    return TASKS[task]


def _problems(task: str, count: int, seed: int, *, test: bool) -> list[reasoning.Problem]:
    rng = stream("items" if test else "few-shot", task, seed)
    found: dict[str, reasoning.Problem] = {}
    for _ in range(count * _TRIES_PER_ITEM):
        if len(found) == count:
            break
        problem = reasoning.draw(task, rng, test=test)
        found.setdefault(problem.input, problem)
    return list(found.values())


def _choice_items(task: str, count: int, seed: int) -> list[dict[str, Any]]:
    chosen = [q for q in commonsense.questions() if q.task == task and q.held_out]
    stream("items", task, seed).shuffle(chosen)
    rows = []
    for number, question in enumerate(chosen[:count]):
        choices, answer = question.choices()
        rows.append({"id": f"{task}/{number}", "question": question.text, "choices": choices, "answer": answer})
    return rows


def _program_items(task: ToyTask, count: int, seed: int) -> list[dict[str, Any]]:
    rng = code.problem_stream(seed)
    found: dict[str, code.Problem] = {}
    for _ in range(count * _TRIES_PER_ITEM):
        if len(found) == count:
            break
        problem = code.draw(rng, test=True)
        found.setdefault(problem.description, problem)
    language: code.Language = "python" if task.language == "python" else "javascript"
    return [
        {
            "name": f"{task.name}_{number}_{problem.name}",
            "language": language,
            "prompt": problem.prompt(language),
            "tests": problem.tests(language),
            "stop_tokens": code.STOP_TOKENS[language],
            "solution": problem.solution(language),
        }
        for number, problem in enumerate(found.values())
    ]
