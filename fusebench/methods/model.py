"""A model taken as it is: the target before training, a source, the bigger teacher."""

from __future__ import annotations

from fusebench.artifacts import Candidate
from fusebench.methods.registry import MethodInputs, method


@method("model", needs={"model"}, summary="a model taken as it is")
def build(inputs: MethodInputs) -> Candidate:
    """Return the model itself as a candidate; nothing is trained."""
    from fusebench.corpus.models import count_parameters

    assert inputs.model is not None, "the pipeline gives the model"
    return Candidate("model", [inputs.model], parameters=count_parameters(inputs.model))
