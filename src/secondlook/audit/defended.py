"""A study's table of a defence as the defence itself, its name in reports, and its settings."""

from __future__ import annotations

from secondlook import registry
from secondlook.audit.tables import Table
from secondlook.defenses.base import Defence
from secondlook.models.base import Classifier


def defended(table: Table, model: Classifier) -> tuple[Defence, str]:
    """The defence around ``model``, and what reports call it."""
    config = dict(table)
    label = config.pop("label", "")
    name = config.pop("name", "consensus")
    defence: Defence = registry.build("defence", name, config, model=model)
    helper = config.get("purifier") or config.get("opinions") or ""
    return defence, label or f"{name} {helper}".strip()


def described(defence: Defence) -> Table:
    """A defence's settings; a model that is an object goes by its name."""
    settings = registry.describe(defence)
    return {key: getattr(value, "name", value) for key, value in settings.items()}
