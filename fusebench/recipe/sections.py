"""Every knob of a run: one section per stage, unknown keys rejected, each key documented. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusebench.errors import RecipeError, suggest

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$", max_length=60)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the recipe: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ToyText(Section):
    """Text of the embedded toy world."""

    mixture: dict[Literal["reasoning", "commonsense", "code"], Share] = Field(description="weight of each domain")
    documents: Positive = Field(description="number of documents to generate")
    seed: int = Field(0, description="texts of different seeds are different; the same seed gives the same text")


class FileText(Section):
    """A local text file: jsonl (also .gz, .xz), parquet or txt."""

    path: str
    domain: str = Field("", description="name in per-domain tables; empty takes the file's name")
    field: str = Field("text", description="the key or column that holds the text")
    limit: Positive | None = Field(None, description="use this many documents from the start")


class HubText(Section):
    """A data set of the Hugging Face hub, streamed."""

    name: str
    config: str | None = None
    split: str = "train"
    field: str = "text"
    domain: str = ""
    limit: Positive | None = None


class CorpusSection(Section):
    """The text that fusion trains on, and how it is cut; exactly one of toy, files, hub."""

    toy: ToyText | None = None
    files: list[FileText] | None = None
    hub: list[HubText] | None = None
    chunk_tokens: Positive = Field(256, description="no tokenizer of the run gives a chunk more tokens than this")
    max_chunks: Positive | None = Field(None, description="stop after so many chunks, domains taken in turn")
    held_out_chunks: int = Field(64, ge=0, description="chunks per domain kept from training, for bits per byte")
    append_eos: bool = Field(True, description="put the tokenizer's EOS after the last chunk of a document")

    @model_validator(mode="after")
    def _one(self) -> CorpusSection:
        if sum(x is not None for x in (self.toy, self.files, self.hub)) != 1:
            raise ValueError("give exactly one of `toy`, `files`, `hub`")
        return self


class TrainSection(Section):
    """The one training loop, for continued training, distillation, fusion and the toy specialists."""

    epochs: float = Field(1.0, gt=0, description="passes over the blocks; ignored where `steps` is given")
    steps: Positive | None = Field(None, description="optimiser steps")
    batch_blocks: Positive = Field(32, description="blocks per optimiser step, over all devices")
    device_batch_blocks: Positive | None = Field(None, description="blocks on one device at a time; None is all")
    block_tokens: Positive = Field(256, description="length of a block; whole chunks are packed into it")
    learning_rate: float = Field(1e-5, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.1, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    warmup_ratio: Share = 0.008
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clm_weight: Share = Field(0.9, description="weight of the next-token loss; the rest goes to the fused rows")
    packed_attention: Literal["blocked", "open"] = Field("blocked", description="attention across packed chunks")
    gradient_checkpointing: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"


class TrainedModel(Section):
    """A model that the run trains itself on toy text: from nothing, or continued from another."""

    architecture: Literal["llama", "gpt_neox", "gpt2", "mpt"] | None = None
    tokenizer: Literal["byte_bpe", "byte_bpe_gpt2", "unigram"] | None = None
    tokenizer_of: str | None = Field(None, description="use another model's tokenizer instead of training one")
    base: str | None = Field(None, description="continue this model; architecture and tokenizer are its own")
    vocab_size: Positive = 1024
    hidden: Positive = 128
    layers: Positive = 4
    heads: Positive = 4
    context: Positive = Field(512, description="longest input in tokens")
    text: ToyText
    train: TrainSection = TrainSection()

    @model_validator(mode="after")
    def _origin(self) -> TrainedModel:
        fresh = self.architecture is not None and (self.tokenizer is None) != (self.tokenizer_of is None)
        if self.base is None and not fresh:
            raise ValueError("give `base`, or `architecture` with one of `tokenizer` and `tokenizer_of`")
        if self.base is not None and (self.architecture or self.tokenizer or self.tokenizer_of):
            raise ValueError("`base` brings its own architecture and tokenizer: leave those out")
        return self


class ModelSection(Section):
    """A model: of the hub, in a local folder, or trained by the run; exactly one."""

    hub: str | None = Field(None, description="hub id, e.g. meta-llama/Llama-2-7b-hf; looked up in --model-root first")
    revision: str | None = None
    path: str | None = Field(None, description="a Hugging Face folder")
    train: TrainedModel | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    @model_validator(mode="after")
    def _one(self) -> ModelSection:
        if sum(x is not None for x in (self.hub, self.path, self.train)) != 1:
            raise ValueError("give exactly one of `hub`, `path`, `train`")
        return self


class TeachSection(Section):
    """Capture of every source's next-token distributions."""

    top_k: Positive = 10
    batch_tokens: Positive = Field(8192, description="tokens per forward pass")


