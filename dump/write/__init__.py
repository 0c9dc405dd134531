"""To disk, behind the run's back, never losing what was written.

`output_paths`  where the steps of a run go, and whether a dump lies there already
`header`        what a dump says of itself
`limits`        how much may be written
`backlog`       tensor contents on their way to a digest or a file
`tensor_files`  under which names tensor files stand, and how each is written
`writer`        one step of one process: the above, behind the recorder's sink
"""
