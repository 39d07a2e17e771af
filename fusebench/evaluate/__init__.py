"""Scoring of candidates: suites through lm-eval, programs in a sandbox, bits per byte of held-out text."""

from typing import TYPE_CHECKING, Any

from fusebench.evaluate.suites import SUITES, Suite, SuiteRun, find_suite, fingerprint

if TYPE_CHECKING:
    from fusebench.evaluate.harness import evaluate_candidate, evaluate_loaded

__all__ = ["SUITES", "Suite", "SuiteRun", "evaluate_candidate", "evaluate_loaded", "find_suite", "fingerprint"]


def __getattr__(name: str) -> Any:
    # torch and lm-eval take seconds to import; commands that only name suites do without them.
    if name in ("evaluate_candidate", "evaluate_loaded"):
        from fusebench.evaluate import harness

        return getattr(harness, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
