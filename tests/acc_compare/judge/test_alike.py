"""Settings whose effect is smaller than a rounding, between sides that compute alike to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.report.i18n import text


def side(make: Any, *, form: str, off: float = 0.0, rounding: float = 0.0, products: int = 3) -> Any:
    """Products, then a gelu in some form, which makes its result `off`, and a loss that shows more of it than noise
    would; each product differs by `rounding`."""
    run = make.Run()
    x = make.normal(64, 64)
    for number in range(products):
        w = run.parameter(make.normal(64, 64, seed=number + 1))
        made = make.off((x @ w.T / np.float32(8)).astype("f4"), rounding, seed=10 + number)
        run.call(f"Functional.linear.{number}.forward", [x, w], [made])
        x = made
    y = (x * (1 + np.float32(off))).astype("f4")
    run.call("Functional.gelu.0.forward", [x], [y], kwargs={"approximate": form})
    loss = np.float32(np.sum(y.astype("f8") ** 2) / 4096).reshape(1)
    run.call("Functional.mse_loss.0.forward", [y, make.normal(64, 64, seed=9)], [loss])
    return run


def accused(finding: Any) -> list[tuple[str, str]]:
    return [(suspect.kind, suspect.name) for suspect in finding.suspects]


def test_a_setting_that_shows_less_than_rounding(make: Any) -> None:
    finding = make.judged(side(make, form="tanh", off=3e-7), side(make, form="none"))
    assert accused(finding) == [("operator", "Functional.gelu.0.forward")]
    (suspect,) = finding.suspects
    assert "where none at all is normal" in text(suspect.message)
    assert "evidence.settings" in [said.key for said in suspect.evidence]


SILENT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing of it shows": ({"form": "tanh"}, {"form": "none"}),
    "the same setting": ({"form": "none", "off": 3e-7}, {"form": "none"}),
    "products differ too": ({"form": "tanh", "off": 3e-7, "rounding": 1e-7}, {"form": "none"}),
    "too few calls tell": ({"form": "tanh", "off": 3e-7, "products": 2}, {"form": "none", "products": 2}),
}


@pytest.mark.parametrize(("npu", "bench"), SILENT.values(), ids=SILENT)
def test_rounding_accuses_no_setting(make: Any, npu: dict[str, Any], bench: dict[str, Any]) -> None:
    assert accused(make.judged(side(make, **npu), side(make, **bench))) == []


@pytest.mark.parametrize("told", [True, False])
def test_what_a_setting_makes_need_not_scatter_as_noise_does(make: Any, told: bool) -> None:
    """Four logits of each row part, of which one is the target.  A loss shows all of that, where noise would cancel."""

    def one(shift: float) -> Any:
        run = side(make, form="tanh" if shift and told else "none")
        logits = make.normal(64, 64, seed=20)
        made = logits + np.float32(shift) * np.array([1, -1, 1, -1] + 60 * [0], "f4")
        run.call("Functional.hardtanh.0.forward", [logits, -9.0, 9.5 if shift and told else 9.0], [made])
        wide = made.astype("f8")
        loss = np.mean(np.log(np.exp(wide).sum(1)) - wide[:, 0]).astype("f4").reshape(1)
        run.call("Functional.cross_entropy.0.forward", [made, np.zeros(64, "i8")], [loss])
        return run

    found = accused(make.judged(one(1e-2), one(0.0)))
    assert found == [("operator", "Functional.hardtanh.0.forward")]
