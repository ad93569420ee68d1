"""A causal language model as a residual stream: load it, name its blocks, and encode texts."""

import inspect
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vectors.common.errors import InputError, ModelError, SteerError, SteerWarning
from vectors.common.paths import EMBEDDED_LIBRARY, EMBEDDED_MODEL, EMBEDDED_NAME
from vectors.common.progress import ProgressBars, ProgressOption, progress_callback
from vectors.common.validation import check_integer, quote
from vectors.model.loading import choose_device, choose_dtype, find_blocks, short_message
from vectors.model.passport import Passport, read_passport
from vectors.model.sources.find_source import open_model
from vectors.model.weights import device_of, fingerprint, is_quantised, not_finite_weight


class Origin(TypedDict):
    """The arguments of ``load_model``."""

    name_or_path: str | Path | None
    device: str
    dtype: str
    base: str | Path | None
    trust_remote_code: bool


class ResidualModel:
    """A decoder-only language model, its tokenizer, and the blocks whose outputs are its residual stream.

    Args:
        hf: A transformers causal language model (``PreTrainedModel``) or a ``PeftModel`` of one, in eval mode; it is
            never changed. Of a ``PeftModel``, the adapters that are active at each forward apply.
        tokenizer: Its transformers tokenizer.
        name: The model's name, stored with vectors made for it.
        blocks_path: Path of the list of blocks in ``hf``, by default the one that TransformerLens' adapter names.
        library: Folder of vectors shipped with the model, if any.
        origin: The arguments of ``load_model``, with which other processes load the model again.
        file_precision: How the file that it was read from is quantised, such as Q4_K_M.

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
        file_precision: str | None = None,
    ) -> None:
        if hasattr(hf, "peft_config") and callable(getattr(hf, "get_base_model", None)):
            from vectors.model.sources.adapters import unwrapped  # only a PeftModel needs it

            hf = unwrapped(hf)
        kind = type(hf).__name__
        if not hasattr(hf, "config") or not hasattr(hf, "get_output_embeddings"):
            raise ModelError(f"model {name!r} is a {kind}: expected a transformers causal language model")
        self.blocks_path = blocks_path or find_blocks(hf.config, kind)
        if hf.get_output_embeddings() is None:
            raise ModelError(f"model {name!r} is a {kind}, which has no language-model head: give a model with one")
        if hf.training:
            raise ModelError(f"model {name!r} is in training mode, in which dropout is on: call .eval() on it first")
        self.hf, self.tokenizer, self.name, self.library, self.origin = hf, tokenizer, name, library, origin
        self.file_precision = file_precision
        text_config = hf.config.get_text_config(decoder=True)
        self.blocks = _blocks(hf, self.blocks_path, text_config.num_hidden_layers)
        self.n_layers, self.d_model = len(self.blocks), int(text_config.hidden_size)
        parameters = inspect.signature(hf.forward).parameters
        self.takes_position_ids = "position_ids" in parameters
        # arguments of a forward that computes the logits of the last position only
        self.last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        limits = (getattr(text_config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len"))
        # models without position embeddings have no limit
        self.max_context = next((int(limit) for limit in limits if limit), 2048)
        self.n_embeddings = _n_embeddings(hf)
        self.bos_id, self.eos_ids = _bos_id(hf, tokenizer), _eos_ids(hf, tokenizer)
        self._checked_tokens = False

    @property
    def device(self) -> torch.device:
        """The device for token ids."""
        return device_of(self.hf.get_input_embeddings()) or torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        dtype: torch.dtype = self.hf.dtype
        return dtype

    @cached_property
    def precise(self) -> bool:
        """Whether it computes in float32 or float64 without quantisation, so that equal logits differ little."""
        return self.dtype in (torch.float32, torch.float64) and not is_quantised(self.hf)

    @cached_property
    def batch_noise(self) -> float:
        """Largest change of a text's logits by the other texts of its batch: 0 unless activations are quantised too."""
        if not is_quantised(self.hf):
            return 0.0
        start, last = self.bos_id or 0, self.n_embeddings - 1
        others = [[start, 0, 1], [start, 1, 1], [start, last // 2, last // 3], [start, last, last // 5]]
        with torch.no_grad():
            alike, *logits = (
                self.hf(**self.batch([others[0], other]), use_cache=False).logits[0].float() for other in others
            )
        return max(float((each - alike).abs().max()) for each in logits)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the weights' shapes and a sample of their signs, equal in every dtype; see `fingerprint`."""
        return fingerprint(self.hf, self.n_layers, self.d_model)

    @cached_property
    def passport(self) -> Passport | None:
        """What the model is, so that it is known again after it was quantised; None if its blocks cannot be read."""
        try:
            blocks = self.hf.get_submodule(self.blocks_path)
            return read_passport(self.hf, self.tokenizer, blocks, precision=self.file_precision)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, NotImplementedError):
            return None  # modules of a kind of their own; the hash still knows the same weights

    def start_ids(self) -> list[int]:
        """Return the ids with which a text without a prompt starts.

        Raises:
            ModelError: Neither the tokenizer nor the model has a token that starts a document, or it has no embedding.
        """
        if self.bos_id is None:
            raise ModelError(f"model {self.name!r} has no token that starts a document (bos or eos): give it a prompt")
        self._check_special_tokens()
        return [self.bos_id]

    def encode(self, texts: Sequence[str], *, max_tokens: int | None = None) -> list[list[int]]:
        """Return the ids of each text: one start token, if the model has one, then the text; no padding or end token.

        Args:
            texts: A list of texts, not one string.
            max_tokens: Maximum number of ids of each text, with the start token.

        Raises:
            InputError: ``texts`` is one string or holds other values than strings, or ``max_tokens`` is below 1.
            ModelError: A token of the texts, or one that starts or ends them, has no embedding.
        """
        if isinstance(texts, str):
            raise InputError(f"texts is one string ({texts[:40]!r}): give a list of strings")
        texts = list(texts)  # an iterator can be read only once
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise InputError(f"texts holds a {type(wrong[0]).__name__} ({str(wrong[0])[:40]!r}): give strings only")
        if max_tokens is not None and max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}: give at least 1")
        self._check_special_tokens()
        if not texts:
            return []
        options = {"add_special_tokens": False, "padding": False, "truncation": False, "verbose": False}
        rows = self.tokenizer(list(texts), **options)["input_ids"]
        if (highest := max((max(row) for row in rows if row), default=0)) >= self.n_embeddings:
            raise ModelError(self._beyond("its tokenizer gave", highest))
        start = [] if self.bos_id is None else [self.bos_id]
        # the ids may already begin with it: a text can spell it out, and some tokenizers always add it
        return [(list(row) if row[:1] == start else [*start, *row])[:max_tokens] for row in rows]

    def _check_special_tokens(self) -> None:
        """Refuse a start or end token without an embedding, and name others in a note: those are never read here."""
        if self._checked_tokens:
            return
        config = getattr(self.hf, "generation_config", None)
        used: dict[str, list[Any]] = {"start": [self.bos_id], "end": sorted(self.eos_ids)}
        forced = [getattr(config, f"forced_{kind}_token_id", None) for kind in ("bos", "eos")]
        unused: dict[str, list[Any]] = {"padding": [getattr(self.tokenizer, "pad_token_id", None)], "forced": forced}
        for kind, ids in (used | unused).items():
            for token in ids:
                if not isinstance(token, int) or token < self.n_embeddings:
                    continue
                message = self._beyond(f"its {kind} token is", token)
                if kind in used:
                    raise ModelError(message)
                warnings.warn(f"{message}; it is not used here", SteerWarning, stacklevel=3)
        self._checked_tokens = True

    def _beyond(self, what: str, token: int) -> str:
        """Return a message about a token without an embedding, that names it."""
        name = quote(self.tokenizer.convert_ids_to_tokens(token)) if hasattr(self.tokenizer, "decode") else "id"
        return (
            f"model {self.name!r} embeds {self.n_embeddings} tokens, and {what} {name} ({token}): "
            "give it the tokenizer that it was trained with, or hf.resize_token_embeddings(len(tokenizer))"
        )

    def decode(self, ids: Sequence[int] | Int[Tensor, " pos"]) -> str:
        """Return the text of one sequence of ids, without special tokens."""
        tokens = ids.tolist() if isinstance(ids, Tensor) else [int(token) for token in ids]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def check_layer(self, layer: int) -> int:
        """Return ``layer``; raise InputError unless it is the index of a block of this model, counted from 0."""
        try:
            return check_integer(layer, "layer", high=self.n_layers - 1)
        except InputError as error:
            last = self.n_layers - 1
            raise InputError(f"layer is {quote(layer)}: model {self.name!r} has layers 0 to {last}") from error

    def batch(self, sequences: Sequence[Sequence[int]]) -> dict[str, Int[Tensor, "batch pos"]]:
        """Return the arguments of one forward over ``sequences``, padded, on the model's device: ``hf(**batch)``."""
        input_ids, attention_mask, position_ids = pad(sequences)
        arguments = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.takes_position_ids:
            arguments["position_ids"] = position_ids
        return {name: value.to(self.device) for name, value in arguments.items()}


