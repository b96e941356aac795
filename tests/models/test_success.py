from __future__ import annotations

import tracemalloc

import pytest
from pydantic import ValidationError

from rompy_hydra import SuccessChecks
from rompy_hydra.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


def leave(workspace, **files):
    for name, content in files.items():
        path = workspace.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def failed(workspace, **checks) -> list[str]:
    """The messages of the failed checks."""
    results = SuccessChecks(**checks).judge(workspace)
    assert results
    return [check.message for check in results if not check.ok]


def test_without_declared_checks_there_are_no_results(workspace):
    assert SuccessChecks().judge(workspace) == []


def test_a_required_file_must_exist_and_not_be_empty(workspace):
    assert failed(workspace, must_exist=["out.nc"]) == ["out.nc was not written"]
    leave(workspace, **{"out.nc": ""})
    assert failed(workspace, must_exist=["out.nc"]) == ["out.nc is empty"]
    leave(workspace, **{"out.nc": "data"})
    assert failed(workspace, must_exist=["out.nc"]) == []


def test_a_required_glob_must_match_a_file_and_no_empty_file(workspace):
    assert failed(workspace, must_exist=["out/*.nc"]) == ["out/*.nc was not written"]
    leave(workspace, **{"out/a.nc": "data"})
    assert failed(workspace, must_exist=["out/*.nc", "**/a.nc"]) == []
    leave(workspace, **{"out/b.nc": ""})
    assert failed(workspace, must_exist=["out/*.nc"]) == ["out/b.nc is empty"]


def test_a_required_directory_must_not_be_empty(workspace):
    (workspace.path / "out").mkdir()
    assert failed(workspace, must_exist=["out"]) == ["out is empty"]
    leave(workspace, **{"out/a.nc": ""})
    assert failed(workspace, must_exist=["out"]) == []


@pytest.mark.parametrize("pattern", ["Errfile", "Err*", "**/Errfile"])
def test_a_forbidden_file_must_not_exist_even_if_it_is_empty(workspace, pattern):
    assert failed(workspace, must_not_exist=[pattern]) == []
    leave(workspace, Errfile="")
    assert failed(workspace, must_not_exist=[pattern]) == ["the model left Errfile"]


def test_an_error_file_that_always_exists_is_checked_by_its_size(workspace):
    checks = {"must_be_empty": ["outputs/fatal.error"]}
    assert failed(workspace, **checks) == []
    leave(workspace, **{"outputs/fatal.error": ""})
    assert failed(workspace, **checks) == []
    leave(workspace, **{"outputs/fatal.error": "ABORT"})
    assert failed(workspace, **checks) == ["outputs/fatal.error has 5 bytes"]


def test_log_patterns_indicate_success_and_failure(workspace):
    checks = {
        "log_must_contain": ["Run completed", r"steps: \d+$"],
        "log_must_not_contain": ["(?i)severe error"],
    }
    assert failed(workspace, **checks) == [
        "run.log has no line with 'Run completed'",
        r"run.log has no line with 'steps: \d+$'",
    ]
    leave(workspace, **{"run.log": "steps: 17\nRun completed successfully\n"})
    assert failed(workspace, **checks) == []
    leave(workspace, **{"run.log": "steps: 17\n  ** SEVERE ERROR: no bottom **\nRun completed\n"})
    assert failed(workspace, **checks) == ["run.log contains: ** SEVERE ERROR: no bottom **"]


def test_another_file_can_be_searched_instead_of_the_log(workspace):
    leave(workspace, **{"outputs/mirror.out": "Run completed successfully\n"})
    assert failed(workspace, log_must_contain=["completed"], log_file="outputs/mirror.out") == []
    assert failed(workspace, log_must_contain=["completed"], log_file="outputs/*.out") == []
    assert failed(workspace, log_must_contain=["completed"], log_file="missing") == [
        "missing was not written"
    ]


def test_globs_never_match_the_engines_own_files(workspace):
    leave(workspace, **{"run.json": "{}", "run.log": "x", "run.sh": "x", ".hydra/config.yaml": "x"})
    leave(workspace, **{"attempts/1/Errfile": "from an earlier attempt", "attempts/1/out.nc": "data"})
    for pattern in ("*.json", "*.log", "**/*.nc", "run.*", "**/*.yaml"):
        assert failed(workspace, must_exist=[pattern]) == [f"{pattern} was not written"]
    assert failed(workspace, must_not_exist=["**/Errfile", "*.log", "*.sh"]) == []


def test_a_binary_log_is_searched_as_well(workspace):
    (workspace.path / "run.log").write_bytes(b"\xff\xfe\0\0 binary\nRun completed\n\x80")
    assert failed(workspace, log_must_contain=["^Run completed$"]) == []


def test_a_log_with_an_endless_line_is_read_in_pieces(workspace):
    with workspace.log.open("wb") as log:
        for _ in range(64):
            log.write(b"x" * 2**20)
        log.write(b" completed")
    tracemalloc.start()
    try:
        assert failed(workspace, log_must_contain=["completed"], log_must_not_contain=["error"]) == []
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**23


def test_the_facts_of_a_check_include_its_name_and_target(workspace):
    (check,) = SuccessChecks(must_exist=["out.nc"]).judge(workspace)
    assert check.facts() == {
        "check": "must_exist", "target": "out.nc", "ok": False, "message": "out.nc was not written"
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["", "/etc/passwd", "../x", "a/../../x", ".", "./", "a/.."])
@pytest.mark.parametrize("field", ["must_exist", "must_not_exist", "must_be_empty"])
def test_paths_outside_the_run_directory_are_rejected(field, pattern):
    with pytest.raises(ValidationError, match="must be a path or glob inside the run directory"):
        SuccessChecks(**{field: [pattern]})


@pytest.mark.parametrize("field", ["log_must_contain", "log_must_not_contain"])
def test_an_invalid_regular_expression_is_rejected(field):
    with pytest.raises(ValidationError, match="is not a valid regular expression"):
        SuccessChecks(**{field: ["(unclosed"]})


def test_an_unknown_check_is_rejected():
    with pytest.raises(ValidationError, match="must_exists"):
        SuccessChecks(must_exists=["x"])
