"""The engine on an emulated Arm CPU: tests of `test_operators`, and the driver, under sanitizers, too."""

# The tests that are imported are collected here, with this file's `built`.
# ruff: noqa: F401

import subprocess
from pathlib import Path

import pytest

from fxbin.engine.compiler import Compiler
from fxbin.engine.library import Engine
from tests.engine.emulated import LACKING, EmulatedEngine, Emulator, find_emulator, static_flags
from tests.engine.test_operators import (
    test_an_empty_batch_gives_an_empty_output,
    test_any_address_is_read_right,
    test_any_strides_are_read_right,
    test_bands_and_tiles_of_a_large_picture,
    test_bits_are_read_as_the_floats_are,
    test_bits_are_those_of_the_floats,
    test_bits_past_the_last_channel_count_for_nothing,
    test_depthwise_side_by_side,
    test_dtypes,
    test_every_kernel_gives_the_same_bits,
    test_kernels_count_all_inputs_and_none,
    test_levels_of_a_convolution_by_hand,
    test_many_inputs_that_all_fire,
    test_operators_of_pytorch_give_the_same_bits,
    test_padding_wider_than_the_picture,
    test_random_convolutions_are_exact,
    test_the_layout_of_the_output_is_that_of_the_input,
    test_threads_give_the_same_bits,
    test_thresholds_are_strict_and_nan_is_low,
    test_unknown_kernels_are_an_error,
)
from tests.engine.test_sanitized import SANITIZERS, SECONDS, works

pytestmark = pytest.mark.qemu

DRIVER = Path(__file__).with_name("driver.c")


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    """What builds and runs programs for AArch64; skips where it is not there."""
    found = find_emulator()
    if found is None:
        pytest.skip(LACKING)
    return found


@pytest.fixture(scope="module")
def emulated(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The engine that qemu runs."""
    return EmulatedEngine(emulator, tmp_path_factory.mktemp("emulated"))


@pytest.fixture
def built(emulated: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine that `torch.ops.fxbin` calls in these tests."""
    monkeypatch.setattr("fxbin.engine.operators.engine", lambda: emulated)
    return emulated


def test_the_kernels_are_those_of_arm(built: Engine) -> None:
    assert built.kernels == ("portable", "popcnt_neon", "bitsliced_neon", "pixelsliced_neon")


def test_neon_can_be_left_out(built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXBIN_MAX_CPU", "portable")
    assert built.kernels == ("portable",)


def drive(emulator: Emulator, program: Path) -> None:
    """Let the driver compare all kernels on random shapes, from one seed."""
    command = emulator.command(program, SECONDS, "7")
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("shapes\n")


@pytest.mark.parametrize("driver", ["driver", "training_driver"])
def test_kernels_give_the_same_floats(emulator: Emulator, tmp_path: Path, driver: str) -> None:
    drive(emulator, emulator.build(tmp_path / driver, DRIVER.with_name(f"{driver}.c"), static_flags()))


def test_kernels_read_and_write_nothing_else(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To look for leaks, sanitizers ask for what qemu does not have.
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    if not works(Compiler(emulator.compiler), tmp_path, emulator.command):
        pytest.skip("no C compiler for AArch64 with sanitizers: apt install gcc-aarch64-linux-gnu")
    flags = ("-std=c11", "-O0", "-g", "-ffp-contract=off", *SANITIZERS)
    drive(emulator, emulator.build(tmp_path / "driver", DRIVER, flags))
