"""What CLM, distillation and fusion share: the target, the batches and the loop; they differ in the rows alone."""

from __future__ import annotations

from fusebench.artifacts import Candidate, SparseDistributions
from fusebench.methods.registry import MethodInputs


def train_target(inputs: MethodInputs, rows: SparseDistributions | None, name: str) -> Candidate:
    """Return the target after training with the given rows.

    Args:
        inputs: with tokens and blocks.
        rows: what the student is drawn to besides the next token, or None.
        name: the method's, for the model card.
    """
    from fusebench.corpus.models import load_model, load_tokenizer
    from fusebench.train import train

    assert inputs.tokens is not None and inputs.blocks is not None, "the pipeline gives the batches"
    # Weights are trained in float32 whatever they were saved in.
    return train(
        load_model(inputs.target, dtype="float32"),
        load_tokenizer(inputs.target),
        inputs.tokens,
        inputs.blocks,
        rows,
        inputs.train,
        inputs.out,
        seed=inputs.seed,
        points=inputs.points,
        facts={"method": name},
        progress=inputs.progress,
    )
