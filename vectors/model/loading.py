"""Find, check and load a transformers model; one that cannot be steered is refused before its weights are read."""

import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from vectors.common.errors import InputError, ModelError, SteerWarning
from vectors.common.validation import quote
from vectors.model.local_path import HINT, POINTER, find_local, is_pointer

BLOCKS_NOTE: Final = "residual.json"
"""A file beside the weights with `{"blocks": "model.layers"}`; with it, TransformerLens need not be imported."""

_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_MOST_BLOCKS = 10_000
_INDEX: Final = "*.index.json"


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Silence transformers' log lines, warnings and progress bars inside the ``with`` block."""
    # imported by name as Any, because neither package types or exports these
    transformers_logging: Any = import_module("transformers.utils.logging")
    hub: Any = import_module("huggingface_hub.utils")
    level = transformers_logging.get_verbosity()
    bars, hub_bars_off = transformers_logging.is_progress_bar_enabled(), hub.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers_logging.set_verbosity_error()
        if bars:
            transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(level)
            if bars:
                transformers_logging.enable_progress_bar()
                if hub_bars_off:
                    hub.disable_progress_bars()


def short_message(error: BaseException) -> str:
    """Return the first 200 characters of an error's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out; on a CPU, torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def choose_device(device: str | None) -> torch.device:
    """Return the device, by default CUDA if available, else the CPU; raise InputError if torch cannot use it."""
    try:
        result = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=result).item()  # fails on an absent device, and on `meta`
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device is {device!r}, which torch cannot use here: give 'cpu' or another one") from error
    return result


def choose_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return the dtype, or None for the checkpoint's own; raise InputError for anything but a floating dtype."""
    if dtype is None or dtype == "auto":
        return None
    result = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if result not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise InputError(f"dtype is {quote(dtype)}: give 'auto', 'float32', 'bfloat16' or 'float16'")
    return result


def find_blocks(config: Any, architecture: str | None = None) -> str:
    """Return the path of the list of blocks in a transformers model, as TransformerLens' adapter names it.

    Args:
        config: The transformers config; neither weights nor the hub are needed.
        architecture: The model's class name, by default the first of the config's ``architectures``.

    Raises:
        ModelError: No adapter knows the architecture, or it is not a decoder-only transformer.

    >>> from transformers import LlamaConfig
    >>> find_blocks(LlamaConfig(), "LlamaForCausalLM")
    'model.layers'
    """
    what = architecture or (config.architectures or [config.model_type])[0]
    if config.is_encoder_decoder:
        raise ModelError(f"{what} is an encoder-decoder model: only decoder-only language models can be steered here")
    with silence_transformers():  # importing TransformerLens sets transformers' log level and warning filters
        from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
        from transformer_lens.model_bridge.sources import transformers as source
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

        determine: Any = source.determine_architecture_from_hf_config

        def adapter_of(name: str) -> Any:
            cfg = build_bridge_config_from_hf(config, name, name, torch.float32)
            return ArchitectureAdapterFactory.select_architecture_adapter(cfg)

        try:
            try:
                adapter = adapter_of(what)
            except ValueError:  # the class is unknown; the model type may be known
                adapter = adapter_of(determine(config))
        except Exception as error:
            why = (
                short_message(error)
                if isinstance(error, ImportError)
                else "no TransformerLens adapter names its blocks"
            )
            raise ModelError(
                f"{what} cannot be steered here: {why}; give a decoder-only language model, or if it is one, say "
                f'where its blocks lie: blocks_path="model.layers", or {{"blocks": "model.layers"}} in {BLOCKS_NOTE} '
                "beside its weights"
            ) from error
    if not adapter.supports_generation or adapter.cfg.attention_dir != "causal":
        raise ModelError(f"{what} does not write text left to right (an encoder?): give a decoder-only language model")
    if adapter.cfg.is_stateful or not adapter.supports_kv_cache:
        raise ModelError(f"{what} is a state-space or recurrent model: give a transformer, decoder-only language model")
    blocks = (adapter.component_mapping or {}).get("blocks")
    if blocks is None or not blocks.name:
        raise ModelError(f"{what} has no single stack of blocks: give a decoder-only language model that has one")
    return str(blocks.name)


def block_configs(config: Any) -> list[Any]:
    """Return the config of each block of a language model, or one config if its blocks do not differ."""
    return list(getattr(config, "per_layer_config", None) or [config])


