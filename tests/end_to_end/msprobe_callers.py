"""Call patterns of public frameworks, each as a script that knows msprobe's names only.

    python msprobe_callers.py PATTERN CONFIG.json [bare]

With `bare` the debugger is one that does nothing: what the script computes must be the same to the bit.  Prints a
digest of all losses, outputs, gradients and weights.
"""

import hashlib
import os
import sys

import torch


class Nothing:
    """Takes every call, and has every attribute."""

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        return Nothing()


IS_BARE = sys.argv[3:] == ["bare"]
seen = []


def keep(*tensors):
    seen.extend(tensor.detach().clone() for tensor in tensors)


def a_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Linear(8, 4))


def train(model, optimizer):
    loss = torch.nn.functional.mse_loss(model(torch.randn(3, 4)), torch.randn(3, 4))
    optimizer.zero_grad()
    loss.backward()
    keep(loss, *(parameter.grad for parameter in model.parameters()))
    optimizer.step()
    keep(*model.parameters())
    return loss


def sglang(config):
    """A server seeds and makes one debugger, and starts, stops and steps it around each forward pass."""
    if IS_BARE:
        torch.use_deterministic_algorithms(True)
        debugger = Nothing()
    else:
        from msprobe.pytorch import PrecisionDebugger, seed_all

        seed_all(mode=True)
        debugger = PrecisionDebugger(config_path=config)
    model = a_model()
    with torch.no_grad():
        for _ in range(3):
            debugger.start(model=model, rank_id=None)
            keep(model(torch.randn(2, 4)))
            debugger.stop()
            debugger.step()


def vllm_ascend(config):
    """A worker reads the level, tells which requests are in the batch, and looks at the file when it has changed it."""
    if IS_BARE:
        debugger, level = Nothing(), "mix"
    else:
        from msprobe.pytorch import PrecisionDebugger

        debugger = PrecisionDebugger(config)
        level = str(getattr(debugger.config, "level", "L1")).upper()
    model = a_model()
    with torch.no_grad():
        for batch in range(3):
            if level in ("L0", "MIX"):
                debugger.start(model, scheduled_tokens={f"request-{batch}": 2})
            else:
                debugger.start()
            keep(model(torch.randn(2, 4)))
            if hasattr(debugger, "stop"):
                debugger.stop()
            debugger.step()
            debugger._maybe_reload_config(force=True)


def verl(config):
    """A profiler for each role shares the one debugger, and sets the folder of each phase of a step."""
    actor, reference = a_model(), a_model()
    optimizer = torch.optim.AdamW(actor.parameters())
    for step in range(2):
        for phase, model in (("ref_compute_log_prob", reference), ("actor_update", actor)):
            started = False
            if not IS_BARE:
                from msprobe.pytorch import PrecisionDebugger

                folder = os.path.join("dump", f"step_{step}", phase)
                os.makedirs(folder, exist_ok=True)
                debugger = PrecisionDebugger(config_path=config, dump_path=folder)
                assert debugger is PrecisionDebugger._instance
                if hasattr(debugger, "service") and hasattr(debugger.service, "config"):
                    debugger.service.config.dump_path = folder
                debugger.start(model)
                started = True
            if phase == "actor_update":
                train(actor, optimizer)
            else:
                with torch.no_grad():
                    keep(model(torch.randn(3, 4)))
            if started:
                debugger.stop()
                reset = getattr(debugger.service, "reset_status", None) or debugger.service._reset_status
                reset()


def slime(config):
    """The process's own folder, the first token of a generation, then the phases of training, one step for all."""
    if IS_BARE:
        debugger = Nothing()
    else:
        from msprobe.pytorch.common.utils import seed_all
        from msprobe.pytorch.debugger.precision_debugger import PrecisionDebugger

        seed_all()
        debugger = PrecisionDebugger(config_path=config)
        own = os.path.join(str(debugger.config.dump_path), "own")
        debugger.config.dump_path = own
        debugger.service.config.dump_path = own
    model = a_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        debugger.service.config.dump_path = os.path.join("dump", "own", "generate")
        debugger.start(model=model, token_range=[0, 0])
        with torch.no_grad():
            for _ in range(3):
                keep(model(torch.randn(1, 4)))
        debugger.stop()
        debugger.service._reset_status()
        debugger.service.config.dump_path = os.path.join("dump", "own", "train")
        debugger.start(model=[model])
        train(model, optimizer)
        debugger.stop()
        debugger.step()


