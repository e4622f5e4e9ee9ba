"""A Dask cluster as the driver sees it: connect, compare versions, count threads."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import dask
from distributed import Client, Future
from distributed.comm.core import CommClosedError

from voxlake.core.errors import EngineError
from voxlake.engine.cluster import check_versions
from voxlake.engine.dask_worker import dismiss, introduce, teach

__all__ = ["DaskCluster"]

_CONNECT_SECONDS = 20.0
_ANSWER_SECONDS = 60.0
_WORKER_SECONDS = 30.0
_TROUBLE = (OSError, TimeoutError, CommClosedError)


class DaskCluster:
    """A connection to the scheduler of a cluster.

    Parameters
    ----------
    address : str
        ``tcp://host:port`` or ``tls://host:port``.

    Raises
    ------
    EngineError
        If it cannot be reached, has no workers, or runs other versions.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = _connect(address)
        try:
            self._wait_for_worker()
            self._compare_versions()
        except BaseException:
            self.close()
            raise

    def _wait_for_worker(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except _TROUBLE:
            raise EngineError(
                f"the Dask cluster at {self.address} had no worker after {_WORKER_SECONDS:g} s; start some "
                f"with: dask worker {self.address}"
            ) from None

    def _compare_versions(self) -> None:
        found = {"the scheduler": self._asked_scheduler()}
        check_versions(found | self.ask(introduce))

    def _asked_scheduler(self) -> Any:
        try:
            return self.client.run_on_scheduler(introduce)
        except _TROUBLE:
            raise self._lost() from None
        except Exception as error:  # noqa: BLE001 - whatever it raised there says what it lacks
            return error

    def _lost(self) -> EngineError:
        return EngineError(
            f"the Dask scheduler at {self.address} does not answer any more; look at its log, start it "
            "again and repeat the run: what is done is kept"
        )

    def ask(self, function: Any, *arguments: Any, workers: list[str] | None = None) -> dict[str, Any]:
        """Call a function in each worker, outside of any task.

        Returns
        -------
        dict of str to object
            What it returned or raised, by address.
        """
        self._check_alive()
        try:
            return dict(self.client.run(function, *arguments, workers=workers, on_error="return"))
        except _TROUBLE:
            raise self._lost() from None

    def _check_alive(self) -> None:
        if self.client.status != "running":
            raise self._lost()

    def threads(self) -> dict[str, int]:
        """How many tasks each worker runs at a time, by address."""
        self._check_alive()
        try:
            found = self.client.nthreads(callback_timeout=_ANSWER_SECONDS)
        except _TROUBLE:
            raise self._lost() from None
        return {address: threads for address, threads in found.items() if threads > 0}

    def teach(self, name: str, function: bytes, workers: list[str]) -> set[str]:
        """Give workers the function of a map; those that took it, without those that left meanwhile."""
        answers = self.ask(teach, name, function, workers=workers)
        taught = {place: answer for place, answer in answers.items() if not isinstance(answer, _TROUBLE)}
        check_versions(taught)
        return set(taught)

    def gather(self, futures: list[Future[Any]], seconds: float) -> list[Any]:
        """Fetch results.

        Raises
        ------
        TimeoutError
            If they are not here in time; Dask itself would wait for ever for a worker that is gone.
        KilledWorker
            If too many workers died of a task, as the scheduler sees it.
        """
        fetch = partial(self.client.gather, futures, asynchronous=True)
        found: list[Any] = self.client.sync(fetch, callback_timeout=seconds)
        return found

    def dismiss(self, driver: str, name: str | None = None) -> None:
        """Let the workers forget a map, or a driver; says nothing if they are gone."""
        if self.client.status != "running":
            return
        try:
            self.ask(dismiss, driver, name)
        except EngineError:
            return

    def close(self) -> None:
        """Hang up."""
        self.client.close()


def _connect(address: str) -> Client:
    if address.startswith("tls:"):
        _check_certificates()
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except ssl.SSLError as error:
        words = f"its TLS certificates do not fit ({error.reason or 'no reason given'})"
    except (OSError, TimeoutError):
        words = f"no answer within {_CONNECT_SECONDS:g} s"
    except ValueError:
        words = "that is no address"
    tls = "" if address.startswith("tls:") else "; if it speaks TLS, write tls:// and give certificates"
    raise EngineError(
        f"cannot connect to a Dask scheduler at {address}: {words}. Is `dask scheduler` running there{tls}?"
    )


def _check_certificates() -> None:
    keys = ("tls.ca-file", "tls.client.cert", "tls.client.key")
    missing = [key for key in keys if not dask.config.get(f"distributed.comm.{key}", None)]
    # The key may stand in the same file as the certificate.
    if missing and missing != ["tls.client.key"]:
        names = ", ".join(f"distributed.comm.{key}" for key in missing)
        raise EngineError(
            f"tls:// needs certificates, and Dask's configuration lacks {names}; set them in "
            "~/.config/dask/distributed.yaml or by variables such as DASK_DISTRIBUTED__COMM__TLS__CA_FILE"
        )
