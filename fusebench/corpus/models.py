"""Finding and loading models: weights from safetensors only, no code of the model's own is ever run."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusebench.artifacts.store import atomic_write, sha256_file, sha256_json
from fusebench.errors import ArtifactError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
"""Weight files that are programs or need another framework; they are never read."""

WANTED = ["*.json", "*.safetensors", "tokenizer.model", "*.txt", "*.jinja"]
END_TOKENS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|eos|>")
START_TOKENS = ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>")


def locate(
    hub: str | None = None,
    path: str | None = None,
    revision: str | None = None,
    model_root: Path | str | None = None,
    *,
    download: bool = True,
) -> str:
    """Return the folder of a model, checked; a hub id where `download` is false and it is not on this machine.

    Args:
        hub: hub id; `model_root/<hub id>` is looked at first, then the local hub cache, then the hub.
        path: a Hugging Face folder, instead of `hub`.
        revision: of the hub; a folder under `model_root` stands for every revision.
        model_root: folder laid out by hub id, as given with --model-root or FUSEBENCH_MODELS.
        download: fetch the files from the hub where they are not here yet.

    Raises:
        ModelError: no such folder, no config.json, no safetensors, only pickled weights, hub not reachable.
    """
    assert (hub is None) != (path is None), "exactly one of hub and path"
    if path is not None:
        return str(check_model_folder(Path(path).expanduser()))
    assert hub is not None
    if model_root is not None:
        folder = Path(model_root).expanduser() / hub
        if folder.is_dir():
            return str(check_model_folder(folder))
    return _from_hub(hub, revision, model_root, download)


def check_model_folder(folder: Path) -> Path:
    """Return the absolute folder when it holds config.json and weights as safetensors.

    Raises:
        ModelError: it does not.
    """
    if not folder.is_dir():
        raise ModelError(
            f"model folder `{folder}` is not there",
            why="there is no such folder" if not folder.exists() else "it is a file",
            fix="correct the path, or name a hub id with `hub:`",
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"model folder `{folder}` has no config.json",
            why="so it is not a Hugging Face model folder",
            fix="give the folder that `save_pretrained` wrote",
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for pattern in PICKLED for p in folder.glob(pattern) if p.name != "training_args.bin")
        raise _unreadable_weights(f"model folder `{folder}`", pickled)
    return folder.resolve()


def _unreadable_weights(what: str, pickled: list[str]) -> ModelError:
    if pickled:
        return ModelError(
            f"{what} has its weights only as `{pickled[0]}`",
            why="a pickle can run code when it is loaded, so it is never read",
            fix="convert it to safetensors where you trust it: load it there, then `save_pretrained` writes them",
        )
    return ModelError(
        f"{what} has no weights",
        why="there is no *.safetensors file in it",
        fix="download the model whole, or check that the save finished",
    )


def _from_hub(hub: str, revision: str | None, model_root: Path | str | None, download: bool) -> str:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        cached = snapshot_download(hub, revision=revision, allow_patterns=WANTED, local_files_only=True)
        if any(Path(cached).glob("*.safetensors")):
            return str(check_model_folder(Path(cached)))
    except HFValidationError as error:
        raise ModelError(f"`{hub}` is not a hub id", why=str(error), fix="write it as owner/name") from error
    except LocalEntryNotFoundError:
        pass  # not in the cache: ask the hub
    tried = f"not under `{model_root}`, not in the cache, and " if model_root else "not in the cache, and "
    fix = "check the network, or give --model-root DIR with the model in `DIR/" + hub + "`"
    try:
        files = [f.rfilename for f in HfApi().model_info(hub, revision=revision, timeout=20).siblings or []]
        if not any(name.endswith(".safetensors") for name in files):
            endings = tuple(pattern[1:] for pattern in PICKLED)
            raise _unreadable_weights(f"model `{hub}`", [n for n in files if n.endswith(endings)])
        if not download:
            return hub
        return str(check_model_folder(Path(snapshot_download(hub, revision=revision, allow_patterns=WANTED))))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"model `{hub}` is not on the hub, or is closed to you",
            why=tried + "the hub knows no such model",
            fix="check its name, accept its licence on its page and log in with `hf auth login`",
        ) from error
    except ModelError:
        raise
    except Exception as error:
        why = tried + f"the hub cannot be reached ({type(error).__name__})"
        raise ModelError(f"model `{hub}` cannot be fetched", why=why, fix=fix) from error


def load_tokenizer(ref: str | Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a model folder, hub id, or bare tokenizer.json (also .json.gz).

    Raises:
        ModelError: there is none, or it has no fast implementation, which byte offsets need.
    """
    from transformers import AutoTokenizer

    path = Path(ref)
    if path.is_file():
        return _bare_tokenizer(path)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(ref), use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        here = "the folder needs tokenizer.json and tokenizer_config.json"
        away = "no such folder is here: check the name and the network, or give --model-root DIR"
        raise ModelError(
            f"the tokenizer of `{ref}` cannot be loaded",
            why=(str(error).splitlines() or [type(error).__name__])[0],
            fix=here if path.is_dir() else away,
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"the tokenizer of `{ref}` has no fast implementation",
            why="alignment needs to know which bytes each token covers, and only fast tokenizers tell",
            fix="convert it to tokenizer.json with transformers' `convert_slow_tokenizer`",
        )
    return tokenizer


