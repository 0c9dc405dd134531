"""Is a difference too large, and where did it begin?

`errors`      how far apart one pair of tensors is, whatever was recorded of them
`arithmetic`  tables: which operators are exact, smooth, sums, random; unit roundoffs, each with its source
`expected`    how much error a call may show, given what it read
`flow`        who produced what a call reads
`origins`     where error begins: the walk over the calls
`optimizer`   the same for optimizer steps
`shape`       what an error looks like: a factor, a rounding, a sign
`classic`     the constant rules that users know, kept for the workbook
`verdict`     all of it to one Finding
"""
