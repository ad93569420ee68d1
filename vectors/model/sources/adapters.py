"""PEFT adapters (LoRA and its kin): find their base, and merge them into it, so that the blocks are plain modules."""

import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vectors.common.errors import ModelError
from vectors.common.validation import quote
from vectors.model.loading import empty_weights, short_message, silence_transformers
from vectors.model.weights import is_quantised

_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
_MERGE: Final = "merge it where it was trained (model.merge_and_unload(), then save_pretrained) and give that folder"
_MAX_NOTE: Final = 2**20
_NOT_MERGED: Final = ("bitsandbytes", "gptq", "awq")  # others may be dequantised when they are loaded
_MLX_KEYS: Final = frozenset(["fine_tune_type", "lora_parameters", "lora_layers"])
_EMBEDDINGS: Final = (
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
    "word_embeddings.weight",
    "lm_head.weight",
)


def read_adapter(folder: Path) -> dict[str, Any]:
    """Return what an adapter's file says of it.

    Raises:
        ModelError: the file is damaged, of a kind that cannot be merged, or its weights are missing.
    """
    note = folder / "adapter_config.json"
    try:
        if note.stat().st_size > _MAX_NOTE:
            raise ValueError("too large")
        config = json.loads(note.read_text(encoding="utf-8"))
        if isinstance(config, dict) and "peft_type" not in config and config.keys() & _MLX_KEYS:
            raise ModelError(
                f"the adapter {quote(folder)} is in the format of mlx-lm, not of PEFT: merge it there (mlx_lm.fuse "
                "--adapter-path, with --dequantize if its base is quantised), and give the folder that this writes"
            )
        kind, base = config["peft_type"], config.get("base_model_name_or_path")
        if not isinstance(kind, str) or not isinstance(base, str | None):
            raise TypeError("not text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{quote(note)} cannot be read: give the folder that PEFT's save_pretrained wrote") from error
    from peft import PeftType

    if kind not in {str(known.value) for known in PeftType}:
        raise ModelError(
            f"the adapter {quote(folder)} is of kind {quote(kind)}, which peft does not know here: {_MERGE}"
        )
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ModelError(f"the adapter {quote(folder)} lacks its weights ({_WEIGHTS[0]}): give the whole folder")
    return dict(config)


def base_of(folder: Path, adapter: dict[str, Any]) -> str | Path | None:
    """Return the base that an adapter names: a folder, which may be relative to the adapter, or a hub name."""
    named = adapter.get("base_model_name_or_path")
    if not named or "\0" in named:
        return None
    for candidate in (folder / named, folder.parent / named, Path(named)):
        try:
            if candidate.is_dir() and candidate.resolve() != folder.resolve():
                return candidate
        except OSError:  # a name too long
            return None
    return str(named)


@contextmanager
def without_adapter(folder: Path) -> Iterator[Path]:
    """Yield a folder with links to all files of a model but those of its adapter, which transformers would apply."""
    with tempfile.TemporaryDirectory(prefix="steer-") as temporary:
        for path in folder.resolve().iterdir():
            if not path.name.startswith("adapter_"):
                (Path(temporary) / path.name).symlink_to(path)
        yield Path(temporary)


def check_base(folder: Path, base: Path, name: str) -> None:
    """Check that an adapter can be merged into a base, before the weights of that are loaded.

    Raises:
        ModelError: the base is quantised.
    """
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        method = (config.get("quantization_config") or {}).get("quant_method")
    except (OSError, ValueError, AttributeError, RecursionError):  # what is wrong with it is said when it is loaded
        return
    if method in _NOT_MERGED:
        raise _quantised(f"the adapter {quote(folder)}", name)


