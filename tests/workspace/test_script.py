"""`run.sh`, started as users start it: with every installed shell, from any directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.script import Env, check_env_names, script_text
from tests.conftest import wait_until

SHELLS = [shell for shell in (["dash"], ["bash"], ["busybox", "sh"]) if shutil.which(shell[0])]
ODD_NAMES = [
    "plain",
    "with blank",
    "it's",
    'a "quote"',
    "dollar $HOME",
    "größe",
    "-dash",
    "line\nend",
    "back`tick`",
]


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request):
    return request.param


def leave(directory: Path, *commands, env=None, **options) -> Path:
    """Write `run.sh` in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "run.sh"
    script.write_text(script_text(commands, env or {}, title="Runs a test", **options))
    script.chmod(0o755)
    return script


def start(shell, script, cwd, **env) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, str(script)], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_it_runs_from_any_directory_and_in_a_directory_of_any_name(tmp_path, shell, name):
    directory = tmp_path / name
    script = leave(directory, "pwd > where.txt", ["sh", "-c", "exit 3"])
    answer = start(shell, script, cwd="/")
    assert answer.returncode == 3, answer.stderr
    assert (directory / "where.txt").read_text() == f"{directory}\n"
    assert Workspace(directory).exit_code() == 3


def test_it_runs_by_a_relative_path_from_its_own_directory_and_as_a_program(tmp_path, shell):
    script = leave(tmp_path / "runs" / "x", "echo ran >> ran.txt")
    assert start(shell, "runs/x/run.sh", cwd=tmp_path).returncode == 0
    assert start(shell, "run.sh", cwd=script.parent).returncode == 0
    assert subprocess.run([script], cwd="/", timeout=60).returncode == 0
    assert (script.parent / "ran.txt").read_text() == "ran\n" * 3


def test_cdpath_does_not_affect_it(tmp_path, shell):
    leave(tmp_path / "there" / "x", "echo wrong")
    script = leave(tmp_path / "here" / "x", "pwd > where.txt")
    answer = start(shell, "x/run.sh", cwd=tmp_path / "here", CDPATH=str(tmp_path / "there"))
    assert answer.returncode == 0
    assert answer.stdout == ""
    assert (script.parent / "where.txt").read_text() == f"{script.parent}\n"


def test_commands_run_in_order_and_the_first_failure_stops_them(tmp_path, shell):
    script = leave(
        tmp_path, "echo one >> log", ["sh", "-c", "echo two >> log; exit 7"], "echo three >> log"
    )
    assert start(shell, script, cwd="/").returncode == 7
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert Workspace(tmp_path).exit_code() == 7


def test_arguments_in_a_list_reach_the_program_unchanged(tmp_path, shell):
    arguments = [
        "",
        "two words",
        "it's",
        '"',
        "$HOME",
        "*",
        "a;b",
        "`id`",
        "line\nend",
        "größe",
        "\\n",
        "!",
    ]
    script = leave(
        tmp_path, ["python3", "-c", "import sys; open('got', 'w').write(repr(sys.argv[1:]))", *arguments]
    )
    assert start(shell, script, cwd="/").returncode == 0
    assert (tmp_path / "got").read_text() == repr(arguments)


def test_a_shell_line_may_have_quotes_pipes_here_documents_comments_and_many_lines(tmp_path, shell):
    text = "cat > a.txt <<'END'\nit's $HOME\nEND\n\n"
    text += "printf '%s\\n' \"two  words\" | tr a-z A-Z >> a.txt  # a comment"
    script = leave(tmp_path, text)
    assert start(shell, script, cwd="/").returncode == 0
    assert (tmp_path / "a.txt").read_text() == "it's $HOME\nTWO  WORDS\n"


def test_set_e_in_a_shell_line_ends_it_at_its_first_failure(tmp_path, shell):
    script = leave(tmp_path, "set -e\nfalse\necho went on > wrong")
    assert start(shell, script, cwd="/").returncode == 1
    assert not (tmp_path / "wrong").exists()


def test_cd_exit_and_exec_in_a_command_do_not_affect_the_next_one(tmp_path, shell):
    script = leave(tmp_path, "cd /", "X=1; exit 0", "exec true", 'echo "$PWD $X" > after.txt')
    assert start(shell, script, cwd="/").returncode == 0
    assert (tmp_path / "after.txt").read_text() == f"{tmp_path} \n"


def test_its_own_names_do_not_hide_programs_or_variables_of_the_user(tmp_path, shell):
    names = ("finish", "check", "workspace", "next", "end")
    for name in names:
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} >> called\n")
        (tmp_path / name).chmod(0o755)
    script = leave(
        tmp_path, *([name] for name in names), 'echo "$workspace" >> called', env={"workspace": "mine"}
    )
    answer = start(shell, script, cwd="/", PATH=f"{tmp_path}:{os.environ['PATH']}", workspace="theirs")
    assert answer.returncode == 0
    assert (tmp_path / "called").read_text().split() == [*names, "mine"]
    assert Workspace(tmp_path).exit_code() == 0


