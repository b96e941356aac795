from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import textwrap

import pytest

from rompy_hydra import BaseConfig, LocalConfig, LocalRunBackend, ModelRun
from rompy_hydra.core.execute import preflight
from rompy_hydra.errors import ConfigError
from rompy_hydra.workspace.record import RunRecord
from tests.conftest import living, wait_until
from tests.plans import plan_of
from tests.run.contract import Place, RunBackendContract


class TestTheLocalBackendKeepsTheContract(RunBackendContract):
    @pytest.fixture
    def place(self):
        return Place("local", LocalConfig)


@pytest.fixture
def model(tmp_path):
    def model(*commands, run_id="local", **fields):
        return ModelRun(
            run_id=run_id, output_dir=tmp_path / "runs", config=BaseConfig(commands=commands, **fields)
        )

    return model


def preflight_error(run, **settings) -> str:
    plan = plan_of(run, settings=settings)
    with pytest.raises(ConfigError) as error:
        preflight(plan)
    assert not run.workspace.path.exists()
    return str(error.value)


def test_the_command_of_the_backend_replaces_that_of_the_model(model):
    run = model("echo of the model")
    assert run.run("local", command="echo 'of the backend' | tr a-z A-Z")
    assert run.workspace.log.read_text() == "OF THE BACKEND\n"
    assert RunRecord.load(run.workspace).commands == ["echo 'of the backend' | tr a-z A-Z"]


@pytest.mark.parametrize("command", ["", "  ", "\n"])
def test_an_empty_command_is_rejected(command):
    with pytest.raises(ValueError, match="a command must not be empty"):
        LocalConfig(command=command)


def test_commands_run_in_the_working_directory(model, tmp_path, monkeypatch):
    (tmp_path / "my work").mkdir()
    run = model("pwd; pwd > here.txt")
    assert run.run("local", working_dir=str(tmp_path / "my work"))
    assert (tmp_path / "my work" / "here.txt").read_text() == f"{tmp_path}/my work\n"
    assert run.workspace.exit_code() == 0
    # A relative path is resolved against the current directory of the user who specifies it.
    monkeypatch.chdir(tmp_path)
    again = model("pwd", run_id="relative")
    preflight(plan_of(again, settings={"working_dir": "my work"}))
    assert again.run("local", working_dir="my work")
    assert again.workspace.log.read_text() == f"{tmp_path}/my work\n"


def test_a_missing_working_directory_is_reported_before_the_run_starts(model, tmp_path):
    message = preflight_error(model("true"), working_dir=str(tmp_path / "missing"))
    assert "run_backend.working_dir:" in message
    assert "is not a directory on this machine" in message


def test_a_deleted_working_directory_is_a_failure(model, tmp_path):
    run = model("touch wrong")
    assert run.run("local", working_dir=str(tmp_path / "missing")) is False
    assert RunRecord.load(run.workspace).exit_code == 126


@pytest.mark.parametrize(
    "command", ["pyhton3 model.py", ["pyhton3", "model.py"], "pyhton3;true", "pyhton3 & wait"]
)
def test_a_missing_program_is_reported_with_the_closest_name_before_the_run_starts(model, command):
    message = preflight_error(model(command))
    assert "the program 'pyhton3' was not found on PATH nor among the run's files" in message
    assert "Did you mean 'python3" in message


@pytest.mark.parametrize(
    "command",
    [
        "PATH=/x no-such-program", "cd /tmp && ls", "if true; then ls; fi", "[ -e x ] || true", "(true)",
        "'quoted program' x", "export A=1; ls", ": > file", "sh -c true", ["sh", "-c", "true"],
        "/bin/sh -c true", "\n\n  ls", "test -e x", "{ ls; }", "! true", "$SHELL -c true", "python3 -c 'x'",
    ],
)  # fmt: skip
def test_a_command_that_could_run_is_not_reported_as_missing(model, command):
    preflight(plan_of(model(command), settings={}))


