"""Modules that come with an extra of the package, loaded when a layout needs them."""

from __future__ import annotations

import importlib
from typing import Any

from secondlook.errors import InvalidInput


def extra(module: str, name: str, why: str) -> Any:
    """The module, which comes with the extra ``name``.

    Raises:
        InvalidInput: the extra is not installed; ``why`` says what needs it.
    """
    try:
        return importlib.import_module(module)
    # A binding without the library that it binds raises OSError.
    except (ImportError, OSError) as error:
        raise InvalidInput(
            f'{why} needs {module}; run: pip install "secondlook[{name}]"'
        ) from error
