"""The output of a sweep: lines in a log, a live display on a terminal, and a summary at the end."""

from __future__ import annotations

import re

from tests.conftest import wait_until

X = "model.parameters.x"


def test_a_log_gets_one_line_for_each_finished_run_and_a_summary(sweeps):
    sweeps.fail(2)
    lines = sweeps.sweep(f"{X}=1,2,3", "hydra.launcher.workers=1", code=1).splitlines()
    assert lines[0] == "sweep      sweeps/probe: 3 points, 1 in parallel"
    assert lines[1].startswith("completed  x=1  ")
    assert lines[1].endswith("  [1/3]")
    assert lines[2].startswith("failed     x=2  ")
    assert "template exited with 3" in lines[2]
    assert lines[3].endswith("  [3/3]")
    assert lines[4].startswith("sweep      3 points: 2 completed, 1 failed in ")
    assert lines[5].startswith("slowest    x=")
    assert lines[6] == "failed     x=2:"
    assert lines[-2:] == [
        "results    sweeps/probe/results.csv",
        "next       rerun the command: it does only what is missing",
    ]
    assert not any("\x1b" in line for line in lines)


def test_failures_are_grouped_by_their_kind_with_one_example_each(sweeps):
    sweeps.fail(*range(1, 5))
    out = sweeps.sweep(f"{X}=range(0,6)", code=1)
    assert "6 points: 2 completed, 4 failed" in out
    assert out.count("failed     4 like x=") == 1
    assert out.count("Fatal: no water") == 1
    assert "Rerun by hand: sh " in out
    out = sweeps.sweep(f"{X}=9", "run_backend.command='sleep 60'", "run_backend.timeout=0.1", code=1)
    assert "1 timed_out" in out
    assert "run_backend.timeout" in out.split("failed     ")[1]


def test_failures_with_one_exit_code_and_different_causes_are_separate_groups(sweeps):
    template = sweeps.directory.parent / "template" / "probe.sh"
    template.write_text(
        "test {{ model.x }} -gt 2 && { echo 'no wind file /data/{{ model.x }}.nc'; exit 1; }\n"
        "echo 'CFL violated at step {{ model.x }}, dt = 1.{{ model.x }}e-0{{ model.x }}'\nexit 1\n"
    )
    out = sweeps.sweep(f"{X}=1,2,3,4,5", code=1)
    assert out.count("failed     3 like x=") == 1
    assert out.count("failed     2 like x=") == 1
    assert out.count("CFL violated") == out.count("no wind file") == 1


def test_timed_out_runs_are_one_group_regardless_of_their_progress(sweeps):
    template = sweeps.directory.parent / "template" / "probe.sh"
    template.write_text("echo 'field {{ \"abc\"[model.x] }}'\nsleep 60\n")
    out = sweeps.sweep(f"{X}=0,1,2", "run_backend.timeout=0.5", code=1)
    assert out.count("failed     3 like x=") == 1


def test_a_terminal_shows_running_failed_and_remaining_runs(sweeps):
    sweeps.fail(1)
    sweeps.sweep(f"{X}=0")
    sweeps.hold()
    terminal = sweeps.on_terminal(*sweeps.command(f"{X}=range(0,5)", "hydra.launcher.workers=2"))
    terminal.shows("running         0:00:01  x=2")
    assert "0/4 finished, 0 failed, 1 already done, 0:0" in terminal.screen
    sweeps.release()
    assert terminal.wait() == 1
    screen = terminal.screen
    assert "sweeps/probe: 5 points" in screen
    assert "failed     x=1" in screen
    assert "5 points: 3 completed, 1 failed, 1 already done" in screen


def test_the_remaining_time_is_estimated_from_the_finished_runs(sweeps):
    command = (f"{X}=range(0,4)", "hydra.launcher.workers=1", "model.parameters.seconds=0.6")
    terminal = sweeps.on_terminal(*sweeps.command(*command))
    wait_until(
        lambda: re.search(
            r"[123]/4 finished, 0 failed, 0:00:\d\d elapsed, about 0:00:\d\d left", terminal.screen
        )
    )
    assert terminal.wait() == 0


def test_an_interrupt_on_a_terminal_is_acknowledged_immediately(sweeps):
    sweeps.hold()
    terminal = sweeps.on_terminal(*sweeps.command(f"{X}=range(0,4)", "hydra.launcher.workers=2"))
    sweeps.wait_for_models(2)
    terminal.type("\x03")
    terminal.shows("stopping   running models; press Ctrl-C again to kill them")
    assert terminal.wait() == 130
    assert "2 interrupted, 2 not started" in terminal.screen


def test_the_cursor_of_a_terminal_is_restored_after_repeated_interrupts(sweeps):
    sweeps.hold()
    terminal = sweeps.on_terminal(*sweeps.command(f"{X}=range(0,4)", "hydra.launcher.workers=2"))
    sweeps.wait_for_models(2)
    for _ in range(10):
        terminal.type("\x03")
    assert terminal.wait() == 130
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
    assert "2 interrupted, 2 not started" in terminal.screen


def test_a_sweep_that_is_stopping_reports_no_failures_and_estimates_no_time(sweeps):
    template = sweeps.directory.parent / "template" / "probe.sh"
    wait = "trap '' TERM; while [ -e '{{ model.outside }}/hold' ]; do sleep 0.02; done"
    template.write_text("if [ {{ model.x }} -gt 1 ]; then " + wait + "; fi\necho 1 > result.txt\n")
    sweeps.hold()
    terminal = sweeps.on_terminal(*sweeps.command(f"{X}=range(1,7)", "hydra.launcher.workers=1"))
    wait_until(lambda: re.search(r"/6 finished, 0 failed, .* left", terminal.screen))
    terminal.type("\x03")
    wait_until(lambda: re.search(r"press Ctrl-C again.*/6 finished, 0 failed", terminal.screen, re.DOTALL))
    sweeps.release()
    assert terminal.wait() == 130
    after = terminal.screen.split("press Ctrl-C again")[1]
    assert not re.search(r"about|[1-9] failed", after)
    assert "6 points: 1 completed, 1 interrupted, 4 not started" in after


def test_the_bar_of_a_sweep_shows_each_state_in_its_colour(sweeps):
    sweeps.fail(1)
    sweeps.sweep(f"{X}=0")
    sweeps.hold()
    terminal = sweeps.on_terminal(*sweeps.command(f"{X}=range(0,5)", "hydra.launcher.workers=2"))
    terminal.shows("running         0:00:0")
    wait_until(lambda: re.search("\x1b\\[36m━+", terminal.screen and terminal.raw))
    sweeps.release()
    assert terminal.wait() == 1
    assert re.search("\x1b\\[36mrunning", terminal.raw)
    assert re.search("\x1b\\[31m━+", terminal.raw)  # failed
    assert re.search("\x1b\\[31mfailed", terminal.raw)