@pytest.mark.parametrize(
    "value", ["", "plain", "two words", "it's", '"', "a\nb\n", "$HOME `id` \\", "größe", "*", "\udcff"]
)
def test_variables_reach_the_commands_unchanged(tmp_path, shell, value):
    script = tmp_path / "run.sh"
    text = script_text(['printf %s "$V" > got'], {"V": value}, title="t")
    script.write_bytes(text.encode(errors="surrogateescape"))
    assert start(shell, script, cwd="/", V="another").returncode == 0
    assert (tmp_path / "got").read_bytes() == value.encode(errors="surrogateescape")


@pytest.mark.parametrize("name", ["API_KEY", "MY_TOKEN", "DbPassword", "AWS_SECRET_ACCESS", "auth_header"])
def test_a_secret_is_not_in_the_script_and_its_absence_is_reported(tmp_path, shell, name):
    script = leave(tmp_path, f'printf %s "${name}" > got', env={name: "hunter2"})
    assert "hunter2" not in script.read_text()
    answer = start(shell, script, cwd="/")
    assert answer.returncode != 0
    assert f"{name}: set it before you start this script" in answer.stderr
    assert start(shell, script, cwd="/", **{name: "hunter2"}).returncode == 0
    assert (tmp_path / "got").read_text() == "hunter2"


def test_the_working_directory_may_be_elsewhere_and_the_exit_code_stays_here(tmp_path, shell):
    script = leave(tmp_path / "run", "pwd > where.txt", working_dir=str(tmp_path / "else where"))
    (tmp_path / "else where").mkdir()
    assert start(shell, script, cwd="/").returncode == 0
    assert (tmp_path / "else where" / "where.txt").exists()
    assert Workspace(tmp_path / "run").exit_code() == 0


def test_a_missing_working_directory_is_a_failure(tmp_path, shell):
    script = leave(tmp_path, "touch wrong", working_dir=str(tmp_path / "missing"))
    assert start(shell, script, cwd="/").returncode == 126
    assert Workspace(tmp_path).exit_code() == 126
    assert not (tmp_path / "wrong").exists()


def test_a_killed_start_does_not_leave_the_exit_code_of_an_earlier_one(tmp_path, shell):
    script = leave(tmp_path, "[ -e again ] || exit 0; echo $$ > pid; exec tail -f /dev/null")
    assert start(shell, script, cwd="/").returncode == 0
    assert Workspace(tmp_path).exit_code() == 0
    (tmp_path / "again").touch()
    second = subprocess.Popen([*shell, script], start_new_session=True)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    assert Workspace(tmp_path).exit_code() is None


def test_it_requires_no_program_except_the_shell(tmp_path, shell):
    script = leave(tmp_path, "echo bare > bare.txt", "exit 5")
    answer = subprocess.run(
        [shutil.which(shell[0]), *shell[1:], script], env={"PATH": "/nonexistent"}, timeout=60
    )
    assert answer.returncode == 5
    assert Workspace(tmp_path).exit_code() == 5


def test_the_exit_code_after_a_signal_is_the_one_a_shell_reports(tmp_path, shell):
    script = leave(tmp_path, ["sh", "-c", "kill -9 $$"])
    assert start(shell, script, cwd="/").returncode == 137
    assert Workspace(tmp_path).exit_code() == 137


def test_a_title_cannot_break_out_of_its_comment(tmp_path):
    text = script_text([["true"]], {}, title="Runs a\ntouch wrong\r")
    assert "\ntouch" not in text


@pytest.mark.parametrize("name", ["", "1A", "A B", "A-B", "A=B", "Ä", "A\n"])
def test_names_that_no_shell_can_export_are_rejected(name):
    with pytest.raises(ValueError, match="is not a valid environment variable name"):
        check_env_names({name: "x"})


def test_a_null_byte_in_a_value_is_rejected():
    with pytest.raises(ValueError, match="the value of A contains a null byte"):
        check_env_names({"A": "x\0y"})


def test_values_of_variables_may_be_numbers_but_not_of_other_types():
    env = TypeAdapter(Env)
    assert env.validate_python({"OMP_NUM_THREADS": 4, "X": 0.5}) == {"OMP_NUM_THREADS": "4", "X": "0.5"}
    for value in (True, None, ["a"]):
        with pytest.raises(ValidationError):
            env.validate_python({"A": value})


@pytest.mark.parametrize("moved", ["exit_code", "."])
def test_a_start_that_was_superseded_writes_into_its_own_exit_code(tmp_path, shell, moved):
    """Its file or its directory was moved away, and a later start has one of the same name."""
    directory, old = tmp_path / "run", tmp_path / "old"
    leave(directory, "touch started", "while [ ! -e ../go ]; do sleep 0.02; done", "exit 7")
    first = subprocess.Popen([*shell, directory / "run.sh"])
    wait_until(lambda: (directory / "started").exists())
    (directory / moved).resolve().rename(old)
    directory.mkdir(exist_ok=True)
    (directory / "exit_code").write_text("0\n")
    (tmp_path / "go").touch()
    assert first.wait(60) == 7
    assert (old / "exit_code" if moved == "." else old).read_text() == "7\n"
    assert Workspace(directory).exit_code() == 0


def test_a_model_does_not_inherit_the_open_exit_code(tmp_path, shell):
    script = leave(tmp_path, "echo 0 >&9", ["sh", "-c", "echo 0 >&9"])
    assert start(shell, script, cwd="/").returncode != 0
    assert Workspace(tmp_path).exit_code() != 0
