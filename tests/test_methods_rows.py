"""Every method builds what it says from tiny models, and refuses what it cannot combine."""

import json
import sys

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

from fusebench.artifacts import Candidate, DistributionsWriter, TokenTable
from fusebench.errors import ModelError, RecipeError, UnavailableError
from fusebench.methods import METHODS, MethodInputs
from fusebench.methods.merge import configuration
from fusebench.recipe.sections import TrainSection
from fusebench.train import pack

V = 32


def save(folder, seed, vocab=V, words="t", config=None, **shape):
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2} | shape
    model = AutoModelForCausalLM.from_config(config or LlamaConfig(vocab_size=vocab, bos_token_id=0, **shape))
    model.save_pretrained(folder)
    backend = Tokenizer(models.WordLevel({f"{words}{i}": i for i in range(vocab)}, unk_token=f"{words}0"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=f"{words}1").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name, seed) for seed, name in enumerate(("target", "a", "b"))}


def inputs(folders, out, **changes):
    given = {
        "target": folders["target"], "model": None, "sources": {n: folders[n] for n in ("a", "b")}, "tokens": None,
        "blocks": None, "rows": None, "train": TrainSection(steps=3, batch_blocks=2, block_tokens=16), "options": {},
        "seed": 1, "points": 0, "out": out,
    } | changes  # fmt: skip
    return MethodInputs(**given)


def state(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_every_file_registers_its_method():
    assert {"model", "clm", "fusion", "kd", "ensemble", "merge"} <= set(METHODS)
    assert all(method.summary for method in METHODS.values())


def test_importing_the_registry_does_not_import_torch():
    import subprocess

    code = "import sys, fusebench.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_options_are_refused(folders, tmp_path):
    with pytest.raises(RecipeError, match="did you mean `weights`"):
        METHODS["merge"].build(inputs(folders, tmp_path, options={"weigths": {}}))


def test_model_is_taken_as_it_is(folders, tmp_path):
    got = METHODS["model"].build(inputs(folders, tmp_path, model=folders["a"]))
    assert Candidate.load(tmp_path) == got
    assert got.models == [folders["a"]]
    assert got.tokens == 0
    assert got.parameters == sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folders["a"]).parameters())


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    offsets = np.arange(0, 101, 10, dtype=np.int64)
    zero = np.zeros(100, dtype=np.int32)
    ids = np.random.default_rng(0).integers(0, V, 100).astype(np.int32)
    tokens = TokenTable(ids, zero, zero, np.zeros(100, dtype=bool), offsets, "own")
    writer = DistributionsWriter(tmp_path_factory.mktemp("rows"), tokens="own", vocab="own", k=2)
    for chunk in range(10):
        own = ids[chunk * 10 : chunk * 10 + 10]
        writer.append(np.stack([own, (own + 1) % V], 1), np.log(np.tile([[0.6, 0.3]], (10, 1))))
    return {"tokens": tokens, "blocks": pack(tokens, 16, 0), "rows": writer.close()}


def test_trained_methods_differ_in_the_loss_alone(folders, tmp_path, batches):
    built = {}
    for name in ("clm", "fusion", "kd"):
        given = batches if name != "clm" else batches | {"rows": None}
        built[name] = METHODS[name].build(inputs(folders, tmp_path / name, **given))
        state(tmp_path / name / "model")
    assert len({candidate.batches for candidate in built.values()}) == 1
    assert len({candidate.tokens for candidate in built.values()}) == 1
    clm, fusion, kd = (state(tmp_path / name / "model") for name in ("clm", "fusion", "kd"))
    assert any(not torch.equal(clm[name], fusion[name]) for name in clm)
    assert all(torch.equal(fusion[name], kd[name]) for name in clm)  # the same rows were given


def test_ensemble_names_its_members(folders, tmp_path):
    got = METHODS["ensemble"].build(inputs(folders, tmp_path))
    assert got.kind == "ensemble"
    assert got.models == [folders["a"], folders["b"]]
    assert got.parameters == 2 * METHODS["model"].build(inputs(folders, tmp_path, model=folders["a"])).parameters


@pytest.mark.parametrize("method", ["ensemble", "merge"])
def test_one_source_is_not_enough(folders, tmp_path, method):
    with pytest.raises(RecipeError, match="has 1 source"):
        METHODS[method].build(inputs(folders, tmp_path, sources={"a": folders["a"]}))


def test_an_ensemble_takes_other_tokenizers(folders, tmp_path):
    other = save(tmp_path / "other", 3, words="u")
    given = inputs(folders, tmp_path / "out", sources={"a": folders["a"], "other": other})
    assert METHODS["ensemble"].build(given).models == [folders["a"], other]


def test_merge_refuses_another_tokenizer(folders, tmp_path):
    other = save(tmp_path / "other", 3, words="u")
    with pytest.raises(ModelError, match="different tokenizers"):
        METHODS["merge"].build(inputs(folders, tmp_path / "out", sources={"a": folders["a"], "other": other}))


