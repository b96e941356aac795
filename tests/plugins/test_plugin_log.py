"""What plugins write with the loggers of the standard library."""

from __future__ import annotations

import textwrap

import pytest

MODULE = """
import logging

logger = logging.getLogger(__name__)


class Backend:
    def run(self, model_run, **settings):
        logger.debug("backend debug")
        logger.info("backend info")
        logger.warning("backend warning")
        return True


class Processor:
    def process(self, model_run):
        logger.info("processor info")
        return {"success": True, "message": ""}


class Config:
    def __call__(self, runtime):
        logger.info("config info")
        logger.warning("config warning %s", 1)
        print("something else")

    def run(self, model_run):
        logger.info("hook info")
        logger.warning("hook warning")
        return True
"""

SINK = """
import logging
import chatty
lines = []
logger.remove()
logger.add(lambda m: lines.append((m.record["level"].name, m.record["extra"].get("run_id"),
                                   m.record["name"], m.record["message"])))
"""


@pytest.fixture
def driver(tmp_path, start_driver):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "chatty.py").write_text(MODULE)

    def run(code):
        started = start_driver(SINK + textwrap.dedent(code), PYTHONPATH=str(tmp_path / "site"))
        assert started.wait() == 0, started.output
        return started.output

    return run


def test_messages_of_plugins_are_lines_of_their_run_in_the_python_api(driver):
    output = driver("""
        run = ModelRun(run_id="x", output_dir="runs", config=chatty.Config())
        assert run.run(chatty.Backend)
        assert run.postprocess(chatty.Processor)["success"]
        for line in lines:
            if line[2] == "chatty":
                say(line)
        say(logging.getLogger().handlers)
        logging.getLogger("chatty").info("outside of a run")
        say(len([line for line in lines if "outside" in line[3]]))
    """)
    assert output.splitlines() == [
        "something else",
        "('INFO', 'x', 'chatty', 'config info')",
        "('WARNING', 'x', 'chatty', 'config warning 1')",
        "('INFO', 'x', 'chatty', 'backend info')",
        "('WARNING', 'x', 'chatty', 'backend warning')",
        "('INFO', 'x', 'chatty', 'processor info')",
        "[]",
        "0",
    ]


def test_a_program_that_has_configured_logging_keeps_its_configuration(driver):
    output = driver("""
        logging.basicConfig(level=logging.WARNING, format="mine: %(message)s", stream=sys.stdout)
        assert ModelRun(run_id="x", output_dir="runs", config=chatty.Config()).run(chatty.Backend)
        say([line for line in lines if line[2] == "chatty"])
    """)
    assert output.splitlines() == [
        "mine: config warning 1",
        "something else",
        "mine: backend warning",
        "[]",
    ]


def test_messages_of_config_run_are_in_the_log_of_its_run(driver, tmp_path):
    driver("assert ModelRun(run_id='x', output_dir='runs', config=chatty.Config()).run()")
    log = (tmp_path / "runs" / "x" / "run.log").read_text()
    assert log == "INFO chatty: hook info\nWARNING chatty: hook warning\n"


def test_messages_of_a_configuration_that_writes_its_inputs_in_a_child_process_are_logged(driver):
    output = driver("""
        import threading
        run = ModelRun(run_id="x", output_dir="runs", config=chatty.Config())
        thread = threading.Thread(target=run.generate)
        thread.start()
        thread.join()
        for line in lines:
            if "generated" not in line[3]:
                say(line[:2] + line[3:])
    """)
    assert output.splitlines() == [
        "('INFO', 'x', 'chatty: config info')",
        "('WARNING', 'x', 'chatty: config warning 1')",
        "('DEBUG', 'x', 'something else')",
    ]
