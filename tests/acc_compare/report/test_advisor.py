from __future__ import annotations

import dataclasses
import json
import math

import pytest

from acc_compare.messages import listed, say
from acc_compare.model import ComparedShare
from acc_compare.report.advisor import advisor_json, advisor_text
from acc_compare.report.wrapping import WIDTH, columns
from dump.format.errors import ConfigError

GELU = """\
DIFFERENT: gelu is the most likely fault: in 4 calls, the first of them Functional.gelu.2.forward,
           its inputs agree and its output does not.
  NPU            /data/dumps/npu/step0/rank0, npu
  Bench          /data/dumps/gpu/step0/rank0, cuda

1. Functional.gelu.2.forward: what it read agrees, what it computed does not
  Where          step 0, rank 0, module blocks.2.act
  In your code   /home/me/gpt/model.py:58 in forward: x = self.act(self.fc1(x))
  What happened  Inputs agree to 3e-7, output.0 differs by 1.6e-3, 5,300 times what is normal.
  Measured       output.0 differs by 1.6e-3 of its size where 3e-7 is normal: 5,300 times as much
  Looks like     the size of rounding to bfloat16 (about 2e-3 of each element)
  Evidence       - Its input.0 agrees to 2.9e-7.
                 - The 96 other elementwise calls of this run amplify error by 1.1 at most.
                 - gelu.0 and gelu.1 see other shapes and agree.
  Spread         214 of the 312 calls after it carry the error on; it reaches the loss
                 (Functional.cross_entropy.0.forward) as 4.1e-5.
  Alike          4 calls of this operator do the same: Functional.gelu.2.forward,
                 Functional.gelu.3.forward, Functional.gelu.4.forward and 1 more
  Try next       - Record the tensors of this call and compare element by element:
                   acc dump --task tensor --list Functional.gelu.2.forward -- python train.py
                 - Run this call alone on the bench with the recorded input, in float32 and in
                   bfloat16.

  Compared       1,243 calls and 3,960 tensors; statistics: max, min, mean, norm and a sketch
  Not compared   without a counterpart: 3 calls of the NPU side, 1 call of the bench side
                 - 2 calls: the operator exists on NPU only (NPU.npu_fusion_attention.0.forward,
                   NPU.npu_fusion_attention.1.forward)
                 - 1 call: the bench makes one call fewer of this operator
                   (Tensor.contiguous.7.forward)
                 - 1 call: replaced on the other side by a fused operator
                   (Functional.scaled_dot_product_attention.0.forward)
  Note           No --floor was given: what is normal was taken from rounding and from calls of the
                 same kind.
  The numbers    1e-3: the difference is a thousandth as long as the bench's tensor (relative L2
                 error); one operator's rounding alone gives about 1e-7 in float32, 3e-3 in bfloat16
"""


def test_text_of_one_fault(build):
    assert advisor_text(build.gelu()) == GELU


def test_every_text_fits_the_width_and_names_all_suspects(any_finding):
    text = advisor_text(any_finding)
    assert max(columns(line) for line in text.splitlines()) <= WIDTH
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert text.startswith(any_finding.verdict.upper() + ": ")
    assert all(suspect.name in text for suspect in any_finding.suspects)


def test_healthy_runs_get_a_short_text_that_explains_marked_rows(build):
    text = advisor_text(build.same())
    assert "the classic fixed thresholds mark 1 row of the table all the same" in " ".join(text.split())
    assert "Not compared" not in text
    assert "The numbers" not in text
    assert "classic" not in advisor_text(build.finding(verdict="same"))


def test_one_suspect_in_full_two_in_short_and_the_rest_in_a_line_each(build):
    suspects = tuple(build.suspect(name=f"Torch.op{i}.0.forward", evidence=("a ground",)) for i in range(30))
    text = advisor_text(build.finding(suspects=suspects))
    assert (text.count("What happened"), text.count("a ground")) == (3, 1)
    assert "  Suspects       30, most likely first" in text
    assert "\n1. Torch.op0.0.forward: what it read agrees, what it computed does not\n" in text
    assert "\n4. Torch.op3.0.forward (operator, step 0, rank 0, module blocks.2.act, differs by 1.6e-3)\n" in text
    assert "Torch.op13" not in text
    assert "and 17 more suspects, in the JSON beside this file" in text


def test_what_a_later_suspect_was_told_otherwise_is_told_in_short_too(build):
    told = say("evidence.settings", settings=listed(["eps 1e-05 against 1e-06"]))
    first, second = build.suspect(), build.suspect(name="Torch.op.0.forward", evidence=(told, "a ground"))
    text = advisor_text(build.finding(suspects=(first, second)))
    assert ("eps 1e-05 against 1e-06" in text, "a ground" in text) == (True, False)


def test_settings_that_differ_stand_before_any_suspect(build):
    finding = dataclasses.replace(build.gelu(), settings=(listed(["HF32 on the NPU side"]),))
    text = advisor_text(finding)
    assert text.index("  Settings       - HF32 on the NPU side\n") < text.index("\n1. ")
    assert json.loads(advisor_json(finding))["settings"] == ["HF32 on the NPU side"]
    assert "Settings" not in advisor_text(build.gelu())