def test_a_program_may_be_one_of_the_files_of_the_run(tmp_path, model):
    tool = tmp_path / "swan run.sh"
    tool.write_text("#!/bin/sh\necho from the tool\n")
    tool.chmod(0o755)
    run = model(["./bin/swan run.sh"], files=[{"source": str(tool), "target": "bin/swan run.sh"}])
    preflight(plan_of(run, settings={}))
    assert run.run()
    assert run.workspace.log.read_text() == "from the tool\n"
    assert "the program './bin/other' was not found" in preflight_error(model("./bin/other", run_id="b"))


@pytest.mark.parametrize("where", ["model", "backend"])
def test_a_program_may_be_on_a_path_set_by_the_configuration(tmp_path, model, where):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "myswan").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "bin" / "myswan").chmod(0o755)
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    run = model(["myswan"], env=path if where == "model" else {})
    settings = {"env_vars": path} if where == "backend" else {}
    preflight(plan_of(run, settings=settings))
    assert run.run("local", **settings)
    assert "myswan" in preflight_error(model(["myswan"], run_id="without"))


def test_nothing_to_execute_is_reported_before_the_run_starts(model):
    message = preflight_error(model())
    assert (
        "nothing to execute: the model has no commands. Set model.commands or run_backend.command"
        in message
    )


def test_output_is_always_logged_and_streamed_on_demand(model, capfd):
    quiet, loud = model("echo hello", run_id="quiet"), model("echo hello", run_id="loud")
    assert quiet.run("local")
    assert capfd.readouterr().out == ""
    assert loud.run("local", stream_output=True)
    assert capfd.readouterr().out == "hello\n"
    assert quiet.workspace.log.read_text() == loud.workspace.log.read_text() == "hello\n"


def test_a_model_can_clean_up_within_the_grace_period(model):
    run = model("trap 'echo tidied > tidy.txt; exit' TERM; while :; do sleep 0.01; done")
    with pytest.raises(TimeoutError):
        run.run("local", timeout=0.5, kill_grace=60)
    assert (run.workspace.path / "tidy.txt").exists()


def test_time_memory_and_leftover_processes_are_recorded(model, tmp_path):
    # The kernel's figure is exact for models larger than their driver, which is this test process.
    size = 2 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    code = f"x = bytearray({size})"
    seconds = f"3600.{os.getpid()}"
    run = model([sys.executable, "-c", code], f"setsid sleep {seconds} & echo started")
    assert run.run()
    record = RunRecord.load(run.workspace)
    assert record.resources["peak_memory_bytes"] > size
    assert record.resources["cpu_seconds"] > 0.01
    assert record.resources["seconds"] > 0
    assert record.backend_facts["left_processes"] == 1
    assert record.backend_facts["pid"] > 1
    assert living(f"sleep {seconds}") == []


def test_generating_creates_an_executable_run_sh(model):
    run = model("echo data > out.nc")
    run.generate()
    assert run.workspace.script.stat().st_mode & stat.S_IXUSR
    assert subprocess.run([run.workspace.script], cwd="/").returncode == 0
    assert (run.workspace.path / "out.nc").exists()


def test_a_damaged_run_sh_is_rewritten(model):
    run = model("echo right")
    run.generate()
    run.workspace.script.write_bytes(b"\xff\xfe echo wrong")
    assert run.run()
    assert run.workspace.log.read_text() == "right\n"


def test_a_run_does_not_change_the_directory_or_environment_of_this_process(model):
    before = os.getcwd(), dict(os.environ)
    run = model("cd /; export NEW=1", env={"FROM_MODEL": "1"})
    assert run.run("local", env_vars={"FROM_BACKEND": "1"}, working_dir="/")
    assert (os.getcwd(), dict(os.environ)) == before


