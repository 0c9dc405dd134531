"""What calls of registered operators (`torch.ops.NAMESPACE.OP`) are named: by their namespace, or as the user says."""

from __future__ import annotations

_KNOWN_PREFIXES = {"aten": "Aten", "npu": "NPU"}

# Collectives called past torch.distributed return before their results are there.
NOT_RECORDED = frozenset({"profiler", "prim", "prims", "c10d", "_c10d_functional", "c10d_functional"})


class OperatorNames:
    """The names of registered operators' calls, less their number: `npu::npu_rms_norm` -> `NPU.npu_rms_norm`.

    `name_operator` and `name_namespace` give calls another prefix, until `forget_operator` and
    `forget_namespace`; what was said of one operator wins over what was said of its namespace.
    """

    def __init__(self) -> None:
        self._operators: dict[str, str] = {}
        self._namespaces: dict[str, str] = {}
        self._keys: dict[str, str] = {}

    def key(self, qualified: str) -> str:
        """`aten::relu` -> `Aten.relu`, `npu::x` -> `NPU.x`, `mine::x` -> `Torch.mine.x`, as msprobe names what it
        sees of the dispatcher; and what the user has said."""
        found = self._keys.get(qualified)
        if found is None:
            found = self._keys[qualified] = self._make(qualified)
        return found

    def name_operator(self, qualified: str, prefix: str) -> None:
        """Calls of the operator `qualified` are named `{prefix}.{its name}` from now on."""
        self._operators[qualified] = prefix
        self._keys.clear()

    def name_namespace(self, namespace: str, prefix: str) -> None:
        """The same for every operator of `namespace`, those that are registered later too."""
        self._namespaces[namespace] = prefix
        self._keys.clear()

    def forget_operator(self, qualified: str) -> bool:
        """Undo `name_operator`; False where there was nothing to undo."""
        self._keys.clear()
        return self._operators.pop(qualified, None) is not None

    def forget_namespace(self, namespace: str) -> bool:
        """Undo `name_namespace`; False where there was nothing to undo."""
        self._keys.clear()
        return self._namespaces.pop(namespace, None) is not None

    def _make(self, qualified: str) -> str:
        namespace, _, name = qualified.partition("::")
        prefix = self._operators.get(qualified) or self._namespaces.get(namespace) or _KNOWN_PREFIXES.get(namespace)
        return f"{prefix}.{name}" if prefix is not None else f"Torch.{namespace}.{name}"


NAMES = OperatorNames()
"""Of this process: an operator is registered with torch once, and has one name for all sessions."""
