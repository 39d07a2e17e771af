"""A candidate on suites: rows, agreement with plain lm-eval, and what is unavailable."""

import gzip
import json
import math
from pathlib import Path

import pytest

from fusebench.artifacts import SAMPLE_COLUMNS, Chunks
from fusebench.errors import DataError
from fusebench.evaluate import SuiteRun, evaluate_candidate, find_suite
from fusebench.evaluate.data import SOURCES, load_local, read_items
from fusebench.evaluate.sandbox import missing
from tests.tiny_models import save_byte_model

SHARED = Path(__file__).parents[1].parent / "shared"
COLUMNS = set(SAMPLE_COLUMNS) - {"experiment", "row", "seed", "step", "tokens"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_byte_model(tmp_path_factory.mktemp("model"), sharper=3)


def evaluate(folder, *runs, kind="model", held_out=None, data_root=None, out=None, **more):
    models_ = [folder] if kind == "model" else [folder, folder]
    settings = {"batch_size": 8, "max_length": None, "seed": 0, **more}
    return evaluate_candidate(
        models_, kind, runs, held_out=held_out, data_root=data_root, out=out or Path(folder, "out"), **settings
    )


def test_every_suite_gives_one_row_per_item_and_metric_with_the_columns_of_samples(folder):
    held_out = Chunks(["one text", "another text"], ["a", "b"], [0, 1], [True, True])
    runs = [SuiteRun(find_suite(name), 3) for name in ("toy_bbh", "toy_commonsense", "perplexity")]
    seen = []
    rows = evaluate(folder, *runs, held_out=held_out, progress=lambda done, total: seen.append((done, total)))
    assert [len([r for r in rows if r["suite"] == run.suite.name]) for run in runs] == [12, 9, 4]
    assert all(set(row) == COLUMNS for row in rows)
    assert {r["metric"] for r in rows} == {"exact_match", "acc", "bits_per_byte", "bits_per_token"}
    assert seen[-1] == (23, 23)


def test_items_have_the_same_id_in_every_run_and_no_two_in_a_task_the_same(folder):
    run = SuiteRun(find_suite("toy_bbh"), 20)
    first, second = evaluate(folder, run), evaluate(folder, run, batch_size=3)
    assert [r["item"] for r in first] == [r["item"] for r in second]
    assert len({(r["task"], r["item"]) for r in first}) == len(first)


@pytest.mark.parametrize("name", ["toy_navigate", "toy_word_sorting", "toy_properties"])
def test_scores_are_those_of_plain_lm_eval(folder, name):
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    from fusebench.evaluate.suites import tasks_folder
    from fusebench.evaluate.tasks import quiet

    rows = evaluate(folder, SuiteRun(find_suite("some", [name]), 20))
    with quiet():
        plain = simple_evaluate(
            model="hf",
            model_args={"pretrained": folder, "dtype": "float32"},
            tasks=[name],
            task_manager=TaskManager(include_path=str(tasks_folder()), include_defaults=False),
            limit=20,
            bootstrap_iters=0,
            device="cpu",
            batch_size=4,
        )
    samples = sorted(plain["samples"][name], key=lambda s: s["doc_id"])
    assert [r["value"] for r in rows] == [s[rows[0]["metric"]] for s in samples]
    if rows[0]["metric"] == "exact_match":
        assert [r["output"] for r in rows] == [s["resps"][0][0] for s in samples]


def test_two_copies_as_an_ensemble_score_like_the_model(folder):
    run = SuiteRun(find_suite("toy_commonsense"), 8)
    single, double = evaluate(folder, run), evaluate(folder, run, kind="ensemble")
    assert [(r["output"], r["value"]) for r in single] == [(r["output"], r["value"]) for r in double]


def test_without_a_sandbox_programs_are_unavailable_with_no_value_and_not_even_generated(folder, monkeypatch, tmp_path):
    from fusebench.evaluate.language_model import LanguageModel

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(LanguageModel, "generate_until", lambda *_: pytest.fail("nothing to generate"))
    rows = evaluate(folder, SuiteRun(find_suite("toy_code"), 4))
    assert {r["status"] for r in rows} == {"unavailable"}
    assert all(math.isnan(r["value"]) for r in rows)
    assert "install" in str(rows[0]["output"])


def test_programs_are_run_and_scored(folder):
    if (reason := missing("python")) is not None:
        pytest.skip(reason)
    rows = evaluate(folder, SuiteRun(find_suite("toy_code", ["toy_code_py"]), 3))
    assert [(r["status"], r["value"]) for r in rows] == [("ok", 0.0)] * 3


def test_held_out_solutions_pass_their_own_tests_through_the_task():
    from fusebench.evaluate.tasks import load_tasks

    for name, language in (("toy_code_py", "python"), ("toy_code_js", "javascript")):
        if (reason := missing(language)) is not None:
            pytest.skip(reason)
        task = load_tasks([name])[name]
        docs = list(task.eval_docs)[:6]
        outcomes = task._filters[0].filters[0]().apply([[doc["solution"]] for doc in docs], docs)
        assert [task.process_results(doc, [out]) for doc, out in zip(docs, outcomes, strict=True)] == [
            {"pass@1": 1.0}
        ] * 6


def test_perplexity_without_text_is_a_clear_error(folder):
    with pytest.raises(DataError, match="held-out"):
        evaluate(folder, SuiteRun(find_suite("perplexity")))


def test_a_data_folder_without_the_task_is_a_clear_error(folder, tmp_path):
    with pytest.raises(DataError, match="data folder"):
        evaluate(folder, SuiteRun(find_suite("commonsense", ["boolq"]), 2), data_root=tmp_path)


def test_a_damaged_data_file_is_named_with_the_line(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": \n'))
    with pytest.raises(DataError, match="line 2"):
        read_items(path)


def test_boolean_answers_of_boolq_become_the_labels_that_lm_eval_reads(tmp_path):
    folder = tmp_path / "commonsense"
    folder.mkdir()
    items = [{"question": "q", "passage": "p", "answer": a} for a in (True, False)]
    (folder / "boolq_validation.jsonl").write_text("\n".join(map(json.dumps, items)))
    assert [item["label"] for item in load_local("boolq", tmp_path)] == [1, 0]


def test_local_data_scores_bbh_and_commonsense_with_lm_evals_own_prompts(folder):
    if not (SHARED / "data").is_dir():
        pytest.skip("the shared data folder is absent")
    runs = [
        SuiteRun(find_suite("bbh_direct", ["navigate"]), 2),
        SuiteRun(find_suite("commonsense", ["arc_challenge", "boolq", "openbookqa"]), 2),
    ]
    rows = evaluate(folder, *runs, data_root=SHARED / "data")
    assert [r["metric"] for r in rows] == ["exact_match"] * 2 + ["acc_norm"] * 2 + ["acc"] * 2 + ["acc_norm"] * 2
    assert all(r["status"] == "ok" for r in rows)
    assert str(rows[0]["prompt"]).startswith("Given a series of navigation instructions")


@pytest.mark.parametrize("name", ["arc_easy", "boolq", "openbookqa"])
def test_real_items_score_with_a_real_model_as_plain_lm_eval_scores_them(shared, name, tmp_path):
    from lm_eval.evaluator import evaluate as plain_evaluate
    from lm_eval.models.huggingface import HFLM

    from fusebench.evaluate.tasks import load_tasks, quiet

    model = str(shared / "models" / "stories260K-hf")
    rows = evaluate(model, SuiteRun(find_suite(name), 12), data_root=shared / "data", out=tmp_path)
    with quiet():
        plain = plain_evaluate(
            lm=HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=4),
            task_dict={"tasks": load_tasks([name], data_root=shared / "data"), "groups": {}, "group_map": {}},
            limit=12,
            bootstrap_iters=0,
            log_samples=True,
        )
    samples = sorted(plain["samples"][name], key=lambda s: s["doc_id"])
    assert [r["value"] for r in rows] == [s[rows[0]["metric"]] for s in samples]


def test_every_definition_that_local_data_feeds_is_one_of_lm_evals():
    from fusebench.evaluate.suites import lm_eval_tasks_folder

    definitions = {source.definition for source in SOURCES.values() if source.definition}
    assert [d for d in definitions if not (lm_eval_tasks_folder() / d).is_file()] == []


def test_a_run_killed_at_half_of_its_generations_ends_like_one_that_was_not(folder, tmp_path, monkeypatch):
    from fusebench.evaluate.generations import GenerationStore

    run = SuiteRun(find_suite("toy_bbh"), 8)
    whole = evaluate(folder, run, out=tmp_path / "whole")
    half = len(whole) // 2
    plain = GenerationStore.put

    def killed(store, requests, texts):
        plain(store, requests, texts)
        if len(store) == half:
            raise KeyboardInterrupt

    monkeypatch.setattr(GenerationStore, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, run, out=tmp_path / "half")
    later = []
    monkeypatch.setattr(GenerationStore, "put", lambda *a: later.append(a[1]) or plain(*a))
    assert evaluate(folder, run, out=tmp_path / "half") == whole
    assert len(later) == len(whole) - half


def test_more_items_of_a_suite_generate_only_what_is_new(folder, tmp_path, monkeypatch):
    from fusebench.evaluate.generations import GenerationStore

    few = evaluate(folder, SuiteRun(find_suite("toy_bbh"), 3), out=tmp_path)
    plain, later = GenerationStore.put, []
    monkeypatch.setattr(GenerationStore, "put", lambda *a: later.append(a[1]) or plain(*a))
    more = evaluate(folder, SuiteRun(find_suite("toy_bbh"), 8), out=tmp_path)
    assert len(later) == len(more) - len(few)


def test_direct_bbh_answers_are_compared_without_the_space_before_them(shared):
    from fusebench.evaluate.tasks import load_tasks

    scores = {}
    for name in ("bbh_direct_navigate", "bbh_fewshot_navigate"):
        task = load_tasks([name], data_root=shared / "data")[name]
        doc = task.eval_docs[0]
        task.build_all_requests(limit=1)
        task.instances[0].resps = [f" {doc['target']}"]
        task.apply_filters()
        (answer,) = task.instances[0].filtered_resps.values()
        scores[name] = task.process_results(doc, [answer])["exact_match"]
    assert scores == {"bbh_direct_navigate": 1.0, "bbh_fewshot_navigate": 0.0}


def test_few_shot_examples_are_never_taken_from_local_test_items(tmp_path):
    from fusebench.evaluate.tasks import load_tasks

    folder = tmp_path / "commonsense"
    folder.mkdir()
    items = [{"question": f"q{n}", "passage": "p", "answer": True} for n in range(4)]
    (folder / "boolq_validation.jsonl").write_text("\n".join(map(json.dumps, items)))
    with pytest.raises(DataError, match="few-shot"):
        load_tasks(["boolq"], data_root=tmp_path, shots=2)
    assert len(load_tasks(["boolq"], data_root=tmp_path)["boolq"].eval_docs) == 4