def test_merge_refuses_another_architecture(folders, tmp_path):
    config = GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    other = save(tmp_path / "other", 3, config=config)
    with pytest.raises(ModelError, match="is a `gpt2` and `a` is a `llama`"):
        METHODS["merge"].build(inputs(folders, tmp_path / "out", sources={"a": folders["a"], "other": other}))


def test_merge_refuses_another_size(folders, tmp_path):
    other = save(tmp_path / "other", 3, intermediate_size=20)
    with pytest.raises(ModelError, match=r"is (16 x 20|20 x 16) in `other` and (16 x 24|24 x 16) in `a`"):
        METHODS["merge"].build(inputs(folders, tmp_path / "out", sources={"a": folders["a"], "other": other}))


@pytest.mark.parametrize(("weights", "share"), [({}, 0.5), ({"a": 3, "b": 1}, 0.75), ({"b": 0}, 1.0)])
def test_linear_merge_is_the_weighted_mean(folders, tmp_path, weights, share):
    got = METHODS["merge"].build(inputs(folders, tmp_path, options={"weights": weights}))
    merged, a, b = state(Candidate.load(tmp_path).models[0]), state(folders["a"]), state(folders["b"])
    for name, value in merged.items():
        assert torch.allclose(value, share * a[name] + (1 - share) * b[name], atol=1e-7)
    assert got.notes["kind"] == "linear"
    assert "linear" in (tmp_path / "model" / "README.md").read_text()


def test_linear_merge_reads_and_writes_shards(folders, tmp_path):
    big = tmp_path / "big"
    AutoModelForCausalLM.from_pretrained(folders["a"]).save_pretrained(big, max_shard_size="5KB")
    for path in ("tokenizer.json", "tokenizer_config.json"):
        (big / path).write_bytes((tmp_path.parent / folders["a"] / path).read_bytes())
    assert len(list(big.glob("*.safetensors"))) > 1
    METHODS["merge"].build(inputs(folders, tmp_path / "out", sources={"big": str(big), "b": folders["b"]}))
    merged, a, b = state(tmp_path / "out" / "model"), state(folders["a"]), state(folders["b"])
    assert all(torch.allclose(value, (a[name] + b[name]) / 2, atol=1e-7) for name, value in merged.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "linaer"}, "did you mean `linear`"),
        ({"weights": {"c": 1}}, "it is no source"),
        ({"weights": {"a": -1}}, "a weight is a number"),
        ({"weights": {"a": 0, "b": 0}}, "are all 0"),
        ({"density": 0.5}, "has no option `density`"),
        ({"kind": "ties", "t": 0.5}, "has no option `t`"),
    ],
)
def test_wrong_merge_options_are_named(folders, tmp_path, options, message):
    with pytest.raises(RecipeError, match=message):
        METHODS["merge"].build(inputs(folders, tmp_path, options=options))


def test_without_mergekit_the_other_kinds_are_unavailable(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mergekit.config", None)
    with pytest.raises(UnavailableError, match=r"fusebench\[merge\]"):
        METHODS["merge"].build(inputs(folders, tmp_path, options={"kind": "slerp"}))


def test_mergekits_linear_is_ours(folders, tmp_path):
    merge = pytest.importorskip("mergekit.merge", reason="the extra `merge` is not installed")
    from mergekit.config import MergeConfiguration

    config = {"merge_method": "linear", "dtype": "float32"}
    config["models"] = [{"model": folders[n], "parameters": {"weight": w}} for n, w in (("a", 3), ("b", 1))]
    options = merge.MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    merge.run_merge(MergeConfiguration.model_validate(config), str(tmp_path / "theirs"), options)
    METHODS["merge"].build(inputs(folders, tmp_path / "ours", options={"weights": {"a": 3, "b": 1}}))
    theirs, ours = state(tmp_path / "theirs"), state(tmp_path / "ours" / "model")
    assert all(torch.allclose(theirs[name], ours[name], atol=1e-7) for name in theirs)


@pytest.mark.parametrize("kind", ["slerp", "ties", "dare_linear", "dare_ties", "task_arithmetic"])
def test_mergekit_kinds_give_a_model_that_loads(folders, tmp_path, kind):
    pytest.importorskip("mergekit.merge", reason="the extra `merge` is not installed")
    METHODS["merge"].build(inputs(folders, tmp_path, options={"kind": kind}))
    merged, a = state(tmp_path / "model"), state(folders["a"])
    assert merged.keys() == a.keys()
    assert any(not torch.equal(merged[name], a[name]) for name in a)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llama"


def test_slerp_takes_exactly_two():
    with pytest.raises(RecipeError, match="has 3 sources"):
        configuration("slerp", "t", {n: n for n in "abc"}, dict.fromkeys("abc", 1.0), {})
