"""The training that the cases record: ten steps on the CPU, each loss printed to the last bit.

python train.py [MISHAP] [DUMP]      MISHAP comes to pass in step 4 or 5; DUMP is the folder that `remove` removes
"""

import os
import shutil
import signal
import sys
import time

import torch

mishap, dump = [*sys.argv[1:], "", ""][:2]
torch.manual_seed(0)
torch.set_num_threads(1)
distributed = "WORLD_SIZE" in os.environ
if distributed:
    torch.distributed.init_process_group("gloo")
model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.GELU(), torch.nn.Dropout(0.1), torch.nn.Linear(256, 8))
optimizer = torch.optim.Adam(model.parameters())
data = torch.randn(10, 32, 256)


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("planted in the recorder")


for step in range(10):
    if step == 4 and mishap == "raise":
        raise ValueError("the script's own")
    if step == 4 and mishap == "fork" and not (child := os.fork()):
        torch.ones(3).add(1)
        os._exit(0)
    if step == 4 and mishap == "fork":
        os.waitpid(child, 0)
    if step == 4 and mishap == "hook":
        from dump.record import recorder

        measure, recorder.StepRecorder.consumed = recorder.StepRecorder.consumed, fail
        torch.ones(3).neg()
        recorder.StepRecorder.consumed = measure
    optimizer.zero_grad()
    loss = model(data[step]).square().mean()
    if step == 4 and mishap == "remove":
        shutil.rmtree(dump)
    if step == 5 and mishap == "wait":
        print("waiting", flush=True)
        time.sleep(60)  # until a signal comes
    if step == 5 and mishap == "kill" and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    loss.backward()
    optimizer.step()
    print(step, loss.item().hex(), flush=True)
