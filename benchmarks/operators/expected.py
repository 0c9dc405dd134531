"""What the judging gets wrong, and is known to: operators, and why no table of theirs cures it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """`operators` are accused although they are healthy, for `reason`; with `backward` only theirs."""

    operators: tuple[str, ...]
    reason: str
    backward: bool = False


ACCUSED = (
    Known(
        ("Functional.hinge_embedding_loss", "Functional.cosine_embedding_loss"),
        "its label is compared with 1 and -1: a label that is off is another one",
    ),
    Known(
        ("Tensor.histogram", "Torch.histogram", "Torch.histogramdd"),
        "edges of bins that are off by a rounding leave out the element that they were made from",
    ),
    Known(
        ("Torch.special.xlog1py",),
        "few elements, of which one moves by more than any norm shows",
    ),
    Known(
        ("Functional.multilabel_soft_margin_loss",),
        "targets beyond 0 and 1: what its terms come to before they cancel is not recorded",
    ),
    Known(
        tuple(
            f"{prefix}.{name}"
            for prefix in ("Torch", "Tensor", "Torch.special")
            for name in ("polygamma", "polygamma_", "digamma", "digamma_", "psi", "zeta")
        ),
        "inputs that are off by a hundredth cross poles",
    ),
    Known(
        tuple(
            f"Torch.special.{name}"
            for name in (
                *(f"{shifted}chebyshev_polynomial_{kind}" for shifted in ("", "shifted_") for kind in "tuvw"),
                "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
            )
        ),
        "a degree that is off by a hundredth may be another one",
    ),
    Known(
        ("Torch.corrcoef", "Tensor.corrcoef"),
        "gradients that cancel but for rounding, against a size that was not recorded",
        backward=True,
    ),
    Known(
        ("Functional.multi_head_attention_forward",),
        "its logits are made inside, so that nobody knows how large they are",
        backward=True,
    ),
)  # fmt: skip


def reason_for(operator: str, *, backward: bool) -> str | None:
    """Why a healthy `operator` (`Torch.add`) may be accused; None where it may not."""
    for known in ACCUSED:
        if operator in known.operators and (backward or not known.backward):
            return known.reason
    return None
