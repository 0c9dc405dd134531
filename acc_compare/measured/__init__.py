"""How far apart matched calls are.

`errors`   the error of one pair of tensors, whatever was recorded of them
`calls`    matched calls with the errors of what they read and wrote
`pairs`    an alignment to measured pairs: each distinct pair of tensors once
`files`    tensor files to distances, several at a time; `workers` are the processes that help
"""
