"""The dump on disk: the only thing that recording and comparing share.

`fields`   the keys of dump.json, and the history of the format
`schema`   what a record is once read: frozen dataclasses, one for a tensor, a call, a dump
`monitor_files`  what a monitored run leaves: folders, files, columns
`names`    how calls are called, and how such a name is taken apart
`layout`   which file lies where, and how a dump below a folder is found
`encode`   records to the bytes of dump.json, line by line
`reader`   bytes to records, whatever state the file was left in
`tensors`  one tensor to and from a file
`sketch`   the fixed signs of the linear sketch
`waves`    sums from which those of a whole follow

Nothing here imports torch: a dump is read where no torch is installed.
"""

from .fields import FORMAT_VERSION

__all__ = ["FORMAT_VERSION"]
