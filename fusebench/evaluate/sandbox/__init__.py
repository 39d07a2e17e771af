"""Programs that a model wrote, run where they can do no harm."""

from fusebench.evaluate.sandbox.box import Limits
from fusebench.evaluate.sandbox.gate import probe_record, ready, sandbox_holds, self_test
from fusebench.evaluate.sandbox.jail import available, describe
from fusebench.evaluate.sandbox.languages import missing
from fusebench.evaluate.sandbox.probes import ProbeResult, run_probes
from fusebench.evaluate.sandbox.score import STATUSES, Outcome, Program, run_programs
from fusebench.evaluate.sandbox.table import LANGUAGES

unavailable_reason = available
"""The same, by the name that reads well where it is asked."""

__all__ = [
    "LANGUAGES",
    "STATUSES",
    "Limits",
    "Outcome",
    "ProbeResult",
    "Program",
    "available",
    "describe",
    "missing",
    "probe_record",
    "ready",
    "run_probes",
    "run_programs",
    "sandbox_holds",
    "self_test",
    "unavailable_reason",
]
