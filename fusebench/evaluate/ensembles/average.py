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
from fusebench.evaluate.generate import JoiningStepper, Stepper
from fusebench.evaluate.shared_prefix import stepper_of


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
                fix="take models that share one tokenizer, or `ensemble_of`, which aligns them",
            )
        self._hold(models)

    def _hold(self, models: Sequence[Any]) -> None:
        self.models = torch.nn.ModuleList(models)
        self._members = list(models)
        self.config = models[0].config

    @property
    def device(self) -> torch.device:
        """Return where the first model is; all should be there."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the first model's number type."""
        return next(self.parameters()).dtype

    @property
    def target(self) -> Any:
        """Return the first model, whose tokens are the ensemble's."""
        return self._members[0]

    def stepper(self) -> Stepper:
        """Return the ensemble as a batch on its way, for generation."""
        return EnsembleStepper.of(self._members)

    def tie_weights(self) -> None:
        """Do nothing: the members have tied their own."""

    def forward(
        self,
        input_ids: Int[Tensor, "row token"],
        logits_to_keep: int | Int[Tensor, " place"] = 0,
        attention_mask: Int[Tensor, "row token"] | None = None,
    ) -> SimpleNamespace:
        """Return an output whose `logits` [row, place, vocab] are ln of the mean probability.

        Args:
            input_ids: token ids.
            logits_to_keep: the last so many places (0 is all), or which.
            attention_mask: 0 at padding, on either side; None takes all as text.
        """
        kept = kept_places(input_ids, logits_to_keep)
        return SimpleNamespace(logits=average([logits_at(m, input_ids, kept, attention_mask) for m in self._members]))


def kept_places(ids: Int[Tensor, "row token"], logits_to_keep: int | Int[Tensor, " place"]) -> Int[Tensor, " place"]:
    """Return the places that `logits_to_keep` names: the last so many (0 is all), or which."""
    if isinstance(logits_to_keep, Tensor):
        return logits_to_keep.to(ids.device)
    return torch.arange(ids.shape[1], device=ids.device)[-logits_to_keep:]


def logits_at(
    model: CausalModel,
    ids: Int[Tensor, "row token"],
    kept: Int[Tensor, " place"],
    mask: Int[Tensor, "row token"] | None = None,
) -> Float[Tensor, "row place vocab"]:
    """Return a model's logits at some places; no others are computed where the model can leave them out."""
    extra: dict[str, Any] = {}
    if mask is not None:
        extra["attention_mask"] = mask
        if accepts(model, "position_ids"):
            extra["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if accepts(model, "logits_to_keep"):
        found: Tensor = model(ids, logits_to_keep=kept, **extra).logits
        return found
    whole: Tensor = model(ids, **extra).logits
    return whole[:, kept]


class EnsembleStepper:
    """Several models, each with its own cache, that choose one next token together."""

    def __init__(self, members: Sequence[Stepper]) -> None:
        self.members = members

    @classmethod
    def of(cls, models: Sequence[CausalModel]) -> "EnsembleStepper":
        """Return a stepper of models; rows may join where every model lets them."""
        members = [stepper_of(model) for model in models]
        joins = all(isinstance(member, JoiningStepper) for member in members)
        return (JoiningEnsembleStepper if joins else cls)(members)

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


class JoiningEnsembleStepper(EnsembleStepper):
    """The same, where new rows may come in while others are on their way."""

    def join(
        self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"], common: int
    ) -> Float[Tensor, "row vocab"]:
        """Return the logits after left-padded prompts, which become the last rows; `common` first tokens are shared."""
        found = []
        for member in self.members:
            assert isinstance(member, JoiningStepper)
            found.append(member.join(ids, mask, common))
        return average(found)
