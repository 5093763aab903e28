"""Gives a command the settings it needs as flags, so that every setting has one name, one default and one text."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import typer
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from app.errors import ConfigurationError
from app.settings import Settings


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let the flags of these settings (all of them, with no name) fill the command's parameter `settings`.

    A flag wins over the environment. A secret has no flag: command lines are visible to everybody on the machine.
    """
    fields = {
        name: field
        for name, field in Settings.model_fields.items()
        if (not names or name in names) and SecretStr not in getattr(field.annotation, "__args__", ())
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
        flags = [_flag(name, field) for name, field in fields.items()]

        @functools.wraps(command)
        def with_flags(**values: Any) -> None:
            chosen = {name: values.pop(name) for name in fields}
            settings = read_settings({name: value for name, value in chosen.items() if value is not None})
            command(settings=settings, **values)

        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        signature = inspect.Signature([*keyword_only, *flags])
        with_flags.__signature__ = signature  # type: ignore[attr-defined]
        with_flags.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return with_flags

    return decorate


def read_settings(flags: dict[str, Any]) -> Settings:
    """The settings from the environment and the flags. Raises ConfigurationError naming what is wrong."""
    try:
        return Settings(**flags)
    except ValidationError as error:
        wrong = []
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            name = str(one["loc"][0]) if one["loc"] else "settings"
            wrong.append(f"{_flag_name(name)} (SLIMRANK_{name.upper()}): {one['msg']}")
        raise ConfigurationError("; ".join(wrong)) from error


def check_store(settings: Settings) -> None:
    """Raise ConfigurationError where the store's folder is not there: most likely another one is meant."""
    if not settings.store.is_dir():
        raise ConfigurationError(f"there is no store {str(settings.store)!r}; name it with --store")


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    declared = _flag_name(name)
    if field.annotation is bool:
        declared += f"/--no-{name.replace('_', '-')}"
    text = f"{field.description} (default: {field.default})"
    # No default of its own: what is not given is left to the environment, and then to Settings.
    option = typer.Option(None, declared, help=text, show_default=False)
    kind: Any = field.annotation
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind | None)


def _flag_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"
