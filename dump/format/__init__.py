"""The dump on disk: the only thing that recording and comparing share.

`schema`   what a record is once read: frozen dataclasses, one for a tensor, a call, a dump
`names`    how calls are called, and how such a name is taken apart
`layout`   which file lies where, and how a dump below a folder is found
`encode`   records to the bytes of dump.json, line by line
`reader`   bytes to records, whatever state the file was left in
`tensors`  one tensor to and from a file
`sketch`   the fixed signs of the linear sketch

Nothing here imports torch: a dump is read where no torch is installed.

History of FORMAT_VERSION
    1  the first: msprobe's layout, with `value`, `storage`, `sketch`, `nan`, `inf`, `grad_fn`, `written`.
"""

FORMAT_VERSION = 1
