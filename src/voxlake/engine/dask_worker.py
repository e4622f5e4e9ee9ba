"""What runs inside the workers of a Dask cluster: they keep children, who do the work."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence

from distributed import Worker, WorkerPlugin, get_worker

from voxlake.engine.child import Children, Order
from voxlake.engine.cluster import Versions
from voxlake.engine.ledger import PICKLE_PROTOCOL

__all__ = ["dismiss", "introduce", "pack", "teach", "work"]

_NAME = "voxlake"
# Of the maps of drivers that were killed; a map that is forgotten too soon is taught again.
_MAPS_KEPT = 16
_AT_WORK = ("executing", "long-running")


class _Nursery(WorkerPlugin):
    """Holds the children of one Dask worker and the functions of the maps they serve."""

    name = _NAME

    def __init__(self) -> None:
        self.children = Children()
        self.functions: OrderedDict[str, bytes] = OrderedDict()

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - the name is Dask's
        """End the children with the worker."""
        self.children.close()


def _nursery(worker: Worker) -> _Nursery | None:
    found = worker.plugins.get(_NAME)
    return found if isinstance(found, _Nursery) else None


def introduce() -> Versions:
    """What is installed here."""
    return Versions.here()


async def teach(name: str, function: bytes, dask_worker: Worker) -> Versions:
    """Take the function of a map, once for all its tasks.

    Parameters
    ----------
    name : str
        Of the map.
    function : bytes
        The pickled function.
    dask_worker : Worker
        Given by Dask.
    """
    nursery = _nursery(dask_worker)
    if nursery is None:
        nursery = _Nursery()
        await dask_worker.plugin_add(nursery, name=_NAME)
    nursery.functions[name] = function
    while len(nursery.functions) > _MAPS_KEPT:
        nursery.functions.popitem(last=False)
    return introduce()


async def dismiss(driver: str, name: str | None, dask_worker: Worker) -> None:
    """Forget a map; without a name, all that is kept for a driver.

    Parameters
    ----------
    driver : str
        As in `Order`.
    name : str or None
        Of the map that has ended; None if the driver leaves.
    dask_worker : Worker
        Given by Dask.
    """
    nursery = _nursery(dask_worker)
    if nursery is None:
        return
    if name is not None:
        nursery.functions.pop(name, None)
    else:
        nursery.children.dismiss(driver)


def pack(order: Order, payloads: Sequence[bytes], fresh: bool) -> bytes:
    """Close a batch for its way to `work`.

    Parameters
    ----------
    order : Order
        Of the map.
    payloads : sequence of bytes
        The pickled items.
    fresh : bool
        Whether to use a child that has not worked on any item yet.
    """
    return pickle.dumps((order, payloads, fresh), protocol=PICKLE_PROTOCOL)


def work(parcel: bytes) -> bytes | None:
    """Work on a batch of items, as a task of Dask.

    What travels is closed: Dask would search every list for things of its own, item by item.

    Parameters
    ----------
    parcel : bytes
        Made by `pack`.

    Returns
    -------
    bytes or None
        Pickle of one `Reply` per item; None if this worker does not know the map.
    """
    order, payloads, fresh = pickle.loads(parcel)  # noqa: S301 - whoever may send tasks may run anything here
    worker = get_worker()
    nursery = _nursery(worker)
    if nursery is None or order.map not in nursery.functions:
        return None
    function = nursery.functions[order.map]
    key = worker.get_current_task()

    def wanted() -> bool:
        # Dask cannot stop a thread; it only marks the task, also when the driver is gone.
        task = worker.state.tasks.get(key)
        return task is not None and task.state in _AT_WORK

    replies = nursery.children.run(order, function, payloads, fresh=fresh, wanted=wanted)
    return pickle.dumps(replies, protocol=PICKLE_PROTOCOL)
