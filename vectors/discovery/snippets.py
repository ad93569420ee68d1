"""A few words of a text, from around where most of a direction is read in it."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vectors.activations.text_activations import token_activations
from vectors.discovery.activation_sample import ActivationSample
from vectors.model.residual_model import ResidualModel

LONGEST = 70
"""Characters."""

_SIDE = 24  # tokens looked at on either side, at most


class Snippets:
    """Reads texts again, position by position, to say where in them a direction shows; each text once.

    Args:
        model: what reads them.
        found: the texts, and the layer.
    """

    def __init__(self, model: ResidualModel, found: ActivationSample) -> None:
        self._model, self._found = model, found
        self._read: dict[int, tuple[list[int], Tensor]] = {}

    def of(self, places: Sequence[int], reader: Float[Tensor, " d_model"]) -> tuple[str, ...]:
        """Return a snippet of each text, on one line."""
        self._fill([int(place) for place in places])
        return tuple(self._one(int(place), reader) for place in places)

    def _fill(self, places: Sequence[int]) -> None:
        wanted = [place for place in dict.fromkeys(places) if place not in self._read]
        texts = [self._found.texts[place] for place in wanted]
        ids = self._model.encode(texts, max_tokens=self._model.max_context)
        for some, read, own in token_activations(self._model, texts, [self._found.layer]):
            hidden = read[self._found.layer].float().cpu()
            for row, place in enumerate(some):
                mine = own[row].cpu().nonzero().squeeze(1)
                self._read[wanted[place]] = [ids[place][at] for at in mine.tolist()], hidden[row, mine]

    def _one(self, place: int, reader: Tensor) -> str:
        ids, hidden = self._read[place]
        at = int((hidden @ reader).argmax())
        first, last = at, at + 1
        text = self._line(ids[first:last])
        # one token more on either side in turn, as long as it fits
        for _ in range(_SIDE):
            for low, high in ((first, last + 1), (first - 1, last)):
                if low >= 0 and high <= len(ids) and len(longer := self._line(ids[low:high])) <= LONGEST - 2:
                    first, last, text = low, high, longer
        return (
            ("" if first == 0 else "…") + text.lstrip(" /,.;:!?" if first else "") + ("" if last == len(ids) else "…")
        )

    def _line(self, ids: Sequence[int]) -> str:
        lines = (" ".join(line.split()) for line in self._model.decode(ids).split("\n"))
        return " / ".join(line for line in lines if line)
