"""What happened: the ways by which a run is watched, each undone exactly.

`interceptors`  all of the below, of one session
`points`      the points of interception, each installed by itself
`patching`    replace attributes and put them back
`watch`       is anybody listening; the one guard between our work and the user's step
`catalog`     which callables of torch are operators
`apis`        API calls, by a light closure on the attribute
`direct`      custom autograd Functions, and operators called as `torch.ops.NAMESPACE.OP`
`naming`      what calls of registered operators are named
`custom`      callables and kernels of the user's own, registered by name
`modules`     module calls and the module tree, by a stand-in for `torch.nn.Module.__call__`
`calls`       one call of either kind between its beginning and its end
`autograd`    gradients of a call, by hooks on its own autograd nodes
`parameters`  gradients of a module's own parameters, by hooks on their accumulators
`optimizer`   optimizer steps, by torch's global hooks
`steps`       where an unmodified script's steps begin and end
`compiled_code` the audit away from compiled code, before torch 2.10
`scripting`   standing back while torch.jit and torch.compile read the user's source
"""
