"""The contract of engines, for each engine that we ship."""

from __future__ import annotations

from voxlake.testing.engines import EngineContract


class TestSerial(EngineContract):
    url = "serial"
    isolated = False


class TestProcesses(EngineContract):
    url = "processes:2"
