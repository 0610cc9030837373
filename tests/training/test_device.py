"""Choice of device, precision and memory layout."""

from __future__ import annotations

import pytest

from bts.errors import RequestError
from bts.settings import TrainerSettings
from bts.training import device
from bts.training.device import choose_device, choose_layout, choose_machine, choose_precision


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: True)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("accelerator", ["gpu", "mps"])
def test_a_device_that_is_not_there_is_one_line_with_a_way_out(accelerator: str) -> None:
    with pytest.raises(RequestError, match=r"has no such device.*--trainer.accelerator cpu"):
        choose_device(accelerator)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_gpu")
def test_auto_takes_the_cpu_where_there_is_nothing_else() -> None:
    assert choose_device("auto") == ("cpu", "no GPU found")
    assert choose_machine(TrainerSettings()).lines[0] == "device: cpu (no GPU found), 1 per node, 1 node"
    assert choose_machine(TrainerSettings(num_nodes=2)).lines[0].endswith(", 1 per node, 2 nodes")


@pytest.mark.usefixtures("two_gpus")
def test_auto_takes_the_gpu_and_names_it() -> None:
    assert choose_device("auto") == ("gpu", "Some GPU found")
    assert choose_device("cpu") == ("cpu", "requested")
    machine = choose_machine(TrainerSettings(devices=-1))
    assert (machine.devices, machine.world, machine.precision, machine.channels_last) == (2, 2, "bf16-mixed", True)


@pytest.mark.usefixtures("two_gpus")
def test_more_devices_than_there_are_is_refused() -> None:
    with pytest.raises(RequestError, match=r"trainer\.devices 3"):
        choose_machine(TrainerSettings(devices=3))


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_a_processor_that_is_held_to_older_instructions_does_not_compute_in_bf16(
    capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    assert not device.cpu_computes_bf16()


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bf16_is_taken_only_where_the_processor_computes_in_it(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "cpu_computes_bf16", lambda: native)
    chosen, why = choose_precision("auto", "cpu")
    assert chosen == precision
    assert ("does not" in why) != native
    assert choose_precision("32-true", "cpu") == ("32-true", "requested")


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(RequestError, match="a CPU can't train in float16"):
        choose_precision("16-mixed", "cpu")


def test_channels_last_is_taken_where_it_is_faster() -> None:
    assert choose_layout(device="cpu", precision="bf16-mixed")[0] is True
    assert choose_layout(device="gpu", precision="bf16-mixed")[0] is True
    assert choose_layout(device="gpu", precision="32-true")[0] is False
    assert choose_layout(device="mps", precision="32-true")[0] is False
