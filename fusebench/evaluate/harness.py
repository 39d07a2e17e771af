"""A candidate on suites, through lm-eval's evaluator: one row per sample."""

import gc
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusebench.artifacts import Chunks
from fusebench.errors import DataError
from fusebench.evaluate.ensembles.aligned import ensemble_of
from fusebench.evaluate.generations import GenerationStore
from fusebench.evaluate.items import item_id, numbered
from fusebench.evaluate.language_model import LanguageModel
from fusebench.evaluate.perplexity import perplexity_rows
from fusebench.evaluate.programs import SCORED
from fusebench.evaluate.sandbox.gate import all_ready
from fusebench.evaluate.suites import Suite, SuiteRun, metric_of
from fusebench.evaluate.tasks import language_of, load_tasks, quiet

Row = dict[str, object]
Progress = Callable[[int, int], None]


def evaluate_candidate(
    models: Sequence[str],
    kind: str,
    suites: Sequence[SuiteRun],
    *,
    held_out: Chunks | None,
    batch_size: int,
    max_length: int | None,
    seed: int,
    data_root: Path | None,
    out: Path,
    align: Mapping[str, str] | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Return one row per sample: suite, task, item, metric, value, weight, status, prompt, output, gold.

    Args:
        models: folders or hub ids; one, or those of an ensemble, whose tokens are the first one's.
        kind: `model` or `ensemble`.
        suites: what to score, and how much of it.
        held_out: texts for the perplexity suite.
        batch_size: requests at a time, at most.
        max_length: longest prompt and answer together, in tokens; None is the model's own.
        seed: of sampled generation.
        data_root: folder of evaluation data that replaces the hub.
        out: folder that keeps what was generated, a file for each model.
        align: how an ensemble of different tokenizers maps vocabularies: `vocabulary`, `ties`, `spelling`.
        dtype: number type of the models; `auto` is as saved; None is float32 on a CPU, else `auto`.
        progress: called with (items done, items).

    Raises:
        ModelError: a model cannot be loaded.
        DataError: a suite's data is not there.
    """
    from fusebench.corpus.models import load_model, load_tokenizer, model_hash

    assert kind in ("model", "ensemble") and (kind == "ensemble" or len(models) == 1), (kind, models)
    device = _device()
    # All rows in one precision, whatever they were saved in: half precision also rounds differently in each batch.
    usual = "float32" if device is None else "auto"
    loaded: list[Any] = [load_model(ref, dtype=dtype or usual, device=device) for ref in models]
    tokenizers = [load_tokenizer(ref) for ref in models]
    model = ensemble_of(loaded, tokenizers, **align or {}) if kind == "ensemble" else loaded[0]
    # Rules of alignment and number types that are not the usual ones make other texts.
    rules = [f"{name}={value}" for name, value in sorted((align or {}).items())]
    rules += [dtype] if dtype else []
    name = " ".join([*map(model_hash, models), *rules])
    store = GenerationStore(out / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.jsonl", name)
    with quiet():
        language_model = LanguageModel(
            model, tokenizers[0], batch_size=batch_size, max_length=max_length, seed=seed, store=store
        )
    rows = evaluate_loaded(language_model, suites, held_out=held_out, data_root=data_root, progress=progress)
    del model, loaded, language_model
    gc.collect()
    return rows


def evaluate_loaded(
    model: LanguageModel,
    suites: Sequence[SuiteRun],
    *,
    held_out: Chunks | None,
    data_root: Path | None,
    progress: Progress | None = None,
) -> list[Row]:
    """Return the rows of a model that is already in memory; see `evaluate_candidate`."""
    planned: list[tuple[SuiteRun, dict[str, Any]]] = []
    for run in suites:
        if run.suite.kind == "perplexity":
            if held_out is None or not len(held_out):
                raise DataError(
                    "suite `perplexity` has no held-out text",
                    why="bits per byte are of a text",
                    fix="set `corpus.held_out_chunks`",
                )
            planned.append((run, {}))
        else:
            with quiet():
                planned.append((run, load_tasks(run.suite.tasks, data_root=data_root, shots=run.shots)))
    with quiet():  # some tasks prepare their items when they are first asked for
        sizes = [_size(run, tasks, held_out) for run, tasks in planned]
    done, rows = 0, []
    for (run, tasks), size in zip(planned, sizes, strict=True):
        model.progress = _within(progress, done, size, sum(sizes))
        if run.suite.kind == "perplexity":
            assert held_out is not None
            found = perplexity_rows(
                model.model,
                model.tokenizer,
                _first(held_out, run.limit),
                max_length=model.context,
                batch_size=int(model.batch_size),
            )
        else:
            found = _task_rows(model, run, tasks)
        rows += [{"suite": run.suite.name, **row} for row in found]
        done += size
        if progress is not None:
            progress(done, sum(sizes))
    return rows


def _within(progress: Progress | None, done: int, size: int, total: int) -> Progress | None:
    """Return progress of one suite's requests as progress of all items; it never goes back."""
    reached = done

    def tell(requests: int, of: int) -> None:
        nonlocal reached
        if progress is not None and done + size * requests // of > reached:
            reached = done + size * requests // of
            progress(reached, total)

    return tell


def _device() -> str | None:
    import torch

    return "cuda" if torch.cuda.is_available() else None


def _first(chunks: Chunks, limit: int | None) -> Chunks:
    """Return the first `limit` chunks of every domain."""
    if limit is None:
        return chunks
    seen: dict[str, int] = {}
    keep = []
    for number, domain in enumerate(chunks.domains):
        seen[domain] = seen.get(domain, 0) + 1
        if seen[domain] <= limit:
            keep.append(number)
    return Chunks(
        [chunks.texts[n] for n in keep],
        [chunks.domains[n] for n in keep],
        [chunks.documents[n] for n in keep],
        [chunks.ends_document[n] for n in keep],
    )


def _size(run: SuiteRun, tasks: dict[str, Any], held_out: Chunks | None) -> int:
    if run.suite.kind == "perplexity":
        assert held_out is not None
        return len(_first(held_out, run.limit))
    return sum(min(len(task.eval_docs), run.limit or 1 << 60) for task in tasks.values())


def _task_rows(model: LanguageModel, run: SuiteRun, tasks: dict[str, Any]) -> list[Row]:
    from lm_eval.evaluator import evaluate

    languages = {name: language for name, task in tasks.items() if (language := language_of(task))}
    reasons = dict(zip(languages, all_ready(list(languages.values())), strict=True))
    blocked = {name: reason for name, reason in reasons.items() if reason is not None}
    runnable = {name: task for name, task in tasks.items() if name not in blocked}
    samples: dict[str, list[dict[str, Any]]] = {}
    if runnable:
        with quiet():
            results = evaluate(
                lm=model,
                task_dict={"tasks": runnable, "groups": {}, "group_map": {}},
                limit=run.limit,
                bootstrap_iters=0,
                log_samples=True,
                confirm_run_unsafe_code=False,
            )
        samples = results["samples"]
    rows: list[Row] = []
    for name, task in tasks.items():
        if name in blocked:
            rows += _unavailable_rows(run.suite, name, task, run.limit, blocked[name])
        else:
            rows += _scored_rows(run.suite, name, task, samples[name])
    return rows


def _unavailable_rows(suite: Suite, name: str, task: Any, limit: int | None, reason: str) -> list[Row]:
    docs = [doc for _, doc in task.doc_iterator(limit=limit)]
    metric = metric_of(suite, name, task.aggregation())
    return [
        {
            "task": name,
            "item": item,
            "metric": metric,
            "value": math.nan,
            "weight": 1.0,
            "status": "unavailable",
            "prompt": str(task.doc_to_text(doc)),
            "output": reason,
            "gold": str(task.doc_to_target(doc)),
        }
        for item, doc in zip(numbered(item_id(doc) for doc in docs), docs, strict=True)
    ]


def _scored_rows(suite: Suite, name: str, task: Any, samples: Sequence[dict[str, Any]]) -> list[Row]:
    first = samples[0]["filter"]
    chosen = sorted((s for s in samples if s["filter"] == first), key=lambda s: int(s["doc_id"]))
    metric = metric_of(suite, name, chosen[0]["metrics"])
    rows: list[Row] = []
    for item, sample in zip(numbered(item_id(s["doc"]) for s in chosen), chosen, strict=True):
        value, weight = _value(metric, sample[metric], name)
        prompt, output, gold = _texts(task, sample)
        status = _status(sample, value)
        rows.append(
            {
                "task": name,
                "item": item,
                "metric": metric,
                "value": value if status == "ok" else math.nan,
                "weight": weight,
                "status": status,
                "prompt": prompt,
                "output": output,
                "gold": gold,
            }
        )
    return rows


def _value(metric: str, value: Any, task: str) -> tuple[float, float]:
    """Return value and weight of one sample; lm-eval keeps (log-likelihood, bytes) for bits per byte."""
    if metric == "bits_per_byte":
        logprob, size = value
        return -float(logprob) / math.log(2) / size, float(size)
    if isinstance(value, (tuple, list)):
        raise DataError(
            f"metric `{metric}` of task `{task}` has no value of a single sample",
            why="it is defined for all samples together",
            fix="choose a task with accuracy or exact match",
        )
    return float(value), 1.0


def _status(sample: dict[str, Any], value: float) -> str:
    """Return ok where the sample counts; else why it does not."""
    if not math.isnan(value):
        return "ok"
    outcomes = sample["filtered_resps"][0]
    found = {o["status"] for o in outcomes} if isinstance(outcomes, list) else set()
    return "unavailable" if "unavailable" in found and not found & set(SCORED) else "error"


def _texts(task: Any, sample: dict[str, Any]) -> tuple[str, str, str]:
    """Return prompt, the model's answer and the right one, as plain text."""
    arguments = sample["arguments"]
    prompt = str(arguments[0][0])
    target = sample["target"]
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = [str(a[1]).strip() for a in arguments]
        likely = [float(r[0][0]) for r in sample["resps"]]
        if len({a[0] for a in arguments}) > 1:
            choices = [str(a[0]) for a in arguments]
        best = choices[max(range(len(choices)), key=likely.__getitem__)]
        known = isinstance(target, int) and 0 <= target < len(choices)
        return prompt, best, choices[target] if known else str(target)
    if task.OUTPUT_TYPE == "generate_until":
        return prompt, str(sample["resps"][0][0]), str(target)
    return prompt, str(sample["resps"][0][0]), str(target)
