"""What happened: the ways by which a run is watched, each undone exactly.

`patching`   replace attributes and put them back
`catalog`    which callables of torch are operators
`apis`       API calls, by a light closure on the attribute
`modules`    module calls and the module tree, by torch's global hooks
`autograd`   gradients of a call, by hooks on its own autograd nodes
`optimizer`  optimizer steps, by torch's global hooks
"""
