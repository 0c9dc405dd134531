"""What the process runs on, and how torch is brought into it.

`torch_loading`  imports torch where a torch_npu is installed that cannot start
`device`         how cpu, cuda and npu differ; ranks
`numerics`       settings that change what operators compute
`own_version`    which release of ours is installed
`versions`       all of it for `acc env` and for headers, with what an Ascend machine has installed
`seeding`        the same start on both sides
`synchronous`    streams, events and generators for a device that has done its work when the call returns
"""
