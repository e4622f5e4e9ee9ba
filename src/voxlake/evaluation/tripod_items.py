"""Items of TRIPOD+AI, for studies that develop or evaluate prediction models, in words of our own.

References
----------
Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical
prediction models that use regression or machine learning methods. BMJ 385 (2024) e078378.
doi:10.1136/bmj-2023-078378. Numbers are the paper's.
"""

from __future__ import annotations

from voxlake.evaluation.claim_items import ChecklistItem as Item

__all__ = ["TRIPOD"]

TRIPOD: tuple[Item, ...] = (
    Item("1", "Title", "Named as development or evaluation, with population and outcome", ("goal", "aim")),
    Item("2", "Abstract", "Structured abstract", ("summary",)),
    Item("3a", "Background", "Health care context and why a model", ()),
    Item("3b", "Background", "Target population, place in the care pathway, users", ("intended_use",)),
    Item("3c", "Background", "Known inequalities of health between groups"),
    Item("4", "Objectives", "Objectives, and whether a model is developed or evaluated", ("aim", "goal")),
    Item("5a", "Data", "Sources of the data, for development and evaluation", ("sources",)),
    Item("5b", "Data", "Dates of the data", ("dates",)),
    Item("6a", "Participants", "Setting, number and place of the centres", ("centres",)),
    Item("6b", "Participants", "Who could take part", ("eligibility",)),
    Item("6c", "Participants", "Treatments received"),
    Item("7", "Data preparation", "Preparation and quality checks", ("preprocessing", "quality")),
    Item("8a", "Outcome", "The outcome, its time horizon and how it was assessed", ("reference",)),
    Item("8b", "Outcome", "Who assessed a subjective outcome", ("readers",)),
    Item("8c", "Outcome", "Blinding of that assessment"),
    Item("9a", "Predictors", "How predictors were chosen beforehand", ("predictors",)),
    Item("9b", "Predictors", "Definition and time of the predictors", ("predictor_sources",)),
    Item("9c", "Predictors", "Who assessed subjective predictors"),
    Item("10", "Sample size", "How the size of the study was arrived at", ("size",)),
    Item("11", "Missing data", "How missing data were handled", ("missing",)),
    Item("12a", "Analysis", "How data were used: parts for development and evaluation", ("partition",)),
    Item("12b", "Analysis", "How predictors were handled: transformation, scaling", ("predictor_handling",)),
    Item(
        "12c",
        "Analysis",
        "Type of model, building steps, hyperparameters, internal validation",
        ("model", "training", "choice"),
    ),
    Item("12d", "Analysis", "Heterogeneity between clusters such as hospitals", ("heterogeneity",)),
    Item("12e", "Analysis", "Measures and plots of performance", ("metrics", "uncertainty")),
    Item("12f", "Analysis", "Updating of the model after evaluation, such as recalibration", ("updating",)),
    Item("12g", "Analysis", "For evaluation: how predictions were computed", ("prediction",)),
    Item("13", "Class imbalance", "Methods against imbalance of classes", ("imbalance",)),
    Item("14", "Fairness", "Approaches to fairness between groups", ("fairness",)),
    Item("15", "Model output", "What the model gives, and how thresholds were found", ("output",)),
    Item(
        "16",
        "Training versus evaluation",
        "Differences between development and evaluation data",
        ("external",),
    ),
    Item("17", "Ethics", "Approval by an ethics committee, consent"),
    Item("18a", "Open science", "Funding and the role of the funders"),
    Item("18b", "Open science", "Conflicts of interest"),
    Item("18c", "Open science", "Where the protocol can be found", ("protocol",)),
    Item("18d", "Open science", "Registration"),
    Item("18e", "Open science", "Sharing of the data", ("data_sharing",)),
    Item("18f", "Open science", "Sharing of the code", ("availability",)),
    Item("19", "Patients and public", "Their part in the study"),
    Item(
        "20a",
        "Results: participants",
        "Flow of participants, with and without the outcome",
        ("flow", "outcome"),
    ),
    Item(
        "20b", "Results: participants", "Characteristics, dates, predictors, missing data", ("demographics",)
    ),
    Item("20c", "Results: participants", "Development and evaluation data compared"),
    Item(
        "21",
        "Results: development",
        "Numbers of participants and events in each analysis",
        ("size", "outcome"),
    ),
    Item(
        "22",
        "Results: specification",
        "The full model, so that others can predict with it",
        ("specification",),
    ),
    Item(
        "23a",
        "Results: performance",
        "Performance with intervals, in key subgroups too",
        ("performance", "fairness"),
    ),
    Item("23b", "Results: performance", "Heterogeneity of performance between clusters", ("heterogeneity",)),
    Item("24", "Results: updating", "Results of any updating", ("updating",)),
    Item("25", "Interpretation", "Overall interpretation, fairness included"),
    Item("26", "Limitations", "Limitations and their effect on bias and uncertainty", ("limitations",)),
    Item("27a", "Usability", "What to do about poor or missing input", ("poor_input",)),
    Item("27b", "Usability", "Whether users must act on the input or need expertise"),
    Item("27c", "Usability", "Next steps for research", ()),
)
