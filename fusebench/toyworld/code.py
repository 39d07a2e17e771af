"""Code: short functions in Python and JavaScript from one description, with tests, after MultiPL-E."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fusebench.toyworld.fill import fill
from fusebench.toyworld.seeded import held_out, stream

HELD_OUT_ONE_IN = 10
Language = Literal["python", "javascript"]
STOP_TOKENS: dict[Language, list[str]] = {
    "python": ["\n\n", "\ndef", "\nassert"],
    "javascript": ["\n\n", "\nfunction ", "\n//"],
}


@dataclass(frozen=True)
class Problem:
    """One function: what it does, its bodies, and calls with the values they must return."""

    name: str
    argument: str
    description: str
    python: str
    javascript: str
    calls: tuple[tuple[Any, Any], ...]

    @property
    def held_out(self) -> bool:
        """Whether the problem is for testing only, in both languages."""
        return held_out(f"code|{self.description}", HELD_OUT_ONE_IN)

    def prompt(self, language: Language) -> str:
        """Return the text that stands before the body."""
        if language == "python":
            return f'def {self.name}({self.argument}):\n    """{self.description}"""\n'
        return f"// {self.description}\nfunction {self.name}({self.argument}) {{\n"

    def solution(self, language: Language) -> str:
        """Return the body as it stands in documents."""
        return self.python if language == "python" else f"{self.javascript}\n}}"

    def tests(self, language: Language) -> str:
        """Return a program to append to prompt and body; it fails where a call returns a wrong value."""
        if language == "python":
            lines = [f"    assert candidate({a!r}) == {v!r}" for a, v in self.calls]
            return "\n".join(["def check(candidate):", *lines, "", f"check({self.name})", ""])
        lines = [f"  assert.deepEqual(candidate({json.dumps(a)}), {json.dumps(v)});" for a, v in self.calls]
        head = ["const assert = require('node:assert');", "function test() {", f"  let candidate = {self.name};"]
        return "\n".join([*head, *lines, "}", "test();", ""])


@dataclass(frozen=True)
class _Step:
    """One operation: its words, both spellings around an expression, what it computes."""

    words: str
    python: str
    javascript: str
    run: Callable[[Any], Any]
    atomic: bool = True


def _number_step(rng: random.Random) -> _Step:
    c = rng.randint(2, 9)
    return rng.choice(
        (
            _Step(f"plus {c}", f"{{}} + {c}", f"{{}} + {c}", lambda x: x + c, atomic=False),
            _Step(f"minus {c}", f"{{}} - {c}", f"{{}} - {c}", lambda x: x - c, atomic=False),
            _Step(f"times {c}", f"{{}} * {c}", f"{{}} * {c}", lambda x: x * c, atomic=False),
        )
    )


def _text_step(rng: random.Random) -> _Step:
    c, mark = rng.randint(2, 5), rng.choice("!?*-+")
    return rng.choice(
        (
            _Step("in upper case", "{}.upper()", "{}.toUpperCase()", str.upper),
            _Step("reversed", "{}[::-1]", '[...{}].reverse().join("")', lambda s: s[::-1]),
            _Step(f"repeated {c} times", f"{{}} * {c}", f"{{}}.repeat({c})", lambda s: s * c, atomic=False),
            _Step(f"cut to {c} letters", f"{{}}[:{c}]", f"{{}}.slice(0, {c})", lambda s: s[:c]),
            _Step(f"without the first {c} letters", f"{{}}[{c}:]", f"{{}}.slice({c})", lambda s: s[c:]),
            _Step(f"with {mark} added", f'{{}} + "{mark}"', f'{{}} + "{mark}"', lambda s: s + mark, atomic=False),
        )
    )


def _chain(name: str, argument: str, steps: list[_Step], inputs: list[Any]) -> Problem:
    python = javascript = argument
    atomic = True
    for step in steps:
        wrapped = (python, javascript) if atomic else (f"({python})", f"({javascript})")
        python, javascript = step.python.format(wrapped[0]), step.javascript.format(wrapped[1])
        atomic = step.atomic
    calls = []
    for value in inputs:
        result = value
        for step in steps:
            result = step.run(result)
        calls.append((value, result))
    description = f"Return {argument} {', then '.join(step.words for step in steps)}."
    return Problem(name, argument, description, f"    return {python}", f"  return {javascript};", tuple(calls))


def _calc(rng: random.Random) -> Problem:
    return _chain("calc", "x", [_number_step(rng) for _ in range(rng.randint(1, 2))], [0, 1, 7, 12])


def _shape(rng: random.Random) -> Problem:
    return _chain("shape", "s", [_text_step(rng) for _ in range(rng.randint(1, 2))], ["", "ab", "house", "Garden"])


def _gather(rng: random.Random) -> Problem:
    c, d = rng.randint(2, 9), rng.randint(2, 9)
    filters: tuple[tuple[str, str, str, Callable[[int], bool]], ...] = (
        (f"above {c}", f" if x > {c}", f".filter((x) => x > {c})", lambda x: x > c),
        (f"below {c}", f" if x < {c}", f".filter((x) => x < {c})", lambda x: x < c),
        ("that are even", " if x % 2 == 0", ".filter((x) => x % 2 == 0)", lambda x: x % 2 == 0),
        ("that are odd", " if x % 2 == 1", ".filter((x) => x % 2 == 1)", lambda x: x % 2 == 1),
    )
    maps: tuple[tuple[str, str, str, Callable[[int], int]], ...] = (
        ("", "x", "", lambda x: x),
        (f", each plus {d}", f"x + {d}", f".map((x) => x + {d})", lambda x: x + d),
        (f", each times {d}", f"x * {d}", f".map((x) => x * {d})", lambda x: x * d),
    )
    ends: tuple[tuple[str, str, str, Callable[[list[int]], Any]], ...] = (
        ("the numbers", "{}", "", list),
        ("the sum of the numbers", "sum({})", ".reduce((a, b) => a + b, 0)", sum),
        ("the number of numbers", "len({})", ".length", len),
    )
    kept, python_if, javascript_if, keep = rng.choice(filters)
    changed, python_map, javascript_map, change = rng.choice(maps)
    got, python_end, javascript_end, end = rng.choice(ends)
    inputs: tuple[list[int], ...] = ([], [1, 2, 3, 4, 5], [9, 4, 12, 7], [10, 3, 3, 8, 6])
    calls = tuple((values, end([change(x) for x in values if keep(x)])) for values in inputs)
    inner = f"[{python_map} for x in xs{python_if}]"
    return Problem(
        "gather",
        "xs",
        f"Return {got} in xs {kept}{changed}.",
        f"    return {python_end.format(inner)}",
        f"  return xs{javascript_if}{javascript_map}{javascript_end};",
        calls,
    )


_LABELS = (("big", "small"), ("yes", "no"), ("hot", "cold"), ("old", "new"), ("far", "near"), ("good", "bad"))


def _label(rng: random.Random) -> Problem:
    c = rng.randint(2, 9)
    first, second = rng.choice(_LABELS)
    comparisons: tuple[tuple[str, str, Callable[[int], bool]], ...] = (
        ("above", ">", lambda x: x > c),
        ("below", "<", lambda x: x < c),
        ("equal to", "==", lambda x: x == c),
    )
    words, sign, holds = rng.choice(comparisons)
    return Problem(
        "label",
        "x",
        f"Return {first} if x is {words} {c}, else {second}.",
        f'    if x {sign} {c}:\n        return "{first}"\n    return "{second}"',
        f'  if (x {sign} {c}) {{\n    return "{first}";\n  }}\n  return "{second}";',
        tuple((x, first if holds(x) else second) for x in (0, c - 1, c, c + 1, 20)),
    )


_FAMILIES = (_calc, _shape, _gather, _label)


def draw(rng: random.Random, *, test: bool) -> Problem:
    """Return a random problem of the test part or of the training part."""
    while (problem := rng.choice(_FAMILIES)(rng)).held_out != test:
        pass
    return problem


def document(rng: random.Random, size: int) -> str:
    """Return solved training problems in one language, up to a size in units."""
    language: Language = rng.choice(("python", "javascript"))

    def solved() -> str:
        problem = draw(rng, test=False)
        return problem.prompt(language) + problem.solution(language)

    return fill(solved, "\n\n", size)


def problem_stream(seed: int) -> random.Random:
    """Return the stream that held-out problems are drawn from; one for both languages, so that they pair."""
    return stream("code items", seed)
