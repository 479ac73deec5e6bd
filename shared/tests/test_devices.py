import pytest

from lm_shared.devices import DEVICES, find_device, listed_device


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
    ],
)
def test_gpus_are_listed_by_the_words_of_their_names(name: str, key: str) -> None:
    assert listed_device(name) is DEVICES[key]


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "GeForce GTX 1080", "H1000"])
def test_slices_and_unknown_gpus_are_not(name: str) -> None:
    assert listed_device(name) is None


def test_tensor_cores_multiply_wider_numbers_at_half_the_rate() -> None:
    for name, device in DEVICES.items():
        rates = device.flops_per_s
        assert rates["float32"] < rates["tfloat32"] < rates["bfloat16"]
        if name != "b200":
            assert rates["bfloat16"] == pytest.approx(2 * rates["tfloat32"], rel=0.02)


def test_a_type_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"A100 SXM 80 GB has no rate for float8: float32, tfloa"):
        DEVICES["a100"].peak("float8")


def test_devices_are_found_by_name() -> None:
    assert find_device("H100") is DEVICES["h100"]
    with pytest.raises(ValueError, match=r"no device 'h300': did you mean h[12]00"):
        find_device("h300")
