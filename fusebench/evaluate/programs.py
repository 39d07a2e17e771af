"""From completions to programs to pass@k: what the tasks that run code have in common."""

import math
from collections.abc import Sequence
from typing import Any

from fusebench.evaluate.sandbox import Program, run_programs

SCORED = ("ok", "wrong", "compile_error", "timeout")
"""Statuses that are the program's own doing; the others are the machine's and are not scored."""


def assemble(doc: dict[str, Any], completion: str) -> str:
    """Return a whole program: prompt, completion cut at the first stop token, tests."""
    return f"{doc['prompt']}{cut(completion, doc.get('stop_tokens') or ())}\n{doc['tests']}"


def cut(completion: str, stop_tokens: Sequence[str]) -> str:
    """Return the completion up to its first stop token."""
    ends = [at for token in stop_tokens if token and (at := completion.find(token)) >= 0]
    return completion[: min(ends)] if ends else completion


def program_filter(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return, per item, one outcome (status, exit_code, stdout, stderr) per completion; an lm-eval custom filter.

    All programs of a task run in the sandbox, in parallel over the cores.
    """
    programs = [
        Program(doc["language"], assemble(doc, text)) for texts, doc in zip(resps, docs, strict=True) for text in texts
    ]
    outcomes = iter(run_programs(programs))
    return [[vars(next(outcomes)) for _ in texts] for texts in resps]


def pass_at_k(outcomes: Sequence[dict[str, Any]], k: int) -> float:
    """Return the unbiased pass@k of one item, NaN where fewer than k programs could be scored.

    Source: Chen et al. 2021, arXiv:2107.03374, equation 1: 1 - C(n - c, k) / C(n, k).
    """
    scored = [outcome["status"] for outcome in outcomes if outcome["status"] in SCORED]
    n, c = len(scored), scored.count("ok")
    return math.nan if n < k else 1.0 - math.comb(n - c, k) / math.comb(n, k)
