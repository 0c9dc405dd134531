"""Is a difference more than noise, and where did it begin?  Data, no words.

`predicted`           the size of error that an output shows typically, from what its call read
`noise_prior`         how far operators lie from it, measured beforehand
`noise`               both corrected by what the run itself shows; what is improbable
`alike`               settings that show where sides compute alike to the bit
`systematic`          errors that are alike in many elements: norm, mean, extremes
`dataflow`            who produced what a call reads
`origins`             what the walk hands on: verdicts on tensors, origins, what was met so far
`inputs`, `outputs`   error that enters the record from outside, and error that begins in a call
`walk`                the walk over the calls
`optimizer`, `gradients`, `accumulation`   the same for optimizer steps and what happens before them
`patterns`            what an error looks like
`propagation`         how far it spreads
`evidence`, `advice`  what happened, on what grounds, and what to try next, as messages
`suspects`            origins to suspects: grouped by operator, in order
`differing_settings`  settings that change results and differ
`classic`             the constant rules that users know, kept for the workbook
`verdict`             all of it to one Finding
"""
