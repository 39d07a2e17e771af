"""The stage functions: each loads typed artefacts from folders, calls one function of the project, and saves."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusebench.artifacts import Blocks, Candidate, Chunks, SparseDistributions, TokenTable, VocabMap, write_samples
from fusebench.recipe import AlignSection, CorpusSection, FuseSection, TrainedModel, TrainSection

Inputs = Mapping[str, Path]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """What every stage function gets besides its inputs and parameters.

    Args:
        seed: of the stage.
        progress: called with (done, total).
        run: the run's folder, for what outlives a stage: its key may change while a model's answers do not.
    """

    seed: int
    progress: Callable[[int, int], None]
    run: Path


@dataclass(frozen=True)
class Function:
    """A stage function, its version (part of every key) and the artefact type that it writes."""

    run: Callable[[Inputs, Params, Path, Context], None]
    version: int
    type: str


FUNCTIONS: dict[str, Function] = {}


def stage(type: str, version: int = 1) -> Callable[..., Any]:
    """Return a decorator that registers a stage function under its name."""

    def register(run: Callable[[Inputs, Params, Path, Context], None]) -> Callable[..., None]:
        FUNCTIONS[run.__name__] = Function(run, version, type)
        return run

    return register


@stage("Tokenizer")
def tokenizer(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Train a tokenizer on toy text."""
    from fusebench.toyworld import mixture
    from fusebench.toyworld.tokenizers import train_tokenizer

    text = params["text"]
    texts = [t for _, t in mixture(text["mixture"], text["documents"], text["seed"])]
    train_tokenizer(params["kind"], texts, params["vocab_size"]).save_pretrained(out)