class AlignSection(Section):
    """From a source's positions and ids to the target's."""

    vocabulary: Literal["em", "min_ed"] = "min_ed"
    sequence: Literal["dtw", "offset"] = "dtw"
    ties: Literal["prefix", "first"] = Field("prefix", description="edit-distance ties: stated rule, or first id")
    spelling: Literal["text", "raw"] = Field("text", description="tokens compared as text, or as their own raw strings")
    fallback: Literal["next", "current"] = Field("next", description="gold token of a position without a row")
    collisions: Literal["sum", "max"] = Field("sum", description="two source ids that map to one target id")
    tail: Literal["keep", "renormalise"] = Field("keep", description="mass outside the top-k")


class FuseSection(Section):
    """How aligned rows become fused rows."""

    rule: Literal["min_ce", "avg_ce"] = "min_ce"
    criterion: Literal["bits_per_byte", "nats_per_token", "bfloat16_nats_per_token"] = "bits_per_byte"
    per: Literal["block", "token"] = Field("block", description="choose per packed block, or per target position")
    temperature: float = Field(1.0, gt=0)
    target_is_source: bool = Field(True, description="the untrained target is one of the sources")


class RowSection(Section):
    """One row of the results table: a method, and what differs from the recipe's sections."""

    name: Name
    method: str = Field(description="a registered method: model, clm, fusion, kd, ensemble, merge, ...")
    model: str | None = Field(None, description="method `model`: which model is taken as it is")
    teacher: str | None = Field(None, description="method `kd`: the bigger model")
    sources: list[str] | None = Field(None, description="instead of the experiment's sources")
    align: dict[str, Any] = {}
    fuse: dict[str, Any] = {}
    train: dict[str, Any] = {}
    options: dict[str, Any] = Field({}, description="the method's own options, e.g. merge weights")
    points: int = Field(0, ge=0, description="evaluate at so many points of training, for the efficiency curve")


class ExperimentSection(Section):
    """A target, its sources and the rows that compete on it."""

    name: Name
    title: str = ""
    target: str
    sources: list[str]
    rows: list[RowSection]


class SuiteSection(Section):
    """A suite to evaluate every row on."""

    name: str = Field(description="a built-in suite, or a name of your own with `tasks`")
    tasks: list[str] | None = Field(None, description="lm-eval task names; None takes the built-in suite's")
    limit: Positive | None = Field(None, description="items per task from the start")
    shots: int | None = Field(None, ge=0, description="few-shot examples; None takes each task's own")
    texts: list[str] | None = Field(
        None, description="for perplexity: files or folders, each `[NAME=]PATH`; None is the corpus's held-out text"
    )

    @model_validator(mode="after")
    def _check_texts(self) -> "SuiteSection":
        if self.texts is not None and self.name != "perplexity":
            raise ValueError("`texts` belong to the suite `perplexity`")
        return self


class EvaluateSection(Section):
    """The suites and how they are run."""

    suites: list[SuiteSection] = []
    batch_size: Positive = 64
    max_length: Positive | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = Field(
        None, description="number type of the models; auto is as saved; None is float32 on a CPU, else auto"
    )
    point_suites: list[str] | None = Field(None, description="suites at the points of training; None is all")


