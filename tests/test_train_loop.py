"""The loop: same batches for every method, isolation of chunks, resuming, points, and a model that loads."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    PreTrainedTokenizerFast,
)

from fusebench.artifacts import Candidate, DistributionsWriter, TokenTable
from fusebench.errors import ArtifactError, ModelError, RecipeError
from fusebench.recipe.sections import TrainSection
from fusebench.train import pack, train
from fusebench.train.attention import choose_way, isolates, model_inputs
from fusebench.train.batches import BlockBatches, order_of

V = 48
CONFIGS = {
    "llama": LlamaConfig(
        vocab_size=V, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64,
    ),
    "gpt_neox": GPTNeoXConfig(
        vocab_size=V, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64,
    ),
    "gpt2": GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0),
    "mpt": MptConfig(vocab_size=V, d_model=16, n_layers=2, n_heads=2, max_seq_len=64),
    "gemma3": Gemma3TextConfig(
        vocab_size=V, hidden_size=16, intermediate_size=32, num_hidden_layers=6, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=4,
    ),
}  # fmt: skip


def tiny(name="llama", seed=0):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name]))


@pytest.fixture(scope="module")
def tokenizer():
    backend = Tokenizer(models.WordLevel({f"t{i}": i for i in range(V)}, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="t0")


@pytest.fixture(scope="module")
def tokens():
    generator = np.random.default_rng(0)
    lengths = generator.integers(4, 20, 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = int(offsets[-1])
    ids = (np.arange(count) * 3 % 17 + generator.integers(0, 3, count)).astype(np.int32)
    zero = np.zeros(count, dtype=np.int32)
    return TokenTable(ids, zero, zero, np.zeros(count, dtype=bool), offsets, "own")


@pytest.fixture(scope="module")
def blocks(tokens):
    return pack(tokens, 24, seed=1)


@pytest.fixture(scope="module")
def rows(tokens, tmp_path_factory):
    return make_rows(tokens, tmp_path_factory.mktemp("rows"))


def make_rows(tokens, folder, vocab="own"):
    generator = np.random.default_rng(5)
    writer = DistributionsWriter(folder, tokens="own", vocab=vocab, k=4)
    for chunk in range(len(tokens)):
        own = tokens.ids[tokens.span(chunk)]
        # A rule that can be learnt, other than the text's own.
        ids = (own[:, None] * 5 + np.arange(4)) % V
        writer.append(ids.astype(np.int32), np.log(generator.dirichlet([8, 4, 2, 1, 1], len(own))[:, :4]))
    return writer.close()


SETTINGS = TrainSection(steps=8, batch_blocks=4, block_tokens=24, learning_rate=1e-2, clm_weight=0.5)


def run(out, tokenizer, tokens, blocks, rows=None, settings=SETTINGS, model=None, **more):
    return train(model or tiny(), tokenizer, tokens, blocks, rows, settings, out, seed=7, **more)


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def assert_same(one, other, **tolerance):
    for name, value in one.items():
        assert torch.allclose(value, other[name], **tolerance), name


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "gpt2", "mpt", "gemma3"])
def test_packed_chunks_are_answered_as_if_alone(name, tokens, blocks):
    model = tiny(name).eval()
    way = choose_way(model, "blocked")
    data = BlockBatches(
        tokens, blocks, order_of(blocks, seed=0, batch_blocks=2, epochs=1.0, steps=None), None, pad_id=0, restart=True
    )
    batch = data.__getitems__([0, 1])
    packed = model(**model_inputs(model, batch, way)).logits
    for block in range(2):
        for segment in range(int(batch["segment_ids"][block].max()) + 1):
            own = batch["segment_ids"][block] == segment
            alone = model(input_ids=batch["input_ids"][block][own][None]).logits[0]
            assert torch.allclose(packed[block][own], alone, atol=1e-5)


def test_mpt_needs_the_mask_and_the_others_do_not():
    assert {name: choose_way(tiny(name), "blocked") for name in CONFIGS} == {
        **dict.fromkeys(CONFIGS, "restarted positions"),
        "mpt": "mask",
    }


def test_open_attention_sees_across_chunks():
    assert not isolates(tiny(), "open")
    assert choose_way(tiny(), "open") == "open"


def test_recurrent_models_are_refused_for_blocked_attention():
    model = AutoModelForCausalLM.from_config(MambaConfig(vocab_size=V, hidden_size=16, num_hidden_layers=1))
    with pytest.raises(ModelError, match="packed_attention: open"):
        choose_way(model, "blocked")


def test_the_trained_model_is_an_ordinary_folder(tmp_path, tokenizer, tokens, blocks):
    candidate = run(tmp_path, tokenizer, tokens, blocks)
    folder = Candidate.load(tmp_path).models[0]
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert len(AutoTokenizer.from_pretrained(folder)) == V
    assert model.generate(torch.tensor([[3, 4]]), max_new_tokens=2, do_sample=False).shape == (1, 4)
    assert candidate.parameters == sum(p.numel() for p in model.parameters())
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"} <= names
    assert model.config.use_cache
    assert {p.name for p in tmp_path.iterdir()} == {"model", "candidate.json", "history.jsonl"}


def test_training_learns(tmp_path, tokenizer, tokens, blocks):
    run(tmp_path, tokenizer, tokens, blocks, settings=SETTINGS.model_copy(update={"steps": 40}))
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == list(range(1, 41))
    assert history[0]["loss"] == pytest.approx(math.log(V), rel=0.05)
    assert history[-1]["clm_loss"] < 0.8 * history[0]["clm_loss"]
    assert history[-1]["fusion_loss"] is None


def test_clm_and_fusion_see_the_same_batches(tmp_path, tokenizer, tokens, blocks, rows):
    clm = run(tmp_path / "clm", tokenizer, tokens, blocks)
    fusion = run(tmp_path / "fusion", tokenizer, tokens, blocks, rows)
    assert clm.batches == fusion.batches
    assert clm.tokens == fusion.tokens
    other = train(tiny(), tokenizer, tokens, pack(tokens, 24, seed=2), None, SETTINGS, tmp_path / "other", seed=7)
    assert other.batches != clm.batches


def test_fusion_with_clm_weight_one_is_clm_exactly(tmp_path, tokenizer, tokens, blocks, rows):
    settings = SETTINGS.model_copy(update={"clm_weight": 1.0})
    run(tmp_path / "clm", tokenizer, tokens, blocks, settings=settings)
    run(tmp_path / "fusion", tokenizer, tokens, blocks, rows, settings=settings)
    assert_same(weights(tmp_path / "clm" / "model"), weights(tmp_path / "fusion" / "model"), rtol=0, atol=0)


def test_fusion_draws_the_student_to_its_rows(tmp_path, tokenizer, tokens, blocks, rows):
    settings = SETTINGS.model_copy(update={"steps": 40, "clm_weight": 0.0})
    run(tmp_path, tokenizer, tokens, blocks, rows, settings=settings)
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert history[-1]["fusion_loss"] < history[0]["fusion_loss"]
    assert history[-1]["loss"] == pytest.approx(history[-1]["fusion_loss"])


def test_small_device_batches_give_the_same_model(tmp_path, tokenizer, tokens, blocks, rows):
    run(tmp_path / "whole", tokenizer, tokens, blocks, rows)
    split = SETTINGS.model_copy(update={"device_batch_blocks": 1})
    run(tmp_path / "split", tokenizer, tokens, blocks, rows, settings=split)
    assert_same(weights(tmp_path / "whole" / "model"), weights(tmp_path / "split" / "model"), atol=1e-5)


def test_gradient_checkpointing_gives_the_same_model(tmp_path, tokenizer, tokens, blocks):
    run(tmp_path / "plain", tokenizer, tokens, blocks)
    settings = SETTINGS.model_copy(update={"gradient_checkpointing": True})
    run(tmp_path / "saving", tokenizer, tokens, blocks, settings=settings)
    assert_same(weights(tmp_path / "plain" / "model"), weights(tmp_path / "saving" / "model"), atol=1e-6)


class Killed(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_model(tmp_path, tokenizer, tokens, blocks, rows):
    def kill(done, total):
        if done == 5:
            raise Killed

    whole = run(tmp_path / "whole", tokenizer, tokens, blocks, rows, points=4)
    with pytest.raises(Killed):
        run(tmp_path / "killed", tokenizer, tokens, blocks, rows, points=4, save_seconds=0.0, progress=kill)
    assert (tmp_path / "killed" / "trainer").is_dir()
    steps = []
    resumed = run(
        tmp_path / "killed", tokenizer, tokens, blocks, rows, points=4, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] > 1
    assert steps[-1] == 8
    assert resumed.batches == whole.batches
    assert_same(weights(tmp_path / "whole" / "model"), weights(tmp_path / "killed" / "model"), rtol=0, atol=0)
    read = [
        [(h["step"], h["tokens"], h["loss"]) for h in map(json.loads, path.read_text().splitlines())]
        for path in (tmp_path / "whole" / "history.jsonl", tmp_path / "killed" / "history.jsonl")
    ]
    assert read[0] == read[1]


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path, tokenizer, tokens, blocks):
    def kill(done, total):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, tokenizer, tokens, blocks, save_seconds=0.0, progress=kill)
    (tmp_path / "trainer" / "checkpoint-7").mkdir()
    (tmp_path / "trainer" / "checkpoint-7" / "model.safetensors").write_bytes(b"half")
    steps = []
    run(tmp_path, tokenizer, tokens, blocks, progress=lambda done, total: steps.append(done))
    assert steps == [5, 6, 7, 8]


def test_points_are_evenly_spaced_and_the_last_is_the_model(tmp_path, tokenizer, tokens, blocks):
    candidate = run(tmp_path, tokenizer, tokens, blocks, points=4)
    assert [point.step for point in candidate.checkpoints] == [2, 4, 6]
    assert [point.tokens for point in candidate.checkpoints] == sorted(p.tokens for p in candidate.checkpoints)
    for point in candidate.checkpoints:
        weights(tmp_path / point.folder)


def test_more_points_than_steps_is_an_error(tmp_path, tokenizer, tokens, blocks):
    with pytest.raises(RecipeError, match="points"):
        run(tmp_path, tokenizer, tokens, blocks, points=9)


def test_a_batch_that_devices_cannot_share_is_an_error(tmp_path, tokenizer, tokens, blocks):
    with pytest.raises(RecipeError, match="device_batch_blocks"):
        run(tmp_path, tokenizer, tokens, blocks, settings=SETTINGS.model_copy(update={"device_batch_blocks": 3}))


def test_a_context_that_is_too_short_is_an_error(tmp_path, tokenizer, tokens, blocks):
    model = tiny()
    model.config.max_position_embeddings = 8
    with pytest.raises(ModelError, match="takes 8 tokens"):
        run(tmp_path, tokenizer, tokens, blocks, model=model)


def test_rows_of_another_vocabulary_are_refused(tmp_path, tokenizer, tokens, blocks):
    with pytest.raises(ArtifactError, match="align the rows"):
        run(tmp_path / "out", tokenizer, tokens, blocks, make_rows(tokens, tmp_path, vocab="other"))


def test_progress_counts_every_step(tmp_path, tokenizer, tokens, blocks):
    seen = []
    run(tmp_path, tokenizer, tokens, blocks, progress=lambda *step: seen.append(step))
    assert seen == [(n, 8) for n in range(1, 9)]


def test_bfloat16_training_keeps_float32_weights(tmp_path, tokenizer, tokens, blocks, rows):
    settings = SETTINGS.model_copy(update={"dtype": "bfloat16"})
    run(tmp_path, tokenizer, tokens, blocks, rows, settings=settings)
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "model").values())
