"""Reasoning: boolean expressions, object counting, word sorting, navigation, after the tasks of BIG-Bench Hard."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from fusebench.toyworld.fill import fill
from fusebench.toyworld.seeded import held_out

HELD_OUT_ONE_IN = 5


@dataclass(frozen=True)
class Problem:
    """A question with its one right answer."""

    task: str
    input: str
    target: str

    @property
    def held_out(self) -> bool:
        """Whether the problem is for testing only."""
        return held_out(f"{self.task}|{self.input}", HELD_OUT_ONE_IN)

    def solved(self) -> str:
        """Return question and answer as they stand in a document and in a few-shot prompt."""
        return f"Q: {self.input}\nA: {self.target}"


def boolean_expressions(rng: random.Random) -> Problem:
    """Return an expression of two or three truth values; both answers are equally frequent."""
    wanted = rng.random() < 0.5
    while True:
        text, value = _expression(rng, 2 if rng.random() < 0.15 else 3)
        if value == wanted:
            return Problem("toy_boolean_expressions", f"{text} is", str(value))


def _expression(rng: random.Random, leaves: int) -> tuple[str, bool]:
    # Only brackets and single values stand beside an operator, so no rule of precedence is needed.
    if leaves == 1:
        value = rng.random() < 0.5
        return _perhaps_not(rng, str(value), value)
    on_left = rng.randint(1, leaves - 1)
    left, a = _operand(rng, on_left)
    right, b = _operand(rng, leaves - on_left)
    return (f"{left} and {right}", a and b) if rng.random() < 0.5 else (f"{left} or {right}", a or b)


def _operand(rng: random.Random, leaves: int) -> tuple[str, bool]:
    text, value = _expression(rng, leaves)
    return (text, value) if leaves == 1 else _perhaps_not(rng, f"( {text} )", value)


def _perhaps_not(rng: random.Random, text: str, value: bool) -> tuple[str, bool]:
    return (f"not {text}", not value) if rng.random() < 0.25 else (text, value)


_THINGS = {
    "fruits": ("apple", "pear", "plum", "grape", "lemon", "melon"),
    "animals": ("cat", "dog", "pig", "cow", "hen", "goat"),
    "tools": ("saw", "drill", "rake", "hammer", "spade", "file"),
    "games": ("puzzle", "ball", "kite", "doll", "yoyo", "dart"),
}
_NUMBERS = ("a", "two", "three", "four")


def object_counting(rng: random.Random) -> Problem:
    """Return a list of two or three things of two categories; one category is counted."""
    asked, other = rng.sample(sorted(_THINGS), 2)
    chosen = [(asked, word) for word in rng.sample(_THINGS[asked], rng.randint(1, 2))]
    chosen += [(other, word) for word in rng.sample(_THINGS[other], 1)]
    rng.shuffle(chosen)
    total, parts = 0, []
    for category, word in chosen:
        number = rng.randint(1, 4)
        total += number if category == asked else 0
        parts.append(
            f"{'an' if number == 1 and word[0] in 'aeiou' else _NUMBERS[number - 1]} {word}{'s' * (number > 1)}"
        )
    return Problem(
        "toy_object_counting", f"I have {', '.join(parts[:-1])} and {parts[-1]}. How many {asked}?", str(total)
    )


_WORDS = """
amber basket candle dragon engine forest garden hammer island jacket kettle ladder marble needle orange pencil
quiver ribbon saddle table umbrella valley window zebra
"""


def word_sorting(rng: random.Random) -> Problem:
    """Return three words to be put in alphabetical order."""
    words = rng.sample(_WORDS.split(), 3)
    return Problem("toy_word_sorting", f"Sort: {' '.join(words)}", " ".join(sorted(words)))


_OPPOSITE = {"left": "right", "right": "left", "forward": "back", "back": "forward"}
_GESTURES = ("Jump.", "Wave.", "Sing.", "Wait.", "Bow.", "Clap.")


def navigate(rng: random.Random) -> Problem:
    """Return two moves among gestures, and whether they end at the start; both answers are equally frequent."""
    way, steps = rng.choice(sorted(_OPPOSITE)), rng.randint(1, 4)
    home = rng.random() < 0.5
    back, steps_back = _OPPOSITE[way], steps
    while not home and (back, steps_back) == (_OPPOSITE[way], steps):
        # Near misses: only the way or only the distance is wrong, mostly.
        if rng.random() < 0.5:
            back = rng.choice(sorted(_OPPOSITE))
        if rng.random() < 0.5:
            steps_back = rng.randint(1, 4)
    acts = [f"Go {way} {steps}.", f"Go {back} {steps_back}."]
    for _ in range(rng.randint(1, 2)):
        acts.insert(rng.randint(0, len(acts)), rng.choice(_GESTURES))
    return Problem("toy_navigate", f"{' '.join(acts)} Back at the start?", "Yes" if home else "No")


DRAW: dict[str, Callable[[random.Random], Problem]] = {
    "toy_boolean_expressions": boolean_expressions,
    "toy_object_counting": object_counting,
    "toy_word_sorting": word_sorting,
    "toy_navigate": navigate,
}


def draw(task: str, rng: random.Random, *, test: bool) -> Problem:
    """Return a random problem of a task, of the test part or of the training part."""
    while (problem := DRAW[task](rng)).held_out != test:
        pass
    return problem


def document(rng: random.Random, size: int) -> str:
    """Return solved training problems of one task, in the layout of a few-shot prompt, up to a size in units."""
    task = rng.choice(sorted(DRAW))
    return fill(lambda: draw(task, rng, test=False).solved(), "\n\n", size)
