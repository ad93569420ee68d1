"""Excerpts of texts: the words around the position where a direction scores highest."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vectors.activations.text_activations import encode_texts, token_activations
from vectors.discovery.activation_sample import ActivationSample
from vectors.model.residual_model import ResidualModel

MAX_CHARACTERS = 70

_MAX_SIDE = 24  # tokens on either side of the position


class SnippetReader:
    """Reads texts position by position and cuts excerpts out of them; each text is read once.

    Args:
        model: the model that reads the texts.
        sample: the texts, and the layer.
    """

    def __init__(self, model: ResidualModel, sample: ActivationSample) -> None:
        self._model, self._sample = model, sample
        self._activations: dict[int, tuple[list[int], Tensor]] = {}  # token ids and residual stream, by text index

    def snippets(self, indices: Sequence[int], direction: Float[Tensor, " d_model"]) -> tuple[str, ...]:
        """Return a one-line excerpt of each text, around the position with the largest product with `direction`."""
        self._read([int(index) for index in indices])
        return tuple(self._excerpt(*self._activations[int(index)], direction) for index in indices)

    def _read(self, indices: Sequence[int]) -> None:
        unread = [index for index in dict.fromkeys(indices) if index not in self._activations]
        texts = [self._sample.texts[index] for index in unread]
        ids = encode_texts(self._model, texts)
        for batch, activations, own in token_activations(self._model, ids, [self._sample.layer]):
            hidden = activations[self._sample.layer].float().cpu()
            for row, text_index in enumerate(batch):
                positions = own[row].cpu().nonzero().squeeze(1)
                tokens = [ids[text_index][position] for position in positions.tolist()]
                self._activations[unread[text_index]] = tokens, hidden[row, positions]

    def _excerpt(self, ids: list[int], hidden: Tensor, direction: Tensor) -> str:
        first = int((hidden @ direction).argmax())
        last = first + 1
        text = self._line(ids[first:last])
        # add one token to the right and one to the left in turn, as long as the line fits
        for _ in range(_MAX_SIDE):
            for low, high in ((first, last + 1), (first - 1, last)):
                if low >= 0 and high <= len(ids) and len(longer := self._line(ids[low:high])) <= MAX_CHARACTERS - 2:
                    first, last, text = low, high, longer
        start, end = ("" if first == 0 else "…"), ("" if last == len(ids) else "…")
        return start + text.lstrip(" /,.;:!?" if first else "") + end

    def _line(self, ids: Sequence[int]) -> str:
        lines = (" ".join(line.split()) for line in self._model.decode(ids).split("\n"))
        return " / ".join(line for line in lines if line)
