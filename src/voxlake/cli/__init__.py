"""Every verb becomes a command: the signature of its function is the command line."""

from __future__ import annotations

from voxlake.cli.main import main

__all__ = ["main"]
