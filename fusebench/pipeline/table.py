"""The stage table: from a recipe to stages and their inputs. This is the only wiring."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusebench.errors import RecipeError, suggest
from fusebench.pipeline.scoring import evaluation
from fusebench.pipeline.stage import Stage
from fusebench.pipeline.stages import Roots, corpus_params, make, model_stages
from fusebench.recipe import (
    AlignSection,
    ExperimentSection,
    FuseSection,
    Recipe,
    RowSection,
    SuiteSection,
    TrainSection,
    recipe_json,
    resolve,
)

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Row:
    """One row of the results table: its recipe entry, its settings and the stages behind it."""

    experiment: ExperimentSection
    row: RowSection
    sources: tuple[str, ...]
    align: AlignSection
    fuse: FuseSection
    train: TrainSection
    method: Stage
    evaluations: tuple[Stage, ...]
    fused: Stage | None = None
    aligned: Mapping[str, Stage] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """All of a run: its rows, and the stage that reports on them."""

    recipe: Recipe
    rows: tuple[Row, ...]
    report: Stage


class Builder:
    """Makes the stages of one recipe; asking twice for the same thing gives the same stage."""

    def __init__(self, recipe: Recipe, roots: Roots) -> None:
        self.recipe, self.roots = recipe, roots
        self._models: dict[str, Stage] = {}
        self._tokenizers: dict[str, Stage] = {}

    # ---- models and text

    def model(self, name: str) -> Stage:
        """Return the stage of a model of the recipe."""
        if name not in self._models:
            self._add_model(name)
        return self._models[name]

    def tokenizer(self, name: str) -> Stage:
        """Return the stage of a model's tokenizer."""
        self.model(name)
        return self._tokenizers[name]

    def _add_model(self, name: str) -> None:
        from fusebench.corpus.models import locate, model_hash

        section = self.recipe.models[name]
        spec = section.train
        if spec is None:
            ref = locate(
                hub=section.hub,
                path=section.path,
                revision=section.revision,
                model_root=self.roots.models,
                download=self.roots.download,
            )
            self._models[name], self._tokenizers[name] = model_stages(ref, model_hash(ref), name)
            return
        inputs: dict[str, Stage] = {}
        if spec.base is not None:
            inputs["base"] = self.model(spec.base)
            words = self.tokenizer(spec.base)
        elif spec.tokenizer_of is not None:
            words = self.tokenizer(spec.tokenizer_of)
        else:
            text = {"kind": spec.tokenizer, "vocab_size": spec.vocab_size, "text": spec.text.model_dump()}
            words = make("tokenizers", name, "tokenizer", params=text)
        params = {"spec": spec.model_dump(mode="json")}
        inputs["tokenizer"] = words
        self._tokenizers[name] = words
        self._models[name] = make("models", name, "trained_model", inputs=inputs, params=params, seed=self.recipe.seed)

    def corpus(self) -> Stage:
        """Return the stage of the corpus, cut for every tokenizer of the run."""
        words = {stage.key: stage for stage in map(self.tokenizer, sorted(self._members()))}
        return make(
            "corpus",
            "",
            "corpus",
            inputs={f"tokenizer:{n}": stage for n, stage in enumerate(words.values())},
            params=corpus_params(self.recipe.corpus),
            seed=self.recipe.seed,
        )

    def _members(self) -> set[str]:
        members: set[str] = set()
        for experiment in self.recipe.experiments:
            members |= {experiment.target, *experiment.sources}
            for row in experiment.rows:
                members |= {*(row.sources or []), *([row.teacher] if row.teacher else [])}
        return members

    def tokens(self, model: str) -> Stage:
        """Return the stage of the corpus in a model's tokens."""
        return make(
            "tokens",
            model,
            "tokens",
            inputs={"corpus": self.corpus(), "tokenizer": self.tokenizer(model)},
            params={"append_eos": self.recipe.corpus.append_eos},
        )

    def blocks(self, target: str, train: TrainSection) -> Stage:
        """Return the stage of a target's training blocks."""
        params = {"block_tokens": train.block_tokens}
        inputs = {"tokens": self.tokens(target)}
        return make("blocks", target, "blocks", inputs=inputs, params=params, seed=self.recipe.seed)

    # ---- from sources to fused rows

    def taught(self, model: str) -> Stage:
        """Return the stage of a model's own top-k rows."""
        return make(
            "teach",
            model,
            "teach",
            inputs={"model": self.model(model), "tokens": self.tokens(model)},
            params={"dtype": self.recipe.models[model].dtype, **self.recipe.teach.model_dump()},
        )

    def aligned(self, source: str, target: str, align: AlignSection) -> Stage:
        """Return the stage of a source's rows at the target's positions."""
        words = {"source": self.tokenizer(source), "target": self.tokenizer(target)}
        vocabulary = make(
            "align",
            f"{source} to {target} {align.vocabulary} map",
            "vocabulary",
            inputs=words,
            params={"method": align.vocabulary, "ties": align.ties, "spelling": align.spelling},
        )
        return make(
            "align",
            f"{source} to {target} {align.vocabulary} {align.sequence}",
            "align",
            inputs={
                "rows": self.taught(source),
                "source_tokens": self.tokens(source),
                "target_tokens": self.tokens(target),
                "source_tokenizer": words["source"],
                "target_tokenizer": words["target"],
                "vocabulary": vocabulary,
                "corpus": self.corpus(),
            },
            params={"align": align.model_dump()},
        )

    def fused(self, members: list[str], target: str, row: Row) -> Stage:
        """Return the stage of the fused rows of `members` for one row of the table."""
        inputs = {
            "blocks": self.blocks(target, row.train),
            "target_tokens": self.tokens(target),
            "corpus": self.corpus(),
        }
        for name in members:
            inputs[f"aligned:{name}"] = row.aligned[name]
            inputs[f"rows:{name}"] = self.taught(name)
            inputs[f"tokens:{name}"] = self.tokens(name)
        params = {"sources": members, "fuse": row.fuse.model_dump()}
        return make("fuse", f"{row.experiment.name} {row.row.name}", "fuse", inputs=inputs, params=params)

    # ---- rows

    def row(self, experiment: ExperimentSection, row: RowSection) -> Row:
        """Return one row of the results table with all stages behind it."""
        from fusebench.methods import METHODS

        if row.method not in METHODS:
            raise RecipeError(
                f"`experiments.{experiment.name}.rows.{row.name}.method` is `{row.method}`",
                why="no method of that name is registered",
                fix=suggest(row.method, METHODS),
            )
        method = METHODS[row.method]
        for option in row.options:
            if option not in method.options:
                raise RecipeError(
                    f"`experiments.{experiment.name}.rows.{row.name}.options` has `{option}`",
                    why=f"method `{row.method}` would ignore it",
                    fix=suggest(option, method.options) if method.options else "remove `options` from the row",
                )
        target = experiment.target
        sources = tuple(row.sources if row.sources is not None else experiment.sources)
        align, fuse, train = resolve(self.recipe, row)
        inputs: dict[str, Stage] = {"target": self.model(target)}
        if "batches" in method.needs:
            inputs["tokens"] = self.tokens(target)
            inputs["blocks"] = self.blocks(target, train)
        if "model" in method.needs and row.model is not None:
            inputs["model"] = self.model(row.model)
        if "sources" in method.needs:
            inputs |= {f"source:{name}": self.model(name) for name in sources}
        draft = Row(experiment, row, sources, align, fuse, train, inputs["target"], ())
        aligned: dict[str, Stage] = {}
        fused: Stage | None = None
        if "fused_rows" in method.needs or "teacher_rows" in method.needs:
            if "teacher_rows" in method.needs:
                assert row.teacher is not None, "checked when the recipe was read"
                members = [row.teacher]
            else:
                members = [*([target] if fuse.target_is_source and target not in sources else []), *sources]
            aligned = {name: self.aligned(name, target, align) for name in members}
            draft = Row(experiment, row, sources, align, fuse, train, inputs["target"], (), None, aligned)
            fused = self.fused(members, target, draft) if "fused_rows" in method.needs else None
            inputs["rows"] = fused if fused is not None else aligned[members[0]]
        uses_training = "batches" in method.needs
        if uses_training and "rows" not in inputs:
            train = train.model_copy(update={"clm_weight": 1.0})
        built = make(
            "methods",
            f"{experiment.name} {row.name}",
            "method",
            inputs=inputs,
            params={
                "method": row.method,
                "options": dict(row.options),
                "train": train.model_dump(mode="json") if uses_training else {},
                "points": row.points if uses_training else 0,
                **self._vocabulary_rules(method.needs, sources, align),
            },
            seed=self.recipe.seed if uses_training else None,
        )
        evaluations = self.evaluations(f"{experiment.name} {row.name}", built, row.points if uses_training else 0)
        return Row(experiment, row, sources, align, fuse, train, built, evaluations, fused, aligned)

    def _vocabulary_rules(self, needs: Collection[str], sources: Sequence[str], align: AlignSection) -> dict[str, Any]:
        """Return the rules other than the usual ones by which a method's sources have their vocabularies mapped."""
        if "vocabulary_rules" not in needs or len({self.tokenizer(name).key for name in sources}) < 2:
            return {}
        usual = AlignSection()
        rules = {name: getattr(align, name) for name in ("vocabulary", "ties", "spelling")}
        changed = {name: value for name, value in rules.items() if value != getattr(usual, name)}
        return {"align": changed} if changed else {}

    def evaluations(self, label: str, candidate: Stage, points: int) -> tuple[Stage, ...]:
        """Return the evaluation of the final model, then one of every earlier point of training."""
        section = self.recipe.evaluate
        final = [self._evaluation(label, candidate, section.suites, None)]
        chosen = section.point_suites
        at_points = [s for s in section.suites if chosen is None or s.name in chosen]
        on_the_way = [
            self._evaluation(f"{label} at {n + 1} of {points}", candidate, at_points, n) for n in range(points - 1)
        ]
        return (*final, *on_the_way)

    def _evaluation(self, label: str, candidate: Stage, suites: list[SuiteSection], point: int | None) -> Stage:
        section = self.recipe.evaluate.model_copy(update={"suites": suites})
        return evaluation(label, candidate, section, self.corpus, roots=self.roots, seed=self.recipe.seed, point=point)


def build_table(recipe: Recipe, roots: Roots) -> Table:
    """Return all rows of a recipe and the report on them.

    Raises:
        RecipeError: an unknown method.
        DataError: an unknown suite.
        ModelError: a model that is not there or cannot be used.
    """
    builder = Builder(recipe, roots)
    rows = tuple(builder.row(e, r) for e in recipe.experiments for r in e.rows)
    inputs: dict[str, Stage] = {}
    meta: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        inputs[f"method:{number}"] = row.method
        if row.row.model is not None:
            inputs[f"model:{number}"] = row.method.inputs["model"]
        inputs |= {f"evaluate:{number}:{at}": stage for at, stage in enumerate(row.evaluations)}
        if row.fused is not None:
            inputs[f"fuse:{number}"] = row.fused
        inputs |= {f"align:{number}:{name}": stage for name, stage in row.aligned.items()}
        meta.append({"experiment": row.experiment.name, "row": row.row.name})
    report = make(
        "report",
        "",
        "report",
        inputs=inputs,
        params={"recipe": recipe_json(recipe), "rows": meta},
        seed=recipe.seed,
    )
    return Table(recipe, rows, report)
