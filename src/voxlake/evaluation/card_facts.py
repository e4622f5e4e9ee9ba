"""What a run knows about a model, sentence by sentence, for the items of reporting guidelines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from voxlake.evaluation.judged import Judged
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.speaker import Speaker
from voxlake.evaluation.wording import metric_words, show_cell

__all__ = ["card_facts"]

_SHOWN = 4


def card_facts(
    judged: Judged, *, summary: str, limitations: tuple[str, ...], subgroups: bool
) -> dict[str, str]:
    """Facts by topic; a topic of which nothing is known is not there.

    Parameters
    ----------
    judged : Judged
        The model and its figures.
    summary : str
        The result in one sentence.
    limitations : tuple of str
        As the page says them.
    subgroups : bool
        Whether the page has figures of subgroups.
    """
    facts = {
        "summary": summary,
        "limitations": " ".join(limitations),
        **_study(judged),
        **_data(judged),
        **_parts(judged),
        **(_table_model(judged.model) if judged.model.is_table else _network_model(judged.model)),
        **_performance(judged),
    }
    if subgroups:
        facts["fairness"] = "Figures of subgroups, with intervals, stand under Subgroups."
        facts["heterogeneity"] = facts["fairness"]
    return {topic: sentence for topic, sentence in facts.items() if sentence}


def _study(judged: Judged) -> dict[str, str]:
    model = judged.model
    technique = "machine learning on a table of variables" if model.is_table else "deep learning"
    where = "another cohort than it was made from" if judged.cohort is not None else "its own cohort"
    return {
        "technique": f"AI: {technique}, {model.task_kind}.",
        "aim": f"To predict “{model.target}” of each {model.level}." if model.target else "",
        "goal": f"A model was made and evaluated on {where}.",
        "intended_use": "Research; not a medical device.",
        "protocol": "The task is printed in full under Settings (digest "
        f"{str(model.row['task_digest'])[:16]}).",
        "software": f"voxlake {model.card.get('code_version', version('voxlake'))}"
        + "".join(f", {name} {number}" for name, number in _libraries(model).items())
        + ".",
        "availability": f"voxlake is open; the model lies in the lake as {model.model_id}.",
        "specification": "Weights or pipelines, preparation and settings are stored as "
        f"models/{model.model_id}.",
        "output": _output(judged),
    }


def _libraries(model: Speaker) -> Mapping[str, str]:
    found: Mapping[str, str] = model.card.get("libraries", {})
    return found


_OUTPUTS: Mapping[str, str] = {
    "regression": "A number.",
    "survival": "A risk score.",
    "reconstruction": "An anomaly score: the error with which the network gives an image back.",
}


def _output(judged: Judged) -> str:
    model = judged.model
    if not model.classes:
        return _OUTPUTS.get(model.task_kind, "")
    said = f"A probability for each of {', '.join(model.classes)}."
    if model.is_binary:
        said += " The threshold was chosen on validation data only."
    return said


def _data(judged: Judged) -> dict[str, str]:
    lake, cohort = judged.model.lake, judged.cohort_id
    inside = (
        "series_instance_uid in (select series_instance_uid from cohort_members where cohort_id = $cohort)"
    )
    rows = lake.sql(
        "select count(*), count(distinct patient_id), "
        "string_agg(distinct modality, ', ' order by modality), "
        "string_agg(distinct manufacturer, ', ' order by manufacturer), "
        f"min(study_date), max(study_date) from series where {inside}",
        {"cohort": cohort},
    ).rows()[0]
    conditions = [
        row[0]
        for row in lake.sql(
            "select distinct condition from cohorts where cohort_id = $cohort", {"cohort": cohort}
        ).rows()
    ]
    policies = lake.sql(
        f"select distinct policy_digest from instances where {inside} order by 1", {"cohort": cohort}
    ).rows()
    readers = lake.sql(
        "select distinct reader from labels where name = $name and reader is not null order by 1",
        {"name": judged.model.target},
    ).rows()
    series, patients = int(rows[0]), int(rows[1])
    found = {"missing": _missing(judged)}
    if series:
        found |= {
            "sources": f"{series:,} series of {patients:,} patients in the lake, cohort {cohort[:16]}.",
            "eligibility": f"Series that fit: {'; '.join(conditions)}." if conditions else "",
            "selection": "A frozen cohort; see Flow of data for what was left out.",
            "acquisition": f"Modalities: {rows[2]}." + (f" Manufacturers: {rows[3]}." if rows[3] else ""),
            "dates": f"{rows[4]} to {rows[5]}, as de-identification left them." if rows[4] else "",
            "deidentification": f"Policies {', '.join(row[0][:16] for row in policies)}, applied before "
            "storage.",
        }
    else:
        found["sources"] = _outside(judged.model)
    if judged.model.target:
        found["reference"] = f"The label “{judged.model.target}” as it was brought into the lake."
    if readers:
        found["readers"] = f"Readers: {', '.join(row[0] for row in readers)}."
        found["readers_test"] = "The same labels as of the other parts."
    return found


def _outside(model: Speaker) -> str:
    table: Mapping[str, Any] = model.card.get("table", {})
    return (
        f"A table of {table.get('rows', 0):,} rows from outside, digest {str(table.get('digest', ''))[:16]}."
    )


def _missing(judged: Judged) -> str:
    left: Counter[str] = Counter()
    if judged.scored is not None:
        left.update(reason for _, reason in judged.scored.left)
    left.update(judged.model.card.get("table", {}).get("left", {}))
    said = (
        "Left out: " + ", ".join(f"{count:,} {reason}" for reason, count in left.most_common()) + "."
        if left
        else ""
    )
    prepare = judged.model.task.get("prepare", {})
    if judged.model.is_table and prepare.get("impute"):
        said += (
            f" Missing numbers were replaced by the {prepare['impute']} of the training rows of each fold."
        )
    return said.strip()


def _parts(judged: Judged) -> dict[str, str]:
    model, found = judged.model, judged.audit
    folds = int(model.row["folds"] or 0)
    if found is None or not folds:
        return {}
    kind = (
        "nested cross-validation" if model.is_table else ("cross-validation" if folds > 1 else "one division")
    )
    unit = "patients" if judged.scored is None else judged.scored.unit
    apart = "studies" if unit == "studies" else f"{unit}, studies"
    level = f"No two parts share {apart} or identical images (see Leakage audit)"
    near = (
        ", nor images that look the same." if found.measured else "; near-duplicates were not searched for."
    )
    return {
        "partition": f"By {kind} in {folds} folds, drawn with seed {model.row['seed']}; split digest "
        f"{str(model.row['split_digest'])[:16]}.",
        "disjoint": level + near,
        "internal": "Test parts of the same cohort." if judged.cohort is None else "",
        "external": ""
        if judged.cohort is None
        else f"Scored on cohort {judged.cohort.name}@{judged.cohort.version}, less what training had seen.",
        "prediction": "The mean over the networks of all folds."
        if not model.is_table and judged.cohort
        else "",
    }


def _network_model(model: Speaker) -> dict[str, str]:
    network, training = model.task["network"], model.task["training"]
    augmented = [name for name, value in training["augmentation"].items() if value]
    folds = int(model.row["folds"])
    return {
        "model": f"Network “{network['name']}” of {model.row['parameters']:,} parameters; input "
        f"{tuple(model.card['shape'])}, {model.card['channels']} channel(s).",
        "initialisation": f"Random, seed {training['seed']}.",
        "training": f"{training['optimiser']}, at most {training['epochs']} epochs, batches of "
        f"{training['batch_size']}, learning rate {training['learning_rate']:g}; augmentation: "
        f"{', '.join(augmented) or 'none'}.",
        "choice": f"The epoch that was best on validation data by {training['monitor']}.",
        "ensemble": f"{folds} networks, one for each fold; their mean speaks about new images."
        if folds > 1
        else "None.",
        "imbalance": f"Class weights: {training['class_weights']}.",
        "preprocessing": "Every volume by the plan printed under Settings.",
        "predictors": "The image itself.",
    }


def _table_model(model: Speaker) -> dict[str, str]:
    prepare, search = model.task.get("prepare", {}), model.task.get("search", {})
    results, variables = model.card.get("results", {}), model.card.get("variables", ())
    sources = sorted({str(one["source"]) for one in variables})
    chosen = [one.get("chosen", {}).get("estimator") for one in results.get("folds", ())]
    said = Counter(name for name in chosen if name)
    handling = [f"scaling {prepare['scale']}" if prepare.get("scale") else ""]
    handling += [f"selection {prepare['select']}" if prepare.get("select") else ""]
    handling += ["harmonised with ComBat" if prepare.get("harmonise") else ""]
    known = [each for each in handling if each]
    return {
        "model": f"A pipeline over {len(variables)} variables"
        + (
            f"; chosen in the folds: {', '.join(f'{name} ({count})' for name, count in said.items())}."
            if said
            else "."
        ),
        "predictors": f"{len(variables)} variables of the sources {', '.join(sources)}." if variables else "",
        "predictor_sources": "Each is listed with its source and how often it is missing under Variables."
        if variables
        else "",
        "predictor_handling": f"Fitted inside each fold: {', '.join(known)}." if known else "",
        "training": f"Search over {', '.join(search.get('estimators') or ['all estimators'])}, seed "
        f"{search.get('seed', 0)}."
        if said
        else "",
        "choice": f"By {results.get('search', {}).get('metric') or 'the metric of the task'} in inner folds."
        if said
        else "",
        "explanation": "Permutation importance on outer test parts." if results.get("importance") else "",
        "ensemble": "None." if said else "",
        "updating": f"Probabilities recalibrated by {model.task['decide']['recalibrate']} on inner folds."
        if model.task.get("decide", {}).get("recalibrate", "none") != "none"
        else "",
    }


def _performance(judged: Judged) -> dict[str, str]:
    scored = judged.scored
    shown = [f"{metric_words(each.name).title} {show_cell(each)}" for each in judged.estimates[:_SHOWN]]
    found = {
        "metrics": ", ".join(metric_words(each.name).title for each in judged.estimates) + ".",
        "uncertainty": f"95% intervals over {'samples' if scored is None else scored.unit}; methods stand "
        "under Results.",
        "performance": "; ".join(shown) + "." if shown else "",
    }
    if scored is None:
        return found
    found["size"] = (
        f"{len(scored.subjects):,} {judged.model.unit} of {len(set(scored.groups)):,} {scored.unit} scored; "
        "no size was planned."
    )
    found["flow"] = "See Flow of data: every exclusion has its number and reason."
    found["demographics"] = "See Who is in the data."
    if isinstance(scored, Scored):
        counts = np.bincount(scored.truth, minlength=len(judged.model.classes))
        outcome = ", ".join(
            f"{name} {count:,}" for name, count in zip(judged.model.classes, counts, strict=True)
        )
        found["outcome"] = f"Outcome among those scored: {outcome}."
        found["decisions"] = "At the threshold: see the table of decisions."
        found["failures"] = "The most confident mistakes are shown."
    return found
