"""From a name or folder to a loaded transformers model: located, checked before its weights are read, quiet."""

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

BLOCKS_NOTE: Final = "residual.json"  # {"blocks": "model.layers"} beside the weights spares importing TransformerLens
_HUB_NAME: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_MEND: Final = "give a folder in Hugging Face format, a hub name, or nothing for the embedded model"


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Silence transformers' log lines, warnings and progress bars, and put everything back afterwards."""
    # By name, as Any: neither package types or exports these.
    chatter: Any = import_module("transformers.utils.logging")
    hub: Any = import_module("huggingface_hub.utils")
    level = chatter.get_verbosity()
    bars, hub_bars_off = chatter.is_progress_bar_enabled(), hub.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chatter.set_verbosity_error()
        if bars:
            chatter.disable_progress_bar()
        try:
            yield
        finally:
            chatter.set_verbosity(level)
            if bars:
                chatter.enable_progress_bar()
                if hub_bars_off:
                    hub.disable_progress_bars()


def short_message(error: BaseException) -> str:
    """Return the first 200 characters of an error's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on a CPU it has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def choose_device(device: str | None) -> torch.device:
    """Return the device asked for, or CUDA where there is one, or the CPU; InputError if it is not there."""
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=chosen).item()  # `meta` has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device is {device!r}, which torch cannot use here: give 'cpu' or another one") from error
    return chosen


def choose_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return a floating dtype, or None for the checkpoint's own; InputError if it is neither."""
    if dtype is None or dtype == "auto":
        return None
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if chosen not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise InputError(f"dtype is {quote(dtype)}: give 'auto', 'float32', 'bfloat16' or 'float16'")
    return chosen


def find_blocks(config: Any, architecture: str | None = None) -> str:
    """Return where the stack of blocks lies in a transformers model, as TransformerLens' adapter names it.

    Args:
        config: The transformers config; no weights are needed and nothing is asked of the hub.
        architecture: The model's class name; left out, the config's ``architectures`` decide.

    Raises:
        ModelError: No adapter knows the architecture, or it is not a decoder-only language model.

    >>> from transformers import LlamaConfig
    >>> find_blocks(LlamaConfig(), "LlamaForCausalLM")
    'model.layers'
    """
    what = architecture or (config.architectures or [config.model_type])[0]
    if config.is_encoder_decoder:
        raise ModelError(f"{what} is an encoder-decoder model: only decoder-only language models can be steered here")
    with silence_transformers():  # TransformerLens sets transformers' log level and warning filters as it is imported
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
            except ValueError:  # not a class it names: the family may still be known by its model type
                adapter = adapter_of(determine(config))
        except Exception as error:
            why = (
                short_message(error)
                if isinstance(error, ImportError)
                else "no TransformerLens adapter names its blocks"
            )
            raise ModelError(
                f"{what} cannot be steered here: {why}; give a decoder-only language model, and of one that is, say "
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
    """Return the config of each block of a language model, or the only one where its blocks do not differ."""
    return list(getattr(config, "per_layer_config", None) or [config])


def read_blocks_note(folder: Path) -> str | None:
    """Return the block path written down beside the weights, or None where there is no such note."""
    try:
        path = json.loads((folder / BLOCKS_NOTE).read_text(encoding="utf-8"))["blocks"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        note = folder / BLOCKS_NOTE
        raise ModelError(f'{note} cannot be read: expected {{"blocks": "model.layers"}}; mend or delete it') from error
    return str(path)


def find_model(name_or_path: str | Path) -> tuple[Path, bool]:
    """Return the folder that holds the model and whether it is the hub's (then without its weights, so far).

    Raises:
        ModelError: There is no such folder, it holds no model, or the hub has no such model for us.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(f"the model is {quote(name_or_path)}: {_MEND}")
    name = str(name_or_path)
    try:
        folder = Path(name_or_path).expanduser()
        is_folder = bool(name) and folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, an unknown user's home, a NUL
        raise ModelError(f"{quote(name)} cannot be a folder ({short_message(error)}): {_MEND}") from error
    if is_folder:
        if not (folder / "config.json").is_file():
            raise ModelError(f"folder {folder} holds no model (no config.json): {_MEND}")
        return folder, False
    if name and folder.exists():
        raise ModelError(f"{folder} is a file: {_MEND}")
    if isinstance(name_or_path, Path) or name.startswith((".", "~")) or not _HUB_NAME.fullmatch(name):
        raise ModelError(f"there is no folder {name!r}: {_MEND}")
    return download(name, "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.py"), True


def download(name: str, *patterns: str) -> Path:
    """Return the folder of a hub model with its top-level files that match ``patterns``, downloaded where missing."""
    from huggingface_hub import snapshot_download

    bars: Any = import_module("huggingface_hub.utils")
    hide = not sys.stderr.isatty() and not bars.are_progress_bars_disabled()
    if hide:
        bars.disable_progress_bars()
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*/*", "consolidated*"]))
    except Exception as error:
        raise ModelError(
            f"no folder {name!r} here, and the hub did not give it ({short_message(error)}): {_MEND}"
        ) from error
    finally:
        if hide:
            bars.enable_progress_bars()


def load_checkpoint(
    folder: Path, dtype: torch.dtype | None, *, trust_remote_code: bool, hub_name: str | None
) -> tuple[Any, Any, str | None]:
    """Return ``(hf, tokenizer, noted block path)`` of a checkpoint, in ``dtype`` or its own, on the CPU.

    Raises:
        ModelError: The model cannot be steered (said before its weights are read), or its files are broken or missing.
    """
    what = hub_name or f"folder {folder}"
    own: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": not trust_remote_code}
    try:
        with silence_transformers():
            from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

            config = AutoConfig.from_pretrained(folder, **own)
        noted = read_blocks_note(folder)
        if noted is None:
            find_blocks(config)
        if not trust_remote_code and not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
            raise ModelError(f"{what} holds no tokenizer: save the model's tokenizer beside it")
        if hub_name is not None and not any(download(hub_name, "*.safetensors").glob("*.safetensors")):
            download(hub_name, "pytorch_model*.bin")
        with silence_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, **own)
            # Cast by transformers, not by .to(): it keeps in float32 the buffers that need it (rotary frequencies).
            read: Any = AutoModelForCausalLM.from_pretrained
            hf, found = read(folder, dtype=dtype or "auto", output_loading_info=True, **own)
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
            why = "its weights have other sizes than its config.json says: give both of one model"
            raise ModelError(f"{what} cannot be loaded: {why}") from error
        if "Unrecognized configuration class" in str(error):
            why = "transformers has no causal language model of its kind: load it by its own class, for ResidualModel"
            raise ModelError(f"{what} cannot be loaded: {why}") from error
        raise ModelError(f"{what} cannot be loaded ({short_message(error)}): {_MEND}") from error
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(f"{what} lacks {len(missing)} weights of a language model ({missing[0]}, …): give them all")
    return hf, tokenizer, noted
