"""A model is found, checked and loaded from safetensors only; every refusal says what to do."""

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fusebench.corpus.models import load_model, load_tokenizer, locate, model_hash
from fusebench.errors import ModelError


def tiny(seed=0):
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "root" / "org" / "name"
    tiny().save_pretrained(path)
    backend = Tokenizer(models.WordLevel({f"t{i}": i for i in range(20)}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="t1").save_pretrained(path)
    return path


def test_a_good_folder_is_found_and_loads(folder):
    model = load_model(locate(path=str(folder)), dtype="float32")
    assert not model.training
    assert model.dtype == torch.float32
    assert load_tokenizer(folder).eos_token_id == 1


def test_a_hub_id_is_looked_up_in_the_model_root(folder, tmp_path):
    assert locate(hub="org/name", model_root=tmp_path / "root") == str(folder.resolve())


def test_a_hub_id_that_is_nowhere_says_how_to_give_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))

    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(ModelError) as caught:
        locate(hub="org/absent", model_root=tmp_path)
    assert "org/absent" in caught.value.what
    assert "--model-root" in caught.value.fix
    assert str(tmp_path) in caught.value.why


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="is not there"):
        locate(path=str(tmp_path / "absent"))


def test_a_folder_without_config(tmp_path):
    with pytest.raises(ModelError, match=r"has no config\.json"):
        locate(path=str(tmp_path))


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights") as caught:
        locate(path=str(folder))
    assert "safetensors" in caught.value.why


def test_pickled_weights_are_refused_without_being_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for use in (lambda: locate(path=str(folder)), lambda: load_model(folder)):
        with pytest.raises(ModelError) as caught:
            use()
        assert "pytorch_model.bin" in caught.value.what
        assert "run code" in caught.value.why
        assert "save_pretrained" in caught.value.fix


def test_an_unknown_architecture_is_named(folder):
    (folder / "config.json").write_text('{"model_type": "nonesuch", "architectures": ["Nonesuch"]}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder)


def test_a_folder_without_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="tokenizer of"):
        load_tokenizer(folder)


def test_a_damaged_tokenizer_file(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is not a tokenizer\.json"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_model_hash_follows_the_weights(folder, tmp_path):
    before = model_hash(folder)
    assert model_hash(folder) == before
    tiny(seed=1).save_pretrained(folder)
    assert model_hash(folder) != before
