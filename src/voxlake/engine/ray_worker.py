"""What runs inside a Ray cluster: an actor that keeps children and gives them work."""

from __future__ import annotations

from collections.abc import Sequence

from voxlake.engine.child import Children, Order, Reply
from voxlake.engine.cluster import Versions

__all__ = ["RayWorker"]


class RayWorker:
    """One worker: an actor with one CPU, which works on no item itself."""

    def __init__(self) -> None:
        self._children = Children()
        self._stopped: set[str] = set()

    def versions(self) -> Versions:
        """Say what is installed here; the first call, by which the driver knows that the worker is up."""
        return Versions.here()

    def run(
        self, order: Order, function: bytes, payloads: Sequence[bytes], *, fresh: bool = False
    ) -> list[Reply]:
        """Work on a batch; see `voxlake.engine.child.Children.run`."""
        name = order.map
        return self._children.run(
            order, function, payloads, fresh=fresh, wanted=lambda: name not in self._stopped
        )

    def stop(self, name: str) -> None:
        """Work no more for a map that its driver has ended; called while `run` is at it."""
        self._stopped.add(name)
