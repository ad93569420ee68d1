"""Read a feature of a sparse autoencoder: its vector in the decoder is a shift of the residual stream."""

from pathlib import Path

from vectors.common.errors import VectorError
from vectors.common.files import expand_path
from vectors.common.layer_ranges import LayerRanges
from vectors.common.validation import quote
from vectors.formats.autoencoders.decoder import SKIPS, read_feature
from vectors.formats.autoencoders.layouts import find_layout
from vectors.formats.layer_shifts import LayerShifts


def read_sae(source: str | Path, row: int, *, d_model: int, chosen: LayerRanges | None = None) -> LayerShifts:
    """Return one feature of a sparse autoencoder as a shift: its vector in the decoder, at its own length.

    Only that vector is read from the disk, whatever the size of the decoder, unless the file is packed.

    Args:
        source: the folder of an autoencoder, or its file of weights; `vectors.formats.autoencoders.layouts` lists the
            tools whose files are known.
        row: 0-based index of the feature.
        d_model: width of the model to steer.
        chosen: the layer, where neither the settings nor the path say it.

    Raises:
        InputError: a row that the decoder does not have.
        VectorError: no such folder, damaged files, a decoder of another width, an autoencoder of anything else than
            the residual stream between blocks, or no layer.
    """
    path = expand_path(source, VectorError)
    try:
        layout = find_layout(path)
        if layout.width is not None and layout.width != d_model:
            raise VectorError(
                f"it is {quote(layout.width)} wide (d_in), and the model {d_model}: it was made for another model"
            )
        layer = _layer(layout.layer, layout.sure, chosen)
        vector, names = read_feature(layout.weights, row, d_model=d_model)
        if skips := names & set(SKIPS):
            raise VectorError(f"it is a transcoder (it has {quote(skips.pop())}): give an autoencoder")
    except VectorError as error:
        raise VectorError(f"{quote(path)} is no usable sparse autoencoder: {error}") from error
    notes = layout.notes if chosen is None or layout.sure else ()
    return LayerShifts({layer: vector}, method="sae", notes=notes, model=layout.model)


def _layer(stated: int | None, sure: bool, chosen: LayerRanges | None) -> int:
    if chosen is not None and chosen.only is None:
        raise VectorError(f"it is for one layer, and layers {chosen} are asked for: choose one with --layer")
    if chosen is None:
        if stated is None:
            raise VectorError("neither its settings nor its path say its layer: say its layer with --layer (layer=...)")
        return stated
    if sure and stated is not None and stated != chosen.only:
        raise VectorError(f"it is for layer {stated}, not for layer {chosen}: leave --layer out")
    assert chosen.only is not None
    return chosen.only
