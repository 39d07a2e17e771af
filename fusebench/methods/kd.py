"""Distillation from one bigger model: fusion's loss with that model's rows instead of fused ones."""

from __future__ import annotations

from fusebench.artifacts import Candidate
from fusebench.methods._trained import train_target
from fusebench.methods.registry import MethodInputs, method


@method("kd", needs={"batches", "teacher_rows"}, summary="the target distilled from one bigger model")
def build(inputs: MethodInputs) -> Candidate:
    """Return the target after distillation from the teacher's top-k rows, tail mass included.

    Source: Hinton et al. 2015, arXiv:1503.02531, at temperature 1, mixed with the next-token loss as fusion is.
    A teacher with the target's tokenizer gives exact rows; another one's are aligned first, like a source's.
    """
    assert inputs.rows is not None, "the pipeline gives the teacher's rows"
    return train_target(inputs, inputs.rows, "kd")
