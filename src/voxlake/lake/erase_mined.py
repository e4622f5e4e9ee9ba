"""Which mined models are made of a patient: their files name whom they were fitted on, so they go whole."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from voxlake.lake.erase_names import Names
from voxlake.lake.erase_rows import Removal
from voxlake.lake.lake import Lake
from voxlake.lake.mined_people import named_in_rows
from voxlake.store.rewrite import raw_rows

__all__ = ["ONLY_SPOKEN", "embedded_by", "is_made_of", "mined_orphans", "mined_parts"]

_FOLDER = "models"
# Parts of a model's own rows: a patient in one of them is in the model.
_OWN = frozenset({"train", "validation", "test", "fit", "cohort"})
# Parts of what a model said of others, after it was made.
ONLY_SPOKEN = frozenset({"new", "seen"})
# Trees and vectors: they name nobody.
_BINARY = (".skops", ".faiss")


def is_made_of(parts: set[str]) -> bool:
    """Whether a patient with these parts in a mined model is in the model, or named by its files."""
    return not parts <= ONLY_SPOKEN


def mined_parts(lake: Lake, model_id: str, names: Names, known: set[str]) -> set[str]:
    """What the files of a mined model add to the parts that are known of a patient.

    Parameters
    ----------
    lake : Lake
        The lake.
    model_id : str
        Folder of the model; some of its files may be gone.
    names : Names
        By what the patient is known.
    known : set of str
        Parts by its rows and its split.

    Returns
    -------
    set of str
        ``fit`` where its rows hold the patient though no part of a split does, ``named`` where another file
        only names the patient, otherwise nothing.
    """
    if known & _OWN:
        return set()
    if not named_in_rows(lake, model_id).isdisjoint(names.tokens | {names.patient}):
        return {"fit"}
    for path in lake.objects.list(f"{_FOLDER}/{model_id}"):
        if not path.endswith(_BINARY) and names.surely_in(lake.objects.get(path).decode("utf-8", "replace")):
            return {"named"}
    return set()


def embedded_by(lake: Lake, names: Names) -> dict[str, set[str]]:
    """Mined models that gave the patient a vector, each with the part ``fit``."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    removal = Removal("embeddings", names)
    for rows in raw_rows(lake.tables, "embeddings"):
        for model in rows.filter(pa.array(removal.mask(rows)))["model_id"].unique().to_pylist():
            if model is not None:
                found[model].add("fit")
    return dict(found)


def mined_orphans(lake: Lake, known: set[str]) -> list[str]:
    """Folders of mined models that no row names, as `mine` leaves them when it is killed, sorted."""
    files: defaultdict[str, set[str]] = defaultdict(set)
    for path in lake.objects.list(_FOLDER):
        _, model, name = path.split("/", 2)
        if model not in known:
            files[model].add(name)
    return sorted(model for model, there in files.items() if not any(map(_is_of_network, there)))


def _is_of_network(file: str) -> bool:
    return file == "plan.toml" or file.endswith(".safetensors")
