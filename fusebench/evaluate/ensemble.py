"""Several models that answer as one: their probabilities are averaged at every token."""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusebench.errors import ModelError
from fusebench.evaluate.forward import CausalModel, accepts, vocabulary_of
from fusebench.evaluate.generate import ModelStepper


def average(logits: Sequence[Float[Tensor, "*place vocab"]]) -> Float[Tensor, "*place vocab"]:
    """Return ln of the mean of the models' probabilities; it is normalised, so it can stand for logits.

    Args:
        logits: one tensor per model, over the same vocabulary.
    """
    total = logits[0].float().log_softmax(-1)
    for other in logits[1:]:
        total = torch.logaddexp(total, other.float().log_softmax(-1))
    return total - math.log(len(logits))


class Ensemble(torch.nn.Module):
    """Models over one vocabulary as one model.

    Args:
        models: at least one; their logits have the same width.

    Raises:
        ModelError: the vocabularies differ in size.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        widths = [vocabulary_of(model) for model in models]
        if len(set(widths)) != 1:
            raise ModelError(
                f"an ensemble of models with {', '.join(map(str, widths))} tokens in their vocabularies",
                why="probabilities can be averaged only over the same tokens",
                fix="take models that share one tokenizer",
            )
        self.models = torch.nn.ModuleList(models)
        self._members = list(models)
        self.config = models[0].config
        self._keeps = all(accepts(model, "logits_to_keep") for model in models)

    @property
    def device(self) -> torch.device:
        """Return where the first model is; all should be there."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the first model's number type."""
        return next(self.parameters()).dtype

    def stepper(self) -> "EnsembleStepper":
        """Return the ensemble as a batch on its way, for generation."""
        return EnsembleStepper(self._members)

    def tie_weights(self) -> None:
        """Do nothing: the members have tied their own."""

    def forward(self, input_ids: Tensor, logits_to_keep: int | Tensor = 0) -> SimpleNamespace:
        """Return an output whose `logits` are ln of the mean probability."""
        if self._keeps:
            found = [model(input_ids, logits_to_keep=logits_to_keep).logits for model in self.models]
        else:
            found = [model(input_ids).logits for model in self.models]
            if isinstance(logits_to_keep, Tensor):
                found = [logits[:, logits_to_keep] for logits in found]
        return SimpleNamespace(logits=average(found))


class EnsembleStepper:
    """Several models, each with its own cache, that choose one next token together."""

    def __init__(self, models: Sequence[CausalModel]) -> None:
        self.members = [ModelStepper(model) for model in models]

    def begin(self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> Float[Tensor, "row vocab"]:
        """Return the averaged logits after left-padded prompts."""
        return average([member.begin(ids, mask) for member in self.members])

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Return the averaged logits after one more token per row."""
        return average([member.step(tokens) for member in self.members])

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone."""
        for member in self.members:
            member.keep(rows)