class StatsSection(Section):
    """The tests behind every difference."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    bootstrap: Positive = Field(2000, description="resamples")
    correction: Literal["holm", "none"] = "holm"


class Recipe(Section):
    """One experiment file, whole."""

    name: Name
    title: str = ""
    description: str = ""
    seed: int = 42
    preset: Literal["paper", "reference"] = "paper"
    corpus: CorpusSection
    models: dict[Name, ModelSection]
    teach: TeachSection = TeachSection()
    align: AlignSection = AlignSection()
    fuse: FuseSection = FuseSection()
    train: TrainSection = TrainSection()
    experiments: list[ExperimentSection]
    evaluate: EvaluateSection = EvaluateSection()
    stats: StatsSection = StatsSection()
    workers: Positive = Field(1, description="stages that may run at the same time, the cores shared between them")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        check_names(self)
        return self


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "reference": {
        "align": {
            "ties": "first",
            "spelling": "raw",
            "fallback": "current",
            "collisions": "max",
            "tail": "renormalise",
        },
        "fuse": {"criterion": "bfloat16_nats_per_token"},
        "train": {"packed_attention": "open"},
    },
}
"""What each preset puts under the keys that a recipe leaves out; `paper` is the sections' own defaults."""


def check_names(recipe: Recipe) -> None:
    """Raise RecipeError where names clash, point nowhere, or an experiment cannot be what it says."""
    known = set(recipe.models)
    for where, name in _mentioned(recipe):
        if name not in known:
            raise RecipeError(f"`{where}` names the model `{name}`", why="`models` has none", fix=suggest(name, known))
    _check_unique("experiments", [e.name for e in recipe.experiments])
    if not recipe.experiments:
        raise RecipeError("`experiments` is empty", why="there is nothing to compare", fix="add one experiment")
    for experiment in recipe.experiments:
        where = f"experiments.{experiment.name}"
        _check_unique(f"{where}.rows", [r.name for r in experiment.rows])
        _check_unique(f"{where}.sources", experiment.sources)
        if not set(experiment.sources) - {experiment.target}:
            raise RecipeError(
                f"`{where}` has one source, the target `{experiment.target}` itself"
                if experiment.sources
                else f"`{where}.sources` is empty",
                why="fusion needs at least one source besides the target",
                fix="add a model to `sources`",
            )
        for row in experiment.rows:
            resolve(recipe, row)
            for key, method in (("model", "model"), ("teacher", "kd")):
                if row.method == method and getattr(row, key) is None:
                    raise RecipeError(
                        f"`{where}.rows.{row.name}` lacks `{key}`",
                        why=f"method `{method}` needs it",
                        fix=f"add `{key}: NAME` with a name of `models`",
                    )
    _check_unique("evaluate.suites", [s.name for s in recipe.evaluate.suites])


def _mentioned(recipe: Recipe) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, model in recipe.models.items():
        if model.train is not None:
            found += [
                (f"models.{name}.train.{key}", ref)
                for key in ("base", "tokenizer_of")
                if (ref := getattr(model.train, key)) is not None
            ]
    for e in recipe.experiments:
        found += [(f"experiments.{e.name}.target", e.target)]
        found += [(f"experiments.{e.name}.sources", source) for source in e.sources]
        for row in e.rows:
            names = [row.model, row.teacher, *(row.sources or [])]
            found += [(f"experiments.{e.name}.rows.{row.name}", ref) for ref in names if ref is not None]
    return found


def _check_unique(where: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise RecipeError(
                f"`{where}` has the name `{name}` twice",
                why="names stand for folders and table rows",
                fix="rename or remove one of them",
            )
        seen.add(name.lower())


def resolve(recipe: Recipe, row: RowSection) -> tuple[AlignSection, FuseSection, TrainSection]:
    """Return the align, fuse and train sections that hold for one row: the recipe's, with the row's changes.

    Raises:
        RecipeError: the row changes a key that its section does not have, or to a value it cannot take.
    """
    from fusebench.recipe.validate import validated

    where = f"rows.{row.name}"
    return (
        validated(AlignSection, {**recipe.align.model_dump(), **row.align}, f"{where}.align"),
        validated(FuseSection, {**recipe.fuse.model_dump(), **row.fuse}, f"{where}.fuse"),
        validated(TrainSection, {**recipe.train.model_dump(), **row.train}, f"{where}.train"),
    )