def pad(
    sequences: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Pad sequences of ids at the right and return ``(input_ids, attention_mask, position_ids)`` on the CPU.

    The padding is id 0, which every vocabulary has, with a mask of 0.

    Raises:
        InputError: There are no sequences, or one is empty (attention over nothing is undefined).

    >>> pad([[5, 6, 7], [8]])[0].tolist()
    [[5, 6, 7], [8, 0, 0]]
    """
    lengths = [len(sequence) for sequence in sequences]
    if not lengths or min(lengths) == 0:
        problem = f"sequence {lengths.index(0)} is empty" if lengths else "there are no sequences"
        raise InputError(f"{problem}: give at least one sequence, each of at least one id")
    input_ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        input_ids[row, : lengths[row]] = torch.as_tensor(sequence, dtype=torch.long)
        attention_mask[row, : lengths[row]] = 1
    return input_ids, attention_mask, (attention_mask.cumsum(dim=1) - 1).clamp(min=0)


def not_finite(
    model: ResidualModel, what: str, *, error: type[SteerError] = ModelError, hint: str = "check its weights"
) -> SteerError:
    """Return the error for numbers of a model that are not finite, such as ``what="logits"``.

    It says so if the weights themselves are not finite; otherwise it advises float32 for a model in half precision, and
    what `hint` says for others.
    """
    half = model.dtype in (torch.float16, torch.bfloat16)
    if (name := not_finite_weight(model.hf)) is not None:
        narrow = model.dtype == torch.float16  # whose range ends at 65504
        advice = "load it in float32, or if that does not help, download it again" if narrow else "download it again"
        return error(
            f"model {model.name!r} gives {what} that are not finite, because its weights hold NaN or infinity "
            f"({name}): {advice}"
        )
    advice = "load it in float32" if half else hint
    return error(f"model {model.name!r} gives {what} that are not finite: {advice}")


def check_finite(
    model: ResidualModel,
    values: Tensor | Sequence[float],
    what: str,
    *,
    error: type[SteerError] = ModelError,
    hint: str = "check its weights",
) -> None:
    """Raise `not_finite` unless all values that a model gave are finite."""
    if not bool(torch.as_tensor(values).isfinite().all()):
        raise not_finite(model, what, error=error, hint=hint)


def load_model(
    name_or_path: str | Path | None = None,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    base: str | Path | None = None,
    trust_remote_code: bool = False,
    progress: ProgressOption = None,
) -> ResidualModel:
    """Load the embedded model, a local folder, a GGUF file, an adapter, or a model of the Hugging Face hub.

    A GGUF file is converted once, to a folder in the user's library. An adapter (PEFT) is merged into its base.

    Args:
        name_or_path: A folder, a GGUF file or a hub name, by default the embedded model. Files take precedence over the
            hub.
        device: ``"cpu"``, ``"cuda"``, …; by default CUDA if available.
        dtype: By default the checkpoint's own, except that float16 becomes float32 on the CPU, and a GGUF file float32
            on the CPU and bfloat16 elsewhere.
        base: The model that an adapter was trained on, by default the one that it names, if that is on this machine.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        progress: Called with stage, done and total while a GGUF file is converted, or True for bars.

    Raises:
        InputError: The device or dtype is unknown, or there is a base for something that is no adapter.
        ModelError: The model does not exist, cannot be loaded, or is not a decoder-only transformer.
        OutputError: A converted model cannot be written.
    """
    on, as_dtype = choose_device(device), choose_dtype(dtype)
    embedded = name_or_path is None
    if embedded and not (EMBEDDED_MODEL / "config.json").is_file():
        raise ModelError(f"the embedded model is missing ({EMBEDDED_MODEL}): reinstall, or give a folder or hub name")
    if embedded and base is not None:
        raise InputError(f"base is {quote(base)} without an adapter: give the adapter as the model")
    if as_dtype is None and embedded and on.type == "cpu":
        as_dtype = torch.float32
    with ExitStack() as stack:
        report = stack.enter_context(ProgressBars()) if progress is True else progress_callback(progress)
        opened = open_model(
            EMBEDDED_MODEL if name_or_path is None else name_or_path, as_dtype, base=base,
            trust_remote_code=trust_remote_code, progress=report, on_cpu=on.type == "cpu",
        )  # fmt: skip
    hf = opened.hf
    if as_dtype is None and hf.dtype == torch.float16 and on.type == "cpu":
        hf = hf.float()  # half precision is slow and inexact there
    name = EMBEDDED_NAME if embedded else opened.name
    library = EMBEDDED_LIBRARY if embedded and EMBEDDED_LIBRARY.is_dir() else None
    try:
        hf = hf.to(on).eval().requires_grad_(False)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"model {name!r} cannot be moved to {on} ({short_message(error)}): give --device cpu or a smaller --dtype"
        ) from error
    origin: Origin = {
        "name_or_path": None if embedded else name_or_path,
        "device": str(on),
        "dtype": str(hf.dtype).removeprefix("torch."),
        "base": base,
        "trust_remote_code": trust_remote_code,
    }
    return ResidualModel(
        hf, opened.tokenizer, name=name, blocks_path=opened.blocks_path, library=library, origin=origin,
        file_precision=opened.precision,
    )  # fmt: skip


def _blocks(hf: Any, path: str, n_layers: int) -> list[nn.Module]:
    """Return the blocks at ``path``, which must be a list of as many as the config has layers."""
    try:
        stack = hf.get_submodule(path)
    except AttributeError:
        stack = None
    if not isinstance(stack, nn.ModuleList) or len(stack) != n_layers:
        raise ModelError(f"{type(hf).__name__} has no list of {n_layers} blocks at {path!r}: its layers have no names")
    return list(stack)


def _n_embeddings(hf: Any) -> int:
    """Return how many tokens a model has embeddings for; quantised embeddings have no weight."""
    embeddings = hf.get_input_embeddings()
    rows = getattr(embeddings, "num_embeddings", None)
    if isinstance(rows, int):
        return rows
    weight = getattr(embeddings, "weight", None)
    return len(weight) if isinstance(weight, Tensor) else int(hf.config.get_text_config(decoder=True).vocab_size)


def _is_marker(tokenizer: Any, token: Any) -> bool:
    """Return whether an id is a special token of this tokenizer: many configs keep a default that is not."""
    return isinstance(token, int) and (token in tokenizer.all_special_ids or token in tokenizer.added_tokens_decoder)


def _bos_id(hf: Any, tokenizer: Any) -> int | None:
    """Return the token that starts a document: the tokenizer's bos, else the model's, else the eos."""
    settings = (getattr(hf, "generation_config", None), hf.config.get_text_config(decoder=True))
    bos_ids = (tokenizer.bos_token_id, *(getattr(setting, "bos_token_id", None) for setting in settings))
    return next((token for token in (*bos_ids, tokenizer.eos_token_id) if _is_marker(tokenizer, token)), None)


def _eos_ids(hf: Any, tokenizer: Any) -> frozenset[int]:
    """Return every token that ends a text, as the tokenizer and the generation config name them."""
    configured = getattr(hf.generation_config, "eos_token_id", None)
    eos_ids = [tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    return frozenset(token for token in eos_ids if _is_marker(tokenizer, token))
