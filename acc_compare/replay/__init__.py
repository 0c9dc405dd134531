"""Making recorded calls again: is it really this operator, and which side is wrong?

    results    what came of it, without torch: what the reports and the comparison read
    wanted     which calls are asked for, without torch
    taken_in   what a comparison's suspects are told by it, without torch
    names      a call's name to torch's function, by an allow-list
    arguments  a call's record to the arguments that it was called with
    calls      one call made again, forward and backward
    accuracy   a result beside its reference: relative L2 error, and units in the last place
    expected   what error the dtype of a call explains
    judge      one recorded call: made again on a device and in float64, and judged
    run        all that were asked for
    repro      one call as a folder that needs torch alone

The only part of the comparison that imports torch, and only within a command that asks for it.
"""
