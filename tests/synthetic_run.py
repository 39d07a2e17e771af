"""A made-up run with the shape of the quickstart: known skills in, so that tests know what must come out.

Tests load it with `runpy.run_path`, as test modules are not a package.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fusebench.artifacts import FusionChoice, ProbeOutcome, ProbeRecord, RowInfo
from fusebench.artifacts.results import SAMPLE_COLUMNS
from fusebench.evaluate import SuiteRun, find_suite
from fusebench.evaluate.protocol import protocol_of

SUITES = {
    "toy_bbh": ("exact_match", ["boolean_expressions", "object_counting", "word_sorting", "navigate"], 60),
    "toy_commonsense": ("acc", ["one_hop", "two_hops", "negation"], 80),
    "toy_code": ("pass@1", ["python", "javascript"], 40),
    "perplexity": ("bits_per_byte", ["reasoning", "commonsense", "code"], 40),
}
REAL_SUITES = {
    "bbh": ("exact_match", list(find_suite("bbh").tasks), 10),
    "commonsense": ("acc_norm", list(find_suite("commonsense").tasks), 20),
    "multipl_e_greedy": ("pass@1", list(find_suite("multipl_e_greedy").tasks), 10),
    "perplexity": SUITES["perplexity"],
}
"""As many suites, of the paper's own tasks, a few items of each."""
REAL_ROWS = ("target", "reasoner", "knower", "clm", "fusion")
TITLES = [
    ("toy_bbh", "bbh", "Toy BBH"),
    ("toy_commonsense", "commonsense", "Toy CommonSense"),
    ("toy_code", "multipl_e", "Toy MultiPL-E"),
    ("perplexity", "perplexity", "Bits per byte"),
]
SKILL = {
    "target": (0.30, 0.35, 0.10, 0.62),
    "reasoner": (0.85, 0.30, 0.02, 0.70),
    "knower": (0.20, 0.82, 0.03, 0.72),
    "coder": (0.15, 0.28, 0.60, 0.71),
    "big": (0.62, 0.60, 0.40, 0.52),
    "clm": (0.42, 0.46, 0.20, 0.56),
    "fusion": (0.51, 0.55, 0.28, 0.51),
    "fusion-2": (0.48, 0.52, 0.25, 0.53),
    "fusion-1": (0.45, 0.48, 0.22, 0.54),
    "fusion-em": (0.50, 0.54, 0.27, 0.512),
    "fusion-avg": (0.46, 0.50, 0.24, 0.53),
    "fusion-w0.5": (0.56, 0.59, 0.33, 0.48),
    "fusion-w0.1": (0.58, 0.60, 0.36, 0.47),
    "kd": (0.48, 0.50, 0.25, 0.52),
}
SKILL_2 = {
    "base": (0.25, 0.30, 0.08, 0.64),
    "base-reasoning": (0.55, 0.28, 0.04, 0.66),
    "base-commonsense": (0.18, 0.52, 0.05, 0.67),
    "base-code": (0.15, 0.26, 0.30, 0.66),
    "ensemble": (0.40, 0.42, 0.15, 0.58),
    "merge": (0.38, 0.40, 0.14, 0.57),
    "fusion": (0.42, 0.45, 0.18, 0.54),
}
POINTS = 6
TOKENS = 300_000


