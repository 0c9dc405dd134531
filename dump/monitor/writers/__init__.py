"""One file for each format; a new one is a file, a `register` and a line here."""

from __future__ import annotations

from . import csv_files, nothing, parquet, tensorboard
from .base import WRITERS, Layout, Writer

__all__ = ["WRITERS", "Layout", "Writer"]

_FILES = (csv_files, tensorboard, parquet, nothing)
