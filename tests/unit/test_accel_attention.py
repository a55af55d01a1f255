"""Attention candidates against the reference, and who gets which."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import Tensor

from accel.attention import SAGE_TOLERANCE, choose_attention, plain, sage, sdpa
from accel.device import Facts, Package

INSTALLED = (Package("sageattention", "1.0.6"), Package("triton", "3.2"))


def gpu(major: int, minor: int, *packages: Package) -> Facts:
    return Facts(
        "cuda", "invented", 2**33, 2**33, "2.6", capability=(major, minor), packages=packages
    )


def operands(tokens: int, dim: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    q, k, v = torch.randn(3, 1, 2, tokens, dim, generator=generator).unbind()
    return q, k + 0.5, v


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_sdpa_equals_the_reference_even_for_transposed_views() -> None:
    q, k, v = (t.transpose(-2, -1).contiguous().transpose(-2, -1) for t in operands(65))
    assert relative(sdpa(q, k, v), plain(q, k, v)) < 1e-6


def counting_everything(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
    """Like the kernels: padded keys are keys of score 0, in blocks of 64; nothing is masked."""
    assert options == {
        "tensor_layout": "HND",
        "is_causal": False,
        "sm_scale": 64**-0.5,
        "smooth_k": False,
    }
    assert q.shape[-1] == k.shape[-1] == v.shape[-1] == 96
    assert k.shape[-2] % 64 == 0
    scores = q.float() @ k.float().transpose(-2, -1) * 64**-0.5
    return (torch.softmax(scores, -1) @ v.float()).to(q.dtype)


@pytest.mark.parametrize("tokens", [64, 65, 127, 300])
def test_padding_never_takes_part_of_the_softmax(tokens: int) -> None:
    q, k, v = operands(tokens)
    before = k.clone()
    out = sage(counting_everything, q, k, v)
    assert relative(out, plain(q, k, v)) < 2e-3  # the rounding to half precision alone
    assert torch.equal(k, before), "the caller's keys were written to"


def test_a_head_without_room_for_the_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="dim: expected less than 96, got 128"):
        sage(counting_everything, *operands(64, 128))


def test_without_the_switch_sage_is_not_even_mentioned() -> None:
    choice = choose_attention(gpu(8, 6, *INSTALLED), use_sage_attention=False, network_attends=True)
    assert str(choice) == "attention: sdpa"


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (gpu(8, 6, *INSTALLED), "attention: sage"),
        (
            gpu(7, 5, *INSTALLED),
            "attention: sdpa (sage: needs CUDA capability 8.0, found 7.5)",
        ),
        (
            gpu(8, 6),
            "attention: sdpa (sage: sageattention is not installed; triton is not installed)",
        ),
        (
            gpu(10, 0, Package("sageattention", "2.2.0")),
            "attention: sdpa (sage: version 2.2.0 serves CUDA 8.0, 8.6, 8.9, 9.0, 12.0, 12.1, "
            "found 10.0)",
        ),
        (gpu(12, 0, Package("sageattention", "2.2.0")), "attention: sage"),
        (
            Facts("cpu", "x", 1, 1, "2.6", packages=INSTALLED),
            "attention: sdpa (sage: needs CUDA, this device is cpu)",
        ),
    ],
)
def test_sage_serves_where_it_can_and_says_why_not_elsewhere(facts: Facts, line: str) -> None:
    assert str(choose_attention(facts, use_sage_attention=True, network_attends=True)) == line


def test_deep_exemplar_refuses_sage_on_the_best_of_cards() -> None:
    choice = choose_attention(gpu(9, 0, *INSTALLED), use_sage_attention=True, network_attends=False)
    assert str(choice) == "attention: none (sage: no layer of this network is such an attention)"


INTERPRETED = """
    import torch
    from accel.attention import plain, sage
    from sageattention.attn_qk_int8_per_block import forward as attend_64
    from sageattention.attn_qk_int8_per_block_h96 import forward as attend_96
    from sageattention.quant_per_block import per_block_int8 as round_64
    from sageattention.quant_per_block_hd96 import per_block_int8_hd96 as round_96

    def kernel(q, k, v, *, tensor_layout, is_causal, sm_scale, smooth_k):
        '''What sageattn calls once it has asked for CUDA.'''
        round_, attend = (round_96, attend_96) if q.shape[-1] == 96 else (round_64, attend_64)
        qi, qs, ki, ks = round_(q, k, sm_scale=sm_scale, tensor_layout=tensor_layout)
        return attend(qi, ki, v, qs, ks, tensor_layout=tensor_layout, output_dtype=q.dtype)

    for tokens in (65, 192):
        torch.manual_seed(tokens)
        q, k, v = torch.randn(3, 1, 1, tokens, 64).unbind()
        masked = sage(kernel, q, k, v)
        half = [t.half() for t in (q, k - k.mean(-2, keepdim=True), v)]
        bare = kernel(*half, tensor_layout="HND", is_causal=False, sm_scale=64**-0.5,
                      smooth_k=False).float()
        wanted = plain(q, k, v)
        print(tokens, *(float((x - wanted).norm() / wanted.norm()) for x in (masked, bare)))
"""


@pytest.mark.skipif(
    not (importlib.util.find_spec("sageattention") and importlib.util.find_spec("triton")),
    reason="sageattention or triton is not installed",
)
def test_the_triton_kernels_stay_within_the_tolerance_once_masked() -> None:
    """Run by triton's interpreter, so without a GPU; a process of its own, for its switch is read
    on import."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(INTERPRETED)],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {int(n): (float(a), float(b)) for n, a, b in map(str.split, done.stdout.splitlines())}
    assert rows[65][0] < SAGE_TOLERANCE
    assert rows[192][0] < SAGE_TOLERANCE
    assert rows[65][1] > 3 * rows[65][0], "the bare kernel masks its tail now; drop the mask"
