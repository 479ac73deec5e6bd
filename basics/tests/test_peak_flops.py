import pytest
import torch

from lm_basics import peak_flops
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


@pytest.mark.parametrize(("elapsed_s", "size"), [(1.0, 128), (1e-9, 2048)])
def test_products_grow_until_they_can_be_timed(
    elapsed_s: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_flops, "fastest_s", lambda *_, **__: elapsed_s)
    device = measure_cpu()
    assert device.peak("float32") == pytest.approx(2 * size**3 / elapsed_s)
    # Each byte is read and written.
    assert device.bytes_per_s == pytest.approx(2 * peak_flops._COPIED_BYTES / elapsed_s)
