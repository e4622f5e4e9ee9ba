"""Fitted estimators as bytes, without pickle: only types that are on a list are ever built again."""

from __future__ import annotations

from typing import Any

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import IntegrityError

__all__ = ["TYPES", "dump_estimator", "load_estimator"]

# Beyond what skops trusts by itself: numbers of trees, which carry no code.
TYPES = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.tree._tree.Tree",
)


def dump_estimator(estimator: Any) -> bytes:
    """A fitted estimator of scikit-learn in the format of skops."""
    # skops loads all of scikit-learn, and torch with it: seconds that reading a task does not need.
    import skops.io

    data: bytes = skops.io.dumps(estimator)
    return data


def load_estimator(data: bytes, *, sha256: str) -> Any:
    """Build an estimator from bytes.

    Parameters
    ----------
    data : bytes
        As `dump_estimator` made them.
    sha256 : str
        What they must be.

    Raises
    ------
    IntegrityError
        The bytes are others, or name a type that is not on the list.
    """
    import skops.io  # as above

    if digest_bytes(data) != sha256:
        raise IntegrityError(
            f"the stored estimator has SHA-256 {digest_bytes(data)[:12]}, expected {sha256[:12]}; "
            "run the task again to make it anew"
        )
    unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TYPES))
    if unknown:
        raise IntegrityError(f"the stored estimator names types that voxlake never stores: {unknown[:5]}")
    return skops.io.loads(data, trusted=list(TYPES))
