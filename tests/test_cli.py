"""The command line as a whole; what each command does is tested beside what it is about."""

import subprocess
import sys

from typer import Context
from typer.main import get_group

from app import cli
from app.cli.late import LateGroup

ROOT = get_group(cli.app)
CONTEXT: Context = None  # type: ignore[assignment]


def test_help_says_of_each_command_what_the_command_says_of_itself():
    for name, known in ROOT.commands.items():
        if not isinstance(known, LateGroup):
            _, command, _ = ROOT.resolve_command(CONTEXT, [name])
            assert command is not known
            assert command.help.splitlines()[0] == known.help, name


def test_every_command_of_every_group_is_found():
    for name, group in ROOT.commands.items():
        if isinstance(group, LateGroup):
            found = group.list_commands(CONTEXT)
            assert found, name
            assert all(group.get_command(CONTEXT, it).help for it in found)


def test_an_unknown_command_is_told_what_is_near():
    answer = subprocess.run(
        [sys.executable, "-m", "app.cli", "product", "publsh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert "Did you mean 'publish'?" in answer.stderr.replace("\n", " ")


def test_a_command_that_needs_little_imports_little():
    program = (
        "import sys; from app import cli; cli.app(['risk', 'models'], standalone_mode=False);"
        "assert not {'strawberry', 'firebase_admin', 'app.schema'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
