"""The built-in workload: the network, its flags, and equal data everywhere."""

from __future__ import annotations

import pytest
import torch

from dump import workload
from dump.format.errors import ConfigError

SMALL = ["-a", "resnet18", "-b", "2", "--image-size", "32", "--classes", "5", "--device", "cpu"]


@pytest.mark.parametrize(
    ("arch", "parameters"), [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)]
)
def test_the_networks_have_as_many_parameters_as_torchvision_says(arch: str, parameters: int) -> None:
    with torch.device("meta"):
        model = workload.ResNet(arch, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_module_names_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        names = dict(workload.ResNet("resnet50", 10).named_modules())
    assert {"conv1", "layer1.0.downsample.0", "layer4.2.conv3", "avgpool", "fc"} <= names.keys()


def test_two_runs_are_equal_and_the_state_of_the_generator_does_not_matter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for draws in (0, 3):
        torch.rand(draws)
        workload.train(workload.parse([*SMALL, "--steps", "2"]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == lines[2:]
    assert lines[0].startswith("step 0: loss ")
    assert lines[0].endswith(" on cpu")


def test_the_flags_of_the_usual_example() -> None:
    options = workload.parse(["-a", "resnet50", "-b", "32", "--gpu", "1", "--dummy"])
    assert (options.arch, options.batch_size, options.gpu, options.dummy) == ("resnet50", 32, 1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-a", "vgg"], "vgg"),
        (["-b", "0"], "at least 1"),
        (["--nothing"], "--nothing"),
        (["--device", "nowhere"], "nowhere"),
    ],
)
def test_bad_flags_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        workload.parse(arguments)
    assert "\n" not in str(caught.value)
