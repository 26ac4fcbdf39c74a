"""Commands whose modules are imported when they are asked for."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class LateGroup(TyperGroup):
    """The commands of several Typer apps, each given as `module:name`. An app is imported when
    none before it has the command."""

    def __init__(self, name: str, help: str, *apps: str) -> None:
        super().__init__(name=name, help=help, no_args_is_help=True)
        self._later = list(apps)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        while cmd_name not in self.commands and self._later:
            self.commands.update(_commands(self._later.pop(0)))
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        while self._later:
            self.commands.update(_commands(self._later.pop(0)))
        return super().list_commands(ctx)


class Root(TyperGroup):
    """Groups, and commands of which the line of `--help` is known beforehand."""

    lines: ClassVar[Mapping[str, Mapping[str, str]]]
    """What each command does by name, by the Typer app that it is in."""
    groups: ClassVar[Sequence[LateGroup]]

    def __init__(self, **attributes: Any) -> None:
        self._homes = {name: home for home, named in self.lines.items() for name in named}
        known: dict[str, Any] = {
            name: TyperCommand(name, help=line)
            for named in self.lines.values()
            for name, line in named.items()
        }
        known |= {str(group.name): group for group in self.groups}
        super().__init__(**attributes | {"commands": known})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in self._homes:
            command = _commands(self._homes[name])[name]
        return name, command, rest


def _commands(place: str) -> Mapping[str, Any]:
    module, _, name = place.partition(":")
    return get_group(getattr(import_module(module), name)).commands
