"""Sums, intervals, paired tests, correction for many tests, and the verdicts on the paper's claims."""

from fusebench.stats.analysis import Analysis, analyse
from fusebench.stats.claims import Claim, claims
from fusebench.stats.compare import COMPARISON_COLUMNS, compare
from fusebench.stats.summary import AVERAGE, OVERALL, summarise

__all__ = [
    "AVERAGE",
    "COMPARISON_COLUMNS",
    "OVERALL",
    "Analysis",
    "Claim",
    "analyse",
    "claims",
    "compare",
    "summarise",
]
