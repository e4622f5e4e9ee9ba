"""The registry of pre-trained encoders, and where the files of their makers lie. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.networks.efficientnet_lite import EFFICIENTNET_LITE
from voxlake.networks.known_encoder import KnownEncoder
from voxlake.networks.known_files import known_files

__all__ = ["ENCODERS", "find_encoders", "known_encoder", "package_folder"]

ENCODERS: Mapping[str, KnownEncoder] = MappingProxyType({one.name: one for one in EFFICIENTNET_LITE})
"""Every pre-trained encoder that is known, by name."""


def known_encoder(name: str) -> KnownEncoder:
    """Look an encoder up.

    Raises
    ------
    NotFoundError
        There is none of this name; the near miss is named.
    """
    if name not in ENCODERS:
        raise NotFoundError(f"no pre-trained encoder '{name}'{hint(name, ENCODERS)}")
    return ENCODERS[name]


def package_folder(encoder: KnownEncoder) -> Path:
    """Folder of the installed package that carries the weights; nothing of it is run.

    Raises
    ------
    UsageError
        The package is not installed.
    """
    found = find_spec(encoder.package)
    places = None if found is None else found.submodule_search_locations
    if not places:
        raise UsageError(
            f"the package with the weights of '{encoder.name}' is not installed; "
            "run `pip install 'voxlake[pretrained]'`, or give the folder of your copy"
        )
    return Path(next(iter(places)))


def find_encoders(folder: Path) -> Iterator[tuple[KnownEncoder, bytes]]:
    """Find the weights of known encoders anywhere below a folder; what they are called does not matter.

    Yields
    ------
    (KnownEncoder, bytes)
        The encoder and its file, sorted by name.
    """
    found: dict[str, tuple[KnownEncoder, bytes]] = {}
    for encoder, _, data in known_files(folder, ENCODERS.values()):
        found.setdefault(encoder.name, (encoder, data))
    yield from (found[name] for name in sorted(found))