def merge(hf: Any, folder: Path, base: str) -> Any:
    """Return a model with an adapter merged into its weights; the given model is used up.

    Args:
        hf: the base, in eval mode, of which nothing else needs the weights.
        folder: the adapter.
        base: the base's name, for messages.

    Raises:
        ModelError: the adapter is damaged, cannot be merged, or was not trained on this base.
    """
    what = f"the adapter {quote(folder)}"
    if is_quantised(hf):
        raise _quantised(what, base)
    sizes = _read_sizes(folder, what)
    if empty := empty_weights(folder):
        raise ModelError(f"{what} cannot be merged: {empty}")
    rows = {shape[0] for name, shape in sizes.items() if name.endswith(_EMBEDDINGS) and len(shape) == 2}
    try:
        with silence_transformers(), warnings.catch_warnings():
            from peft import PeftConfig, PeftModel, get_peft_model_state_dict

            config = PeftConfig.from_pretrained(str(folder))
            if config.is_prompt_learning:
                raise ModelError(
                    f"{what} ({config.peft_type.value}) adds learned positions and changes no weights, so it cannot be "
                    "merged: train a LoRA, or give the base with a prompt"
                )
            config.inference_mode = True
            if len(rows) == 1 and rows != {len(hf.get_input_embeddings().weight)}:  # it brings tokens of its own
                hf.resize_token_embeddings(rows.pop(), mean_resizing=False)
            model: Any = PeftModel.from_pretrained(hf, str(folder), config=config)
            _check_complete(what, base, set(sizes), get_peft_model_state_dict(model, save_embedding_layers=False))
            if not hasattr(model.base_model, "merge_and_unload"):
                raise ModelError(
                    f"{what} ({config.peft_type.value}) cannot be merged into weights: give a model without it"
                )
            merged = model.merge_and_unload(safe_merge=True)
    except ModelError:
        raise
    except Exception as error:
        why = short_message(error)
        fits = any(sign in why for sign in ("size mismatch", "not found in the base model", "arget modules"))
        mend = "name the model that it was trained on with --base (base=)" if fits else _MERGE
        problem = "was not trained on" if fits else "cannot be merged into"
        raise ModelError(f"{what} {problem} {quote(base)} ({why}): {mend}") from error
    return merged.eval()


def unwrapped(hf: Any) -> Any:
    """Return the transformers model inside a `PeftModel`, with its adapters in place.

    Raises:
        ModelError: an adapter that acts outside of the model's modules.
    """
    if getattr(hf, "active_peft_config", None) is not None and hf.active_peft_config.is_prompt_learning:
        raise ModelError(
            f"this {type(hf).__name__} adds learned positions ({hf.active_peft_config.peft_type.value}) before each "
            "text, which steering does not see: give its base with a prompt, or train a LoRA"
        )
    return hf.get_base_model()


def _quantised(what: str, base: str) -> ModelError:
    return ModelError(
        f"{what} cannot be merged into {quote(base)}, which is quantised: name its unquantised version with --base "
        f"(base=), or {_MERGE}"
    )


def _read_sizes(folder: Path, what: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an adapter's weights by name."""
    try:
        if (folder / _WEIGHTS[0]).is_file():
            from safetensors import safe_open

            with safe_open(folder / _WEIGHTS[0], "pt") as weights:
                return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        import torch

        loaded = torch.load(folder / _WEIGHTS[1], map_location="cpu", weights_only=True)
        return {name: tuple(weight.shape) for name, weight in loaded.items()}
    except Exception as error:
        raise ModelError(f"{what} has damaged weights ({short_message(error)}): give the whole folder again") from error


def _check_complete(what: str, base: str, given: set[str], used: dict[str, Any]) -> None:
    """Check that every weight of an adapter found its place in the base, and every place a weight."""
    left = sorted(name for name in given - {*used} if not name.endswith(_EMBEDDINGS))  # whole embeddings fit by name
    missing = sorted({*used} - given)
    if left or missing:
        problem = f"has {len(left)} weights that {quote(base)} has no place for ({left[0]})" if left else ""
        problem = problem or f"lacks {len(missing)} weights for {quote(base)} ({missing[0]})"
        raise ModelError(f"{what} {problem}: name the model that it was trained on with --base (base=)")
