"""Several models of different vocabularies that answer as one, in the tokens of the first."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from numpy import ndarray
from torch import Tensor

from fusebench.align import spell
from fusebench.align.cache import cached_map
from fusebench.align.vocabulary import Method, Spelled, Ties, first_word_map
from fusebench.artifacts import VocabMap
from fusebench.corpus.models import tokenizer_hash
from fusebench.evaluate.ensembles.average import Ensemble, kept_places, logits_at
from fusebench.evaluate.ensembles.ends import TokenEnds
from fusebench.evaluate.ensembles.rows import MemberRows
from fusebench.evaluate.ensembles.texts import Asked, MemberText, TargetText
from fusebench.evaluate.forward import context_of, vocabulary_of
from fusebench.evaluate.generate import Stepper

_MAPS: dict[tuple[str, ...], VocabMap] = {}


def vocabulary_map(source: Any, target: Any, method: Method, ties: Ties, spelling: Spelled) -> VocabMap:
    """Return the vocabulary map of two tokenizers, kept in memory for the next ensemble of this process."""
    key = (tokenizer_hash(source), tokenizer_hash(target), method, ties, spelling)
    if key not in _MAPS:
        _MAPS[key] = cached_map(source, target, method, ties, spelling)
    return _MAPS[key]


class Votes:
    """The target's rows, to which those of other members are added.

    A member that has a row gives its probabilities over the target's ids, with a weight of at most 1. What it gives
    to nothing of the target's goes to the target's own row, so that every row stays a distribution and nothing is
    made up:

        p = (p_target + sum of weight * (carried + lost * p_target)) / (1 + sum of weight)
    """

    def __init__(self, logits: Float[Tensor, "row vocab"]) -> None:
        self.own = logits.float().log_softmax(-1)
        self.carried = torch.zeros_like(self.own)
        self.share = torch.ones(len(logits), device=logits.device)
        self.count = torch.ones(len(logits), device=logits.device)

    def add(
        self,
        rows: Int[Tensor, " some"],
        carried: Float[Tensor, "some vocab_and_lost"],
        weight: Float[Tensor, " some"] | None = None,
    ) -> None:
        """Add a member's probabilities over the target's ids, and what it lost, at some rows; each once a call."""
        if weight is None:
            weight = torch.ones(len(rows), device=rows.device)
        carried = carried * weight[:, None]
        self.carried.index_add_(0, rows, carried[:, :-1])
        self.share.index_add_(0, rows, carried[:, -1])
        self.count.index_add_(0, rows, weight)

    def result(self) -> Float[Tensor, "row vocab"]:
        """Return ln of the mean probabilities."""
        own = self.own + (self.share / self.count).log()[:, None]
        return torch.logaddexp(own, (self.carried / self.count[:, None]).log())


class _Member:
    """A model beside the target, and where its ids go."""

    def __init__(
        self, model: Any, tokenizer: Any, target: Any, width: int, rules: tuple[Method, Ties, Spelled]
    ) -> None:
        self.model, self.width = model, width
        self.same = tokenizer_hash(tokenizer) == tokenizer_hash(target)
        if self.same:
            # Ids beyond the tokenizer too: both models may give them a little.
            maps = [np.arange(vocabulary_of(model))]
        else:
            known = vocabulary_map(tokenizer, target, *rules)
            maps = [known.target, first_word_map(spell(tokenizer), spell(target), known, rules[2])]
        self.places = torch.stack([self._places(found) for found in maps]).to(model.device)
        self.text = MemberText(tokenizer, context_of(model))
        self.rows = MemberRows(model)
        self.ends = TokenEnds(self.text.tokens.bytes.table, spell(tokenizer).special, model.device)

    def _places(self, found: ndarray) -> Int[Tensor, " member_vocab"]:
        """Return the target id of each of the model's ids; `width` stands for none."""
        places = np.full(vocabulary_of(self.model), self.width, dtype=np.int64)
        size = min(len(found), len(places))
        places[:size] = np.where((found[:size] >= 0) & (found[:size] < self.width), found[:size], self.width)
        return torch.from_numpy(places)

    def carry(
        self, chances: Float[Tensor, "row member_vocab"], opening: Bool[Tensor, " row"] | None = None
    ) -> Float[Tensor, "row vocab_and_lost"]:
        """Return the member's probabilities over the target's ids, and last the sum of what goes nowhere."""
        every = self.places[0].expand(len(chances), -1)
        places = every if opening is None else self.places[opening.to(torch.long)]
        found = torch.zeros(len(chances), self.width + 1, device=chances.device)
        return found.scatter_add_(1, places, chances)

    def vote(
        self,
        votes: Votes,
        asked: Asked,
        own: Int64[ndarray, " some"],
        logits: Float[Tensor, "place member_vocab"],
        places: Int64[ndarray, "some two"],
        rows: Int64[ndarray, " some"],
    ) -> None:
        """Add rows to the votes.

        Args:
            votes: of the ensemble.
            asked: all that the member was asked.
            own: which of it.
            logits: of the member.
            places: where among them are those after the token before, and those after the token itself.
            rows: places in `votes`.
        """
        device, target = logits.device, votes.own.device
        chances = logits.float().softmax(1)
        at = asked.position[own]
        tokens = np.fromiter((asked.sequences[n][p] for n, p in zip(asked.sequence[own], at, strict=True)), np.int64)
        # Nothing was said before the first token of a text that has no token in front.
        told = np.flatnonzero(~asked.opening[own] & (at >= max(1, len(self.text.first))))
        weight = torch.ones(len(own), device=device)
        before, chosen = torch.from_numpy(places[told, 0]).to(device), torch.from_numpy(tokens[told]).to(device)
        weight[torch.from_numpy(told).to(device)] = self.ends.chance(chances, before, chosen)
        opening = torch.from_numpy(asked.opening[own]).to(device) if asked.opening[own].any() else None
        carried = self.carry(chances[torch.from_numpy(places[:, 1]).to(device)], opening)
        votes.add(torch.from_numpy(rows).to(target), carried.to(target), weight.to(target))


