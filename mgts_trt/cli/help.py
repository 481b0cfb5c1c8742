"""Help that says no type where an option takes no value; `--help` is such an option, too."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class _Help:
    params: list[Any]

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them, as the help lists them."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters


class Command(_Help, TyperCommand):
    """A command."""


class Group(_Help, TyperGroup):
    """A command of commands."""
