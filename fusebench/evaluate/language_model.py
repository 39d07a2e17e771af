"""A model as lm-eval sees it: lm-eval's own tokenization, our scoring and generation."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs

from fusebench.evaluate.ensemble import Ensemble
from fusebench.evaluate.forward import Piece, score, vocabulary_of
from fusebench.evaluate.generate import Decoding, ModelStepper, Stepper, Stops, generate


class LanguageModel(HFLM):
    """A transformers model, or an ensemble, behind lm-eval's interface.

    Prompts are encoded, cut and joined exactly as lm-eval's `hf` model does it, so scores agree with it; what
    differs is speed: equal requests are answered once, only needed logits are computed, finished rows leave the
    batch, and stop strings are looked for only where a token could complete one.

    Args:
        model: the model or ensemble.
        tokenizer: its fast tokenizer.
        batch_size: requests at a time, at most.
        max_length: tokens of prompt and answer together; None takes the model's own.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int, max_length: int | None = None) -> None:
        self.context = min(max_length or 1 << 30, context_of(model))
        super().__init__(
            pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size, max_length=self.context
        )
        self._stops: Stops | None = None

    @property
    def stops(self) -> Stops:
        """Return the decoder of the tokenizer, made at first use."""
        if self._stops is None:
            self._stops = Stops(self.tokenizer, vocabulary_of(self.model))
        return self._stops

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return log-probability of each continuation, and whether it is the greedy one; lm-eval's bar is left out."""
        return list(super().loglikelihood(requests, disable_tqdm=True))

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        pieces: dict[tuple[tuple[int, ...], int], int] = {}
        places = []
        for _, context, continuation in requests:
            whole = (list(context) + list(continuation))[-(self.max_length + 1) :]
            start = max(1, len(whole) - len(continuation))
            places.append(pieces.setdefault((tuple(whole), start), len(pieces)))
        logprobs, greedy = score(
            self.model, [Piece(ids, start) for ids, start in pieces], batch_size=override_bs or self.batch_size
        )
        return [(float(logprobs[place]), bool(greedy[place])) for place in places]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the completion of every request, in order."""
        different: dict[tuple[str, str], list[int]] = {}
        for number, request in enumerate(requests):
            prompt, settings = request.args
            different.setdefault((prompt, repr(sorted(settings.items()))), []).append(number)
        groups: dict[str, list[tuple[str, dict[str, Any], list[int]]]] = {}
        for (prompt, key), numbers in different.items():
            groups.setdefault(key, []).append((prompt, requests[numbers[0]].args[1], numbers))
        answers = [""] * len(requests)
        for members in groups.values():
            texts = self._generate_group([prompt for prompt, _, _ in members], members[0][1])
            for text, (_, _, numbers) in zip(texts, members, strict=True):
                for number in numbers:
                    answers[number] = text
        return answers

    def _generate_group(self, prompts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        wanted = normalize_gen_kwargs(settings, self.max_gen_toks)
        until = wanted.get("until") or []
        until = [until] if isinstance(until, str) else list(until)
        # A short context is shared by prompt and answer; lm-eval would refuse it.
        max_new = min(int(wanted["max_gen_toks"]), self.max_length // 2)
        ends = end_ids(self.model, self.tokenizer)
        encoded = [self._encode_prompt(prompt)[-(self.max_length - max_new) :] for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda n: len(encoded[n]), reverse=True)
        answers = [""] * len(prompts)
        for at in range(0, len(order), self.batch_size):
            members = order[at : at + self.batch_size]
            texts = generate(
                self._stepper(),
                [encoded[n] for n in members],
                stops=self.stops,
                until=until,
                end_ids=ends,
                pad_id=int(self.tokenizer.pad_token_id or 0),
                max_new=max_new,
                device=self.model.device,
                decoding=Decoding(),
            )
            for number, text in zip(members, texts, strict=True):
                answers[number] = text
        return answers

    def _encode_prompt(self, prompt: str) -> list[int]:
        return list(self.tok_encode(prompt)) or [self.prefix_token_id]

    def _stepper(self) -> Stepper:
        return self.model.stepper() if isinstance(self.model, Ensemble) else ModelStepper(self.model)


def context_of(model: Any) -> int:
    """Return the longest input of a model in tokens; 2048 where its config does not say."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
        if (found := getattr(config, name, None)) is not None:
            return int(found)
    return 2048


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end a text: the tokenizer's, and those of the model's generation settings."""
    settings = getattr(model, "generation_config", None)
    found = getattr(settings, "eos_token_id", None)
    listed = found if isinstance(found, list) else [found]
    return sorted({int(n) for n in [*listed, tokenizer.eos_token_id] if n is not None})
