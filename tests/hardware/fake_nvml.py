"""A stand-in for NVIDIA's management library, with the names of its documented API.

The driver is not ours and not reachable: https://docs.nvidia.com/deploy/nvml-api/.
"""

from __future__ import annotations

from types import SimpleNamespace

GIB = 2**30
NOT_SUPPORTED, DRIVER_NOT_LOADED, LOST = 3, 9, 15


class NVMLError(Exception):
    def __init__(self, value, text="Not Supported"):
        super().__init__(text)
        self.value = value


class FakeNvml:
    """Two cards of 24 GiB, the first of which can be divided.

    Args:
        fails: names of questions that fail, each with the value of its error.
        slices: sizes of MIG slices in GiB; None: the card is whole.
    """

    NVMLError = NVMLError

    def __init__(self, *, fails=None, slices=None, num_cards=2, **answers):
        self.fails, self.slices, self.num_cards = fails or {}, slices, num_cards
        self.answers = {
            "capability": (9, 0),
            "cuda": 12080,
            "name": "NVIDIA H100 80GB HBM3",
            "reasons": 0x1,
            "ecc": 0,
            "processes": [],
        } | answers
        self.is_shut = False

    def __getattribute__(self, name):
        fails = object.__getattribute__(self, "__dict__").get("fails", {})
        if name in fails:

            def fail(*_):
                raise NVMLError(fails[name], f"{name} failed")

            return fail
        return object.__getattribute__(self, name)

    def nvmlInit(self):
        pass

    def nvmlShutdown(self):
        self.is_shut = True

    def nvmlSystemGetDriverVersion(self):
        return b"580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self):
        return self.answers["cuda"]

    def nvmlSystemGetProcessName(self, pid):
        return {7: "/usr/bin/python3 secret.py --token abc", 8: "Xorg"}[pid]

    def nvmlDeviceGetCount(self):
        return self.num_cards

    def nvmlDeviceGetHandleByIndex(self, index):
        return f"card {index}"

    def nvmlDeviceGetUUID(self, handle):
        kind, number = handle.split()
        return f"MIG-{number}abc" if kind == "slice" else f"GPU-{number}abc"

    def nvmlDeviceGetName(self, handle):
        if handle.startswith("slice"):
            return f"{self.answers['name']} MIG {self.slices[int(handle[-1])]}g"
        return self.answers["name"]

    def nvmlDeviceGetMemoryInfo(self, handle):
        if handle.startswith("slice"):
            size = self.slices[int(handle[-1])] * GIB
            return SimpleNamespace(total=size, free=size - GIB)
        return SimpleNamespace(total=24 * GIB, free=20 * GIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return self.answers["capability"]

    def nvmlDeviceGetMigMode(self, handle):
        return [int(self.slices is not None and handle == "card 0"), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index >= len(self.slices):
            raise NVMLError(6, "Not Found")
        return f"slice {index}"

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.answers["processes"]
        ]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):
        return []

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return 350_500

    def nvmlDeviceGetTemperatureV(self, handle, sensor):
        return 41

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 42

    def nvmlDeviceGetTotalEccErrors(self, handle, kind, counter):
        assert (kind, counter) == (1, 0)  # uncorrected, since the driver started
        return self.answers["ecc"]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self.answers["reasons"]
