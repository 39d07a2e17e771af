"""Programs that a model wrote, run where they can do no harm."""

from fusebench.evaluate.sandbox.jail import Limits, available
from fusebench.evaluate.sandbox.languages import LANGUAGES, missing
from fusebench.evaluate.sandbox.score import STATUSES, Outcome, Program, run_programs

unavailable_reason = available
"""The same, by the name that reads well where it is asked."""

__all__ = [
    "LANGUAGES",
    "STATUSES",
    "Limits",
    "Outcome",
    "Program",
    "available",
    "missing",
    "run_programs",
    "unavailable_reason",
]
