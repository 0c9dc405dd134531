"""Which call answers to which, and which argument to which.

`calls`         pairs of calls: by name where names agree, else as below
`forward`       forward calls as sequences, composites folded into one item
`sequences`     the longest common subsequence, for long sequences that differ in few places
`composites`    several plain operators that compute what one fused operator does
`fused`         a fused call and its composite as one pair
`recomputed`    activation checkpointing and gradient accumulation
`arguments`     pairs of arguments within a pair of calls
`reasons`       why a call has no partner
`mapping_file`  map.yaml and the shipped known_pairs.yaml to `rules`
`paths`         one side's names in the other's words
`side`, `values`  one side: its names, its dataflow
"""
