"""Pickled arrays of others, read without running what a pickle may run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np

from secondlook.data.decoding import reason
from secondlook.errors import InvalidInput


def _bytes(text: str, encoding: str) -> bytes:
    """What Python 3 wrote for bytes in the older protocols: a call of the codecs."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


# How NumPy builds an array anew; the same function under its old and its new address.
_REBUILD: Final = np.empty(0).__reduce__()[0]
_ALLOWED: Final[dict[tuple[str, str], Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _REBUILD,
    ("numpy._core.multiarray", "_reconstruct"): _REBUILD,
    ("_codecs", "encode"): _bytes,
}


class _Arrays(pickle.Unpickler):
    """Plain values and NumPy arrays, and nothing that could be called besides."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def unpickled(path: Path) -> dict[str, Any]:
    """A pickled dictionary of plain values and arrays; Python 2's too. Keys become text.

    Raises:
        InvalidInput: the file cannot be read, is no such pickle, or asks for anything else: a
            pickle can run any program.
    """
    try:
        with path.open("rb") as file:
            content = _Arrays(file, encoding="bytes").load()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({reason(error)})") from error
    # Broken bytes meet the unpickler with almost any error: KeyError, IndexError, MemoryError.
    except Exception as error:
        raise InvalidInput(
            f"{path} is no pickle of plain arrays ({reason(error)}); take the set's binary version"
        ) from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} holds a {type(content).__name__}; it must be a dictionary")
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in content.items()}
