"""Commonsense: facts of the small world, stated and asked; some questions need two facts combined.

Held out are single wordings of a question about a thing's own property (`toy_properties`), and whole facts that
follow from two others (`toy_inheritance`: a thing is of a kind, the kind has a property; `toy_places`: a person
lives in a town, the town has a property). A held-out fact is neither stated nor asked in training text.
"""

import random
from dataclasses import dataclass
from functools import cache

from fusebench.toyworld.fill import fill
from fusebench.toyworld.seeded import held_out, stream
from fusebench.toyworld.world import HOME, KINDS, MEMBER_KIND, OWN, OWN_VALUES, TOWNS, article

HELD_OUT_ONE_IN = 3

_OWN_QUESTIONS: dict[str, tuple[str, ...]] = {
    "colour": ("What colour is {a}?", "Which colour has {a}?", "What is the colour of {a}?", "How is {a} painted?"),
    "size": ("What size is {a}?", "Which size has {a}?", "What is the size of {a}?", "How big is {a}?"),
}
_SHARED_QUESTIONS: dict[str, tuple[str, ...]] = {
    "part": ("What does {a} have?", "What is part of {a}?", "What has {a} got?"),
    "act": ("What can {a} do?", "What does {a} do?", "What is {a} able to do?"),
    "place": ("Where is {a} found?", "Where does {a} belong?", "What is the place of {a}?"),
    "need": ("What does {a} need?", "What is needed by {a}?", "What is good for {a}?"),
}
_TOWN_QUESTIONS: dict[str, tuple[str, ...]] = {
    "near": ("What is near the home of {a}?", "What does {a} live near?", "What is close to {a}?"),
    "sky": ("What weather does {a} have?", "What is the weather of {a}?", "Which weather knows {a}?"),
    "trade": ("What does the town of {a} sell?", "What is sold near {a}?", "What can {a} buy at home?"),
    "side": ("On which side does {a} live?", "Which side is {a} from?", "Where in the land is {a}?"),
}
_OWN_STATEMENT = {"colour": "{A} is {v}.", "size": "{A} is {v} in size."}
_SHARED_STATEMENT = {
    "part": ("{A} has {v}.", "{K} have {v}."),
    "act": ("{A} can {v}.", "{K} can {v}."),
    "place": ("{A} is found in the {v}.", "{K} are found in the {v}."),
    "need": ("{A} needs {v}.", "{K} need {v}."),
}
_TOWN_STATEMENT = {
    "near": ("{A} lives near the {v}.", "{T} is near the {v}."),
    "sky": ("{A} has {v}.", "{T} has {v}."),
    "trade": ("{A} can buy {v}.", "{T} sells {v}."),
    "side": ("{A} lives in the {v}.", "{T} is in the {v}."),
}


@dataclass(frozen=True)
class Question:
    """A question with its right answer and the wrong ones that may stand beside it."""

    task: str
    text: str
    answer: str
    wrong: tuple[str, ...]
    held_out: bool

    def solved(self) -> str:
        """Return question and answer as they stand in a document and in a multiple-choice prompt."""
        return f"Question: {self.text}\nAnswer: {self.answer}"

    def choices(self) -> tuple[list[str], int]:
        """Return four choices in an order fixed by the question, and the number of the right one."""
        rng = stream("choices", self.text)
        choices = [self.answer, *rng.sample(self.wrong, 3)]
        rng.shuffle(choices)
        return choices, choices.index(self.answer)


def _others(values: list[str], answer: str) -> tuple[str, ...]:
    return tuple(sorted(set(values) - {answer}))


@cache
def questions() -> tuple[Question, ...]:
    """Return every question of the world, training and held out."""
    made = []
    for member, own in OWN.items():
        for name, forms in _OWN_QUESTIONS.items():
            wrong = _others(list(OWN_VALUES[name]), own[name])
            for form in forms:
                text = form.format(a=article(member))
                test = held_out(text, HELD_OUT_ONE_IN)
                made.append(Question("toy_properties", text, own[name], wrong, test))
    for member, kind in MEMBER_KIND.items():
        for slot, forms in _SHARED_QUESTIONS.items():
            answer = KINDS[kind].shared[slot]
            wrong = _others([k.shared[slot] for k in KINDS.values()], answer)
            test = held_out(f"{member}|{slot}", HELD_OUT_ONE_IN)
            made += [Question("toy_inheritance", form.format(a=article(member)), answer, wrong, test) for form in forms]
    for person, town in HOME.items():
        for slot, forms in _TOWN_QUESTIONS.items():
            answer = TOWNS[town][slot]
            wrong = _others([t[slot] for t in TOWNS.values()], answer)
            test = held_out(f"{person}|{slot}", HELD_OUT_ONE_IN)
            made += [Question("toy_places", form.format(a=person), answer, wrong, test) for form in forms]
    return tuple(made)


@cache
def _asked() -> tuple[tuple[str, ...], ...]:
    """Return the questions that training text may hold, solved, in groups; what is harder to learn is twice there."""
    kinds = [f"Question: What kind is {article(m)}?\nAnswer: {k}" for m, k in MEMBER_KIND.items()]
    homes = [f"Question: Where does {p} live?\nAnswer: {t}" for p, t in HOME.items()]
    groups: dict[str, list[str]] = {task: [] for task in ("toy_properties", "toy_inheritance", "toy_places")}
    for question in questions():
        if not question.held_out:
            groups[question.task].append(question.solved())
    own, shared, towns = (tuple(group) for group in groups.values())
    return tuple(kinds), tuple(homes), tuple(homes), own, own, shared, towns, towns


@cache
def _statements() -> tuple[tuple[str, ...], ...]:
    """Return the sentences that training text may hold, in groups; what is harder to learn is twice there."""
    kinds = [f"{article(m).capitalize()} is {article(k)}." for m, k in MEMBER_KIND.items()]
    homes = [f"{p} lives in {t}." for p, t in HOME.items()]
    own = [
        _OWN_STATEMENT[name].format(A=article(m).capitalize(), v=value)
        for m, values in OWN.items()
        for name, value in values.items()
    ]
    shared, towns = [], []
    for slot, (single, general) in _SHARED_STATEMENT.items():
        shared += [general.format(K=k.plural.capitalize(), v=k.shared[slot]) for k in KINDS.values()] * 3
        shared += [
            single.format(A=article(m).capitalize(), v=KINDS[k].shared[slot])
            for m, k in MEMBER_KIND.items()
            if not held_out(f"{m}|{slot}", HELD_OUT_ONE_IN)
        ]
    for slot, (single, general) in _TOWN_STATEMENT.items():
        towns += [general.format(T=t, v=values[slot]) for t, values in TOWNS.items()] * 3
        towns += [
            single.format(A=p, v=TOWNS[t][slot])
            for p, t in HOME.items()
            if not held_out(f"{p}|{slot}", HELD_OUT_ONE_IN)
        ]
    return tuple(kinds), tuple(homes), tuple(homes), tuple(own), tuple(own), tuple(shared), tuple(towns)


def document(rng: random.Random, size: int) -> str:
    """Return stated facts, or questions with answers, up to a size in units."""
    asked = rng.random() < 0.6
    groups, between = (_asked(), "\n\n") if asked else (_statements(), " ")
    # Statements are full of rare names, which a small vocabulary splits.
    size = size if asked else size * 4 // 5
    return fill(lambda: rng.choice(rng.choice(groups)), between, size)
