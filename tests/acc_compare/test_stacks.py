from __future__ import annotations

import pytest

from acc_compare.stacks import own_line, script_of


@pytest.mark.parametrize(
    ("stack", "line"),
    [
        ((), ""),
        (("File a.py, line 3, in f, \n x = 1",), "a.py:3 in f: x = 1"),
        (('  File "/x/b.py", line 7, in g\n    y()',), "/x/b.py:7 in g: y()"),
        (("/x/b.py(7): g",), "/x/b.py(7): g"),
        (("File /v/site-packages/p.py, line 1, in q, \n z",), "/v/site-packages/p.py:1 in q: z"),
        (
            (
                "File /src/pytorch/torch/nn/modules/module.py, line 1, in _call, \n a",
                "File /usr/lib/python3.11/contextlib.py, line 2, in inner, \n b",
                "File /home/me/torch/train.py, line 9, in main, \n c()",
            ),
            "/home/me/torch/train.py:9 in main: c()",
        ),
        (
            (
                "File /tmp/torchinductor_me/la/cla2.py, line 101, in call, \n extern_kernels.addmm(x)",
                "File train.py, line 8, in forward, \n return self.mid(x)",
            ),
            "train.py:8 in forward: return self.mid(x)",
        ),
    ],
)
def test_own_line(stack, line):
    assert own_line(stack) == line


@pytest.mark.parametrize(
    ("stack", "script"),
    [
        ((), ""),
        (("File /v/site-packages/p.py, line 1, in q, \n z",), ""),
        (("File m.py, line 1, in f, \n x", "File run.py, line 2, in <module>, \n f()"), "run.py"),
        (
            (
                "File run.py, line 2, in <module>, \n f()",
                "File /v/site-packages/torch/distributed/run.py, line 1, in q, \n z",
            ),
            "run.py",
        ),
    ],
)
def test_script_of(stack, script):
    assert script_of(stack) == script
