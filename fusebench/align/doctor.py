"""The alignment doctor: how well a source's tokens fit a target's, on given texts, without any model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from fusebench.align.cache import cached_map
from fusebench.align.links import Links, Pair, link
from fusebench.align.spelling import show, spell
from fusebench.align.summary import Summary, summarise
from fusebench.artifacts import OUTCOMES, Chunks, TokenTable
from fusebench.corpus.models import load_tokenizer, tokenizer_hash
from fusebench.corpus.tokenize import tokenize
from fusebench.errors import DataError, ModelError
from fusebench.recipe import AlignSection
from fusebench.recipe.sections import PRESETS

Preset = Literal["paper", "reference"]
PLAIN = (".txt", ".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet")


@dataclass(frozen=True)
class TextAlignment:
    """One text under both tokenizers, without special tokens, and the links between them.

    Args:
        text: as given.
        target_ids, source_ids: token ids.
        target_to_source: for each target position its source positions, ascending.
        outcomes: for each target position one of `OUTCOMES`.
        target_tokens, source_tokens: spellings, fit for showing.
    """

    text: str
    target_ids: list[int]
    source_ids: list[int]
    target_to_source: list[list[int]]
    outcomes: list[str]
    target_tokens: list[str]
    source_tokens: list[str]


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Args:
        target, source: as the caller named them.
        preset, sequence, vocabulary: what was asked for.
        summary: shares, mass lost and worst tokens over all texts. `mass_lost` is of the texts' own source
            tokens: the share that stands for no target token.
        texts: the texts one by one.
    """

    target: str
    source: str
    preset: str
    sequence: str
    vocabulary: str
    summary: Summary
    texts: list[TextAlignment]

    def to_json(self) -> str:
        """Return everything as JSON (ASCII only, so that any terminal and pipe carries it)."""
        own = {n: getattr(self, n) for n in ("target", "source", "preset", "sequence", "vocabulary")}
        summary = {**asdict(self.summary), "with_row": self.summary.with_row}
        return json.dumps({**own, **summary, "texts": [asdict(text) for text in self.texts]})

    def to_html(self) -> str:
        """Return one self-contained page: no script, no external address, all text escaped."""
        from fusebench.align.page import page

        return page(self)

    def __rich__(self) -> Any:
        """Return what a terminal shows: tables, and the picture of a passage."""
        from fusebench.align.terminal import render

        return render(self)


def align_section(
    preset: Preset = "paper", *, sequence: str | None = None, vocabulary: str | None = None
) -> AlignSection:
    """Return the align section of a preset, with the named sequence alignment and vocabulary map."""
    changes = {"sequence": sequence, "vocabulary": vocabulary}
    given = {key: value for key, value in changes.items() if value is not None}
    return AlignSection.model_validate({**PRESETS[preset].get("align", {}), **given})


