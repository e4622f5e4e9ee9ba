"""The model card: items of two reporting guidelines, filled in from what the run knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxlake.evaluation.claim_items import CLAIM, ChecklistItem
from voxlake.evaluation.content import Section, Table
from voxlake.evaluation.tripod_items import TRIPOD

__all__ = ["NOT_REPORTED", "answer", "describe_card"]

NOT_REPORTED = "not reported"


def answer(item: ChecklistItem, facts: Mapping[str, str]) -> str:
    """What the facts of a run say to an item; `NOT_REPORTED` where they say nothing."""
    said = [facts[topic] for topic in item.topics if facts.get(topic)]
    return " ".join(said) if said else NOT_REPORTED


def describe_card(facts: Mapping[str, str]) -> Section:
    """Both checklists with an answer to every item.

    Parameters
    ----------
    facts : mapping of topic to sentence
        What the run knows, see `voxlake.evaluation.card_facts`.
    """
    claim, tripod = _table("CLAIM, 2024 update", CLAIM, facts), _table("TRIPOD+AI", TRIPOD, facts)
    open_items = sum(row[-1] == NOT_REPORTED for table in (claim, tripod) for row in table.rows)
    return Section(
        "card",
        "Model card",
        (
            (
                "The items of two guidelines for reporting such work, answered by what the lake recorded: "
                "CLAIM "
                "(Tejani and others, Radiology: Artificial Intelligence 2024, e240300) and TRIPOD+AI "
                "(Collins "
                "and "
                "others, BMJ 2024, e078378). Numbers are those of the papers, words are ours; read the "
                "papers "
                "for what "
                "an item asks in full."
            ),
            (
                f"Of {len(CLAIM) + len(TRIPOD)} items, {open_items} say “{NOT_REPORTED}”: no run can know "
                "why a "
                "study "
                "was made, who paid for it or who agreed to it. Whoever publishes must answer them."
            ),
        ),
        tables=(claim, tripod),
        place="appendix",
    )


def _table(name: str, items: Sequence[ChecklistItem], facts: Mapping[str, str]) -> Table:
    return Table(
        name,
        ("Item", "Asked for", "Answer"),
        tuple((item.number, f"{item.section}: {item.words}", answer(item, facts)) for item in items),
    )
