"""Typed artefacts: what stages pass on, how it lies on disk, and how a reader knows that it is whole."""

from fusebench.artifacts.alignment import OUTCOMES, SpanTable, VocabMap
from fusebench.artifacts.candidate import Candidate, Checkpoint
from fusebench.artifacts.distributions import DistributionsWriter, SparseDistributions
from fusebench.artifacts.fusion import FusionChoice
from fusebench.artifacts.manifest import Manifest
from fusebench.artifacts.probes import ProbeOutcome, ProbeRecord
from fusebench.artifacts.results import RESULT_COLUMNS, SAMPLE_COLUMNS, RowInfo, read_samples, write_samples
from fusebench.artifacts.store import atomic_write, building, check_folder, read_manifest
from fusebench.artifacts.texts import Blocks, Chunks
from fusebench.artifacts.tokens import TokenTable

__all__ = [
    "OUTCOMES",
    "RESULT_COLUMNS",
    "SAMPLE_COLUMNS",
    "Blocks",
    "Candidate",
    "Checkpoint",
    "Chunks",
    "DistributionsWriter",
    "FusionChoice",
    "Manifest",
    "ProbeOutcome",
    "ProbeRecord",
    "RowInfo",
    "SpanTable",
    "SparseDistributions",
    "TokenTable",
    "VocabMap",
    "atomic_write",
    "building",
    "check_folder",
    "read_manifest",
    "read_samples",
    "write_samples",
]
