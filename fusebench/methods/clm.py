"""Plain continued training on the next token: what fusion has to beat."""

from __future__ import annotations

from fusebench.artifacts import Candidate
from fusebench.methods._trained import train_target
from fusebench.methods.registry import MethodInputs, method


@method("clm", needs={"batches"}, summary="continued training of the target on the next token")
def build(inputs: MethodInputs) -> Candidate:
    """Return the target after continued training, on the same batches in the same order as fusion."""
    return train_target(inputs, None, "clm")
