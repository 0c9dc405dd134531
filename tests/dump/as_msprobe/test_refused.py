"""Names that can be imported and are not done say so, by name."""

from __future__ import annotations

import pytest

from dump.as_msprobe import refused
from dump.format.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    [
        "AclGraphDumper",
        "acl_save",
        "set_ge_dump_config",
        "set_fx_dump_config",
        "PrecisionChecker",
    ],
)
def test_what_a_script_would_wait_for_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        getattr(refused, name)("./config.json")
    assert str(error.value).startswith(f"{name}: ")
    assert "\n" not in str(error.value)


def test_what_only_looks_on_is_told_and_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    refused.random_save("./output")
    refused.ConfigChecker.apply_patches(fmk="pytorch")
    refused.ConfigChecker(model=None, output_zip_path="./x.zip")
    told = capsys.readouterr().err.splitlines()
    assert ["random_save" in told[0], "ConfigChecker" in told[1], "ConfigChecker" in told[2]] == [True] * 3
