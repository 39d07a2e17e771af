"""What a person reads in the end: one HTML page, tables for a paper and a README, one line per result."""

from fusebench.report.headline import headline_text
from fusebench.report.render import render
from fusebench.report.run_report import RunReport
from fusebench.report.titles import with_titles

__all__ = ["RunReport", "headline_text", "render", "with_titles"]
