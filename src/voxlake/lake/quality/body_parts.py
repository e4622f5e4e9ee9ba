"""Words for regions of the body, as headers write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

__all__ = ["REGIONS", "contradicts", "regions"]

# Whole words; English first, then what German, French, Spanish and Italian consoles write.
REGIONS = MappingProxyType(
    {
        "head": "head brain skull cranium cerebrum cerebral face facial sinus sinuses orbit orbits pituitary "
        "sella temporal neuro hippocampus kopf schaedel schädel gehirn hirn tete tête crane crâne cabeza "
        "craneo "
        "cráneo cerebro testa encefalo",
        "neck": "neck larynx pharynx thyroid carotid carotids cspine cervical hals cou cuello collo",
        "chest": "chest thorax thoracic lung lungs pulmonary rib ribs sternum cxr heart cardiac coronary "
        "tspine "
        "mediastinum breast brust lunge herz poumon coeur torax tórax pecho pulmon pulmón corazon torace",
        "breast": "breast breasts mamma mammo mammography mammogram mammographie sein mama mammella",
        "abdomen": "abdomen abdominal liver hepatic kidney kidneys renal pancreas spleen bowel colon stomach "
        "adrenal lspine lumbar bauch leber niere foie rein higado hígado riñon fegato addome",
        "pelvis": "pelvis pelvic prostate bladder uterus hip hips sacrum rectum becken hüfte huefte bassin "
        "hanche "
        "cadera bacino",
        "spine": "spine cspine tspine lspine cervical thoracic lumbar sacrum wirbelsaeule wirbelsäule rachis "
        "columna colonna",
        "limb": "extremity extremities arm arms hand hands wrist elbow shoulder humerus forearm finger leg "
        "legs "
        "knee knees ankle foot feet femur thigh tibia calf hip hips schulter knie fuss fuß genou epaule "
        "épaule "
        "main pied rodilla hombro mano pie ginocchio spalla piede",
        "all": "wholebody whole-body body ganzkörper ganzkoerper total",
    }
)
_WORDS = MappingProxyType(
    {
        word: frozenset(name for name, words in REGIONS.items() if word in words.split())
        for words in REGIONS.values()
        for word in words.split()
    }
)
# BodyPartExamined joins parts without a space: CHESTABDPELVIS.
_JOINED = MappingProxyType(
    {"chest": "chest", "thorax": "chest", "abd": "abdomen", "pelvis": "pelvis", "head": "head",
     "neck": "neck", "spine": "spine", "wholebody": "all", "breast": "breast", "skull": "head",
     "brain": "head"}
)  # fmt: skip
_VIEWS = MappingProxyType({"MLO": "breast", "CC": "breast", "XCCL": "breast", "XCCM": "breast"})
_WORD = re.compile(r"[^\W\d_]+")


def regions(text: str) -> frozenset[str]:
    """Regions that a text names.

    Parameters
    ----------
    text : str
        Words in any case; "T1 BRAIN AX" names the head.
    """
    words = _WORD.findall(text.lower())
    return frozenset().union(*(_WORDS.get(word, frozenset()) for word in words))


def contradicts(body_part: str, texts: Iterable[str | None], view: str | None = None) -> list[str]:
    """Regions that descriptions name, if none of them is the body part; empty if nothing contradicts.

    Parameters
    ----------
    body_part : str
        BodyPartExamined.
    texts : iterable of str or None
        Descriptions and protocol.
    view : str, optional
        ViewPosition; those of mammography tell the region.
    """
    joined = re.sub(r"[\W_]+", "", body_part.lower())
    stated = regions(body_part) | {name for part, name in _JOINED.items() if part in joined}
    named = frozenset().union(*(regions(text) for text in texts if text))
    named |= {_VIEWS[view]} if view is not None and view in _VIEWS else frozenset()
    if not stated or not named or "all" in stated | named or stated & named:
        return []
    return sorted(named)
