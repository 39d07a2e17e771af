"""Generation by models of different vocabularies together."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from numpy import ndarray
from torch import Tensor

from fusebench.evaluate.ensembles.aligned import AlignedEnsemble, Votes
from fusebench.evaluate.ensembles.caches import MemberCache
from fusebench.evaluate.generate import JoiningStepper, Stepper
from fusebench.evaluate.shared_prefix import stepper_of

TARGET = -1
"""Stands for the target where members have numbers."""

Rows = list[Int64[ndarray, " token"]]


class AlignedStepper:
    """A target and members that read along, each with its own cache, which choose one next token together.

    Args:
        ensemble: the models.
        leaders: the target's own way to go on, and that of each member with the target's tokenizer, by number.
    """

    def __init__(self, ensemble: AlignedEnsemble, leaders: dict[int, Stepper]) -> None:
        self.ensemble = ensemble
        self.leaders = leaders
        self.readers = self._new_readers()
        self.ids: Rows = []

    @classmethod
    def of(cls, ensemble: AlignedEnsemble) -> "AlignedStepper":
        """Return a stepper; rows may join where the leaders let them."""
        same = {n: m.model for n, m in enumerate(ensemble.others) if m.same}
        leaders = {n: stepper_of(model) for n, model in {TARGET: ensemble.target, **same}.items()}
        joins = all(isinstance(leader, JoiningStepper) for leader in leaders.values())
        return (JoiningAlignedStepper if joins else cls)(ensemble, leaders)

    def begin(self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> Float[Tensor, "row vocab"]:
        """Return the averaged logits after left-padded prompts."""
        self.ids, self.readers = _unpadded(ids, mask), self._new_readers()
        return self._vote(self.ids, self.readers, lambda leader: leader.begin(ids, mask))

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Return the averaged logits after one more token per row."""
        new = tokens.cpu().numpy()
        self.ids = [np.append(own, token) for own, token in zip(self.ids, new, strict=True)]
        return self._vote(self.ids, self.readers, lambda leader: leader.step(tokens))

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone."""
        self.ids = [self.ids[int(row)] for row in rows]
        for leader in self.leaders.values():
            leader.keep(rows)
        for reader in self.readers.values():
            reader.keep(rows)

    def _new_readers(self) -> dict[int, MemberCache]:
        return {n: MemberCache(m.model) for n, m in enumerate(self.ensemble.others) if not m.same}

    @torch.no_grad()
    def _vote(
        self, rows: Rows, readers: dict[int, MemberCache], lead: Callable[[Stepper], Tensor]
    ) -> Float[Tensor, "row vocab"]:
        """Return the averaged logits after some rows.

        Args:
            rows: the target's tokens of each.
            readers: caches of the other members, which hold the same rows or none.
            lead: gives the logits of a model with the target's tokenizer.
        """
        votes = Votes(lead(self.leaders[TARGET]))
        readings = [self.ensemble.text.read(own) for own in rows]
        wanted = [np.array([len(own) - 1]) for own in rows]
        for number, member in enumerate(self.ensemble.others):
            if member.same:
                everyone = torch.arange(len(rows), device=votes.own.device)
                votes.add(everyone, member.carry(lead(self.leaders[number]).float().softmax(1)))
                continue
            asked, reader = member.text.ask(readings, wanted), readers[number]
            # A row that is not asked for stays as it was; some token stands for it, if it was never asked.
            texts = list(reader.cached) or [np.zeros(1, dtype=np.int32) for _ in rows]
            for row, sequence in zip(asked.row, asked.sequence, strict=True):
                texts[row] = asked.sequences[sequence]
            logits = reader.read(texts).flatten(0, 1)
            if len(asked.row):
                both = asked.row[:, None] * 2 + np.arange(2)
                member.vote(votes, asked, np.arange(len(asked.row)), logits, both, asked.row)
        return votes.result()


class JoiningAlignedStepper(AlignedStepper):
    """The same, where new rows may come in while others are on their way."""

    def join(
        self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"], common: int
    ) -> Float[Tensor, "row vocab"]:
        """Return the logits after left-padded prompts, which become the last rows; `common` first tokens are shared."""
        new, readers = _unpadded(ids, mask), self._new_readers()

        def lead(leader: Stepper) -> Tensor:
            assert isinstance(leader, JoiningStepper)
            return leader.join(ids, mask, common)

        found = self._vote(new, readers, lead)
        self.ids += new
        for number, reader in readers.items():
            self.readers[number].join(reader)
        return found


def _unpadded(ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> Rows:
    real: Bool[ndarray, "row token"] = mask.cpu().numpy() > 0
    return [own[there] for own, there in zip(ids.cpu().numpy(), real, strict=True)]