def diagnose(
    target_ref: str | Path,
    source_ref: str | Path,
    texts: Sequence[str],
    *,
    sequence: Literal["dtw", "offset"] = "dtw",
    vocabulary: Literal["em", "min_ed"] = "min_ed",
    preset: Preset = "paper",
    model_root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Return how a source's tokens align with a target's on these texts.

    Args:
        target_ref, source_ref: hub id, folder, or a bare tokenizer.json (also .gz).
        texts: aligned one by one, whole; empty ones are allowed.
        sequence, vocabulary, preset: as in a recipe.
        model_root: folder laid out by hub id, looked up before the hub.
        progress: called with texts done and in all.

    Raises:
        ModelError: a tokenizer cannot be loaded, or is not a fast one.
        DataError: a text is too long for `dtw`, or a tokenizer drops all of a text.
    """
    section = align_section(preset, sequence=sequence, vocabulary=vocabulary)
    target_tokenizer, source_tokenizer = (load_reference(ref, model_root) for ref in (target_ref, source_ref))
    known = cached_map(source_tokenizer, target_tokenizer, section.vocabulary, section.ties, section.spelling)
    pair = Pair(spell(source_tokenizer), spell(target_tokenizer), known, section.spelling)
    target, source = (plain_tokens(texts, tokenizer) for tokenizer in (target_tokenizer, source_tokenizer))
    found = link(pair, source, target, section.sequence, progress)
    mapped = known.target[source.ids] >= 0
    lost = 1.0 - float(mapped.mean()) if len(mapped) else 0.0
    return Diagnosis(
        str(target_ref),
        str(source_ref),
        preset,
        section.sequence,
        section.vocabulary,
        summarise(pair, found, source, target, texts, lost),
        [_one(number, text, pair, found, source, target) for number, text in enumerate(texts)],
    )


def load_reference(ref: str | Path, model_root: Path | None = None) -> Any:
    """Return the tokenizer that a hub id, a folder or a tokenizer.json(.gz) names.

    Raises:
        ModelError: there is none.
    """
    path = Path(ref).expanduser()
    if path.exists():
        return load_tokenizer(path)
    if model_root is not None and (model_root / ref).is_dir():
        return load_tokenizer(model_root / ref)
    if path.is_absolute() or path.suffix in (".json", ".gz") or len(path.parts) > 2:
        raise ModelError(
            f"there is no tokenizer at `{ref}`",
            why="no such file or folder",
            fix="give a hub id (owner/name), a model folder, or a tokenizer.json (also .gz)",
        )
    return load_tokenizer(str(ref))


def plain_tokens(texts: Sequence[str], tokenizer: Any) -> TokenTable:
    """Return the texts' tokens without special ones; an empty text has none."""
    filled = [text for text in texts if text]
    count = len(filled)
    chunks = Chunks(filled, [""] * count, list(range(count)), [True] * count)
    if not count:
        nothing = np.zeros(0, dtype=np.int32)
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        return TokenTable(nothing, nothing, nothing, nothing.astype(bool), offsets, tokenizer_hash(tokenizer))
    table = tokenize(chunks, tokenizer, append_eos=False)
    keep = ~table.special
    lengths = np.zeros(len(texts), dtype=np.int64)
    lengths[[bool(text) for text in texts]] = np.diff(np.concatenate([[0], np.cumsum(keep)])[table.offsets])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    parts = (table.ids[keep], table.starts[keep], table.ends[keep], table.special[keep])
    return TokenTable(*parts, offsets, table.tokenizer)


def _one(number: int, text: str, pair: Pair, found: Links, source: TokenTable, target: TokenTable) -> TextAlignment:
    s, t = source.span(number), target.span(number)
    indptr = found.spans.indptr
    links = [found.spans.indices[indptr[p] : indptr[p + 1]].tolist() for p in range(t.start, t.stop)]
    return TextAlignment(
        text,
        target.ids[t].tolist(),
        source.ids[s].tolist(),
        links,
        [OUTCOMES[code] for code in found.spans.outcomes[t].tolist()],
        _shown(target.ids[t], pair.target.shown),
        _shown(source.ids[s], pair.source.shown),
    )


def _shown(ids: ndarray, shown: Callable[[int], str]) -> list[str]:
    return [shown(int(index)) for index in ids]


def read_texts(paths: Sequence[Path], limit: int | None = None) -> list[str]:
    """Return the texts of files: each record of jsonl (.gz, .xz) or parquet, any other file as one text.

    Args:
        paths: files.
        limit: at most so many texts of each file.

    Raises:
        DataError: a file is missing, not UTF-8, or lacks the field `text`.
    """
    from fusebench.corpus.read import file_documents
    from fusebench.recipe import FileText

    found: list[str] = []
    for path in paths:
        if path.name.lower().endswith(PLAIN[1:]):
            found += [text for _, text in file_documents([FileText(path=str(path), limit=limit)])]
        else:
            found.append(read_text(path))
    return found


def read_text(path: Path) -> str:
    """Return the text of one UTF-8 file, unchanged.

    Raises:
        DataError: it is missing, a folder, or not UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise DataError(
            f"text file `{path}` cannot be read", why=error.strerror or str(error), fix="correct the path"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"text file `{path}` is not UTF-8",
            why=f"byte {error.start} is 0x{error.object[error.start]:02X}: {error.reason}",
            fix=f"convert it, for example with `iconv -f LATIN1 -t UTF-8 {path}`",
        ) from error


@dataclass(frozen=True)
class VocabularyReport:
    """The vocabulary map of two tokenizers, for a person or a program.

    Args:
        target, source: as the caller named them.
        preset, vocabulary: what was asked for.
        entries: one per source id: `id`, `token` (the tokenizer's own string), `spelling`, `target_id` and
            `distance` (null where nothing stands for it), `target_token`, `ties`.
        target_vocab: number of target ids.
    """

    target: str
    source: str
    preset: str
    vocabulary: str
    entries: list[dict[str, Any]]
    target_vocab: int

    def to_json(self) -> str:
        """Return everything as JSON (ASCII only)."""
        return json.dumps(asdict(self))

    def __rich__(self) -> Any:
        """Return what a terminal shows."""
        from fusebench.align.terminal import render_vocabulary

        return render_vocabulary(self)


def vocabulary_report(
    target_ref: str | Path,
    source_ref: str | Path,
    *,
    vocabulary: Literal["em", "min_ed"] = "min_ed",
    preset: Preset = "paper",
    model_root: Path | None = None,
) -> VocabularyReport:
    """Return, for every source id, the target id that stands for it, its distance and its rivals.

    Raises:
        ModelError: a tokenizer cannot be loaded, or is not a fast one.
    """
    from fusebench.align.spelling import marker, raw_spellings

    section = align_section(preset, vocabulary=vocabulary)
    target_tokenizer, source_tokenizer = (load_reference(ref, model_root) for ref in (target_ref, source_ref))
    known = cached_map(source_tokenizer, target_tokenizer, section.vocabulary, section.ties, section.spelling)
    source, target = spell(source_tokenizer), spell(target_tokenizer)
    raw = raw_spellings(source, marker(target) or None) if section.spelling == "raw" else None
    entries = []
    for index, token in enumerate(source.raw):
        hit = int(known.target[index])
        spelling = raw[index] if raw is not None else source.text[index]
        entries.append(
            {
                "id": index,
                "token": token,
                "spelling": show(spelling) if spelling is not None else None,
                "target_id": hit if hit >= 0 else None,
                "target_token": target.raw[hit] if hit >= 0 else None,
                "distance": int(known.distance[index]) if hit >= 0 else None,
                "ties": int(known.ties[index]),
            }
        )
    names = (str(target_ref), str(source_ref), preset, section.vocabulary)
    return VocabularyReport(*names, entries, len(target))