def rows() -> list[RowInfo]:
    """Return the rows of two experiments."""
    main, out = "main", []
    three = ("reasoner", "knower", "coder")
    settings: dict[str, object] = {
        "vocabulary": "min_ed",
        "sequence": "dtw",
        "rule": "min_ce",
        "criterion": "bits_per_byte",
        "clm_weight": 0.9,
    }
    cost: dict[str, object] = {
        "parameters": 1_100_000,
        "tokens": TOKENS,
        "seconds": 24.6,
        "upstream_seconds": 31.0,
        "evaluate_seconds": 8.0,
    }

    def taken(experiment: str, name: str, role: str, parameters: int = 1_100_000) -> RowInfo:
        return RowInfo(experiment, name, "model", role, model=name, parameters=parameters, evaluate_seconds=6.0)

    out += [taken(main, "target", "target"), *(taken(main, s, "source") for s in three)]
    out += [taken(main, "big", "teacher", 4_200_000)]
    out += [RowInfo(main, "clm", "clm", "clm", clm_weight=1.0, batches="a" * 64, **cost)]
    for name, sources, change in (
        ("fusion", three, {}),
        ("fusion-2", three[:2], {}),
        ("fusion-1", three[:1], {}),
        ("fusion-em", three, {"vocabulary": "em"}),
        ("fusion-avg", three, {"rule": "avg_ce"}),
        ("fusion-w0.5", three, {"clm_weight": 0.5}),
        ("fusion-w0.1", three, {"clm_weight": 0.1}),
    ):
        out.append(
            RowInfo(main, name, "fusion", "fusion", sources=sources, batches="a" * 64, **{**settings, **change}, **cost)
        )
    out.append(RowInfo(main, "kd", "kd", "kd", sources=("big",), clm_weight=0.9, batches="a" * 64, **cost))
    second = "domains"
    experts = ("base-reasoning", "base-commonsense", "base-code")
    out += [taken(second, "base", "target"), *(taken(second, s, "source") for s in experts)]
    out += [RowInfo(second, "ensemble", "ensemble", "ensemble", sources=experts, parameters=3_300_000)]
    out += [RowInfo(second, "merge", "merge", "merge", sources=experts, parameters=1_100_000, seconds=0.4)]
    out += [
        RowInfo(second, "fusion", "fusion", "fusion", sources=experts, batches="b" * 64, **settings, **cost),
    ]
    return out


