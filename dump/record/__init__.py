"""What a call looked like: from live tensors to what the writer puts on disk.

`identity`    which tensors hold the same bytes at the same version
`statistics`  max, min, mean, norm, sketch, counts of a host tensor, in one pass over memory
`deferred`    the same on a device, without waiting for it
`batched`     many tensors there by the kernels of one
`contents`    the memory itself as numpy sees it, and its bytes, for tensor and MD5 mode
`tree`        nested arguments to nested records
`filters`     which names the user's lists pick
`stack`       the caller's source lines
`recorder`    one step's recording: the above, called by the interceptors
"""
