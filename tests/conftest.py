"""Fixtures: tiny random models of four families with a tiny tokenizer, saved to folders and loaded from them."""

import os
import re

os.environ["HF_HUB_OFFLINE"] = "1"  # tests must not download anything
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread per worker, and per command that it runs

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM
from xdist.scheduler import LoadFileScheduling

from vectors.model.residual_model import ResidualModel, load_model

settings.register_profile("patient", deadline=None)  # a slow machine must not fail tests
settings.load_profile("patient")

WORDS = (  # noqa: SIM905 (easier to read than fifty quoted words)
    "the a sea cat dog storm rainbow waterfall river night day light dark red blue old young king song ship moon "
    "rain wind snow tree bird stone gold and or of in on by was is were ran sang fell rose saw heard . ,"
).split()
FAMILIES = ("gpt2", "llama", "neox", "gemma")
VOCAB = 64
_RMS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
_SPECIAL = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 1}


def _tokenizer(*, bos: bool = True, eos: bool = True) -> PreTrainedTokenizerFast:
    """A word tokenizer: <bos> is 0, <eos> is 1 (plain words where left out), <unk> is 2, then ``WORDS``."""
    vocab = {token: number for number, token in enumerate(["<bos>", "<eos>", "<unk>", *WORDS])}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"unk_token": "<unk>"} | ({"bos_token": "<bos>"} if bos else {}) | ({"eos_token": "<eos>"} if eos else {})
    return PreTrainedTokenizerFast(tokenizer_object=raw, **named)


def _hf(family: str, *, seed: int = 0) -> PreTrainedModel:
    """A random model of the family in eval mode, with weights large enough for logits that differ clearly."""
    if family == "gpt2":
        config = GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, initializer_range=0.2, **_SPECIAL)
    elif family == "llama":
        config = LlamaConfig(**_RMS, initializer_range=0.2, **_SPECIAL)
    elif family == "gemma":
        config = GemmaConfig(**_RMS, initializer_range=0.2, **_SPECIAL)
    else:
        neox = {key: value for key, value in _RMS.items() if key not in ("num_key_value_heads", "head_dim")}
        config = GPTNeoXConfig(**neox, initializer_range=0.2, **_SPECIAL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


LONGEST = ("test_docs.py", "test_welcome.py", "test_browser.py", "test_crash_safety.py")
"""Test files that take minutes; they run first, so that no worker has to wait for one of them at the end."""

TOGETHER = "tests/steer/reports/html"
"""A folder whose files run on one worker, because they share an expensive fixture."""


class _Scheduler(LoadFileScheduling):
    """Run the tests of a file on one worker; in test_docs.py, only those of a page, which build on each other."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(TOGETHER):
            return TOGETHER
        page = re.search(r"test_docs\.py::.*\[(\w+\.md)", nodeid)
        return page[1] if page else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduler:
    """Use the scheduler above."""
    return _Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the longest files to the front, without changing the order otherwise."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Give tests the tokenizer factory: ``make_tokenizer(bos=True, eos=True)``."""
    return _tokenizer


@pytest.fixture(scope="session")
def make_hf() -> Callable[..., PreTrainedModel]:
    """Give tests the model factory: ``make_hf("llama", seed=0)``."""
    return _hf


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a family's tiny model, written on first use."""
    folders: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family) / f"tiny-{family}"
            _hf(family).save_pretrained(folders[family])
            _tokenizer().save_pretrained(folders[family])
        return folders[family]

    return folder_of


@pytest.fixture(params=FAMILIES)
def tiny_model(request: pytest.FixtureRequest, model_folder: Callable[[str], Path]) -> ResidualModel:
    """A freshly loaded tiny model of each family in turn: 3 layers, d_model 32, 64 ids, 64 positions."""
    return load_model(model_folder(request.param), "cpu")


@pytest.fixture
def llama_model(model_folder: Callable[[str], Path]) -> ResidualModel:
    """A freshly loaded tiny Llama, for tests that need only one family."""
    return load_model(model_folder("llama"), "cpu")