# A user's module with `config.run(model_run)` hooks, as in the reference.
HOOKS = """
    import os, sys, time
    from pathlib import Path

    class Hook:
        def __init__(self, answer=True, **facts):
            self.answer = answer
            self.facts = facts

    class Answers(Hook):
        def run(self, model_run):
            print("running", model_run.run_id)
            Path("out.nc").write_text(os.environ.get("FROM_BACKEND", "none"))
            os.environ["LEAK"] = "1"
            os.chdir("/")
            return self.answer

    class Raises(Hook):
        def run(self, model_run):
            raise RuntimeError("no bathymetry")

    class Hangs(Hook):
        def run(self, model_run):
            Path("hangs").touch()
            time.sleep(3600)

    class Exits(Hook):
        def run(self, model_run):
            sys.exit(5)

    class Dies(Hook):
        def run(self, model_run):
            os.abort()

    class Generates(Hook):
        def run(self, model_run):
            return Path(model_run.generate()) == Path.cwd() == model_run.workspace.path
"""


@pytest.fixture
def hooks(tmp_path, monkeypatch):
    """The user's module; files in the run directory must not shadow modules."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "user_hooks.py").write_text(textwrap.dedent(HOOKS))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    import user_hooks

    yield user_hooks
    sys.modules.pop("user_hooks")


@pytest.fixture
def hook_run(hooks, tmp_path):
    def hook_run(kind, *args, run_id="hooked", **facts):
        return ModelRun(
            run_id=run_id, output_dir=tmp_path / "runs", config=getattr(hooks, kind)(*args, **facts)
        )

    return hook_run


def test_a_hook_has_its_own_working_directory_and_environment(hook_run):
    before = os.getcwd(), dict(os.environ)
    run = hook_run("Answers")
    assert run.run("local", env_vars={"FROM_BACKEND": "it's here"}) is True
    assert (os.getcwd(), dict(os.environ)) == before
    assert (run.workspace.path / "out.nc").read_text() == "it's here"
    assert run.workspace.log.read_text() == "running hooked\n"
    record = RunRecord.load(run.workspace)
    assert (record.state, record.exit_code) == ("completed", 0)
    assert [fact.path for fact in record.outputs] == ["out.nc"]
    assert run.workspace.exit_code() == 0


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_a_hook_that_does_not_return_a_boolean_has_failed(hook_run, answer):
    run = hook_run("Answers", answer)
    assert run.run() is False
    assert f"returned {answer!r} instead of True or False" in run.workspace.log.read_text()


def test_a_hook_that_returns_false_raises_exits_or_crashes_has_failed(hook_run):
    codes = {}
    for kind, args in [("Answers", (False,)), ("Raises", ()), ("Exits", ()), ("Dies", ())]:
        run = hook_run(kind, *args, run_id=kind)
        assert run.run() is False
        codes[kind] = RunRecord.load(run.workspace).exit_code
    assert codes == {"Answers": 1, "Raises": 1, "Exits": 5, "Dies": 134}
    assert "RuntimeError: no bathymetry" in hook_run("Raises", run_id="Raises").workspace.log.read_text()


def test_the_timeout_applies_to_a_hook(hook_run):
    run = hook_run("Hangs")
    with pytest.raises(TimeoutError):
        run.run("local", timeout=2)
    assert RunRecord.load(run.workspace).state == "timed_out"


def test_a_hook_may_call_generate_although_the_inputs_exist(hook_run):
    assert hook_run("Generates").run() is True


def test_a_hook_does_not_import_modules_from_the_run_directory(hook_run):
    run = hook_run("Answers")
    run.workspace.create()
    for name in ("pickle.py", "random.py", "pydantic.py", "user_hooks.py"):
        (run.workspace.path / name).write_text("raise SystemExit('the wrong module')")
    assert run.run() is True


def test_a_command_of_the_backend_takes_precedence_over_the_hook(hook_run):
    run = hook_run("Raises")
    assert run.run("local", command="echo instead") is True
    assert run.workspace.log.read_text() == "instead\n"


def test_calling_the_backend_directly_calls_the_hook_as_in_the_reference(hook_run):
    run = hook_run("Answers")
    assert LocalRunBackend().run(run, LocalConfig(), workspace_dir=run.generate()) is True
    assert (run.workspace.path / "out.nc").exists()


def test_a_hook_defined_in_the_main_script_is_found(start_driver, tmp_path):
    driver = start_driver(
        "class Mine:\n"
        "    def run(self, model_run):\n"
        "        Path('out.nc').write_text('mine')\n"
        "        return True\n"
        "if __name__ == '__main__':\n"
        "    print(ModelRun(run_id='main', output_dir='runs', config=Mine()).run())\n"
    )
    assert driver.wait() == 0
    assert driver.output.endswith("True\n"), driver.output
    assert (tmp_path / "runs" / "main" / "out.nc").read_text() == "mine"


def test_no_copy_of_the_run_is_left_in_the_temporary_directory(hook_run, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    hook_run("Answers", password="hunter2").run()
    with pytest.raises(TimeoutError):
        hook_run("Hangs", run_id="b").run("local", timeout=2)
    wait_until(lambda: not list((tmp_path / "tmp").glob("rompy_hydra-*")))


def test_a_program_that_is_not_executable_is_reported_as_that(model, tmp_path):
    tool = tmp_path / "swan.exe"
    tool.write_text("#!/bin/sh\n")
    for command, settings in (
        (["swan.exe"], {"env_vars": {"PATH": str(tmp_path)}}),
        ([str(tool)], {}),
        (["../../swan.exe"], {}),
        (f"nice -n 2 {tool} && echo done", {}),
    ):
        message = preflight_error(model(command), **settings)
        assert f"the program {tool} is not executable (command: " in message
        assert f"Run: chmod +x {tool}" in message
    tool.chmod(0o755)
    preflight(plan_of(model(["swan.exe"]), settings={"env_vars": {"PATH": str(tmp_path)}}))


def test_a_relative_path_may_lead_to_a_program_outside_the_run(model, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "ocean"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho from the tool\n")
    tool.chmod(0o755)
    run = model(["../../bin/ocean"])
    preflight(plan_of(run, settings={}))
    assert run.run()
    assert run.workspace.log.read_text() == "from the tool\n"
    # From the directory in which the command line was started, it is another path.
    monkeypatch.chdir(tmp_path)
    message = preflight_error(model(["bin/ocean"], run_id="other"))
    assert f"{tmp_path}/runs/other/bin/ocean does not exist, and commands start in the run" in message
    assert f"Give its full path, {tool}" in message


@pytest.mark.parametrize(
    "command",
    [
        ["mpirun", "-n", "4", "pschizm", "1"],
        ["mpirun", "--oversubscribe", "--mca", "btl", "self", "-np", "4", "pschizm"],
        "mpiexec -n 4 pschizm 1 > mirror.out",
        "mpirun -n 1 true : -n 2 pschizm",
        ["nice", "-n", "5", "pschizm"],
        ["srun", "--ntasks=4", "pschizm"],
    ],
)
def test_the_program_behind_mpirun_is_looked_for(model, tmp_path, command):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("mpirun", "mpiexec", "srun", "nice", "pschism", "true"):
        (programs / name).write_text('#!/bin/sh\necho "$@"\n')
        (programs / name).chmod(0o755)
    settings = {"env_vars": {"PATH": str(programs)}}
    assert "the program 'pschizm' was not found on PATH" in preflight_error(model(command), **settings)
    right = command.replace("schizm", "schism") if isinstance(command, str) else None
    right = right or [word.replace("schizm", "schism") for word in command]
    preflight(plan_of(model(right), settings=settings))
    # Behind an option that is not known, it may be anything.
    preflight(plan_of(model("mpirun --frobnicate pschizm x"), settings=settings))
