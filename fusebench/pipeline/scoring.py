"""The stage that scores a candidate on suites, and the texts that its perplexity is of."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fusebench.errors import DataError
from fusebench.evaluate.suites import Suite
from fusebench.pipeline.stage import Stage
from fusebench.pipeline.stages import Roots, corpus_params, make
from fusebench.recipe import CorpusSection, EvaluateSection, FileText


def evaluation(
    label: str,
    candidate: Stage,
    section: EvaluateSection,
    corpus: Callable[[], Stage] | None,
    *,
    roots: Roots,
    seed: int,
    point: int | None = None,
) -> Stage:
    """Return the stage that scores a candidate (or the checkpoint number `point` of it) on the suites.

    `corpus` gives the held-out text for perplexity where the suite names no texts of its own.

    Raises:
        DataError: an unknown suite, or perplexity without text.
    """
    from fusebench.evaluate.suites import find_suite, fingerprint

    found = [find_suite(s.name, s.tasks) for s in section.suites]
    inputs = {"candidate": candidate}
    if any(suite.kind == "perplexity" for suite in found):
        texts = [text for suite in section.suites for text in suite.texts or []]
        if texts:
            inputs["corpus"] = texts_stage(texts)
        elif corpus is not None:
            inputs["corpus"] = corpus()
        else:
            raise DataError(
                "suite `perplexity` has no text",
                why="bits per byte are of a text",
                fix="give a file or folder with --text [NAME=]PATH",
            )
    return make(
        "evaluate",
        label,
        "evaluate",
        inputs=inputs,
        params={
            "point": point,
            "suites": [s.model_dump(exclude={"texts"}) for s in section.suites],
            "tasks": {suite.name: fingerprint(suite) for suite in found},
            "batch_size": section.batch_size,
            "max_length": section.max_length,
            **({} if section.dtype is None else {"dtype": section.dtype}),
            "data": "hub" if roots.data is None else "local",
            "languages": _runnable(found),
        },
        private={"data_root": None if roots.data is None else str(roots.data)},
        seed=seed,
    )


def _runnable(suites: "Sequence[Suite]") -> list[str]:
    """Return the languages that can be run here of those that the suites score; a sandbox installed later counts."""
    from fusebench.evaluate.sandbox import LANGUAGES, missing
    from fusebench.toyworld import TASKS

    tasks = [task for suite in suites if suite.kind == "program" for task in suite.tasks]
    wanted = {TASKS[task].language for task in tasks} if all(task in TASKS for task in tasks) else set(LANGUAGES)
    return sorted(language for language in wanted if missing(language) is None)


def texts_stage(given: Sequence[str]) -> Stage:
    """Return the stage that reads texts, each `[NAME=]PATH`; see `named_files`."""
    section = CorpusSection(files=[file for text in given for file in named_files(text)])
    return make("corpus", "texts", "texts", params=corpus_params(section))


def named_files(given: str) -> list[FileText]:
    """Return the files that `[NAME=]PATH` stands for, each under that name; without one, the file's or folder's own.

    Raises:
        DataError: the name is empty, there is no such path, or a folder has no file of a known kind.
    """
    from fusebench.corpus.read import SUFFIXES, files_below

    name, equals, rest = given.partition("=")
    # A path may hold an equals sign itself.
    name, path = (name, Path(rest)) if equals and not Path(given).exists() else ("", Path(given))
    path = path.expanduser()
    if equals and not name and path != Path(given):
        raise DataError(f"`--text {given}` has an empty name", why="nothing stands before `=`", fix="give NAME=PATH")
    if not path.exists():
        raise DataError(f"no text file or folder `{path}`", why=f"`--text {given}` names it", fix="correct the path")
    if not path.is_dir():
        return [FileText(path=str(path), domain=name)]
    files = files_below(path)
    if not files:
        raise DataError(
            f"folder `{path}` has no texts", why=f"none of its files ends in {', '.join(SUFFIXES)}", fix="add some"
        )
    return [FileText(path=str(file), domain=name or path.resolve().name) for file in files]
