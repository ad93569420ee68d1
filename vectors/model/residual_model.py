"""A causal language model seen as a residual stream: found, loaded, its blocks named, texts turned into ids."""

import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vectors.common.errors import InputError, ModelError
from vectors.common.paths import EMBEDDED_LIBRARY, EMBEDDED_MODEL, EMBEDDED_NAME
from vectors.common.validation import check_integer, quote
from vectors.model.loading import choose_device, choose_dtype, find_blocks, find_model, load_checkpoint, short_message
from vectors.model.weights import device_of, fingerprint, is_quantised


class Origin(TypedDict):
    """The arguments of ``load_model``."""

    name_or_path: str | Path | None
    device: str
    dtype: str
    trust_remote_code: bool


class ResidualModel:
    """A decoder-only language model, its tokenizer, and the blocks whose outputs are its residual stream.

    Args:
        hf: A transformers causal language model (``PreTrainedModel``) in eval mode; it is never changed.
        tokenizer: The transformers tokenizer that belongs to it.
        name: What vectors made for this model call it.
        blocks_path: Where the stack of blocks lies in ``hf``; asked of TransformerLens' adapter when left out.
        library: Folder of ready-made vectors shipped with the model, if any.
        origin: What ``load_model`` was given, for processes that load the model again.

    Raises:
        ModelError: The model is in training mode, has no language-model head, or its blocks cannot be named.
    """

    def __init__(
        self,
        hf: Any,
        tokenizer: Any,
        *,
        name: str = "unnamed",
        blocks_path: str | None = None,
        library: Path | None = None,
        origin: "Origin | None" = None,
    ) -> None:
        kind = type(hf).__name__
        if not hasattr(hf, "config") or not hasattr(hf, "get_output_embeddings"):
            raise ModelError(f"model {name!r} is a {kind}: expected a transformers causal language model")
        self.blocks_path = blocks_path or find_blocks(hf.config, kind)
        if hf.get_output_embeddings() is None:
            raise ModelError(f"model {name!r} is a {kind}, which has no language-model head: give one that has")
        if hf.training:
            raise ModelError(f"model {name!r} is in training mode, where dropout is on: call .eval() on it first")
        self.hf, self.tokenizer, self.name, self.library, self.origin = hf, tokenizer, name, library, origin
        text_config = hf.config.get_text_config(decoder=True)
        self.blocks = _blocks(hf, self.blocks_path, text_config.num_hidden_layers)
        self.n_layers, self.d_model = len(self.blocks), int(text_config.hidden_size)
        known = inspect.signature(hf.forward).parameters
        self.takes_position_ids = "position_ids" in known
        self.last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        limits = (getattr(text_config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len"))
        self.max_context = next((int(limit) for limit in limits if limit), 2048)  # models without positions name none
        self.bos_id, self.eos_ids = _bos_id(hf, tokenizer), _eos_ids(hf, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where token ids are to be sent."""
        return device_of(self.hf.get_input_embeddings()) or torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        dtype: torch.dtype = self.hf.dtype
        return dtype

    @cached_property
    def precise(self) -> bool:
        """Whether it rounds as float32 does, so that logits that should be equal are nearly so."""
        return self.dtype in (torch.float32, torch.float64) and not is_quantised(self.hf)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the shapes and a sample of the weights, the same in every floating dtype; see `fingerprint`."""
        return fingerprint(self.hf, self.n_layers, self.d_model)

    def start_ids(self) -> list[int]:
        """Return the ids that a text written without a prompt starts from.

        Raises:
            ModelError: Neither the tokenizer nor the model names a token that starts a document.
        """
        if self.bos_id is None:
            raise ModelError(f"model {self.name!r} has no token that starts a document (bos or eos): give it a prompt")
        return [self.bos_id]

    def encode(self, texts: Sequence[str], *, max_tokens: int | None = None) -> list[list[int]]:
        """Return each text's ids: the start token once, if the model has one, then the text; no padding, no end token.

        Args:
            texts: A list of texts, not one string.
            max_tokens: Keep at most so many ids of each text, the start token included.

        Raises:
            InputError: ``texts`` is one string or holds something else than strings, or ``max_tokens`` is below one.
            ModelError: a tokenizer that gives ids beyond the model's embeddings.
        """
        if isinstance(texts, str):
            raise InputError(f"texts is one string ({texts[:40]!r}): give a list of strings")
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise InputError(f"texts holds a {type(wrong[0]).__name__} ({str(wrong[0])[:40]!r}): give strings only")
        if max_tokens is not None and max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}: give at least 1")
        if not texts:
            return []
        told = self.tokenizer(list(texts), add_special_tokens=False, padding=False, truncation=False, verbose=False)
        rows, known = told["input_ids"], len(self.hf.get_input_embeddings().weight)
        if (highest := max((max(row) for row in rows if row), default=0)) >= known:
            raise ModelError(
                f"model {self.name!r} embeds {known} tokens, and its tokenizer gave id {highest}: give it the "
                "tokenizer that it was trained with"
            )
        start = [] if self.bos_id is None else [self.bos_id]
        # A text that spells the start token out, or a tokenizer that adds it unasked, has it already.
        return [(list(row) if row[:1] == start else [*start, *row])[:max_tokens] for row in rows]

    def decode(self, ids: Sequence[int] | Int[Tensor, " pos"]) -> str:
        """Return the text of one sequence of ids, special tokens left out."""
        plain = ids.tolist() if isinstance(ids, Tensor) else [int(token) for token in ids]
        return str(self.tokenizer.decode(plain, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def check_layer(self, layer: int) -> int:
        """Return ``layer``, or raise InputError unless it is the number of a block of this model, counted from 0."""
        try:
            return check_integer(layer, "layer", high=self.n_layers - 1)
        except InputError as error:
            last = self.n_layers - 1
            raise InputError(f"layer is {quote(layer)}: model {self.name!r} has layers 0 to {last}") from error

    def batch(
        self, sequences: Sequence[Sequence[int]], *, side: Literal["right", "left"] = "right"
    ) -> dict[str, Int[Tensor, "batch pos"]]:
        """Return the arguments of one forward over ``sequences``, padded, on the model's device: ``hf(**batch)``."""
        input_ids, attention_mask, position_ids = pad(sequences, side=side)
        names = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.takes_position_ids:
            names["position_ids"] = position_ids
        return {key: value.to(self.device) for key, value in names.items()}


def pad(
    sequences: Sequence[Sequence[int]], *, side: Literal["right", "left"] = "right"
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Pad sequences of ids to one length and return ``(input_ids, attention_mask, position_ids)`` on the CPU.

    Padding is id 0, which every vocabulary has, behind a mask of 0; positions count the real tokens of each row.

    Raises:
        InputError: No sequences, an empty one (attention over nothing is undefined), or an unknown side.

    >>> pad([[5, 6, 7], [8]], side="left")[0].tolist()
    [[5, 6, 7], [0, 0, 8]]
    """
    if side not in ("right", "left"):
        raise InputError(f"side is {side!r}: give 'right' or 'left'")
    lengths = [len(sequence) for sequence in sequences]
    if not lengths or min(lengths) == 0:
        given = f"sequence {lengths.index(0)} is empty" if lengths else "there are no sequences"
        raise InputError(f"{given}: give at least one sequence, each of at least one id")
    input_ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        columns = slice(0, lengths[row]) if side == "right" else slice(max(lengths) - lengths[row], None)
        input_ids[row, columns] = torch.as_tensor(sequence, dtype=torch.long)
        attention_mask[row, columns] = 1
    return input_ids, attention_mask, (attention_mask.cumsum(dim=1) - 1).clamp(min=0)


def load_model(
    name_or_path: str | Path | None = None,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    trust_remote_code: bool = False,
) -> ResidualModel:
    """Load the embedded model, a local folder, or a model of the Hugging Face hub, ready to be read and steered.

    Args:
        name_or_path: Nothing for the embedded model, a folder, or a hub name; a folder of that name wins over the hub.
        device: ``"cpu"``, ``"cuda"``, …; by default CUDA where there is one.
        dtype: By default the checkpoint's own, but float32 on the CPU where that is float16.
        trust_remote_code: Run code that came with the checkpoint. Nothing of the kind runs unless asked.

    Raises:
        InputError: An unknown device or dtype.
        ModelError: There is no such model, it cannot be loaded, or it is not a decoder-only transformer.
    """
    place, wanted = choose_device(device), choose_dtype(dtype)
    embedded = name_or_path is None
    if embedded and not (EMBEDDED_MODEL / "config.json").is_file():
        raise ModelError(f"the embedded model is missing ({EMBEDDED_MODEL}): reinstall, or give a folder or hub name")
    folder, from_hub = (EMBEDDED_MODEL, False) if name_or_path is None else find_model(name_or_path)
    hub_name = str(name_or_path) if from_hub else None
    if wanted is None and embedded and place.type == "cpu":
        wanted = torch.float32
    hf, tokenizer, noted = load_checkpoint(folder, wanted, trust_remote_code=trust_remote_code, hub_name=hub_name)
    if wanted is None and hf.dtype == torch.float16 and place.type == "cpu":
        hf = hf.float()  # half precision is slow and coarse there
    name = hub_name or (EMBEDDED_NAME if embedded else folder.resolve().name)
    library = EMBEDDED_LIBRARY if embedded and EMBEDDED_LIBRARY.is_dir() else None
    try:
        hf = hf.to(place).eval().requires_grad_(False)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"model {name!r} cannot be moved to {place} ({short_message(error)}): "
            "give --device cpu or a smaller --dtype"
        ) from error
    origin: Origin = {
        "name_or_path": None if embedded else name_or_path,
        "device": str(place),
        "dtype": str(hf.dtype).removeprefix("torch."),
        "trust_remote_code": trust_remote_code,
    }
    return ResidualModel(hf, tokenizer, name=name, blocks_path=noted, library=library, origin=origin)


def _blocks(hf: Any, path: str, n_layers: int) -> list[nn.Module]:
    """Return the blocks under ``path``, which must be one list of exactly the layers that the config counts."""
    try:
        stack = hf.get_submodule(path)
    except AttributeError:
        stack = None
    if not isinstance(stack, nn.ModuleList) or len(stack) != n_layers:
        raise ModelError(f"{type(hf).__name__} has no list of {n_layers} blocks at {path!r}: its layers have no names")
    return list(stack)


def _is_marker(tokenizer: Any, token: Any) -> bool:
    """Tell whether an id is really a special token here: many configs carry a family's default unchanged."""
    return isinstance(token, int) and (token in tokenizer.all_special_ids or token in tokenizer.added_tokens_decoder)


def _bos_id(hf: Any, tokenizer: Any) -> int | None:
    """Return the token that starts a document: the tokenizer's, else the model's, else the end of the one before."""
    settings = (getattr(hf, "generation_config", None), hf.config.get_text_config(decoder=True))
    named = (tokenizer.bos_token_id, *(getattr(place, "bos_token_id", None) for place in settings))
    return next((token for token in (*named, tokenizer.eos_token_id) if _is_marker(tokenizer, token)), None)


def _eos_ids(hf: Any, tokenizer: Any) -> frozenset[int]:
    """Return every token that ends a text, as the tokenizer and the generation config name them."""
    listed = getattr(hf.generation_config, "eos_token_id", None)
    named = [tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])]
    return frozenset(token for token in named if _is_marker(tokenizer, token))
