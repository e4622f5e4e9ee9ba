"""Nearest neighbours among vectors: exact for small tables, by lists with a measured recall for large ones.

References
----------
Sivic J, Zisserman A. Video Google: a text retrieval approach to object matching in videos. ICCV 2003.
Johnson J, Douze M, Jégou H. Billion-scale similarity search with GPUs. IEEE Transactions on Big Data 7 (2021)
535-547.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import IntegrityError, UsageError

__all__ = ["NearestIndex", "build_index", "index_from_bytes"]

Distance = Literal["euclidean", "cosine"]
Vectors: TypeAlias = NDArray[np.float32]
Positions: TypeAlias = NDArray[np.int64]

# Lists are learned from so many vectors each: more changes the lists little and costs as much as all else.
_PER_LIST = 64
# Searched with and without the lists to choose how many of them to look into.
_TRIED = 400
_BLOCK = 65_536
_FROM_BYTES = (faiss.IndexFlatL2, faiss.IndexFlatIP, faiss.IndexIVFFlat)


@dataclass(frozen=True, eq=False)
class NearestIndex:
    """Vectors that can be asked for the nearest ones.

    Parameters
    ----------
    index : faiss index
        The vectors themselves; of length 1 where the metric is the cosine.
    metric : {"euclidean", "cosine"}
        What a small distance is.
    lists : int
        Number of lists; 0 where every search is exact.
    probes : int
        How many lists a search looks into.
    recall : float
        Share of the ten true neighbours that was found when the index was made; 1 where it is exact.
    """

    index: Any
    metric: Distance
    lists: int
    probes: int
    recall: float

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(self, queries: ArrayLike, neighbours: int) -> tuple[Positions, Vectors]:
        """The nearest vectors of each query, nearest first.

        Parameters
        ----------
        queries : array-like, shape (queries, dimensions)
            Vectors to look around.
        neighbours : int
            How many; no more than there are.

        Returns
        -------
        positions : numpy.ndarray
            int64 (queries, neighbours); -1 where the lists that were looked into held too few.
        distances : numpy.ndarray
            float32 (queries, neighbours): Euclidean, or 1 less the cosine; infinite beside a -1.

        Raises
        ------
        UsageError
            Queries have other dimensions, or `neighbours` is out of range.
        """
        asked = _checked(queries, self.metric)
        if asked.shape[1] != self.index.d:
            raise UsageError(f"queries have {asked.shape[1]} dimensions, the index has {self.index.d}")
        if not 1 <= neighbours <= len(self):
            raise UsageError(f"neighbours must lie between 1 and {len(self)}, got {neighbours}")
        if not len(asked):
            return np.zeros((0, neighbours), np.int64), np.zeros((0, neighbours), np.float32)
        found, positions = self.index.search(asked, neighbours)
        cosine = self.metric == "cosine"
        distances = np.clip(1 - found, 0, 2) if cosine else np.sqrt(np.maximum(found, 0))
        return positions, np.where(positions < 0, np.float32(np.inf), distances).astype(np.float32)

    def search_others(
        self, queries: ArrayLike, own: ArrayLike, groups: ArrayLike, neighbours: int
    ) -> tuple[Positions, Vectors]:
        """The nearest vectors of other groups than the query's own.

        Parameters
        ----------
        queries : array-like, shape (queries, dimensions)
            Vectors to look around.
        own : array-like of int, shape (queries,)
            Group of each query; -1 for none.
        groups : array-like of int, shape (len(self),)
            Group of each vector of the index, 0 or more.
        neighbours : int
            How many.

        Returns
        -------
        positions, distances : numpy.ndarray
            As `search`; -1 and infinity where there are not so many vectors of other groups.
        """
        asked = np.asarray(queries, dtype=np.float32)
        members, mine = np.asarray(groups, dtype=np.int64), np.asarray(own, dtype=np.int64)
        if members.shape != (len(self),) or mine.shape != (len(asked),):
            raise UsageError("pass one group for each vector of the index and one for each query")
        sizes = np.bincount(members)
        positions = np.full((len(asked), neighbours), -1, dtype=np.int64)
        distances = np.full((len(asked), neighbours), np.inf, dtype=np.float32)
        skipped = np.where(mine >= 0, sizes[np.clip(mine, 0, sizes.size - 1)], 0)
        # Queries whose groups are about equally large share a search that is deep enough for all of them.
        depth = np.minimum(len(self), neighbours + _next_power(skipped))
        for each in np.unique(depth):
            which = np.flatnonzero(depth == each)
            found, far = self.search(asked[which], int(each))
            foreign = (found >= 0) & (members[found] != mine[which, np.newaxis])
            # A stable sort moves the foreign ones to the front in their order.
            order = np.argsort(~foreign, axis=1, kind="stable")[:, :neighbours]
            kept = np.take_along_axis(foreign, order, 1)
            width = order.shape[1]
            positions[which, :width] = np.where(kept, np.take_along_axis(found, order, 1), -1)
            distances[which, :width] = np.where(kept, np.take_along_axis(far, order, 1), np.inf)
        return positions, distances

    def vectors(self, positions: Positions) -> Vectors:
        """Vectors of the index, float32 (positions, dimensions); of length 1 if the metric is the cosine."""
        if self.lists:
            # Lists know where a vector stands only after they were told to write it down.
            self.index.make_direct_map(True)
        return np.asarray(self.index.reconstruct_batch(np.ascontiguousarray(positions, dtype=np.int64)))

    def to_bytes(self) -> bytes:
        """The index as bytes, vectors included."""
        # Not `serialize_index`: another library in this process may have taken SWIG's name for its vectors.
        written = io.BytesIO()
        # The stubs leave these two out.
        faiss.write_index(self.index, faiss.PyCallbackIOWriter(written.write))  # type: ignore[attr-defined]
        return written.getvalue()

    def facts(self) -> dict[str, Any]:
        """What `index_from_bytes` has to be told beside the bytes."""
        return {
            "metric": self.metric,
            "lists": self.lists,
            "probes": self.probes,
            "recall": self.recall,
            "vectors": len(self),
            "dimensions": int(self.index.d),
        }


def build_index(
    vectors: ArrayLike,
    *,
    metric: Distance = "euclidean",
    recall: float = 0.99,
    exact_below: int = 50_000,
    seed: int = 0,
) -> NearestIndex:
    """Index vectors for the search of nearest neighbours.

    From `exact_below` vectors on they are dealt out to lists around k-means centres. How many lists a search
    looks into is found by trial: of 400 vectors drawn at random the ten nearest are searched exactly, and the
    smallest number of lists is taken with which the share found, less two standard errors, reaches `recall`.

    Parameters
    ----------
    vectors : array-like, shape (vectors, dimensions)
        Finite; for the cosine none may be zero.
    metric : {"euclidean", "cosine"}
        What a small distance is.
    recall : float
        Share of the true ten neighbours to be found, above 0; 1 makes an exact index.
    exact_below : int
        Fewer vectors than this are searched through whole.
    seed : int
        Of the centres and the trial.

    Raises
    ------
    UsageError
        The vectors are not finite, or not a table of them.
    """
    values = _checked(vectors, metric)
    if not len(values) or not 0 < recall <= 1:
        raise UsageError(f"expected vectors and a recall in (0, 1], got {len(values)} and {recall}")
    flat = faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2
    exact = flat(values.shape[1])
    if len(values) < exact_below or recall == 1:
        exact.add(values)
        return NearestIndex(exact, metric, 0, 0, 1.0)
    lists = 2 ** max(1, round(math.log2(len(values)) / 2))
    generator = np.random.default_rng(seed)
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    index = faiss.IndexIVFFlat(exact, values.shape[1], lists, kind)
    index.cp.seed, index.cp.spherical = seed + 1, metric == "cosine"
    learned = generator.choice(len(values), min(len(values), lists * _PER_LIST), replace=False)
    index.train(values[np.sort(learned)])
    for start in range(0, len(values), _BLOCK):
        index.add(values[start : start + _BLOCK])
    probes, reached = _tune(index, values, flat, recall, generator)
    index.nprobe = probes
    return NearestIndex(index, metric, lists, probes, reached)


def index_from_bytes(
    data: bytes, *, metric: Distance, lists: int, probes: int, recall: float
) -> NearestIndex:
    """Read what `NearestIndex.to_bytes` wrote; the caller has checked its digest.

    Raises
    ------
    IntegrityError
        It is no index of the stated kind.
    """
    try:
        reader = faiss.PyCallbackIOReader(io.BytesIO(data).read)  # type: ignore[attr-defined]
        index = faiss.read_index(reader)
    except RuntimeError:
        raise IntegrityError("the stored index cannot be read; mine the task again") from None
    if not isinstance(index, _FROM_BYTES) or getattr(index, "nlist", 0) != lists:
        raise IntegrityError("the stored index is not what its card says; mine the task again")
    if isinstance(index, faiss.IndexIVFFlat):
        index.nprobe = probes
    return NearestIndex(index, metric, lists, probes, recall)


def _tune(
    index: Any, values: Vectors, flat: Any, recall: float, generator: np.random.Generator
) -> tuple[int, float]:
    """Smallest number of lists that reaches the recall, and the recall with it."""
    tried = values[generator.choice(len(values), min(_TRIED, len(values)), replace=False)]
    neighbours = min(11, len(values))
    truth = _exact(values, tried, flat, neighbours)
    low, high, best = 1, int(index.nlist), 1.0
    while low < high:
        middle = (low + high) // 2
        share, deviation = _recall(index, tried, truth, middle)
        if share - 2 * deviation >= recall:
            high, best = middle, share
        else:
            low = middle + 1
    if high == index.nlist:
        best = _recall(index, tried, truth, high)[0]
    return high, best


def _exact(values: Vectors, tried: Vectors, flat: Any, neighbours: int) -> Positions:
    # The library's own search over the bare array: no second copy of all vectors is made.
    kind = faiss.METRIC_INNER_PRODUCT if flat is faiss.IndexFlatIP else faiss.METRIC_L2
    _, truth = faiss.knn(tried, values, neighbours, metric=kind)
    return np.asarray(truth, dtype=np.int64)


def _recall(index: Any, tried: Vectors, truth: Positions, probes: int) -> tuple[float, float]:
    """Mean share of true neighbours found, and its standard error over the queries."""
    index.nprobe = probes
    _, found = index.search(tried, truth.shape[1])
    # The vector itself is always found; counting it would flatter the index.
    hits = np.array([np.isin(truth[row, 1:], found[row]).mean() for row in range(len(truth))])
    return float(hits.mean()), float(hits.std(ddof=1) / math.sqrt(hits.size))


def _checked(vectors: ArrayLike, metric: Distance) -> Vectors:
    values = np.ascontiguousarray(vectors, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] == 0:
        raise UsageError(f"expected vectors of shape (vectors, dimensions), got {values.shape}")
    # The sum is finite if all are: one pass without a table of booleans; only if not, look closer.
    if not math.isfinite(float(values.sum(dtype=np.float64))):
        raise UsageError("vectors have values that are not finite; leave such rows out and count them")
    if metric == "euclidean":
        return values
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise UsageError("a vector of zeros has no direction, so no cosine; leave such rows out")
    return np.asarray(values / lengths, dtype=np.float32)


def _next_power(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Smallest power of two that is not below; 0 stays."""
    return np.where(sizes > 0, 2 ** np.ceil(np.log2(np.maximum(sizes, 1))), 0).astype(np.int64)