def test_a_single_suspect_is_not_counted(build):
    assert "most likely first" not in advisor_text(build.gelu())


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (say("happened.updated", size=1.6e-3), True),
        (say("happened.digest", tensor="output.0"), False),
    ],
)
def test_the_measurement_is_given_unless_the_message_has_it(build, message, told):
    text = advisor_text(build.finding(suspects=(build.suspect(message=message),)))
    assert ("Measured" in text) != told


@pytest.mark.parametrize(
    ("advice", "lines"),
    [
        ("acc compare A B --floor C", ["acc compare A B --floor C"]),
        ("Do this: `acc dump -s`.", ["Do this:", "acc dump -s"]),
        ("First:\nexport X=1\nThen look.", ["First:", "export X=1", "Then look."]),
        ("Find it:\ngrep -n AdamW a.py", ["Find it:", "grep -n AdamW a.py"]),
        ("Fix it: dump.seed_all(seed=1, mode=True)", ["Fix it:", "dump.seed_all(seed=1, mode=True)"]),
        ("Run it again: python3 -m dump train.py", ["Run it again:", "python3 -m dump train.py"]),
        ("Try this: python 3.12 is slower.", ["Try this: python 3.12 is slower."]),
    ],
)
def test_commands_stand_on_lines_of_their_own(build, advice, lines):
    text = advisor_text(build.finding(suspects=(build.suspect(advice=(advice,)),)))
    block = text.partition("  Try next")[2].partition("\n\n")[0].splitlines()
    assert [line.strip().removeprefix("- ") for line in block] == lines


def test_commands_are_not_broken(build):
    command = "acc dump --list " + ",".join(f"Functional.linear.{i}.forward" for i in range(9))
    text = advisor_text(build.finding(suspects=(build.suspect(advice=(command,)),)))
    assert command in text


def test_reasons_are_grouped_with_the_largest_group_first(build):
    reasons = [("a.0", listed(["rare"]))] + [(f"b.{i}", listed(["common"])) for i in range(12)]
    reasons += [(f"c.{i}", listed([f"reason {i}"])) for i in range(9)]
    text = advisor_text(build.finding(coverage=ComparedShare(5, 9, 22, 0, reasons=tuple(reasons))))
    assert "- 12 calls: common (b.0, b.1, b.2 and 9 more)" in text
    assert text.index("common") < text.index("rare")
    assert "- 8 calls for other reasons" in text


@pytest.mark.parametrize(
    ("npu", "bench", "text"),
    [
        (1, 0, "Not compared   without a counterpart: 1 call of the NPU side\n"),
        (0, 2, "Not compared   without a counterpart: 2 calls of the bench side\n"),
        (1, 2, "Not compared   without a counterpart: 1 call of the NPU side, 2 calls of the bench side\n"),
    ],
)
def test_only_a_side_that_has_some_is_named(build, npu, bench, text):
    assert text in advisor_text(build.finding(coverage=ComparedShare(5, 9, npu, bench)))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        ("output.0", "what it read agrees, what it computed does not"),
        ("input.0", "the difference is already in what it reads, and no recorded call made it"),
    ],
)
def test_the_heading_says_which_side_of_the_call_is_wrong(build, tensor, text):
    page = advisor_text(build.finding(suspects=(build.suspect(tensor=tensor),)))
    assert text in " ".join(page.split())


def test_control_characters_do_not_reach_the_terminal(build):
    evil = "\x1b[2J\x9b31m"
    suspect = build.suspect(name=evil, module=evil, message=evil, stack=(evil,), advice=(f"acc dump {evil}",))
    text = advisor_text(build.finding(suspects=(suspect,), notes=(evil,), npu_path=evil, summary=evil))
    assert "\x1b" not in text
    assert "\x9b" not in text


def test_unknown_language_is_named(build):
    with pytest.raises(ConfigError, match="'fr'; known languages: en, zh"):
        advisor_text(build.same(), lang="fr")


def test_json_of_a_fault_has_the_promised_keys(build):
    document = json.loads(advisor_json(build.gelu()))
    assert document["verdict"] == "different"
    assert document["compared"] == {"calls": 1243, "tensors": 3960, "unmatched_npu": 3, "unmatched_bench": 1}
    (suspect,) = document["suspects"]
    promised = {
        "name": "Functional.gelu.2.forward",
        "step": 0,
        "rank": 0,
        "kind": "operator",
        "module": "blocks.2.act",
        "tensor": "output.0",
        "rel_l2": 1.6e-3,
        "expected": 3e-7,
        "excess": 5300.0,
        "calls": 4,
        "reference": None,
    }
    assert {key: suspect[key] for key in promised} == promised
    assert set(suspect) - set(promised) == {
        "message",
        "evidence",
        "looks_like",
        "pattern",
        "shape",
        "spread",
        "advice",
        "stack",
        "others",
    }


def test_json_of_healthy_runs(build):
    document = json.loads(advisor_json(build.same()))
    assert (document["verdict"], document["suspects"]) == ("same", [])


def test_json_is_strict(build):
    suspect = build.suspect(rel_l2=math.nan, expected=None, excess=math.inf, message="层 \udc80")
    raw = advisor_json(build.finding(suspects=(suspect,)))

    def refuse(name):
        raise AssertionError(name)

    (back,) = json.loads(raw.decode("utf-8"), parse_constant=refuse)["suspects"]
    assert (back["rel_l2"], back["expected"], back["excess"]) == (None, None, None)
    assert back["message"] == "层 \udc80"
