"""What arguments are called that calls give by their place: `input.4` of group_norm is its eps."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TABLE = """
adaptive_avg_pool2d input output_size
avg_pool2d input kernel_size stride padding ceil_mode count_include_pad divisor_override
batch_norm input running_mean running_var weight bias training momentum eps
chunk input chunks dim
clamp input min max
conv1d input weight bias stride padding dilation groups
conv2d input weight bias stride padding dilation groups
conv3d input weight bias stride padding dilation groups
cross_entropy input target weight size_average ignore_index reduce reduction label_smoothing
cumsum input dim
dropout input p training inplace
elu input alpha inplace
embedding input weight padding_idx max_norm norm_type scale_grad_by_freq sparse
flatten input start_dim end_dim
group_norm input num_groups weight bias eps
huber_loss input target reduction delta
instance_norm input running_mean running_var weight bias use_input_stats momentum eps
interpolate input size scale_factor mode align_corners recompute_scale_factor antialias
layer_norm input normalized_shape weight bias eps
leaky_relu input negative_slope inplace
log_softmax input dim
masked_fill input mask value
max_pool2d input kernel_size stride padding dilation ceil_mode return_indices
normalize input p dim eps
pad input pad mode value
rms_norm input normalized_shape weight eps
scaled_dot_product_attention query key value attn_mask dropout_p is_causal
smooth_l1_loss input target size_average reduce reduction beta
softmax input dim
topk input k dim
transpose input dim0 dim1
"""

_NAMES: Mapping[str, tuple[str, ...]] = {name: tuple(rest) for name, *rest in map(str.split, _TABLE.split("\n")[1:-1])}

_PLACE = re.compile(r"input\.(\d{1,2})(?=\.|$)", re.ASCII)


def parameter_at(operator: str, argument: str) -> str:
    """How `operator` calls the parameter that `argument` gives by its place; "" where that is not known.

    >>> parameter_at("group_norm", "input.4"), parameter_at("group_norm", "input.eps"), parameter_at("mine", "input.1")
    ('eps', '', '')
    """
    found, names = _PLACE.match(argument), _NAMES.get(operator, ())
    return names[int(found[1])] if found and int(found[1]) < len(names) else ""
