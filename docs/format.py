"""Write docs/format.md: the format of dumps and of monitored runs, from the tables that the code goes by.

python docs/format.py
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dump.format import layout, monitor_files, packs
from dump.format.encode import DEEPEST
from dump.format.fields import CALL_FIELDS, FORMAT_VERSION, HEADER_FIELDS, HISTORY, TENSOR_FIELDS, Field
from dump.format.names import API_PREFIXES, DATA_PARALLEL, WRAPPERS

PAGE = Path(__file__).with_name("format.md")

_TEXT = """<!-- Made by `python docs/format.py` from the tables in dump/format; change those. -->
# What lies on disk

Version {version} of the format. `dump` writes it, `acc compare` reads it; its one owner is `dump/format`. It is a
superset of the layout that Ascend's msprobe writes: keys marked + are ours, and a reader of either side does without.

```
<dump_path>/step<N>/{{rank<R> | proc<PID>}}/
    {dump_file}  {stack_file}  {construct_file}  {tensor_folder}/
```
`rank<R>` when the process knows its rank, else `proc<PID>`.

## {dump_file}

The first line holds the header and opens `data`; then one line a call, in order of execution, with the comma in front;
the last line closes `data` and holds what only the end knows. Every line that was written whole can be read without the
next, so a process killed at any moment costs at worst its last line, and a closed file is strict JSON. Nothing that was
written is written again. Records nest at most {deepest} levels.

### The header

{header}

### A call

`{{prefix}}.{{api}}.{{n}}.{{forward|backward}}`, with n counting the calls of that api in the step from 0; prefixes are
{prefixes}, or one that the user has registered. `Module.{{path}}.{{Class}}.{{forward|backward}}.{{n}}`; and
`Module.{{path}}.{{Class}}.parameters_grad.{{n}}`, whose keys are the parameters.

{call}

Arguments are named `{{call}}.input.{{i}}`, `.input.{{keyword}}`, `.output.{{i}}`, `.parameters.{{name}}`,
`.written.{{place}}`; what nests grows further parts. A module or a parameter inside a wrapper of torch's ({wrappers})
answers to one without it, and so does `{data_parallel}`.

### A tensor

`{{"type": "torch.Tensor", ...}}` with

{tensor}

What is not a tensor is `{{"type": "int|float|bool|str|slice|...", "value": ...}}`; null is None; lists and mappings
nest. An infinity is written 1e999, NaN null: `nan` beside a tensor's statistics, and the type beside a scalar's value,
let a reader put it back. Where msprobe's names are called, or config.json says `nan_word`, statistics that are NaN are
written as `NaN`, as msprobe does and JSON does not allow: its own analysis looks for that.

## {stack_file}, {construct_file}, {tensor_folder}

`{stack_file}`: `{{"0": [[calls], [frames]], ...}}`, each stack once; while a step is recorded it is the journal
`{journal}`, a line a stack and a line a call. `{construct_file}`: the module call that each call ran in, a line each.
`{tensor_folder}`: `{pack}`, in which the distinct values of the step lie behind one another, each as the
safetensors file that it would be, from a multiple of {alignment} bytes on; `{pack}#64-1200` are its bytes 64 up to
1200. The elements of one of 1 MiB or more begin at a multiple of 4,096, after spaces that end its header.
With `file_format` `safetensors`, `npy` or `pt` one file for each distinct value, named for its first mention.
A tensor of which many elements share memory (an expanded one) is stored as that memory: flat in safetensors, with its
`shape and strides` in the metadata, in `.pt` as torch does; `.npy` has no place for it.

## A monitored run

```
<folder>/{{Mon}}{{DD}}_{{hh}}-{{mm}}-{{ss}}-rank<R>/{{kind}}_{{first}}-{{last}}.csv   and {meta}
```
Version {monitor_version}. Columns: {columns} (`micro_step` only in what is measured several times a step), then the
operations that the run was configured with, then those of the kind. A step is appended in one write.

{kinds}

## Versions

{history}

A reader reads every version up to its own, and refuses a newer one by name. A key that a reader does not know is passed
over; a key that is missing is not known. A release that changes what a key means, or that lets a reader of the version
before misread it, raises the version. Dumps of msprobe have no version, and are read from 8.1 to 26.2.
"""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _fields(fields: Iterable[Field]) -> str:
    return _table(
        ("key", "", "value", "what it says"),
        ((f"`{field.key}`", "+" if field.ours else "", field.kind, field.meaning) for field in fields),
    )


def page() -> str:
    """The page as it must stand in docs/format.md."""
    return _TEXT.format(
        version=FORMAT_VERSION,
        dump_file=layout.DUMP_FILE,
        stack_file=layout.STACK_FILE,
        construct_file=layout.CONSTRUCT_FILE,
        tensor_folder=layout.TENSOR_FOLDER,
        journal=layout.STACK_JOURNAL,
        deepest=DEEPEST,
        header=_fields(HEADER_FIELDS),
        call=_fields(CALL_FIELDS),
        tensor=_fields(TENSOR_FIELDS),
        prefixes=", ".join(f"`{prefix}`" for prefix in API_PREFIXES),
        wrappers=", ".join(f"`{wrapper}`" for wrapper in WRAPPERS),
        data_parallel=DATA_PARALLEL,
        meta=monitor_files.META_FILE,
        pack=packs.PACK_FILE,
        alignment=packs.ALIGNMENT,
        monitor_version=monitor_files.MONITOR_FORMAT_VERSION,
        columns=", ".join(f"`{column}`" for column in monitor_files.LABEL_COLUMNS),
        kinds=_table(
            ("kind", "in tags", "whose numbers", "further columns"),
            ((f"`{k.name}`", f"`{k.task}`", k.meaning, ", ".join(k.extra)) for k in monitor_files.KINDS),
        ),
        history=_table(("version", "brought"), ((str(number), text) for number, text in HISTORY.items())),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
