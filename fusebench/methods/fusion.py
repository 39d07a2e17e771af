"""Knowledge fusion: the target is trained towards the fused rows of the sources."""

from __future__ import annotations

from fusebench.artifacts import Candidate
from fusebench.methods._trained import train_target
from fusebench.methods.registry import MethodInputs, method


@method("fusion", needs={"batches", "fused_rows"}, summary="the target trained towards the sources' fused rows")
def build(inputs: MethodInputs) -> Candidate:
    """Return the target after fusion training.

    Source: Wan et al. 2024, arXiv:2401.10491; the loss is `fusebench.train.losses.sparse_loss`.
    """
    assert inputs.rows is not None, "the pipeline gives the fused rows"
    return train_target(inputs, inputs.rows, "fusion")
