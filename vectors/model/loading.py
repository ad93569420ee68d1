"""Find, check and load a transformers model; one that cannot be steered is refused before its weights are read."""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from vectors.common.errors import InputError, ModelError
from vectors.common.validation import quote

BLOCKS_NOTE: Final = "residual.json"
"""A file beside the weights with `{"blocks": "model.layers"}`; with it, TransformerLens need not be imported."""

_HUB_NAME: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HINT: Final = "give a folder in Hugging Face format, a hub name, or nothing for the embedded model"


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
    """Return the folder of a model, and whether it comes from the hub (then its weights are not downloaded yet).

    Raises:
        ModelError: There is no such folder, it holds no model, or the hub does not give the model.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(f"the model is {quote(name_or_path)}: {_HINT}")
    name = str(name_or_path)
    try:
        folder = Path(name_or_path).expanduser()
        is_folder = bool(name) and folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, the home of an unknown user, a NUL
        raise ModelError(f"{quote(name)} cannot be a folder ({short_message(error)}): {_HINT}") from error
    if is_folder:
        if not (folder / "config.json").is_file():
            raise ModelError(f"folder {folder} holds no model (no config.json): {_HINT}")
        return folder, False
    if name and folder.exists():
        raise ModelError(f"{folder} is a file: {_HINT}")
    if isinstance(name_or_path, Path) or name.startswith((".", "~")) or not _HUB_NAME.fullmatch(name):
        raise ModelError(f"there is no folder {name!r}: {_HINT}")
    return download(name, "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.py"), True


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
        raise ModelError(f"no folder {name!r} here, and the hub did not give it ({why}): {_HINT}") from error
    finally:
        if hide:
            bars.enable_progress_bars()


def load_checkpoint(
    folder: Path, dtype: torch.dtype | None, *, trust_remote_code: bool, hub_name: str | None
) -> tuple[Any, Any, str | None]:
    """Load a checkpoint on the CPU, in ``dtype`` or its own, as ``(hf, tokenizer, noted block path or None)``.

    Raises:
        ModelError: The model cannot be steered (checked before its weights are read), or files are broken or missing.
    """
    what = hub_name or f"folder {folder}"
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": not trust_remote_code}
    try:
        with silence_transformers():
            from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

            config = AutoConfig.from_pretrained(folder, **options)
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
            hf, info = from_pretrained(folder, dtype=dtype or "auto", output_loading_info=True, **options)
    except ModelError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            why = "it needs code of its own: pass trust_remote_code=True (--trust-remote-code) if you trust it"
            raise ModelError(f"{what} was not loaded: {why}") from error
        if "weights_only" in str(error):
            why = "its .bin file is damaged, or a pickle that would run code: give the weights as safetensors"
            raise ModelError(f"{what} was not loaded: {why}") from error
        if "ignore_mismatched_sizes" in str(error):
            why = "its weights do not have the sizes in its config.json: give both of one model"
            raise ModelError(f"{what} cannot be loaded: {why}") from error
        if "Unrecognized configuration class" in str(error):
            why = "transformers has no causal language model of its kind: load it by its own class, for ResidualModel"
            raise ModelError(f"{what} cannot be loaded: {why}") from error
        raise ModelError(f"{what} cannot be loaded ({short_message(error)}): {_HINT}") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(f"{what} lacks {len(missing)} weights of a language model ({missing[0]}, …): give them all")
    return hf, tokenizer, noted
