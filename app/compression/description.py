"""What can be said of a technique without running it: its place, its settings, what it needs.

All of it is read from the technique's own file, so that the command line and docs/compression.md cannot say otherwise.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.compression.teaching import TeachingConfig
from app.compression.technique import Stage, Technique, TechniqueConfig

_Property = Mapping[str, Any]
_WORDS = {"string": "text", "object": "a table", "null": "none", "boolean": "true, false"}


class Setting(msgspec.Struct, frozen=True):
    """One field of a technique's configuration."""

    name: str
    default: str | None
    """As it is written in a model card; None where the setting is required."""
    range: str
    """The values it may have."""
    meaning: str


class Description(msgspec.Struct, frozen=True):
    """One technique."""

    name: str
    stage: Stage
    summary: str
    needs: tuple[str, ...]
    """What it cannot work without: "rows", and "fine-tuning" where it trains."""
    source: str
    settings: tuple[Setting, ...]
    fine_tuning: tuple[Setting, ...]
    """The settings that it shares with every technique that trains, as they are there."""


def describe(technique: Technique) -> Description:
    """Everything that the technique's file says of it."""
    trains = issubclass(technique.config, TeachingConfig)
    shared = shared_settings() if trains else ()
    settings = settings_of(technique.config)
    return Description(
        name=technique.name,
        stage=technique.stage,
        summary=technique.summary,
        needs=("rows",) * technique.needs_rows + ("fine-tuning",) * trains,
        source=technique.source,
        settings=tuple(one for one in settings if one not in shared),
        fine_tuning=tuple(one for one in settings if one in shared),
    )


def shared_settings() -> tuple[Setting, ...]:
    """The settings of fine-tuning, with the defaults that a technique has unless it says otherwise."""
    return settings_of(TeachingConfig)


def settings_of(config: type[TechniqueConfig]) -> tuple[Setting, ...]:
    """Every field of a configuration, in its order."""
    schema = config.model_json_schema()
    properties, definitions = schema.get("properties", {}), schema.get("$defs", {})
    found = []
    for name, field in config.model_fields.items():
        default = None if field.is_required() else _as_written(field.get_default(call_default_factory=True))
        allowed = _range(properties[name], definitions)
        found.append(Setting(name, default, allowed, field.description or ""))
    return tuple(found)


def _as_written(value: Any) -> str:
    """A value as TOML has it, as far as a default goes."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_as_written(one) for one in value)}]"
    return str(value)


def _range(one: _Property, definitions: Mapping[str, _Property]) -> str:
    """A field of a JSON schema in words."""
    if "$ref" in one:
        one = definitions[one["$ref"].rpartition("/")[2]]
    if "anyOf" in one:
        return " or ".join(_range(choice, definitions) for choice in one["anyOf"])
    if choices := one.get("enum", [one["const"]] if "const" in one else None):
        return ", ".join(_as_written(value) for value in choices)
    match one.get("type"):
        case "array":
            inner = _range(one.get("items", {}), definitions)
            return ", ".join([f"a list of: {inner}", *_bounds(one, ("minItems", "maxItems"), " of them")])
        case "integer" | "number" as kind:
            whole = ["whole"] if kind == "integer" else []
            return ", ".join(whole + _bounds(one, ("minimum", "maximum")) + _open_bounds(one)) or "a number"
        case kind:
            return _WORDS.get(str(kind), "anything")


def _bounds(one: _Property, names: tuple[str, str], unit: str = "") -> list[str]:
    low, high = (one.get(name) for name in names)
    if low is not None and high is not None:
        return [f"{_number(low)} to {_number(high)}{unit}"]
    found = [f"at least {_number(low)}{unit}"] if low is not None else []
    return found + ([f"at most {_number(high)}{unit}"] if high is not None else [])


def _open_bounds(one: _Property) -> list[str]:
    words = {"exclusiveMinimum": "above", "exclusiveMaximum": "below"}
    return [f"{word} {_number(one[name])}" for name, word in words.items() if name in one]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
