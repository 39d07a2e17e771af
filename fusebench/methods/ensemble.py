"""Several models that answer together: their probabilities are averaged at every token."""

from __future__ import annotations

from fusebench.artifacts import Candidate
from fusebench.methods._alike import require_two
from fusebench.methods.registry import MethodInputs, method


@method("ensemble", needs={"sources", "vocabulary_rules"}, summary="the sources' probabilities averaged at every token")
def build(inputs: MethodInputs) -> Candidate:
    """Return the sources as one candidate of kind `ensemble`; nothing is trained.

    Its tokens are the first source's; sources with other tokenizers are aligned to it when it is evaluated.

    Raises:
        RecipeError: there are fewer than two sources.
    """
    from fusebench.corpus.models import count_parameters

    require_two(inputs.sources, "ensemble")
    models = list(inputs.sources.values())
    return Candidate(
        "ensemble",
        models,
        parameters=sum(count_parameters(model) for model in models),
        notes={"members": ", ".join(inputs.sources)},
        align=dict(inputs.align),
    )
