"""Which call answers to which, and which argument to which.

`calls`      pairs of calls: by name where names agree, else as sequences
`sequences`  the longest common subsequence, for long sequences that differ in few places
`arguments`  pairs of arguments within a pair of calls
"""
