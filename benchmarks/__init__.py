"""Harmony beside its peers on the same work, in one run: ``python -m benchmarks --quick``.

    __main__   options                      plan       what is measured, in which order
    runner     one process per session  ──▶ session    opens one system, takes its measures
    tables     what is printed              measures   one body per measure, for all systems
    targets    what Harmony is to reach     systems/   one class per system
    cost       CPU and memory of a process tree        work    the functions that are run

Machines are shared and noisy. So each system runs in a fresh process, rounds are interleaved
(A B C, A B C), ratios are made within a round, and CPU time per task stands beside wall time.
"""
