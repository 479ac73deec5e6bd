import pytest
import torch

from lm_basics.peak_flops import find_peak_flops, measure_cpu, measure_matmul

CPU = torch.device("cpu")


def test_a_measured_peak_is_that_of_a_product_and_changes_no_random_state() -> None:
    state = torch.get_rng_state()
    peak = find_peak_flops(CPU, torch.float32)
    assert peak.source == "measured product of 1,024 x 1,024 matrices"
    # Anything that runs this test does more than 0.1 and less than 100,000 GFLOP/s.
    assert 1e8 < peak.flops_per_s < 1e14
    assert measure_matmul(CPU, torch.float32, size=64) > 0
    assert torch.equal(state, torch.get_rng_state())


def test_the_peak_of_a_listed_gpu_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 PCIe")
    peak = find_peak_flops(torch.device("cuda"), torch.float16)
    assert peak.flops_per_s == 756e12
    assert peak.source == "data sheet of NVIDIA H100 PCIe 80 GB"


def test_this_cpu_is_measured() -> None:
    device = measure_cpu(seconds=0.01)
    assert device.peak("float32") > 1e8
    assert device.bytes_per_s > 1e8
    assert device.memory_bytes > 1e8
