"""Items of CLAIM, the checklist for artificial intelligence in medical imaging, in words of our own.

References
----------
Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM):
2024 update. Radiology: Artificial Intelligence 6 (2024) e240300.
doi:10.1148/ryai.240300. Numbers are the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLAIM", "ChecklistItem"]


@dataclass(frozen=True)
class ChecklistItem:
    """An item of a reporting guideline.

    Parameters
    ----------
    number : str
        As in the paper.
    section : str
        Of the paper's checklist.
    words : str
        What is asked for.
    topics : tuple of str
        Which facts of a run answer it, see `voxlake.evaluation.card_facts`; empty where no run can know.
    """

    number: str
    section: str
    words: str
    topics: tuple[str, ...] = ()


CLAIM: tuple[ChecklistItem, ...] = (
    ChecklistItem(
        "1", "Title and abstract", "Named as a study of AI, with the kind of technique", ("technique",)
    ),
    ChecklistItem(
        "2", "Title and abstract", "Summary of design, methods, results, conclusions", ("summary",)
    ),
    ChecklistItem("3", "Introduction", "Background, intended use and role of the method", ("intended_use",)),
    ChecklistItem("4", "Introduction", "Aims and hypotheses", ("aim",)),
    ChecklistItem("5", "Study design", "Prospective or retrospective"),
    ChecklistItem("6", "Study design", "Goal: a new model, feasibility, non-inferiority, ...", ("goal",)),
    ChecklistItem("7", "Data", "Where the data are from", ("sources",)),
    ChecklistItem("8", "Data", "Who was included and excluded, and why", ("eligibility", "flow")),
    ChecklistItem("9", "Data", "Preprocessing of the data", ("preprocessing",)),
    ChecklistItem("10", "Data", "How parts of the data were selected", ("selection",)),
    ChecklistItem("11", "Data", "De-identification", ("deidentification",)),
    ChecklistItem("12", "Data", "What was done about missing data", ("missing",)),
    ChecklistItem("13", "Data", "How images were acquired", ("acquisition",)),
    ChecklistItem("14", "Reference standard", "How the reference standard was obtained", ("reference",)),
    ChecklistItem("15", "Reference standard", "Why this reference standard"),
    ChecklistItem("16", "Reference standard", "Who annotated", ("readers",)),
    ChecklistItem("17", "Reference standard", "How the test set was annotated", ("readers_test",)),
    ChecklistItem("18", "Reference standard", "Variation between and within annotators"),
    ChecklistItem("19", "Partitions", "How data were dealt out to the parts", ("partition",)),
    ChecklistItem("20", "Partitions", "On what level the parts are disjoint", ("disjoint",)),
    ChecklistItem("21", "Testing data", "Intended sample size", ()),
    ChecklistItem("22", "Model", "The model in full", ("model",)),
    ChecklistItem("23", "Model", "Software, libraries and versions", ("software",)),
    ChecklistItem("24", "Model", "How parameters were initialised", ("initialisation",)),
    ChecklistItem("25", "Training", "How it was trained", ("training",)),
    ChecklistItem("26", "Training", "How the final model was chosen", ("choice",)),
    ChecklistItem("27", "Training", "Whether several models were combined", ("ensemble",)),
    ChecklistItem("28", "Evaluation", "Measures of performance", ("metrics",)),
    ChecklistItem("29", "Evaluation", "Measures of significance and uncertainty", ("uncertainty",)),
    ChecklistItem("30", "Evaluation", "Robustness and sensitivity", ("robustness",)),
    ChecklistItem("31", "Evaluation", "Ways to explain the decisions", ("explanation",)),
    ChecklistItem("32", "Evaluation", "Evaluation on internal data", ("internal",)),
    ChecklistItem("33", "Evaluation", "Testing on external data", ("external",)),
    ChecklistItem("34", "Evaluation", "Registration of the trial"),
    ChecklistItem("35", "Results: data", "Numbers included and excluded", ("flow",)),
    ChecklistItem("36", "Results: data", "Who the patients of each part are", ("demographics",)),
    ChecklistItem("37", "Results: performance", "Performance with its uncertainty", ("performance",)),
    ChecklistItem(
        "38", "Results: performance", "Diagnostic performance and its precision", ("performance", "decisions")
    ),
    ChecklistItem("39", "Results: performance", "Analysis of failures", ("failures",)),
    ChecklistItem("40", "Discussion", "Limitations", ("limitations",)),
    ChecklistItem("41", "Discussion", "What follows for practice"),
    ChecklistItem("42", "Other", "Full protocol or further technical detail", ("protocol",)),
    ChecklistItem("43", "Other", "Availability of software, model and data", ("availability",)),
    ChecklistItem("44", "Other", "Funding and the role of the funders"),
)
