"""msprobe's names, answered by acc: `pip uninstall acc-msprobe-shim`, or leave --as-msprobe out, to be rid of it."""

from dump.as_msprobe.modules import answer

answer()
