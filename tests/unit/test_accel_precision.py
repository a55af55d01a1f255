"""Number formats: what each invented device gets, and what a cast touches."""

from __future__ import annotations

import pytest
import torch

from accel.device import Facts
from accel.precision import choose_precision, from_use_fp16, full


def cuda(major: int, minor: int) -> Facts:
    return Facts("cuda", "invented", 2**33, 2**33, "2.6", capability=(major, minor))


def cpu(*features: str) -> Facts:
    return Facts("cpu", "invented", 2**33, 2**33, "2.6", cpu_features=frozenset(features))


@pytest.mark.parametrize(
    ("facts", "asked", "effective"),
    [
        (cuda(6, 1), "fp16", "fp32"),
        (cuda(7, 0), "fp16", "fp16"),
        (cuda(7, 5), "bf16", "fp32"),
        (cuda(8, 0), "bf16", "bf16"),
        (cpu(), "bf16", "fp32"),
        (cpu("avx512_bf16"), "bf16", "bf16"),
        (cpu("amx_bf16"), "bf16", "bf16"),
        (cpu("amx_bf16"), "fp16", "fp32"),
        (cpu("amx_fp16"), "fp16", "fp16"),
        (Facts("mps", "M2", 1, 1, "2.6"), "fp16", "fp16"),
        (Facts("mps", "M2", 1, 1, "2.6"), "bf16", "fp32"),
        (cuda(9, 0), "fp32", "fp32"),
    ],
)
def test_a_device_gets_what_it_can_do(facts: Facts, asked: str, effective: str) -> None:
    choice = choose_precision(facts, asked, auto="fp32")
    assert choice.name == effective
    assert (effective == asked) or choice.refusals[0].name == asked


def test_auto_means_what_the_preset_says_and_falls_back_like_a_wish() -> None:
    assert choose_precision(cuda(8, 0), "auto", auto="fp16").name == "fp16"
    choice = choose_precision(cuda(6, 1), "auto", auto="fp16")
    assert str(choice) == "precision: fp32 (fp16: needs CUDA capability 7.0, found 6.1)"


def test_half_takes_the_finer_format_that_is_fast() -> None:
    assert choose_precision(cuda(8, 0), "half", auto="fp32").name == "fp16"
    assert choose_precision(cpu("avx512_bf16"), "half", auto="fp32").name == "bf16"
    assert choose_precision(cpu(), "half", auto="fp32").name == "fp32"


def test_a_format_that_the_network_does_not_offer_is_refused_with_the_reason() -> None:
    choice = choose_precision(cuda(8, 0), "half", auto="fp32", offered=("fp32", "bf16"))
    assert str(choice) == "precision: bf16 (fp16: this network runs in fp32 or bf16)"


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected one of auto, fp32, fp16, bf16, got 'int8'"):
        choose_precision(cpu(), "int8", auto="fp32")


@pytest.mark.parametrize(
    ("use_fp16", "asked", "meant"),
    [
        (True, "auto", "half"),
        (False, "auto", "fp32"),
        (None, "auto", "auto"),
        (True, "bf16", "bf16"),
    ],
)
def test_use_fp16_speaks_only_where_precision_is_auto(
    use_fp16: bool | None, asked: str, meant: str
) -> None:
    assert from_use_fp16(use_fp16, asked) == meant


def test_no_autocast_reaches_into_a_full_precision_block() -> None:
    a = torch.ones(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype is torch.bfloat16
        with full("cpu"):
            assert (a @ a).dtype is torch.float32
