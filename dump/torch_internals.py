"""Every private name of torch that the recording rests on, in one place: what for, since when, what is lost without it.

A row is looked up when it is first asked for, and once: `torch_internals.graph_task` is torch's function, or what the
row says to do where this torch does not have it (`otherwise`, None unless said).  A name that is not there raises
nothing: it is kept with its reason (`missing`), and `available` says so beforehand.  So this module can be imported
under any torch, and a release that moves a name needs one more path in one row.

`since` is the first minor release that has the name, counted from 2.1: "2.1" stands for 2.1 or earlier.  Names are read
as attributes of the module `torch`; a module on the way is imported if need be.  No other file names anything private
of torch.
"""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import FunctionType, MappingProxyType, SimpleNamespace
from typing import Any, Literal, TypeAlias

import torch

Kind: TypeAlias = Literal["object", "method", "attribute", "reader", "name"]


@dataclass(frozen=True, slots=True)
class Internal:
    """One private name.

    `paths` lead to it below `torch`, the newest first.  Of a `kind` "object" the thing itself is handed out; of a
    "method" or an "attribute" a function of the object that calls or reads it (`schema(operator)`), and the path leads
    to it on the class, or on an example; of a "reader" the same, past what a subclass has under this name; of a "name"
    the last part as text, to be set or replaced by name.
    """

    paths: tuple[str, ...]
    since: str
    purpose: str
    without: str
    kind: Kind = "object"
    otherwise: Any = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that this torch does not have, and why."""

    name: str
    paths: tuple[str, ...]
    reason: str
    without: str


def _no(*_: Any, **__: Any) -> bool:
    return False


def _yes(*_: Any, **__: Any) -> bool:
    return True


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _nowhere() -> int:
    return -1


def _fake_mode(_: Any) -> Any:
    """The mode in force that makes tensors without memory, before torch 2.2 could be asked for it."""
    modes = torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    return next((mode for mode in modes if type(mode).__name__ == "FakeTensorMode"), None)


def _row(
    path: str, since: str, purpose: str, without: str, *, older: str = "", kind: Kind = "object", otherwise: Any = None
) -> Internal:
    return Internal((path, older) if older else (path,), since, purpose, without, kind, otherwise)


_EXAMPLE = "ops.aten.relu"
_COUNTED = "under --audit a custom operator in Python that writes into its argument counts one write too few"
_FSDP2 = "distributed.fsdp._fully_shard"
_OLD_FSDP2 = "distributed._composable.fsdp"
_FLAT = "distributed.fsdp._flat_param"

_AUTOGRAD = {
    "AccumulateGrad": _row("_C._functions.AccumulateGrad", "2.1",
        "the class of the nodes at which a leaf's gradient arrives", "gradients of parameters, at every level",
        otherwise=()),
    "preserve_version_counter": _row("autograd.grad_mode._unsafe_preserve_version_counter", "2.1",
        "a block whose writes leave the version counter as it was", "writes that are kept from autograd"),
    "next_sequence_number": _row("_C._autograd._get_sequence_nr", "2.1",
        "the number of the next autograd node, which tells a call's own nodes from older ones", "all backward records"),
    "sequence_number": _row("_C._functions.AccumulateGrad._sequence_nr", "2.1",
        "the number of a node", "all backward records", kind="method"),
    "at_the_end_of_backward": _row("autograd.Variable._execution_engine.queue_callback", "2.1",
        "runs a function when the running backward pass is over",
        "backward records of calls of which some gradients never come, and the monitor's unreduced gradients",
        otherwise=_nothing),
    "current_node": _row("_C._current_autograd_node", "2.1",
        "the node that autograd runs now", "the audit's account of what autograd computes for unseen operators",
        otherwise=_nothing),
    "is_excluded": _row("_C._dispatch_tls_is_dispatch_key_excluded", "2.1",
        "does a kernel run now, below what a dispatch key stands for",
        "calls that a kernel in Python makes in backward stand beside its operator's", otherwise=_no),
    "views_key": _row("_C.DispatchKey.ADInplaceOrView", "2.1", "the key that no kernel of a device is above",
        "calls that a kernel in Python makes in backward stand beside its operator's"),
    "custom_op_file": _row("_library.autograd.__file__", "2.4", "frames of it run the backward of a custom operator",
        "calls that a kernel in Python makes in backward stand beside its operator's", otherwise="?"),
    "graph_task": _row("_C._current_graph_task_id", "2.1",
        "the number of the backward pass that this thread runs, -1 outside one",
        "calls on autograd's own threads, and the mark of recomputation", otherwise=_nowhere),
    "run_backward": _row("autograd.graph._engine_run_backward", "2.3",
        "the frame under which autograd dispatches operators itself",
        "the audit takes for unseen what autograd runs under `backward`"),
}  # fmt: skip
_MODES = {
    "without_overrides": _row("_C.DisableTorchFunction", "2.1",
        "no `__torch_function__` sees our own calls", "a user's function mode sees our own calls",
        otherwise=nullcontext),
    "without_dispatch": _row("_C._DisableTorchDispatch", "2.1",
        "no `__torch_dispatch__` sees our own calls", "a user's dispatch mode sees our own calls",
        otherwise=nullcontext),
    "without_modes": _row("utils._python_dispatch._disable_current_modes", "2.1",
        "no dispatch mode sees our own calls, which still reach subclasses of tensors",
        "a user's dispatch mode sees our own calls", otherwise=nullcontext),
    "without_autocast": _row("_C._DisableAutocast", "2.1", "autocast does not lower the precision of our own sums",
        "statistics on a device under autocast are less exact", otherwise=nullcontext),
    "enable_events": _row("_C._autograd._enable_record_function", "2.1",
        "does a profiler hear of what this thread calls", "a user's profiler hears our own calls", otherwise=_nothing),
    "profiler_is_on": _row("autograd.profiler._is_profiler_enabled", "2.1", "is there one",
        "a user's profiler hears our own calls", kind="name"),
    "tracing_state": _row("_C._get_tracing_state", "2.1", "not None while torch.jit.trace runs the code",
        "what torch.jit.trace runs is recorded as calls", otherwise=_nothing),
    "dispatch_mode": _row("_C._get_dispatch_mode", "2.2", "the dispatch mode of a kind, where one is in force",
        "what torch.export runs is recorded as calls", otherwise=_fake_mode),
    "fake_mode_key": _row("_C._TorchDispatchModeKey.FAKE", "2.2",
        "the kind of the mode that makes tensors without memory", "what torch.export runs is recorded as calls"),
    "is_in_transform": _row("_C._functorch.is_functorch_wrapped_tensor", "2.1",
        "is a tensor one of vmap's or grad's, without memory of its own",
        "tensors inside a function transform count as failed measurements", otherwise=_no),
    "compiling_by_its_old_name": _row("_utils.is_compiling", "2.1",
        "is the code traced by dynamo or by torch.export, before 2.3", "nothing from 2.3 on", otherwise=_no),
    "compile_state": _row("_guards._TLS", "2.1",
        "its `tracing_context` is one while torch.compile makes code, the backward's at the first backward too",
        "what the compiler runs for itself is recorded as calls", otherwise=SimpleNamespace()),
    "dispatch_modes": _row("utils._python_dispatch._get_current_dispatch_mode_stack", "2.1",
        "the dispatch modes of this thread, outermost first", "--audit", otherwise=list),
    "pop_dispatch_mode": _row("utils._python_dispatch._pop_mode", "2.1",
        "takes the innermost dispatch mode away", "--audit", otherwise=_nothing),
    "push_dispatch_mode": _row("utils._python_dispatch._push_mode", "2.1",
        "puts a dispatch mode inside all others", "--audit", otherwise=_nothing),
    "TorchDispatchMode": _row("utils._python_dispatch.TorchDispatchMode", "2.1",
        "the class of dispatch modes", "--audit", otherwise=object),
    "python_dispatch_file": _row("utils._python_dispatch.__file__", "2.1",
        "frames of it lie between autograd and a dispatch mode", "the audit takes for unseen what autograd runs",
        otherwise="?"),
    "compile_file": _row("_compile.__file__", "2.1", "frames of it lie between autograd and a dispatch mode",
        "the audit takes for unseen what autograd runs", otherwise="?"),
    "dynamo_folder": _row("_dynamo", "2.1", "frames of it lie between autograd and a dispatch mode",
        "the audit takes for unseen what autograd runs under torch.compile", kind="name"),
    "ExcludeKeys": _row("_C._SetExcludeDispatchKeyGuard", "2.2",
        "counts a view in as its caller will, while the audit's mode stands in the way",
        "what --audit records of unseen views has no gradients"),
    "DispatchKey": _row("_C.DispatchKey", "2.1", "the dispatcher's keys by name",
        "--audit of views, and the simulated NPU"),
    "keys_of": _row("_C._dispatch_keys", "2.1", "the dispatcher's keys of a tensor", _COUNTED),
    "below_views": _row("_C._after_ADInplaceOrView_keyset", "2.4", "the keys below those that count writes", _COUNTED),
}  # fmt: skip
_MODULES = {
    "module_call": _row("nn.Module._wrapped_call_impl", "2.1", "what `Module.__call__` is",
        "deep models meet Python's recursion limit earlier"),
    "call_impl": _row("nn.Module._call_impl", "2.1", "what it calls",
        "deep models meet Python's recursion limit earlier", kind="name"),
    "compiled_call": _row("nn.Module._compiled_call_impl", "2.1", "what it calls of a module that is compiled in place",
        "deep models meet Python's recursion limit earlier", kind="name"),
}  # fmt: skip
_OPERATORS = {
    "OpOverloadPacket": _row("_ops.OpOverloadPacket", "2.1",
        "the class of `torch.ops.NAMESPACE.OP`", "calls through torch.ops", otherwise=()),
    "OpOverload": _row("_ops.OpOverload", "2.1", "the class of `torch.ops.NAMESPACE.OP.default`",
        "calls of custom operators", otherwise=()),
    "packet_name": _row(f"{_EXAMPLE}._qualified_op_name", "2.1",
        "`aten::relu`", "calls through torch.ops", kind="attribute"),
    "takes_numbers": _row("_C._should_allow_numbers_as_tensors", "2.1",
        "does an operator take a number for a tensor", "--audit: what is made of a traced number fails",
        otherwise=_yes),
    "schema": _row(f"{_EXAMPLE}.default._schema", "2.1", "an operator's arguments, and which of them it writes",
        "calls of custom operators, --audit, the simulated NPU", kind="attribute"),
    "higher_order_operators": _row("_ops._higher_order_ops", "2.1",
        "`cond`, `scan` and their like by name, each of which had to know a dispatch mode in torch 2.7",
        "--audit in torch 2.7: such a call fails", otherwise=MappingProxyType({})),
    "CustomOpDef": _row("_library.custom_ops.CustomOpDef", "2.4",
        "the class of what `torch.library.custom_op` makes",
        "a prefix registered for such an operator under its Python name (there are none before)", otherwise=()),
    "custom_op_name": _row("_library.custom_ops.CustomOpDef._qualname", "2.4",
        "`mine::op`", "a prefix registered for such an operator under its Python name", kind="attribute"),
    "functions": _row("_C._VariableFunctions", "2.1",
        "torch's functions as C++ made them, whatever stands in their place in `torch` now",
        "in-place functions (`torch.relu_`), the monitor on a device, the simulated NPU"),
    "neural_functions": _row("_C._nn", "2.1", "the C++ functions behind torch.nn.functional",
        "calls of these functions that torch's own layers make"),
    "recurrent_functions": _row("_VF", "2.1", "`lstm`, `gru`, their cells and what packs sequences for them",
        "calls of recurrent layers (VF.*)"),
    "device_constructors": _row("utils._device._device_constructors", "2.1",
        "makes torch's table of constructors, by identity, before stand-ins could enter it",
        "`with torch.device(...)` inside a recording", otherwise=_nothing),
    "multi_head_attention": _row("_native_multi_head_attention", "2.1",
        "what torch.nn.MultiheadAttention calls in eval mode", "that call", kind="name"),
    "transformer_layer": _row("_transformer_encoder_layer_fwd", "2.1",
        "what torch.nn.TransformerEncoderLayer calls in eval mode", "that call", kind="name"),
    "pack_sequences": _row("_pack_padded_sequence", "2.1",
        "what torch.nn.utils.rnn.pack_padded_sequence calls", "that call", kind="name"),
    "pad_sequences": _row("_pad_packed_sequence", "2.1",
        "what torch.nn.utils.rnn.pad_packed_sequence calls", "that call", kind="name"),
    "weight_norm": _row("_weight_norm", "2.1", "what torch.nn.utils.parametrizations.weight_norm calls", "that call",
        kind="name"),
    "unscale_gradients": _row("_amp_foreach_non_finite_check_and_unscale_", "2.1",
        "what a gradient scaler divides gradients with", "that call", kind="name"),
    "foreach_prefix": _row("_foreach_", "2.1", "what the names of operators on lists of tensors begin with",
        "those calls", kind="name"),
    "foreach_norm": _row("_C._VariableFunctions._foreach_norm", "2.1",
        "the norms of many tensors by one kernel", "the monitor on a device"),
    "scatter_base": _row("distributed._reduce_scatter_base", "2.1",
        "a collective by its old name", "those calls", kind="name"),
    "gather_base": _row("distributed._all_gather_base", "2.1",
        "a collective by its old name", "those calls", kind="name"),
    "group_scatter_base": _row("distributed.ProcessGroup._reduce_scatter_base", "2.1",
        "the same as a method of a process group", "those calls", kind="name"),
    "group_gather_base": _row("distributed.ProcessGroup._allgather_base", "2.1",
        "the same as a method of a process group", "those calls", kind="name"),
}  # fmt: skip
_COMPILERS = {
    "ScriptMethod": _row("_C.ScriptMethod", "2.1",
        "the class of a scripted module's methods", "the count of calls of scripted modules"),
    "scripted_type": _row("_C.ScriptModule._type", "2.1", "the type of such a module, with its name",
        "names in that count", kind="method"),
    "script_module": _row("jit._script", "2.1", "holds `script` a second time", "torch.jit.script during a recording"),
    "trace_module": _row("jit._trace", "2.1", "holds `script` a third time", "torch.jit.trace during a recording"),
    "builtin_table": _row("jit._builtins._get_builtin_table", "2.1",
        "torch.jit's table of builtins, by identity", "scripts that imported a stand-in by name do not compile",
        otherwise=dict),
    "frames_up": _row("jit.script._frames_up", "2.1", "tells torch.jit.script that its caller is one frame further up",
        "names of the script's own scope", kind="name"),
    "trace_names": _row("jit._trace._create_interpreter_name_lookup_fn", "2.1",
        "makes what names traced values after variables, by frames", "names of values in what torch.jit.trace makes",
        otherwise=_nothing),
    "trace_graph": _row("jit._trace._get_trace_graph", "2.1", "traces for the exporters to ONNX",
        "--audit together with these exporters", otherwise=_nothing),
    "symbolized": _row("utils._traceback._extract_symbolized_tb", "2.1", "a stack in words, as graphs keep it",
        "stacks on the nodes of graphs that are made meanwhile show frames of ours", otherwise=_nothing),
    "untraceable": _row("_dynamo._torchdynamo_disable", "2.1", "tells dynamo that a function is not to be traced",
        "a warning of dynamo's where an optimizer's step is compiled", kind="name"),
    "traced_original": _row("_dynamo._torchdynamo_inline", "2.1",
        "tells dynamo which function to trace for a stand-in",
        "torch.compile breaks its graph at every recorded function", kind="name"),
    "skips": _row("_C._dynamo.eval_frame.set_code_exec_strategy", "2.1",
        "keeps dynamo from compiling our own code while compiled code runs", "nothing but time and dynamo's warnings",
        older="_C._dynamo.eval_frame.skip_code", otherwise=_nothing),
    "skipping": _row("_C._dynamo.eval_frame._FrameExecStrategy", "2.7", "says how", "the same"),
    "skipping_action": _row("_C._dynamo.eval_frame._FrameAction", "2.7", "says how", "the same"),
    "set_frame_callback": _row("_C._dynamo.eval_frame.set_eval_frame", "2.1",
        "tells dynamo on this thread what to do with each call, or to let it be",
        "before torch 2.10 compiled code is compiled anew under --audit", otherwise=_nothing),
    "script_stand_in": _row("jit.__script_if_tracing_wrapper", "2.1",
        "tells torch.jit that a function stands for another", "torch.jit.script does not compile recorded functions",
        kind="name"),
    "scripted_original": _row("jit.__original_fn", "2.1", "tells torch.jit which function that is",
        "torch.jit.script does not compile recorded functions", kind="name"),
    "trace_rules": _row("_dynamo.trace_rules.get_torch_obj_rule_map", "2.2",
        "makes dynamo's table of torch's functions, by identity, before stand-ins could enter it",
        "torch.compile together with --device", otherwise=_nothing),
}  # fmt: skip
_TENSORS = {
    "TensorBase": _row("_C.TensorBase", "2.2", "what tensors have as C++ made it", "subclasses hear of being measured",
        older="_C._TensorBase", otherwise=torch.Tensor),
    "version": _row("_C.TensorBase._version", "2.2", "a tensor's version counter",
        "which values are the same", older="_C._TensorBase._version", kind="reader"),
    "storage_address": _row("UntypedStorage._cdata", "2.1", "the address of a storage object",
        "which values are the same", kind="attribute"),
    "weak_storage": _row("UntypedStorage._weak_ref", "2.1",
        "keeps a storage object's address from being used again, not its memory", "which values are the same",
        kind="method"),
    "free_weak_storage": _row("UntypedStorage._free_weak_ref", "2.1",
        "lets go of such a reference", "some bytes for each storage of a step", otherwise=_nothing),
    "to_dlpack": _row("_C._to_dlpack", "2.1", "a host tensor's memory, handed out without touching the tensor",
        "measuring on the host"),
    "from_dlpack": _row("_C._from_dlpack", "2.1", "a second tensor on that memory", "measuring on the host"),
    "sparse_values": _row("_C.TensorBase._values", "2.2", "what a sparse tensor holds, in its own order",
        "values of sparse tensors", older="_C._TensorBase._values", kind="reader"),
    "is_zerotensor": _row("_C.TensorBase._is_zerotensor", "2.2", "is it one of autograd's zeros, which have no memory",
        "gradients that are zero without having been computed", older="_C._TensorBase._is_zerotensor", kind="reader",
        otherwise=_no),
    "own_parameters": _row("nn.Module._parameters", "2.1", "the parameters of a module itself, by name",
        "parameters of module calls", kind="name"),
    "own_modules": _row("nn.Module._modules", "2.1", "the modules in a module itself, by name",
        "paths of modules", kind="name"),
    "private_device_owner": _row("_C._get_privateuse1_backend_name", "2.1",
        "who has torch's slot for a foreign device", "detecting an NPU", otherwise=lambda: "privateuseone"),
    "data_parallel_device": _row("nn.parallel.data_parallel._get_available_device_type", "2.1",
        "where DataParallel spreads to", "DataParallel together with --device", kind="name"),
    "initialise_device": _row("cuda._lazy_init", "2.1", "starts a device",
        "scripts that start CUDA by hand", kind="name"),
    "is_in_bad_fork": _row("cuda._is_in_bad_fork", "2.1", "was CUDA started before a fork",
        "torch.manual_seed in loader workers", kind="name"),
}  # fmt: skip
_SHARDED = {
    "local_tensor": _row("distributed.tensor.DTensor._local_tensor", "2.5",
        "this rank's part of a DTensor", "values of DTensors", kind="attribute"),
    "start_coalescing": _row("distributed.ProcessGroup._start_coalescing", "2.1",
        "issues several collectives as one", "collectives that are issued together", kind="name"),
    "end_coalescing": _row("distributed.ProcessGroup._end_coalescing", "2.1",
        "ends that, and gives what to wait for", "collectives that are issued together", kind="name"),
    "name_of_group": _row("distributed.distributed_c10d._get_process_group_name", "2.1",
        "the name of a process group, which has it as an attribute only since 2.2", "which group a collective is of",
        older="distributed.distributed_c10d._pg_names.get", otherwise=lambda _: ""),
    "ddp_facts": _row("nn.parallel.DistributedDataParallel._get_ddp_logging_data", "2.1",
        "the name of the hook by which gradients are reduced",
        "gradients that a hook reduces in a narrower type are off by more than is expected", otherwise=lambda _: {}),
    "group_named": _row("_C._distributed_c10d._resolve_process_group", "2.2",
        "the process group that a functional collective names", "functional collectives"),
    "fsdp1_runtime": _row("distributed.fsdp._runtime_utils", "2.1",
        "the module in which FSDP 1 reduces gradients", "unreduced gradients under FSDP 1"),
    "fsdp1_reduce": _row("distributed.fsdp._runtime_utils._post_backward_hook", "2.1",
        "reduces a unit's gradient", "unreduced gradients under FSDP 1", kind="name"),
    "flat_offsets": _row(f"{_FLAT}.FlatParamHandle._get_flat_param_offsets", "2.2",
        "where each parameter lies in a unit", "unreduced gradients under FSDP 1",
        older="distributed.fsdp.flat_param.FlatParamHandle._get_flat_param_offsets", kind="method"),
    "flat_padding": _row(f"{_FLAT}.FlatParameter._is_padding_mask", "2.2",
        "which stretches are padding", "unreduced gradients under FSDP 1",
        older="distributed.fsdp.flat_param.FlatParameter._is_padding_mask", kind="attribute"),
    "flat_parameters": _row(f"{_FLAT}.FlatParameter._params", "2.2",
        "the parameters of a unit", "unreduced gradients under FSDP 1",
        older="distributed.fsdp.flat_param.FlatParameter._params", kind="attribute"),
    "flat_shapes": _row(f"{_FLAT}.FlatParameter._shapes", "2.2",
        "their shapes", "unreduced gradients under FSDP 1", older="distributed.fsdp.flat_param.FlatParameter._shapes",
        kind="attribute"),
    "fsdp2_group": _row(f"{_FSDP2}._fsdp_param_group", "2.6",
        "the module in which FSDP 2 reduces gradients (2.3 elsewhere)", "unreduced gradients under FSDP 2",
        older=f"{_OLD_FSDP2}._fsdp_param_group"),
    "fsdp2_parameter_name": _row(f"{_FSDP2}._fsdp_param.FSDPParam._param_fqn", "2.6",
        "a parameter's path (2.3 elsewhere)", "unreduced gradients under FSDP 2",
        older=f"{_OLD_FSDP2}._fsdp_param.FSDPParam._param_fqn", kind="attribute"),
}  # fmt: skip
_SAMPLES = {
    "operator_samples": _row("testing._internal.common_methods_invocations.op_db", "2.1",
        "torch's list of its operators, with the inputs that torch tests them on", "acc bench-ops", otherwise=()),
}  # fmt: skip
_SIMULATED = "the simulated NPU"
_SIMULATOR = {
    "setup_private_device": _row("utils.backend_registration._setup_privateuseone_for_python_backend", "2.10",
        "registers a device that is written in Python", _SIMULATED),
    "new_device_tensor": _row("_C._acc.create_empty_tensor", "2.10",
        "a tensor of that device without memory", _SIMULATED),
    "StorageBase": _row("_C.StorageBase", "2.1", "methods of storages as C++ made them", _SIMULATED),
    "DispatchKeySet": _row("_C.DispatchKeySet", "2.1", "dispatch keys to go on with", _SIMULATED),
    "storage_over": _row("_C._construct_storage_from_data_pointer", "2.1",
        "a storage over memory of somebody else's", _SIMULATED),
    "below_autograd": _row("_C._AutoDispatchBelowAutograd", "2.1", "runs an operator without its gradient", _SIMULATED),
    "without_keys": _row("_C._ExcludeDispatchKeyGuard", "2.1", "runs an operator without some keys", _SIMULATED),
    "autocast_dtype": _row("_C.get_autocast_dtype", "2.4", "what autocast casts to", _SIMULATED),
    "has_kernel": _row("_C._dispatch_has_kernel_for_dispatch_key", "2.1",
        "has an operator a kernel of its own", _SIMULATED),
    "kernels_of": _row("_C._dispatch_get_registrations_for_dispatch_key", "2.1",
        "all operators with a kernel for a device", _SIMULATED),
    "schemas_of": _row("_C._jit_get_schemas_for_operator", "2.1", "is there an operator of this name", _SIMULATED),
    "handle": _row(f"{_EXAMPLE}.default._handle", "2.5", "an operator in C++, to go on with other keys",
        _SIMULATED, kind="attribute"),
    "boxed_call": _row(f"{_EXAMPLE}.default._op", "2.1", "an operator in C++, which takes numbers for tensors",
        _SIMULATED, kind="attribute"),
    "set_default_backend": _row("distributed.ProcessGroup._set_default_backend", "2.6",
        "which backend carries a process group", "hccl on the simulated NPU", kind="name"),
    "register_backend": _row("distributed.ProcessGroup._register_backend", "2.1",
        "gives a process group its backend", "hccl on the simulated NPU", kind="name"),
    "backend_plugins": _row("distributed.Backend._plugins", "2.1",
        "backends that were registered by name", "hccl on the simulated NPU", otherwise=MappingProxyType({})),
}  # fmt: skip

INTERNALS: dict[str, Internal] = {
    **_AUTOGRAD,
    **_MODES,
    **_MODULES,
    **_OPERATORS,
    **_COMPILERS,
    **_TENSORS,
    **_SHARDED,
    **_SAMPLES,
    **_SIMULATOR,
}
_missing: dict[str, Missing] = {}
_NOT_THERE: Any = object()
_BY_NAME: dict[Kind, Callable[[str], Any]] = {"method": operator.methodcaller, "attribute": operator.attrgetter}


def __getattr__(name: str) -> Any:
    """The row `name`, looked up once.  Raises AttributeError for a name that is no row."""
    row = INTERNALS.get(name)
    if row is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = _handed_out(row)
    if found is _NOT_THERE:
        reason = f"torch {torch.__version__} has no torch.{' and no torch.'.join(row.paths)}"
        _missing[name] = Missing(name, row.paths, reason, row.without)
        found = row.otherwise
    globals()[name] = found
    return found


def available(name: str) -> bool:
    """Does this torch have the row `name`?  Raises KeyError for a name that is no row."""
    if INTERNALS[name].kind == "name":
        return True
    if name not in globals():
        __getattr__(name)
    return name not in _missing


def missing() -> tuple[Missing, ...]:
    """What was asked for so far and is not there."""
    return tuple(_missing.values())


def compiled_so_far() -> tuple[int, int]:
    """How many graphs dynamo has made in this process, and how many operators they hold.

    dynamo counts them privately (`torch._dynamo.utils.counters`, since 2.1; without it compiled code goes unsaid), and
    is not imported for the question.
    """
    dynamo = sys.modules.get("torch._dynamo.utils")
    stats = getattr(dynamo, "counters", {}).get("stats", {}) if dynamo is not None else {}
    return stats.get("unique_graphs", 0), stats.get("calls_captured", 0)


def counts_writes_within() -> bool:
    """Does a custom operator in Python count what its kernel writes beside its own write?  Until some release before
    2.13 it does not."""
    custom_operator = sys.modules.get("torch._library.custom_ops")
    return hasattr(getattr(custom_operator, "CustomOpDef", None), "_register_mutation_version_bump")


pipeline_module = "torch.distributed.pipelining.stage"
pipeline_inferences = ("_forward_metadata_inference", "_backward_metadata_inference", "_shape_inference")
"""Methods in which a pipeline's stage runs to learn shapes (the last until torch 2.11); without them such runs are
recorded, with whatever their memory held.  The module is imported by the script, if at all."""


def function_behind(owner: type, name: str) -> Callable[..., Any]:
    """The function of (cls, *args) behind a class method of `owner` itself, whether Python's or C's.

    Up to torch 2.13 `torch.autograd.Function.apply` is a `classmethod` object; from 2.14 on it is a descriptor in C,
    which has no `__func__` and gives a method bound to whatever class it is asked for.
    """
    descriptor = vars(owner)[name]
    function = getattr(descriptor, "__func__", None)
    if isinstance(function, FunctionType):
        return function

    def bound(cls: type, /, *args: Any, **kwargs: Any) -> Any:
        return descriptor.__get__(None, cls)(*args, **kwargs)

    return bound


def _handed_out(row: Internal) -> Any:
    for path in row.paths:
        last = path.rpartition(".")[2]
        found: Any = last if row.kind == "name" else _follow(path)
        if found is not _NOT_THERE:
            if row.kind == "reader":
                return found if callable(found) else found.__get__
            by_name = _BY_NAME.get(row.kind)
            return found if by_name is None else by_name(last)
    return _NOT_THERE


def _follow(path: str) -> Any:
    """What lies at `path` below torch; True for an attribute that only the instances of a class have."""
    here: Any = torch
    for number, part in enumerate(path.split("."), start=1):
        before, here = here, getattr(here, part, _NOT_THERE)
        if here is _NOT_THERE:
            here = _declared(before, part)
        if here is _NOT_THERE:
            here = _imported(".".join(path.split(".")[:number]))
        if here is _NOT_THERE:
            return _NOT_THERE
    return here


def _declared(owner: Any, name: str) -> Any:
    """True for an attribute that stands on instances alone: declared in the class, or set where one is made."""
    if not isinstance(owner, type):
        return _NOT_THERE
    code = getattr(vars(owner).get("__init__"), "__code__", None)
    made = code.co_names if code is not None else ()
    return True if name in vars(owner).get("__annotations__", {}) or name in made else _NOT_THERE


def _imported(path: str) -> Any:
    try:
        return importlib.import_module(f"torch.{path}")
    except ImportError:
        return _NOT_THERE