@stage("Tokenizer")
def tokenizer_of_model(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Keep the tokenizer of a pre-trained model beside the run."""
    from fusebench.corpus.models import load_tokenizer

    load_tokenizer(params["ref"]).save_pretrained(out)


@stage("Candidate")
def pretrained_model(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Refer to a pre-trained model."""
    from fusebench.corpus.models import count_parameters

    Candidate("model", [params["ref"]], parameters=count_parameters(params["ref"])).save(out)


@stage("Candidate")
def trained_model(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Train a toy model from nothing, or continue another one."""
    from fusebench.corpus.chunk import cut
    from fusebench.corpus.models import load_model, load_tokenizer
    from fusebench.corpus.tokenize import tokenize
    from fusebench.toyworld import mixture
    from fusebench.toyworld.models import build_model
    from fusebench.train import pack, train

    spec = TrainedModel.model_validate(params["spec"])
    words = load_tokenizer(str(inputs["tokenizer"]))
    weights = {str(domain): weight for domain, weight in spec.text.mixture.items()}
    documents = mixture(weights, spec.text.documents, spec.text.seed)
    settings = spec.train
    chunks, _ = cut(
        documents,
        {"own": words},
        chunk_tokens=settings.block_tokens,
        max_chunks=None,
        held_out_chunks=0,
        seed=context.seed,
    )
    table = tokenize(chunks, words, append_eos=True)
    if "base" in inputs:
        model = load_model(Candidate.load(inputs["base"]).models[0])
    else:
        assert spec.architecture is not None
        model = build_model(
            spec.architecture,
            vocab_size=len(words),
            hidden=spec.hidden,
            layers=spec.layers,
            heads=spec.heads,
            context=spec.context,
            seed=context.seed,
            tokenizer=words,
        )
    blocks = pack(table, settings.block_tokens, context.seed)
    train(model, words, table, blocks, None, settings, out, seed=context.seed, progress=context.progress).save(out)


def _documents(section: CorpusSection) -> Iterator[tuple[str, str]]:
    from fusebench.corpus.read import file_documents, hub_documents, toy_documents

    if section.toy is not None:
        weights = {str(domain): weight for domain, weight in section.toy.mixture.items()}
        yield from toy_documents(weights, section.toy.documents, section.toy.seed)
    elif section.files is not None:
        yield from file_documents(section.files)
    elif section.hub is not None:
        yield from hub_documents(section.hub)


@stage("Chunks")
def corpus(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Cut the corpus so that no tokenizer of the run truncates a chunk."""
    from fusebench.corpus.chunk import cut
    from fusebench.corpus.models import load_tokenizer

    section = CorpusSection.model_validate(params["corpus"])
    training, held_out = cut(
        _documents(section),
        {role: load_tokenizer(str(folder)) for role, folder in inputs.items()},
        chunk_tokens=section.chunk_tokens,
        max_chunks=section.max_chunks,
        held_out_chunks=section.held_out_chunks,
        seed=context.seed,
    )
    for name, chunks in (("training", training), ("held_out", held_out)):
        (out / name).mkdir(exist_ok=True)
        chunks.save(out / name)


@stage("Chunks")
def texts(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Keep whole texts for perplexity; windows, not chunks, make them fit a model."""
    documents = list(_documents(CorpusSection.model_validate(params["corpus"])))
    chunks = Chunks(
        texts=[text for _, text in documents],
        domains=[domain for domain, _ in documents],
        documents=list(range(len(documents))),
        ends_document=[True] * len(documents),
    )
    (out / "held_out").mkdir(exist_ok=True)
    chunks.save(out / "held_out")


@stage("TokenTable")
def tokens(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Write the corpus in one tokenizer's tokens."""
    from fusebench.corpus.models import load_tokenizer
    from fusebench.corpus.tokenize import tokenize

    chunks = Chunks.load(inputs["corpus"] / "training")
    tokenize(chunks, load_tokenizer(str(inputs["tokenizer"])), append_eos=params["append_eos"]).save(out)


@stage("Blocks")
def blocks(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Pack chunks into training blocks."""
    from fusebench.train import pack

    pack(TokenTable.load(inputs["tokens"]), params["block_tokens"], context.seed).save(out)


@stage("SparseDistributions(tokens=source, vocab=source)")
def teach(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Run a source over the corpus and keep its top-k rows."""
    from fusebench.corpus.models import load_model
    from fusebench.teach import capture

    capture(
        load_model(Candidate.load(inputs["model"]).models[0], params["dtype"]),
        TokenTable.load(inputs["tokens"]),
        out,
        top_k=params["top_k"],
        batch_tokens=params["batch_tokens"],
        progress=context.progress,
    )


@stage("VocabMap")
def vocabulary(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Map a source's vocabulary to the target's."""
    from fusebench.align import map_vocabulary
    from fusebench.corpus.models import load_tokenizer

    source, target = (load_tokenizer(str(inputs[role])) for role in ("source", "target"))
    map_vocabulary(source, target, params["method"], params["ties"], params["spelling"]).save(out)


@stage("SparseDistributions(tokens=target, vocab=target)")
def align(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Carry a source's rows to the target's positions and ids."""
    from fusebench.align import align_source
    from fusebench.corpus.models import load_tokenizer

    align_source(
        load_tokenizer(str(inputs["source_tokenizer"])),
        load_tokenizer(str(inputs["target_tokenizer"])),
        TokenTable.load(inputs["source_tokens"]),
        TokenTable.load(inputs["target_tokens"]),
        SparseDistributions.open(inputs["rows"]),
        AlignSection.model_validate(params["align"]),
        out,
        chunks=Chunks.load(inputs["corpus"] / "training"),
        vocab_map=VocabMap.load(inputs["vocabulary"]),
        progress=context.progress,
    )


@stage("SparseDistributions(tokens=target, vocab=target)")
def fuse(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Fuse the aligned rows of several sources."""
    from fusebench.fuse import fuse as fuse_rows

    names: list[str] = params["sources"]
    fuse_rows(
        {
            name: (
                SparseDistributions.open(inputs[f"aligned:{name}"]),
                SparseDistributions.open(inputs[f"rows:{name}"]),
                TokenTable.load(inputs[f"tokens:{name}"]),
            )
            for name in names
        },
        Blocks.load(inputs["blocks"]),
        TokenTable.load(inputs["target_tokens"]),
        Chunks.load(inputs["corpus"] / "training"),
        FuseSection.model_validate(params["fuse"]),
        out,
        progress=context.progress,
    )


@stage("Candidate")
def method(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Build one row of the results table."""
    from fusebench.methods import METHODS, MethodInputs

    def model(role: str) -> str | None:
        return Candidate.load(inputs[role]).models[0] if role in inputs else None

    target = model("target")
    assert target is not None
    built = METHODS[params["method"]].build(
        MethodInputs(
            target=target,
            model=model("model"),
            sources={role.removeprefix("source:"): str(model(role)) for role in inputs if role.startswith("source:")},
            tokens=TokenTable.load(inputs["tokens"]) if "tokens" in inputs else None,
            blocks=Blocks.load(inputs["blocks"]) if "blocks" in inputs else None,
            rows=SparseDistributions.open(inputs["rows"]) if "rows" in inputs else None,
            train=TrainSection.model_validate(params["train"]),
            options=params["options"],
            seed=context.seed,
            points=params["points"],
            out=out,
            progress=context.progress,
            align=params.get("align", {}),
        )
    )
    built.save(out)


@stage("SampleScore", 2)
def evaluate(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Score a candidate, or one of its checkpoints, on the suites."""
    from fusebench.evaluate import SuiteRun, evaluate_candidate
    from fusebench.evaluate.sandbox import probe_record
    from fusebench.evaluate.suites import find_suite, runs_programs

    candidate = Candidate.load(inputs["candidate"])
    models, step, seen = candidate.models, -1, candidate.tokens
    if params["point"] is not None:
        checkpoint = candidate.checkpoints[params["point"]]
        models = [str(inputs["candidate"] / checkpoint.folder)]
        step, seen = checkpoint.step, checkpoint.tokens
    held_out = Chunks.load(inputs["corpus"] / "held_out") if "corpus" in inputs else None
    suites = [SuiteRun(find_suite(s["name"], s["tasks"]), s["limit"], s["shots"]) for s in params["suites"]]
    rows = evaluate_candidate(
        models,
        candidate.kind,
        suites,
        held_out=held_out,
        batch_size=params["batch_size"],
        max_length=params["max_length"],
        dtype=params.get("dtype"),
        seed=context.seed,
        data_root=Path(params["data_root"]) if params.get("data_root") else None,
        out=context.run / "generations",
        align=candidate.align,
        progress=context.progress,
    )
    place = {"experiment": "", "row": "", "seed": context.seed, "step": step, "tokens": seen}
    record = probe_record() if any(runs_programs(run.suite) for run in suites) else None
    if record is not None:
        record.save(out)
    write_samples(out / "samples.parquet", [{**place, **row} for row in rows])


@stage("Table", 2)
def report(inputs: Inputs, params: Params, out: Path, context: Context) -> None:
    """Gather all rows, test the differences and render the page."""
    from fusebench.pipeline.collect import collect
    from fusebench.report import headline_text, render

    run_report = collect(inputs, params, context.seed)
    run_report.samples.to_parquet(out / "samples.parquet", index=False)
    (out / "headline.txt").write_text(headline_text(run_report))
    render(run_report, out)


def copy_report(stage_folder: Path, folder: Path) -> Path:
    """Copy a rendered report to where people look for it and return the page's path."""
    from fusebench.artifacts import atomic_write
    from fusebench.artifacts.manifest import NAME

    for path in sorted(stage_folder.iterdir()):
        if path.name != NAME and path.is_file():
            target = folder / path.name
            if not target.exists() or target.read_bytes() != path.read_bytes():
                atomic_write(target, path.read_bytes())
    return folder / "index.html"
