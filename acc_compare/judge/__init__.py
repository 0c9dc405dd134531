"""Is a difference too large, and where did it begin?

`errors`      how far apart one pair of tensors is, whatever was recorded of them
`calls`       measured calls: what the judging works on
`expected`    how much error a call may show, given what it read
`flow`        who produced what a call reads
`roles`       what the walk hands on: verdicts on tensors, origins, what was met so far
`inputs`      error that enters the record from outside
`outputs`     error that begins in a call
`origins`     the walk over the calls
`optimizer`   the same for optimizer steps
`shape`       what an error looks like: a factor, a rounding, a sign
`reach`       how far it spreads
`telling`     an origin in words
`suspects`    origins to suspects: grouped by operator, in order
`classic`     the constant rules that users know, kept for the workbook
`verdict`     all of it to one Finding
"""
