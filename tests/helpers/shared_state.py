"""What tests share, and must leave as they find it."""

import os
import signal
import sys

SharedState = dict[tuple[str, object], object]
"""Values by kind and name."""


def shared_state() -> SharedState:
    """As it is now."""
    state: SharedState = {("folder", "working"): os.getcwd()}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        state["signal", number.name] = signal.getsignal(number)
    for name, value in os.environ.items():
        if not name.startswith("PYTEST_"):
            state["variable", name] = value
    for name in list(sys.modules):
        if name.startswith("mgts_trt."):  # a module imported twice has two of each of its classes
            package, _, module = name.rpartition(".")
            state["module", name] = getattr(sys.modules.get(package), module, None)
    if torch := sys.modules.get("torch"):
        state["PyTorch", "threads"] = torch.get_num_threads()
        state["PyTorch", "type"] = torch.get_default_dtype()
        state["PyTorch", "autograd"] = torch.is_grad_enabled()
    return state


def changed_since(before: SharedState) -> list[tuple[str, object]]:
    """What is not as it was; without what libraries bring along, when they are first imported."""
    after = shared_state()
    changed = [key for key, value in before.items() if after.get(key) != value]
    added = [key for key in after if key not in before and key[0] == "variable" and str(key[1]).startswith("MGTS_")]
    return changed + added
