"""The door for the shell."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from voxlake.verbs import VERBS, Verb

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["build_app", "main", "run"]

_ABOUT = "Imaging lake: collect, de-identify, query, prepare, learn from and report on medical images."
_GROUPS = {
    "cohort": "Look at, compare, split and share frozen selections.",
    "quarantine": "Look at what was not let in.",
    "keys": "Look after the key of the lake.",
    "models": "Bring in and list networks that others trained.",
}


def main() -> None:
    """Run the command line of this process and exit: 0 done, 1 the run failed, 2 wrong usage."""
    end = _End()
    atexit.register(end)
    end.status = run(sys.argv[1:])
    sys.exit(end.status)


class _End:
    """End the process as the last of its exit functions, before the interpreter is taken apart.

    Threads of native libraries may still let go of Python objects then; one that asks for the interpreter
    while that goes away takes the process down with SIGABRT, after its work was done well.
    """

    status: int | None = None

    def __call__(self) -> None:
        if self.status is None:
            return
        with suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(self.status)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status."""
    # The command line library and the verbs are imported here: `import voxlake` needs neither.
    from cyclopts.exceptions import CycloptsError

    from voxlake.cli.extras import missing_extra
    from voxlake.core.errors import SettingsError, UsageError, VoxlakeError

    try:
        # The command line library takes a lone hyphen for an option without a name.
        words = ["stdin:" if word == "-" else word for word in arguments]
        status = build_app(arguments)(words, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return 2
    except (UsageError, SettingsError) as error:
        print(f"voxlake: {error}", file=sys.stderr)
        return 2
    except VoxlakeError as error:
        print(f"voxlake: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        said = missing_extra(error)
        if said is None:
            raise
        print(f"voxlake: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("voxlake: stopped; run the same command again and it goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has enough of it; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0


def build_app(arguments: Sequence[str]) -> App:
    """Build the command line; only the modules of the verb that `arguments` names are imported."""
    from cyclopts import App

    app = App(name="voxlake", help=_ABOUT, version=version("voxlake"), help_format="plaintext")
    homes = {"": app}
    for name, about in _GROUPS.items():
        homes[name] = App(name=name, help=about, help_format="plaintext")
        app.command(homes[name])
    words = [word for word in arguments if not word.startswith("-")]
    for verb in VERBS:
        group, _, name = verb.command.rpartition(" ")
        called = words[: len(verb.command.split())] == verb.command.split()
        homes[group].command(
            _called(verb) if called else _listed(verb),
            name=name,
            help_epilogue=f"Example: {verb.example}" if called else None,
        )
    return app


def _called(verb: Verb) -> Callable[..., int]:
    from voxlake.cli.command import command_of

    return command_of(verb, getattr(import_module(verb.module), verb.function))


def _listed(verb: Verb) -> Callable[[], None]:
    """Stand in for a verb in the list of commands, so that its module need not be imported."""

    def listed() -> None:
        raise RuntimeError(f"'{verb.command}' is called through its own module")

    listed.__doc__ = verb.summary
    return listed
