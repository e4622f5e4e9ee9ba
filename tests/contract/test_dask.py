"""The contract of engines on a real Dask cluster, and what Dask alone can do to a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from voxlake.core.errors import EngineError, SettingsError
from voxlake.engine.contract import Engine
from voxlake.engine.open import open_engine
from voxlake.testing.dask_cluster import TestCluster, run_cluster
from voxlake.testing.engine_tasks import negate, work_in
from voxlake.testing.engines import EngineContract, is_running, wait_until

pytest.importorskip("distributed", reason="needs voxlake[dask]")
pytestmark = pytest.mark.xdist_group("dask")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """Two workers of one thread, one of them under a nanny as `dask worker` starts it by default."""
    with run_cluster(tmp_path_factory.mktemp("dask"), workers=1) as cluster:
        cluster.start_worker("--nanny")
        with open_engine(cluster.address) as engine:
            engine._cluster.client.wait_for_workers(2, timeout=120)  # type: ignore[attr-defined]
        yield cluster


@pytest.fixture(scope="module")
def shared(cluster: TestCluster) -> Iterator[Engine]:
    with open_engine(f"dask://127.0.0.1:{cluster.port}") as engine:
        yield engine


def make_certificates(folder: Path) -> dict[str, str]:
    """An authority, and one certificate by it for all parts of a cluster: settings of Dask."""
    authority, name = ec.generate_private_key(ec.SECP256R1()), _named("test authority")
    root = _certificate(name, name, authority, authority, ca=True)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _certificate(_named("127.0.0.1"), name, key, authority, ca=False)
    (folder / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    settings = {"ca-file": str(folder / "ca.pem")}
    for role in ("scheduler", "worker", "client"):
        settings |= {f"{role}.cert": str(folder / "cert.pem"), f"{role}.key": str(folder / "key.pem")}
    return settings


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


class TestDask(EngineContract):
    # Batches that have come back wait here while the next are at the workers.
    batches_ahead = 4
    # The driver of a cluster has more to import.
    patience = 60.0

    @pytest.fixture(autouse=True)
    def _address(self, cluster: TestCluster) -> None:
        self.url = f"dask://127.0.0.1:{cluster.port}"

    @pytest.fixture
    def engine(self, shared: Engine) -> Engine:
        """One connection for all tests: none may leave it in a state that another would notice."""
        return shared


def _pids(engine: Engine, count: int) -> set[int]:
    return {outcome.value for outcome in engine.map(work_in, [0.02] * count) if outcome.value is not None}


def test_a_dask_worker_that_is_killed_costs_its_items_an_attempt(
    cluster: TestCluster, shared: Engine
) -> None:
    """The others carry on, and every item comes back once."""
    extra = cluster.start_worker("--no-nanny")
    assert wait_until(lambda: shared.workers == 3, 60)
    outcomes = []
    for outcome in shared.map(work_in, [0.05] * 90, batch=2):
        outcomes.append(outcome)
        if len(outcomes) == 20:
            extra.kill()
    assert sorted(outcome.index for outcome in outcomes) == list(range(90))
    assert all(outcome.ok for outcome in outcomes)
    assert {outcome.attempts for outcome in outcomes} == {1, 2}
    assert wait_until(lambda: shared.workers == 2, 20)
    # The one of the three children that has left is that of the killed worker.
    children = {outcome.value for outcome in outcomes}
    assert wait_until(lambda: sum(map(is_running, children)) == 2, 10)


@pytest.mark.slow
def test_items_that_are_not_tried_again_fail_with_their_dask_worker(
    cluster: TestCluster, shared: Engine
) -> None:
    extra = cluster.start_worker("--no-nanny")
    assert wait_until(lambda: shared.workers == 3, 60)
    outcomes = []
    for outcome in shared.map(work_in, [0.1] * 30, retries=0):
        outcomes.append(outcome)
        if len(outcomes) == 6:
            extra.kill()
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    assert len(outcomes) == 30
    assert {failure.reason for failure in failures} == {"worker_died"}
    assert len(failures) == 1


# Where nobody listens any more, distributed leaves the socket of a failed attempt to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_over_tls_with_certificates_of_dasks_configuration(tmp_path: Path) -> None:
    """The end: a scheduler that is gone ends the run with an error that says so, and no wait."""
    with pytest.raises(EngineError, match=r"distributed\.comm\.tls\.ca-file"):
        open_engine("tls://127.0.0.1:1")
    settings = make_certificates(tmp_path)
    import dask

    with dask.config.set({f"distributed.comm.tls.{key}": value for key, value in settings.items()}):
        environment = {
            f"DASK_DISTRIBUTED__COMM__TLS__{key.upper().replace('.', '__').replace('-', '_')}": value
            for key, value in settings.items()
        }
        environment["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "true"
        with (
            run_cluster(tmp_path, workers=1, scheme="tls", environment=environment) as own,
            open_engine(own.address) as engine,
        ):
            assert engine.url.startswith("tls://")
            assert sorted(one.value for one in engine.map(negate, range(20), batch=3)) == list(range(-19, 1))
            outcomes = engine.map(work_in, [0.05] * 1000)
            next(outcomes)
            own.scheduler.kill()
            with pytest.raises(EngineError, match="does not answer any more"):
                list(outcomes)


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxlake.engine.dask_cluster._CONNECT_SECONDS", 0.5)
    with pytest.raises(EngineError, match="cannot connect to a Dask scheduler at tcp://127"):
        open_engine("dask://127.0.0.1:9")


@pytest.mark.parametrize("url", ["dask://host", "tls://:8786", "dask://host:port", "dask://"])
def test_an_address_without_host_or_port(url: str) -> None:
    with pytest.raises(SettingsError, match="host and port"):
        open_engine(url)


def test_a_closed_engine_and_a_busy_one(cluster: TestCluster) -> None:
    engine = open_engine(cluster.address)
    first = engine.map(negate, range(100))
    next(first)
    with pytest.raises(EngineError, match="one map at a time"):
        engine.map(negate, [1])
    first.close()
    children = _pids(engine, 8)
    engine.close()
    engine.close()
    assert wait_until(lambda: not any(map(is_running, children)), 5)
    assert engine.workers == 2
    with pytest.raises(EngineError, match="closed"):
        engine.map(negate, [1])


@pytest.mark.slow
def test_a_cluster_without_voxlake_is_refused(tmp_path: Path) -> None:
    """Before the first item, by the name of what it lacks."""
    (tmp_path / "other" / "voxlake").mkdir(parents=True)
    (tmp_path / "other" / "voxlake" / "__init__.py").touch()
    environment = {"PYTHONPATH": str(tmp_path / "other")}
    with (
        run_cluster(tmp_path, workers=1, environment=environment) as own,
        pytest.raises(EngineError, match=r"the scheduler lacks .* voxlake\.engine; tcp://.* could not"),
    ):
        open_engine(own.address)


def test_without_distributed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "voxlake.engine.dask_cluster", raising=False)
    with pytest.raises(EngineError, match=r"pip install 'voxlake\[dask\]'"):
        open_engine("dask://127.0.0.1:8786")