class AlignedEnsemble(Ensemble):
    """Models of any vocabularies as one model over the first one's tokens.

    At every position the members' next-token probabilities are averaged. A member other than the first reads the text
    of the target's tokens up to there in its own tokens, with its own BOS, and its full softmax is carried to the
    target's ids by the vocabulary map. A row depends on nothing behind its position, so that the probabilities of all
    next tokens sum to 1, whatever a text goes on with, and generation follows the same numbers as log-likelihood.

    A member abstains, and the others are averaged, where it has nothing to go by: inside a character, at a special
    token behind the first text, before the first text when it has no BOS, and where its tokenizer drops the end of
    the text. A member with the target's own tokenizer reads the target's ids as they are.

    Args:
        models: the target first.
        tokenizers: of each model.
        vocabulary, ties, spelling: how vocabularies are mapped, as in `align` of a recipe.

    Raises:
        ModelError: a tokenizer is not a fast one.
    """

    def __init__(
        self,
        models: Sequence[Any],
        tokenizers: Sequence[Any],
        *,
        vocabulary: Method = "min_ed",
        ties: Ties = "prefix",
        spelling: Spelled = "text",
    ) -> None:
        torch.nn.Module.__init__(self)
        self._hold(models)
        self.text = TargetText(tokenizers[0])
        width = vocabulary_of(models[0])
        rules = (vocabulary, ties, spelling)
        self.others = [
            _Member(model, tokenizer, tokenizers[0], width, rules)
            for model, tokenizer in zip(models[1:], tokenizers[1:], strict=True)
        ]

    def stepper(self) -> Stepper:
        """Return the ensemble as a batch on its way, for generation."""
        from fusebench.evaluate.ensembles.stepper import AlignedStepper

        return AlignedStepper.of(self)

    @torch.no_grad()
    def forward(
        self,
        input_ids: Int[Tensor, "row token"],
        logits_to_keep: int | Int[Tensor, " place"] = 0,
        attention_mask: Int[Tensor, "row token"] | None = None,
        wanted: Bool[Tensor, "row token"] | None = None,
    ) -> SimpleNamespace:
        """Return an output whose `logits` [row, place, vocab] are ln of the mean probability.

        Args:
            input_ids: of the target.
            logits_to_keep: the last so many places (0 is all), or which.
            attention_mask: 0 at padding, on either side; None takes all as text.
            wanted: positions whose logits matter; at others the first model is asked alone. Padding behind a row
                changes none of its logits, but unless this leaves it out, all members are asked about it.
        """
        size = input_ids.shape[1]
        kept = kept_places(input_ids, logits_to_keep)
        places = kept.cpu().numpy()
        real = np.ones(tuple(input_ids.shape), dtype=bool)
        if attention_mask is not None:
            real = attention_mask.cpu().numpy() > 0
        first = logits_at(self.target, input_ids, kept, attention_mask)
        votes = Votes(first.flatten(0, 1))
        ids = input_ids.cpu().numpy()
        slot = np.full(size, -1, dtype=np.int64)
        slot[places] = np.arange(len(places))
        asked_for = np.broadcast_to(slot >= 0, ids.shape)
        if wanted is not None:
            asked_for = asked_for & wanted.cpu().numpy()
        readings, chosen = [], []
        number = np.full((len(ids), size), -1, dtype=np.int64)
        for row in range(len(ids)):
            columns = np.flatnonzero(real[row])
            own = np.flatnonzero(asked_for[row, columns])
            readings.append(self.text.read(ids[row, columns[: own.max(initial=-1) + 1]]))
            chosen.append(own)
            number[row, own] = row * len(places) + slot[columns[own]]
        for member in self.others:
            if member.same:
                logits = logits_at(member.model, input_ids, kept, attention_mask)
                chances = logits.flatten(0, 1).float().softmax(1)
                votes.add(torch.arange(len(votes.own), device=first.device), member.carry(chances))
                continue
            asked = member.text.ask(readings, chosen)
            for part, found, at in member.rows.rows(asked.sequences, asked.sequence, asked.position):
                member.vote(votes, asked, part, found, at, number[asked.row[part], asked.column[part]])
        return SimpleNamespace(logits=votes.result().view(first.shape))


def ensemble_of(models: Sequence[Any], tokenizers: Sequence[Any], **align: Any) -> Ensemble:
    """Return models as one: a plain average where they share tokenizer and width, else through the alignment.

    Args:
        models, tokenizers: in order; the first one's tokens are the ensemble's.
        align: `vocabulary`, `ties`, `spelling`; see `AlignedEnsemble`.
    """
    alike = len({tokenizer_hash(t) for t in tokenizers}) == len({vocabulary_of(m) for m in models}) == 1
    return Ensemble(models) if alike else AlignedEnsemble(models, tokenizers, **align)
