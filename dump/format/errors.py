"""Everything that can be wrong with what the user handed in, as a small tree.

    AccError                  one clear line for the user; the command line turns it into exit code 2
    ├── ConfigError           a configuration file, a flag or an argument
    ├── DumpError             a dump that cannot be read
    │   ├── DumpNotFound      there is none where one was expected
    │   ├── DumpCorrupt       there is one, but its bytes are not a dump
    │   └── TensorFileError   one tensor file of a dump is missing, short, foreign or outside its folder
    ├── IncomparableError     two dumps that cannot be laid side by side
    ├── OutputError           the place for the results cannot be written
    └── SelfCheckFailed       a run from which nothing can be said about recording

A message says what was expected, what was found, and what to do.
"""

from __future__ import annotations


class AccError(Exception):
    """Base of all errors that are the input's fault, never ours."""


class ConfigError(AccError):
    """A configuration file, a flag or an argument does not say what it must."""


class DumpError(AccError):
    """A dump that cannot be read."""


class DumpNotFound(DumpError):
    """No dump lies where one was expected."""


class DumpCorrupt(DumpError):
    """A file of the dump holds bytes that are not what docs/format.md describes."""


class TensorFileError(DumpError):
    """A tensor file is missing, short, foreign, or lies outside its dump."""


class IncomparableError(AccError):
    """Two dumps that cannot be laid side by side (different modes, hashes, world sizes)."""


class OutputError(AccError):
    """Results cannot be written where they should go."""


class SelfCheckFailed(AccError):
    """The script fails alone, does not repeat itself, or computes nothing that could be checked."""