def read_blocks_note(folder: Path) -> str | None:
    """Return the block path noted in a file beside the weights, or None without such a file."""
    try:
        path = json.loads((folder / BLOCKS_NOTE).read_text(encoding="utf-8"))["blocks"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        note = folder / BLOCKS_NOTE
        raise ModelError(f'{note} cannot be read: expected {{"blocks": "model.layers"}}; fix or delete it') from error
    return str(path)


def find_model(name_or_path: str | Path) -> tuple[Path, bool]:
    """Return the folder or GGUF file of a model, and whether it is from the hub (its weights are not downloaded yet).

    Raises:
        ModelError: There is no such folder or file, it holds no model, or the hub does not give the model.
    """
    local = find_local(name_or_path)
    if local is not None:
        return local, False
    return download(str(name_or_path), "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.py"), True


def check_files(folder: Path, shown: Path) -> None:
    """Check that the weights of a folder are there, before transformers reads them.

    Raises:
        ModelError: a file is a pointer of Git LFS or empty, or an index names a file that is not there.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json", ".model") and path.is_file():
            if is_pointer(path):
                raise ModelError(f"{quote(shown / path.name)} {POINTER}")
            if path.suffix in (".safetensors", ".bin") and not path.stat().st_size:
                raise ModelError(f"{quote(shown / path.name)} is empty: download it again")
    for index in sorted(folder.glob(_INDEX)):
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            missing = sorted(str(name) for name in named if not (folder / str(name)).is_file())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{quote(shown / index.name)} is damaged: download it again") from error
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ModelError(
                f"folder {quote(shown)} lacks {quote(missing[0])}{more}, which {index.name} names: download the rest"
            )


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Load a tokenizer of a local folder.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        with silence_transformers():
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust_remote_code, local_files_only=not trust_remote_code
            )
    except Exception as error:
        raise ModelError(
            f"the tokenizer in {quote(folder)} cannot be loaded ({short_message(error)}): {HINT}"
        ) from error


def download(name: str, *patterns: str) -> Path:
    """Download the top-level files of a hub model that match ``patterns``, unless cached, and return its folder."""
    from huggingface_hub import snapshot_download

    bars: Any = import_module("huggingface_hub.utils")
    hide = not sys.stderr.isatty() and not bars.are_progress_bars_disabled()
    if hide:
        bars.disable_progress_bars()
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*/*", "consolidated*"]))
    except Exception as error:
        unreachable = re.search(r"ConnectError|ConnectionError|Name or service not known|Failed to resolve", str(error))
        why = "it cannot be reached" if unreachable else short_message(error)
        raise ModelError(f"no folder {name!r} here, and the hub did not give it ({why}): {HINT}") from error
    finally:
        if hide:
            bars.enable_progress_bars()


def load_checkpoint(
    folder: Path, dtype: torch.dtype | None, *, trust_remote_code: bool, hub_name: str | None, shown: Path | None = None
) -> tuple[Any, Any, str | None]:
    """Load a checkpoint on the CPU, in ``dtype`` or its own, as ``(hf, tokenizer, noted block path or None)``.

    Messages call it by its hub name, or by the folder ``shown`` if another one stands in for it.

    Raises:
        ModelError: The model cannot be steered (checked before its weights are read), or files are broken or missing.
    """
    what = hub_name or f"folder {shown or folder}"
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": not trust_remote_code}
    try:
        with silence_transformers():
            from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

            _check_depth(folder, what)
            config = AutoConfig.from_pretrained(folder, **options)
        if isinstance(getattr(config, "quantization", None), dict) and "group_size" in config.quantization:
            raise ModelError(
                f"{what} is quantised by MLX, which transformers does not read: give the model that it was made from, "
                "or write it unquantised by mlx_lm.convert --dequantize"
            )
        noted = read_blocks_note(folder)
        if noted is None:
            find_blocks(config)
        if not trust_remote_code and not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
            raise ModelError(f"{what} holds no tokenizer: save the model's tokenizer beside it")
        if hub_name is not None and not any(download(hub_name, "*.safetensors").glob("*.safetensors")):
            download(hub_name, "pytorch_model*.bin")
        with silence_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            # cast here and not by .to(), because transformers keeps rotary frequencies in float32
            from_pretrained: Any = AutoModelForCausalLM.from_pretrained
            options |= {"dtype": dtype or "auto", "output_loading_info": True}
            hf, info = from_pretrained(folder, **options)
            if prefix := _wrapper_prefix(info["missing_keys"], info["unexpected_keys"]):
                del hf
                hf, info = from_pretrained(folder, key_mapping={f"^{re.escape(prefix)}": ""}, **options)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{what} {_problem(error, folder)}") from error
    if prefix:
        warnings.warn(f"the weights of {what} are read without the {prefix!r} before their names", SteerWarning, 2)
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(f"{what} lacks {len(missing)} weights of a language model ({missing[0]}, …): give them all")
    _check_nothing_is_left(what, hf, noted, sorted(info["unexpected_keys"]))
    if shown is not None:
        hf.config.name_or_path = str(shown)
    return hf, tokenizer, noted


def _wrapper_prefix(missing: Iterable[str], unexpected: Iterable[str]) -> str:
    """Return what a wrapper, such as torch.compile or DistributedDataParallel, put before the name of every weight."""
    left, wanted = set(unexpected), set(missing)
    prefixes = {name.removesuffix(key) for key in sorted(wanted)[:1] for name in left if name.endswith(f".{key}")}
    return next((each for each in sorted(prefixes, key=len) if all(each + key in left for key in wanted)), "")


def _problem(error: Exception, folder: Path) -> str:
    """Return what is wrong with a checkpoint that transformers did not load, and how to mend it."""
    text = str(error)
    if "trust_remote_code" in text:
        why = "it needs code of its own: pass trust_remote_code=True (--trust-remote-code) if you trust it"
        return f"was not loaded: {why}"
    if "weights_only" in text:
        return (
            "was not loaded: its .bin file is damaged, or a pickle that would run code: give the weights as safetensors"
        )
    if "ignore_mismatched_sizes" in text:
        if empty := empty_weights(folder):
            return f"cannot be loaded: {empty}"
        return "cannot be loaded: its weights do not have the sizes in its config.json: give both of one model"
    if "Unrecognized configuration class" in text:
        return (
            "cannot be loaded: transformers has no causal language model of its kind: load it by its own class, for "
            "ResidualModel"
        )
    if isinstance(error, ImportError):
        return (
            f"needs a package that is not installed ({short_message(error)}): install it, or give the model in another "
            "format, such as unquantised"
        )
    return f"cannot be loaded ({short_message(error)}): {HINT}"


def empty_weights(folder: Path) -> str | None:
    """Return what is wrong with weights that were saved empty, as one process of a sharded training does; or None."""
    from safetensors import safe_open

    for path in sorted((*folder.glob("*.safetensors"), *folder.glob("*.bin"))):
        try:
            if path.suffix == ".bin":
                loaded = torch.load(path, map_location="meta", weights_only=True)
                empty = [name for name, weight in loaded.items() if not weight.numel()]
            else:
                with safe_open(path, "pt") as weights:
                    empty = [name for name in weights.keys() if 0 in weights.get_slice(name).get_shape()]  # noqa: SIM118
        except Exception:
            continue
        if empty:
            return (
                f"{len(empty)} of its weights are empty ({quote(empty[0])}): they were saved from a sharded training "
                "(DeepSpeed ZeRO-3, FSDP) without being gathered; save it again with all weights"
            )
    return None


def _check_depth(folder: Path, what: str) -> None:
    """Refuse more blocks than a model has, which transformers would make before it looks at the weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    except (OSError, ValueError, AttributeError, RecursionError):
        return  # transformers says what is wrong
    for part in parts:
        for depth in (part.get(key) for key in _DEPTHS):
            if isinstance(depth, int) and depth > _MOST_BLOCKS:
                raise ModelError(
                    f"{what} says in config.json that it has {quote(depth)} blocks, which no model has: download that "
                    "file again"
                )


def _check_nothing_is_left(what: str, hf: Any, noted: str | None, left: list[str]) -> None:
    """Refuse weights that would be left out and make it another model; name others, such as a second head, in a note.

    Raises:
        ModelError: the weights are those of an adapter or of further blocks.
    """
    if not left:
        return
    if adapter := [name for name in left if re.search(r"lora_|\.(ia3|hada|lokr|oft|boft|vera)_|base_layer", name)]:
        raise ModelError(
            f"{what} holds {len(adapter)} weights of an adapter that are not merged ({quote(adapter[0])}): merge them "
            "(model.merge_and_unload(), then save_pretrained), or give the adapter as PEFT's save_pretrained writes it"
        )
    blocks = noted or find_blocks(hf.config, type(hf).__name__)
    if further := [name for name in left if re.search(rf"(^|\.){re.escape(blocks.rpartition('.')[2])}\.\d+\.", name)]:
        raise ModelError(
            f"{what} holds {len(further)} weights of blocks that a {type(hf).__name__} has no place for "
            f"({quote(further[0])}): give the config.json that belongs to them"
        )
    warnings.warn(
        f"{what} holds {len(left)} weights that a {type(hf).__name__} does not use ({quote(left[0])}): they are "
        "left out",
        SteerWarning,
        stacklevel=2,
    )