def samples(
    seed: int = 0,
    *,
    unavailable: tuple[str, ...] = (),
    scale: float = 1.0,
    suites: Mapping[str, tuple[str, list[str], int]] = SUITES,
    experiments: Mapping[str, Mapping[str, tuple[float, ...]]] | None = None,
) -> pd.DataFrame:
    """Return sample rows: an item is right where the row's skill beats the item's difficulty, which rows share.

    Suites and tasks in `unavailable` have no scores.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for experiment, skills in (experiments or {"main": SKILL, "domains": SKILL_2}).items():
        steps = {name: [(-1, TOKENS if name not in ("target", "base") else 0, 1.0)] for name in skills}
        if experiment == "main":
            for name in ("clm", "fusion"):
                steps[name] += [
                    (20 * k, TOKENS * k // (POINTS + 1), 1 - np.exp(-3.5 * k / (POINTS + 1)))
                    for k in range(1, POINTS + 1)
                ]
        for number, (suite, (metric, tasks, count)) in enumerate(suites.items()):
            n = max(2, int(count * scale))
            for task_number, task in enumerate(tasks):
                difficulty, size = rng.random(n), rng.integers(200, 900, n).astype(float)
                for name, skill in skills.items():
                    for step, tokens, done in steps[name]:
                        start = SKILL["target"][number]
                        level = start + (skill[number] - start) * done + 0.03 * (task_number - 1)
                        noise = rng.normal(0, 0.12, n)
                        if metric == "bits_per_byte":
                            value = level + 0.2 * (difficulty - 0.5) + noise * 0.2
                        else:
                            value = (difficulty + noise < level).astype(float)
                        missing = bool({suite, task} & set(unavailable))
                        parts.append(
                            pd.DataFrame(
                                {
                                    "experiment": experiment,
                                    "row": name,
                                    "seed": 42,
                                    "step": step,
                                    "tokens": tokens,
                                    "suite": suite,
                                    "task": task,
                                    "item": [f"{task}-{i}" for i in range(n)],
                                    "metric": "acc" if task == "boolq" else metric,
                                    "value": np.nan if missing else value,
                                    "weight": size if metric == "bits_per_byte" else 1.0,
                                    "status": "unavailable" if missing else "ok",
                                    "prompt": [f"Q: {task} number {i}?\nA:" for i in range(n)],
                                    "output": [f" {int(v > 0.5)} <b>of</b> {task}" for v in value],
                                    "gold": "1",
                                }
                            )
                        )
    return pd.concat(parts, ignore_index=True)[list(SAMPLE_COLUMNS)].astype(SAMPLE_COLUMNS)


def choices(seed: int = 0) -> dict[tuple[str, str], FusionChoice]:
    """Return which source won, for two rows of the first experiment."""
    rng = np.random.default_rng(seed)
    sources, domains = ["reasoner", "knower", "coder", "target"], ["reasoning", "commonsense", "code"]
    domain = rng.integers(0, 3, 300)
    entropy = 0.7 + 0.05 * rng.random((300, 4))
    entropy[np.arange(300), domain] -= 0.03
    won = np.eye(4)[entropy.argmin(axis=1)]
    soft = np.exp(-entropy * 20)
    names = [domains[d] for d in domain]
    return {
        ("main", "fusion"): FusionChoice(sources, names, entropy, won, "bits_per_byte"),
        ("main", "fusion-avg"): FusionChoice(
            sources, names, entropy, soft / soft.sum(axis=1, keepdims=True), "bits_per_byte"
        ),
    }


def coverage() -> pd.DataFrame:
    """Return shares of positions by outcome, for the main row and the exact-match row."""
    out = []
    for row, shares in (("fusion", (0.55, 0.09, 0.04, 0.13, 0.19)), ("fusion-em", (0.55, 0, 0, 0, 0.45))):
        for number, source in enumerate(("reasoner", "knower", "coder")):
            for outcome, share in zip(("exact", "mapped", "tied", "one_to_many", "fallback"), shares, strict=True):
                shift = 0.02 * number * {"exact": -1, "fallback": 1}.get(outcome, 0)
                out.append(("main", row, source, outcome, share + shift))
    return pd.DataFrame(out, columns=["experiment", "row", "source", "outcome", "share"])


def probes(*, through: tuple[str, ...] = (), created: str = "2026-01-02T03:04:05+00:00") -> ProbeRecord:
    """Return a record of three attacks, of which those in `through` got through."""
    attacks = {
        "network": ("connect to a server on the host", "[Errno 101] Network is unreachable"),
        "1 GB of output": ("write 1 GB to stdout", "x" * 120),
        "ptrace": ("take over another process", "Operation not permitted 3"),
    }
    outcomes = tuple(
        ProbeOutcome(name, attack, name not in through, "the attack succeeded" if name in through else found)
        for name, (attack, found) in attacks.items()
    )
    return ProbeRecord("bubblewrap (bubblewrap 0.8.0)", "36214bfd", created, outcomes)


def parts(seed: int = 0, **options: object) -> dict[str, object]:
    """Return the arguments of a RunReport."""
    return {
        "name": "synthetic",
        "title": "Three toy specialists into one generalist",
        "description": "A made-up run: tests know its skills.",
        "seed": 42,
        "preset": "paper",
        "rows": rows(),
        "samples": samples(seed, **options),  # type: ignore[arg-type]
        "choices": choices(seed),
        "coverage": coverage(),
        "recipe_yaml": "name: synthetic\n# see https://example.org/<recipe>\nseed: 42\nmodels:\n  target: {}\n" * 6,
        "versions": {"fusebench": "0.1.0", "python": "3.11.7", "torch": "2.8.0", "transformers": "5.2.3"},
        "hashes": {f"stage/{n}": f"{n:064x}" for n in range(20)},
        "suites": TITLES,
        "confidence": 0.95,
        "bootstrap": 2000,
        "correction": "holm",
        "notes": ["Everything ran on one machine with 2 cores."],
        "seconds": 431.2,
        "protocols": {name: protocol_of(SuiteRun(find_suite(name))) for name in SUITES},
        "probes": [probes()],
    }


def real_parts(
    seed: int = 0, *, unavailable: tuple[str, ...] = (), tasks: Mapping[str, list[str]] | None = None
) -> dict[str, Any]:
    """Return the arguments of a RunReport on the paper's own suites, or some of their tasks by suite."""
    suites = {
        name: (metric, (tasks or {}).get(name, all_tasks), count)
        for name, (metric, all_tasks, count) in REAL_SUITES.items()
    }
    found = [find_suite(name, (tasks or {}).get(name)) for name in suites]
    skills = {"main": {name: SKILL[name] for name in REAL_ROWS}}
    return {
        **parts(seed),
        "rows": [row for row in rows() if row.experiment == "main" and row.name in REAL_ROWS],
        "samples": samples(seed, unavailable=unavailable, suites=suites, experiments=skills),
        "suites": [(suite.name, suite.family, suite.title) for suite in found],
        "protocols": {suite.name: protocol_of(SuiteRun(suite, limit=10)) for suite in found},
    }
