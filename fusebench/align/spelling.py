"""One spelling for the tokens of every tokenizer family, found from the tokenizer's own components.

A spelling is a string of characters of text: a space is `▁`, a newline is a newline, an accented letter is
itself. Whether the tokenizer writes the space as `▁` (SentencePiece), as `Ġ` (byte-level) or as a missing
`##` (WordPiece), and the newline as `<0x0A>` or `Ċ`, no longer shows. A byte that is only a part of a
character is one lone surrogate, U+DC80 + (byte - 0x80), so that spellings of different bytes differ by
one edit and nothing else is ever equal to them.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from fusebench.errors import ModelError

SPACE = "▁"
ROLES = ("bos", "eos", "pad", "unk")
"""What a special token can stand for; special tokens correspond by role alone."""

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_KNOWN_ROLES = {
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>", "[BOS]", "[CLS]"),
    "eos": (
        "</s>",
        "<eos>",
        "<|im_end|>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<｜end▁of▁sentence｜>",
        "[EOS]",
        "[SEP]",
    ),
    "pad": ("<pad>", "<|padding|>", "<|pad|>", "[PAD]", "<｜▁pad▁｜>", "<|finetune_right_pad_id|>"),
    "unk": ("<unk>", "<|unk|>", "[UNK]"),
}
"""Contents by which a bare tokenizer file, which does not name its roles, shows them."""


@dataclass(frozen=True)
class Spelling:
    """The vocabulary of one tokenizer as text.

    Args:
        family: `sentencepiece`, `byte_level`, `wordpiece`, `end_of_word` or `plain`.
        raw: the tokenizer's own string of each id; None for an id that it does not have.
        text: the spelling of each id; None for special tokens and missing ids.
        special: whether the id is a special token (never compared by spelling).
        added: whether it is an added token of text (compared for equality, never by edit distance).
        roles: role -> id, for the roles that the tokenizer has.
        byte_fallback: whether `<0x0A>` stands for a byte.
        prefixes: whether the tokenizer puts a space before a text that has none.
    """

    family: str
    raw: list[str | None]
    text: list[str | None]
    special: Bool[ndarray, " vocab"]
    added: Bool[ndarray, " vocab"]
    roles: dict[str, int]
    byte_fallback: bool
    prefixes: bool

    def __len__(self) -> int:
        return len(self.raw)

    def shown(self, index: int) -> str:
        """Return the spelling of one id for a person: parts of characters as `<0xE2>`, specials as they are."""
        text = self.text[index] if 0 <= index < len(self) else None
        return show(text) if text is not None else (self.raw[index] if 0 <= index < len(self) else None) or f"#{index}"


def show(text: str) -> str:
    """Return a spelling that any encoding can carry: lone bytes become `<0xE2>`."""
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else c for c in text)


def spell(tokenizer: Any) -> Spelling:
    """Return the spelling of every id of a fast tokenizer.

    Raises:
        ModelError: the tokenizer has no fast backend, so its components cannot be read.
    """
    backend = backend_of(tokenizer)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    added_tokens = backend.get_added_tokens_decoder()
    size = max(vocabulary.values(), default=-1) + 1
    raw: list[str | None] = [None] * size
    for token, index in vocabulary.items():
        raw[index] = token
    special, added = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    for index, token in added_tokens.items():
        special[index], added[index] = token.special, not token.special
    roles = _roles(tokenizer, raw, special)
    special[list(roles.values())] = True
    added[list(roles.values())] = False
    components = _components(backend)
    family = _family(backend, components)
    bytes_too = _has_byte_fallback(backend, components)
    text = [
        None if token is None or special[index] else _spelled(token, family, bytes_too, bool(added[index]), backend)
        for index, token in enumerate(raw)
    ]
    # Asked, not read: whether a first space is added hangs on several components at once.
    first = backend.encode("a", add_special_tokens=False).ids
    prefixes = bool(first) and (text[first[0]] or "").startswith(SPACE)
    return Spelling(family, raw, text, special, added, roles, bytes_too, prefixes)


def backend_of(tokenizer: Any) -> Any:
    """Return the `tokenizers.Tokenizer` inside a fast tokenizer, or the object itself when it is one.

    Raises:
        ModelError: there is none.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "get_added_tokens_decoder"):
        raise ModelError(
            f"tokenizer `{getattr(tokenizer, 'name_or_path', type(tokenizer).__name__)}` is not a fast one",
            why="its normaliser, pre-tokenizer and decoder cannot be read, so its tokens cannot be spelled",
            fix="save it as tokenizer.json (`PreTrainedTokenizerFast.save_pretrained`) and use that folder",
        )
    return backend


