"""Choose the GGUF file of a folder: the one that holds a language model."""

from pathlib import Path

from vectors.common.errors import ModelError
from vectors.common.validation import list_names, quote
from vectors.model.sources.gguf.header import SPLIT, SUFFIX, what_instead_of_a_model


def choose_file(folder: Path) -> Path | None:
    """Return the only GGUF file of a folder that may hold a language model; None if it has no GGUF file.

    Image parts (`mmproj`), adapters, control vectors and importance matrices are passed over.

    Raises:
        ModelError: it holds several models, or the parts of one.
    """
    files = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    if len(files) < 2:
        return files[0] if files else None
    models = [path for path in files if what_instead_of_a_model(path) is None]
    if len(models) == 1:
        return models[0]
    stems = {SPLIT.sub("", path.stem) for path in models}
    if len(stems) == 1:
        raise ModelError(
            f"folder {quote(folder)} holds {len(models)} parts of {quote(stems.pop())}: join them with llama.cpp's "
            "llama-gguf-split --merge"
        )
    raise ModelError(
        f"folder {quote(folder)} holds {len(files)} GGUF files: give one of them, "
        f"{list_names(path.name for path in models or files)}"
    )
