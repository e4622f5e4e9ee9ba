"""Keeps workers from running the user's script again.

`multiprocessing` imports the main module in every child before anything else. A script without
``if __name__ == "__main__"`` would then start its whole job again in each worker. Workers here import the
main module only when the function, an item or a class really lives there.
"""

from __future__ import annotations

import io
import pickle
import runpy
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["MainModule", "main_hidden"]

# Two engines may be opened from two threads; each must find the main module hidden while it starts a worker.
_HIDING = threading.Lock()


@contextmanager
def main_hidden() -> Iterator[None]:
    """Hide from `multiprocessing` where the main module came from, for the time it takes to start a child."""
    with _HIDING:
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = vars(main).pop("__file__", None)
        main.__spec__ = None
        try:
            yield
        finally:
            main.__spec__ = spec
            if file is not None:
                main.__file__ = file


@dataclass
class MainModule:
    """Where the user's main module is, and whether this worker has loaded it.

    Parameters
    ----------
    name : str or None
        Its real name if it was started by ``python -m``.
    path : str or None
        Its file if it was started as a script; neither in a notebook or an interactive session.
    """

    name: str | None
    path: str | None
    loaded: bool = field(default=False)

    @classmethod
    def here(cls) -> MainModule:
        """The main module of this process."""
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        return cls(spec.name if spec is not None else None, str(Path(file).absolute()) if file else None)

    def load(self) -> None:
        """Make the classes and functions of the user's main module known here, as `multiprocessing` would."""
        self.loaded = True
        if self.name is not None:
            content = runpy.run_module(self.name, run_name="__mp_main__", alter_sys=True)
        elif self.path is not None:
            content = runpy.run_path(self.path, run_name="__mp_main__")
        else:
            return
        module = ModuleType("__mp_main__")
        vars(module).update(content)
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module

    def unpickle(self, data: bytes) -> Any:
        """Unpickle, loading the main module if, and only if, something in the data lives there."""
        return _Unpickler(io.BytesIO(data), self).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, main: MainModule) -> None:
        super().__init__(file)
        self._main = main

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "__main__" and not self._main.loaded:
            self._main.load()
        return super().find_class(module_name, global_name)
