"""Texts behind prompts are those of the decode loop, and their pressure is that of plain forwards."""

import numpy as np
import pytest
import torch

from vectors.common.errors import InputError
from vectors.decoding.decode import decode
from vectors.decoding.prompted_samples import sample_prompted
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel


def test_texts_and_pressure_are_those_of_plain_forwards(llama_model: ResidualModel) -> None:
    prompts = llama_model.encode(["the old sea", "a cat fell by"])
    done: list[int] = []
    found = sample_prompted(llama_model, prompts, 6, max_tokens=9, seed=4, progress=done.append)
    assert sum(done) == 6 and len(found.texts) == 6
    for index in range(6):
        prompt = list(prompts[index % 2])
        (sample,) = decode(llama_model, None, prefix=prompt, settings=Settings(max_tokens=9), seed=4, indices=[index])
        own = [token for token in sample.tokens if token not in llama_model.eos_ids]
        assert found.tokens[index] == own and found.texts[index] == llama_model.decode(own)
        start = llama_model.start_ids()
        with torch.no_grad():
            behind, alone = (
                llama_model.hf(torch.tensor([[*prefix, *own]])).logits[0, len(prefix) - 1 : -1].log_softmax(-1)
                for prefix in (prompt, start)
            )
        kl = (behind.exp() * (behind - alone)).sum(-1).numpy()
        assert np.allclose(found.costs[index], kl, atol=1e-4)
    assert found.pressure == pytest.approx(float(np.concatenate(found.costs).mean()))
    assert sample_prompted(llama_model, [llama_model.start_ids()], 3, max_tokens=5).pressure == pytest.approx(
        0, abs=1e-5
    )


def test_a_text_ends_before_the_stop(llama_model: ResidualModel) -> None:
    whole = sample_prompted(llama_model, llama_model.encode(["the"]), 8, max_tokens=12, costs=False)
    stop = whole.texts[0].split()[3]
    cut = sample_prompted(llama_model, llama_model.encode(["the"]), 8, max_tokens=12, stop=stop)
    for before, after in zip(whole.texts, cut.texts, strict=True):
        assert stop not in after and before.startswith(after.rstrip())
    assert cut.texts[0] and len(cut.costs[0]) == len(cut.tokens[0]) < 12
    assert not whole.costs


def test_a_prompt_without_room_is_refused(llama_model: ResidualModel) -> None:
    with pytest.raises(InputError, match="leaves room for 3 of 9 in the context"):
        sample_prompted(llama_model, [[0] * (llama_model.max_context - 3)], 2, max_tokens=9)