def mindspeed_rl(config):
    """Key tensors are saved beside the dump, and the debugger is made of arguments alone."""
    if IS_BARE:
        saver = debugger = Nothing()
    else:
        from msprobe.core import SingleSave
        from msprobe.pytorch import PrecisionDebugger

        saver = SingleSave("dump")
        debugger = PrecisionDebugger(task="statistics", level="L0", step=["0-1"], dump_path="dump")
    model = a_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        debugger.service.first_start = True
        debugger.service.config.dump_path = os.path.join("dump", "actor_update")
        debugger.start(model=model)
        loss = train(model, optimizer)
        saver.save({"loss": loss, "weights": list(model.parameters())})
        debugger.stop()
        debugger.service.reset_status()
        saver.step()
        debugger.step()


def ms_swift(config):
    """Each step makes its debugger anew, with the model, and ends it in a finally."""
    model = a_model()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        if IS_BARE:
            debugger = Nothing()
        else:
            from msprobe.pytorch import PrecisionDebugger

            debugger = PrecisionDebugger(dump_path="./dump", level="mix", model=model)
        debugger.start()
        try:
            train(model, optimizer)
        finally:
            debugger.stop()
            debugger.step()


def mindspeed(config):
    """A wrapper around train_step starts with the list of chunks, another ends the step."""
    debugger = Nothing()
    if not IS_BARE:
        from msprobe.pytorch import PrecisionDebugger

        debugger = PrecisionDebugger(config_path=config)

    def started(function):
        def wrapper(*args):
            debugger.start(model=args[2])
            return function(*args)

        return wrapper

    @started
    def train_step(forward_step, data, model, optimizer):
        return train(model[0], optimizer)

    chunks = [a_model()]
    optimizer = torch.optim.Adam(chunks[0].parameters())
    for _ in range(2):
        train_step(None, None, chunks, optimizer)
        debugger.stop()
        debugger.step()


def torchtitan(config):
    """The model is in parts, and a step that fails is ended too."""
    debugger = Nothing()
    parts = [a_model(), a_model()]
    if not IS_BARE:
        from msprobe.pytorch import PrecisionDebugger, seed_all

        seed_all(seed=1234, mode=False, rm_dropout=False)
        debugger = PrecisionDebugger(config_path=config)
    torch.manual_seed(1234)
    optimizers = [torch.optim.AdamW(part.parameters()) for part in parts]
    for _ in range(2):
        debugger.start(model=parts)
        try:
            for part, optimizer in zip(parts, optimizers, strict=True):
                train(part, optimizer)
        finally:
            debugger.stop()
            debugger.step()


def trainer_mon(config):
    """The monitor, imported from a place in torch_npu that torch_npu does not have."""
    model = a_model()
    optimizer = torch.optim.AdamW(model.parameters())
    if not IS_BARE:
        from torch_npu.contrib.monitor import TrainerMon

        monitor = TrainerMon(config_file_path="./monitor_config.json", params_have_main_grad=False)
        monitor.set_monitor(
            model, grad_acc_steps=1, optimizer=optimizer, dp_group=None, tp_group=None, start_iteration=0
        )
    for _ in range(3):
        train(model, optimizer)


class Wrapped:
    """An optimizer of a framework's around torch's."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.param_groups = optimizer.param_groups

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self):
        self.optimizer.step()


def chatlearn(config):
    """The monitor of a trainer whose chunks and wrapped optimizer are handed in one after the other."""
    model = a_model()
    optimizer = Wrapped(torch.optim.AdamW(model.parameters()))
    if not IS_BARE:
        from msprobe.pytorch import TrainerMon

        monitor = TrainerMon(
            config_file_path="./monitor_config.json", process_group=None, params_have_main_grad=True, opt_ty=None
        )
        monitor.set_wrapped_optimizer(optimizer)
        monitor.monitor_gnorm_with_ad([model], grad_acc_steps=1, optimizer=None, dp_group=None, tp_group=None)
    for _ in range(3):
        train(model, optimizer)


if __name__ == "__main__":
    torch.manual_seed(7)
    globals()[sys.argv[1]](sys.argv[2])
    keep(torch.get_rng_state().float())
    digest = hashlib.sha256()
    for tensor in seen:
        digest.update(tensor.contiguous().numpy().tobytes())
    print(digest.hexdigest())