def _components(backend: Any) -> list[dict[str, Any]]:
    """Return the normaliser's, pre-tokenizer's and decoder's parts, sequences flattened."""
    found: list[dict[str, Any]] = []
    for part in (backend.normalizer, backend.pre_tokenizer, backend.decoder):
        if part is not None:
            _flatten(json.loads(part.__getstate__()), found)
    return found


def _flatten(part: dict[str, Any], into: list[dict[str, Any]]) -> None:
    inner = [p for key in ("normalizers", "pretokenizers", "decoders") for p in part.get(key, [])]
    into.append(part)
    for p in inner:
        _flatten(p, into)


def _family(backend: Any, components: list[dict[str, Any]]) -> str:
    kinds = {part["type"] for part in components}
    writes_space = any(
        (part["type"] == "Replace" and SPACE in (part.get("content"), part.get("pattern", {}).get("String")))
        or (part["type"] == "Prepend" and part.get("prepend") == SPACE)
        for part in components
    )
    if type(backend.model).__name__ == "WordPiece" or "WordPiece" in kinds:
        return "wordpiece"
    if "ByteLevel" in kinds:
        return "byte_level"
    if "Metaspace" in kinds or writes_space:
        return "sentencepiece"
    if getattr(backend.model, "end_of_word_suffix", None):
        return "end_of_word"
    return "plain"


def _has_byte_fallback(backend: Any, components: list[dict[str, Any]]) -> bool:
    in_decoder = any(part["type"] == "ByteFallback" for part in components)
    return bool(getattr(backend.model, "byte_fallback", False)) or in_decoder


def _roles(tokenizer: Any, raw: list[str | None], special: Bool[ndarray, " vocab"]) -> dict[str, int]:
    ids = {role: getattr(tokenizer, f"{role}_token_id", None) for role in ROLES}
    if all(index is None for index in ids.values()):
        # Special tokens alone: some vocabularies hold `<s>` as an ordinary token, the tag of a web page.
        place = {token: index for index, token in enumerate(raw) if token is not None and special[index]}
        ids = {role: next((place[c] for c in known if c in place), None) for role, known in _KNOWN_ROLES.items()}
    return {role: int(index) for role, index in ids.items() if index is not None and 0 <= index < len(raw)}


@cache
def byte_alphabet() -> dict[str, int]:
    """Return the character -> byte table of byte-level BPE (printable bytes stand for themselves).

    Source: GPT-2's `bytes_to_unicode`, which every byte-level tokenizer of the hub shares.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(b): b for b in printable}
    missing = [b for b in range(256) if b not in set(printable)]
    table.update({chr(256 + n): b for n, b in enumerate(missing)})
    return table


def _spelled(token: str, family: str, byte_fallback: bool, added: bool, backend: Any) -> str:
    if added:
        return token.replace(" ", SPACE)
    if byte_fallback and (byte := _BYTE.fullmatch(token)):
        return bytes([int(byte[1], 16)]).decode("utf-8", "surrogateescape").replace(" ", SPACE)
    if family == "byte_level":
        table = byte_alphabet()
        if all(c in table for c in token):
            return bytes(table[c] for c in token).decode("utf-8", "surrogateescape").replace(" ", SPACE)
    if family == "wordpiece":
        prefix = getattr(backend.model, "continuing_subword_prefix", None) or "##"
        token = token[len(prefix) :] if token.startswith(prefix) else SPACE + token
    if family == "end_of_word":
        suffix = backend.model.end_of_word_suffix
        token = token[: -len(suffix)] + SPACE if token.endswith(suffix) else token
    return token.replace(" ", SPACE)


def marker(spelling: Spelling) -> str:
    """Return the character with which the tokenizer's own strings begin a word: `▁`, `Ġ`, or none."""
    return {"sentencepiece": SPACE, "byte_level": "Ġ"}.get(spelling.family, "")


def raw_spellings(spelling: Spelling, prefix: str | None = None) -> list[str]:
    """Return the tokenizer's own strings, its word marker replaced by `prefix` (None leaves it).

    This is the released reference's only normalisation; missing ids become the empty string.
    """
    own = marker(spelling)
    tokens = [token or "" for token in spelling.raw]
    return tokens if prefix is None or not own else [token.replace(own, prefix) for token in tokens]
