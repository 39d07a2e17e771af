"""A model as lm-eval sees it: lm-eval's own tokenization, our scoring and generation."""

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs

from fusebench.evaluate.ensembles.average import Ensemble
from fusebench.evaluate.forward import Piece, context_of, vocabulary_of
from fusebench.evaluate.generate import Decoding, Stepper, Stops, generate
from fusebench.evaluate.generations import GenerationStore, Request
from fusebench.evaluate.packed import score
from fusebench.evaluate.prefixes import group_prompts
from fusebench.evaluate.shared_prefix import stepper_of

KNOWN_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}


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
        seed: of sampled generation.
        store: keeps what was generated; None keeps it in memory.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        batch_size: int,
        max_length: int | None = None,
        seed: int = 0,
        store: GenerationStore | None = None,
    ) -> None:
        self.context = min(max_length or 1 << 30, context_of(model))
        super().__init__(
            pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size, max_length=self.context
        )
        self.seed, self.store = seed, GenerationStore() if store is None else store
        self.progress: Callable[[int, int], None] | None = None
        """Called with (requests done, requests) while they are answered."""
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
            self.model,
            [Piece(ids, start) for ids, start in pieces],
            batch_size=override_bs or self.batch_size,
            progress=self.progress,
        )
        return [(float(logprobs[place]), bool(greedy[place])) for place in places]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the completion of every request, in order; equal greedy requests are answered once.

        Settings that our decoder does not know (beams and the like) are left to lm-eval's own.
        """
        groups: dict[str, list[int]] = {}
        wanted = [normalize_gen_kwargs(dict(request.args[1]), self.max_gen_toks) for request in requests]
        for number, settings in enumerate(wanted):
            # Requests that differ in their stop strings alone are answered together.
            shared = {name: value for name, value in settings.items() if name != "until"}
            groups.setdefault(repr(sorted(shared.items())), []).append(number)
        answers = [""] * len(requests)
        for numbers in groups.values():
            if set(wanted[numbers[0]]) <= KNOWN_SETTINGS:
                prompts = [requests[n].args[0] for n in numbers]
                texts = self._generate_group(prompts, [_strings(wanted[n]) for n in numbers], wanted[numbers[0]])
            else:
                texts = super().generate_until([requests[n] for n in numbers], disable_tqdm=True)
            for number, text in zip(numbers, texts, strict=True):
                answers[number] = text
        return answers

    def _generate_group(
        self, prompts: Sequence[str], untils: Sequence[list[str]], settings: dict[str, Any]
    ) -> list[str]:
        # A short context is shared by prompt and answer; lm-eval would refuse it.
        max_new = min(int(settings["max_gen_toks"]), self.max_length // 2)
        warm = float(settings.get("temperature") or 0.0) if settings.get("do_sample") else 0.0
        decoding = Decoding(warm, float(settings.get("top_p") or 1.0))
        asked: dict[str, int] = {}
        keys: list[Request] = []
        stops_of: dict[Request, list[str]] = {}
        for prompt, until in zip(prompts, untils, strict=True):
            number = asked.get(prompt, 0)
            asked[prompt] = number + 1 if warm else 0
            rules = f"{until} {max_new} {decoding} {self.max_length}"
            keys.append(Request(prompt, rules, self.seed if warm else 0, number))
            stops_of[keys[-1]] = until
        todo = [request for request in stops_of if self.store.get(request) is None]
        encoded = [self._encode_prompt(request.prompt)[-(self.max_length - max_new) :] for request in todo]
        finished = len(stops_of) - len(todo)

        def keep(number: int, text: str) -> None:
            nonlocal finished
            self.store.put([todo[number]], [text])
            finished += 1
            if self.progress is not None:
                self.progress(finished, len(stops_of))

        if todo:
            generate(
                self._stepper(),
                encoded,
                stops=self.stops,
                until=[stops_of[request] for request in todo],
                end_ids=end_ids(self.model, self.tokenizer),
                pad_id=int(self.tokenizer.pad_token_id or 0),
                max_new=max_new,
                device=self.model.device,
                decoding=decoding,
                uniform=lambda number: todo[number].uniform(max_new),
                groups=group_prompts(encoded),
                rows=int(self.batch_size),
                done=keep,
            )
        return [self.store.get(request) or "" for request in keys]

    def _encode_prompt(self, prompt: str) -> list[int]:
        return list(self.tok_encode(prompt)) or [self.prefix_token_id]

    def _stepper(self) -> Stepper:
        return self.model.stepper() if isinstance(self.model, Ensemble) else stepper_of(self.model)


def _strings(settings: dict[str, Any]) -> list[str]:
    """Return the stop strings of a request."""
    until = settings.get("until") or []
    return [until] if isinstance(until, str) else list(until)


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end a text: the tokenizer's, and those of the model's generation settings."""
    settings = getattr(model, "generation_config", None)
    found = getattr(settings, "eos_token_id", None)
    listed = found if isinstance(found, list) else [found]
    return sorted({int(n) for n in [*listed, tokenizer.eos_token_id] if n is not None})
