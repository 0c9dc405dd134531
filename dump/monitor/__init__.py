"""Watching a whole training run: a few numbers of every gradient, weight, activation and moment, step by step.

    config       monitor_config.json -> one frozen object
    scope        which parameters and modules of which models are watched, and under which names
    collectors   one file for each thing that can be watched: where it is to be seen, and when
    sums         a tensor -> its numbers, on the host at once, on a device queued and fetched once a step
    rows         what a step has to show
    alerts       what of it is alarming
    writers      one file for each format
    run          wires these together, step by step
    trainer      TrainerMon: the run driven from inside its script
    discovery    `acc monitor`: the run that finds models and optimizers of an unmodified script by itself

What the files hold is docs/monitor.md's matter.
"""
