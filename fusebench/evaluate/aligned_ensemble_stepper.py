"""Generation by models of different vocabularies together."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from numpy import ndarray
from torch import Tensor

from fusebench.evaluate.aligned_ensemble import AlignedEnsemble, Votes
from fusebench.evaluate.aligned_ensemble_cache import MemberCache
from fusebench.evaluate.generate import ModelStepper


class AlignedStepper:
    """A target and members that read along, each with its own cache, which choose one next token together."""

    def __init__(self, ensemble: AlignedEnsemble) -> None:
        self.ensemble = ensemble
        self.target = ModelStepper(ensemble._members[0])
        self.followers = {n: ModelStepper(m.model) for n, m in enumerate(ensemble.others) if m.same}
        self.readers: dict[int, MemberCache] = {}
        self.ids: list[Int64[ndarray, " token"]] = []

    def begin(self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> Float[Tensor, "row vocab"]:
        """Return the averaged logits after left-padded prompts."""
        real: Bool[ndarray, "row token"] = mask.cpu().numpy() > 0
        self.ids = [own[there] for own, there in zip(ids.cpu().numpy(), real, strict=True)]
        self.readers = {n: MemberCache(m.model) for n, m in enumerate(self.ensemble.others) if not m.same}
        found = {n: follower.begin(ids, mask) for n, follower in self.followers.items()}
        return self._vote(self.target.begin(ids, mask), found)

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Return the averaged logits after one more token per row."""
        new = tokens.cpu().numpy()
        self.ids = [np.append(own, token) for own, token in zip(self.ids, new, strict=True)]
        found = {n: follower.step(tokens) for n, follower in self.followers.items()}
        return self._vote(self.target.step(tokens), found)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone."""
        self.ids = [self.ids[int(row)] for row in rows]
        self.target.keep(rows)
        for follower in self.followers.values():
            follower.keep(rows)
        for reader in self.readers.values():
            reader.keep(rows)

    @torch.no_grad()
    def _vote(self, logits: Float[Tensor, "row vocab"], found: dict[int, Tensor]) -> Float[Tensor, "row vocab"]:
        votes = Votes(logits)
        readings = [self.ensemble.text.read(own) for own in self.ids]
        wanted = [np.array([len(own) - 1]) for own in self.ids]
        for number, member in enumerate(self.ensemble.others):
            if member.same:
                votes.add(torch.arange(len(logits), device=logits.device), member.carry(found[number]))
                continue
            asked = member.text.ask(readings, wanted)
            reader = self.readers[number]
            # A row that is not asked for stays as it was; the first token there is, if it was never asked.
            texts = list(reader.cached) or [np.zeros(1, dtype=np.int32) for _ in self.ids]
            for row, sequence in zip(asked.row, asked.sequence, strict=True):
                texts[row] = asked.sequences[sequence]
            if len(asked.row):
                read = reader.read(texts)[torch.from_numpy(asked.row).to(member.model.device)]
                member.vote(votes, asked, np.arange(len(asked.row)), read, asked.row)
        return votes.result()