def _bare_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        backend = Tokenizer.from_str(data.decode())
    except Exception as error:
        raise ModelError(
            f"`{path}` is not a tokenizer.json", why=str(error).splitlines()[0], fix="give a file of `tokenizers`"
        ) from error
    # Special tokens alone: some vocabularies hold `<s>` as an ordinary token, the tag of a web page.
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    ends = [t for t in END_TOKENS if t in special]
    starts = [t for t in START_TOKENS if t in special]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=ends[0] if ends else None,
        bos_token=starts[0] if starts else None,
    )


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the SHA-256 of all that decides ids: vocabulary, merges, normaliser, splitting, templates, added tokens.

    Truncation and padding, which change from call to call, do not enter.
    """
    backend = tokenizer.backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    state = backend.to_str()
    if truncation is not None:
        backend.enable_truncation(**truncation)
    if padding is not None:
        backend.enable_padding(**padding)
    return hashlib.sha256(state.encode()).hexdigest()


def load_model(ref: str | Path, dtype: str = "auto", device: str | None = None) -> PreTrainedModel:
    """Return the causal language model of a folder or hub id, in evaluation mode.

    Args:
        ref: Hugging Face folder or hub id.
        dtype: `auto` (as saved), `float32`, `bfloat16` or `float16`.
        device: where to put it; None leaves it on the CPU.

    Raises:
        ModelError: the folder is incomplete, pickled, of an unknown architecture, or needs its own code.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if Path(ref).is_dir():
        check_model_folder(Path(ref))
    logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(ref), dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"model `{ref}` cannot be loaded",
            why=(str(error).splitlines() or [type(error).__name__])[0],
            fix="it must be a causal language model that transformers knows by itself, saved as safetensors",
        ) from error
    return model.to(device).eval() if device is not None else model.eval()


def model_hash(ref: str | Path) -> str:
    """Return the SHA-256 over config.json and every weight file; for a hub id, over the id and its commit.

    Checksums of weight files are remembered by path, size and time of change, so that a second run is fast.
    """
    folder = Path(ref)
    if not folder.is_dir():
        from huggingface_hub import HfApi

        return sha256_json({"hub": str(ref), "commit": HfApi().model_info(str(ref), timeout=20).sha})
    digest = hashlib.sha256()
    for path in sorted(
        [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    ):
        digest.update(f"{path.name} {_remembered_sum(path)}\n".encode())
    return digest.hexdigest()


def _remembered_sum(path: Path) -> str:
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", real.name):
        return real.name  # the hub's cache names large files by their SHA-256
    stat = real.stat()
    if stat.st_size < 1 << 26:
        return sha256_file(real)
    key = hashlib.sha256(f"{real} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    memory = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "fusebench" / "sums" / key
    if memory.is_file():
        return memory.read_text()
    found = sha256_file(real)
    try:
        atomic_write(memory, found)
    except ArtifactError:
        return found  # a read-only home costs time, not correctness
    return found


def weight_shapes(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a model folder, by name, without reading the weights."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="numpy") as weights:
            shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    return shapes


def count_parameters(folder: str | Path) -> int:
    """Return the number of parameters saved in a model folder; tied ones are saved, and counted, once."""
    return sum(math.prod(shape) for shape in weight_shapes(folder).values())
