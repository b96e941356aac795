"""The same calls with rompy or with this package, and what they return or raise: `calls.py PACKAGE`.

Prints JSON: a list of calls by name, each with `returns`, or `raises` and `message`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rompy.core.config import BaseConfig
from rompy.postprocess.config import BasePostprocessorConfig

if sys.argv[-1] == "rompy":
    from rompy.backends import LocalConfig
    from rompy.model import ModelRun
    from rompy.pipeline import LocalPipelineBackend
    from rompy.postprocess import NoopPostprocessor
    from rompy.postprocess.config import NoopPostprocessorConfig as Noop
    from rompy.run import LocalRunBackend
else:
    from rompy_hydra import LocalConfig, LocalPipelineBackend, LocalRunBackend, ModelRun, NoopPostprocessor
    from rompy_hydra import NoopPostprocessor as Noop

HERE = Path(tempfile.gettempdir(), f"calls-{os.getpid()}")
OK = LocalConfig(command="echo done > out.txt")
FAILS = LocalConfig(command="echo broken; exit 3")


class Processor(BasePostprocessorConfig):
    """The configuration of a postprocessor that fails in one of two ways."""

    type: str = "processor"
    how: str

    def get_postprocessor_class(self) -> type:
        return _Processor


class _Processor:
    def process(self, model_run: Any, how: str, **_more: object) -> dict[str, object]:
        if how == "raises":
            raise RuntimeError("no such variable")
        return {"success": how == "succeeds", "message": f"it {how}", "size": 3}


def run(name: str, **fields: Any) -> Any:
    config = BaseConfig(**fields.pop("config", {}))
    return ModelRun(run_id=name, output_dir=HERE, config=config, **fields)


def after_run(name: str, **fields: Any) -> Any:
    model = run(name, **fields)
    model.run(OK)
    return model


def no_template(name: str) -> Any:
    return run(name, config={"template": "/there/is/no/template"})


CALLS: dict[str, Callable[[str], object]] = {
    "generate": lambda name: run(name).generate(),
    "run": lambda name: run(name).run(OK),
    "run a failing command": lambda name: run(name).run(FAILS),
    "run a missing command": lambda name: run(name).run(LocalConfig(command="no-such-program")),
    "run with variables": lambda name: run(name).run(
        LocalConfig(command='echo > out; test "$DEPTH" = 3', env_vars={"DEPTH": "3"})
    ),
    "run in another directory": lambda name: run(name).run(
        LocalConfig(command=f'test "$PWD" = {HERE}', working_dir=str(HERE))
    ),
    "run nothing": lambda name: run(name).run(LocalConfig()),
    "run without inputs": lambda name: no_template(name).run(OK),
    "run with nothing": lambda name: run(name).run(None),
    "postprocess": lambda name: after_run(name).postprocess(Noop()),
    "postprocess nothing": lambda name: run(name).postprocess(Noop()),
    "postprocess nothing unchecked": lambda name: run(name).postprocess(Noop(validate_outputs=False)),
    "postprocess elsewhere": lambda name: after_run(name).postprocess(Noop(), output_dir=str(HERE / "no")),
    "postprocess with an own processor": lambda name: after_run(name).postprocess(
        Processor(how="succeeds")
    ),
    "postprocess with a failure": lambda name: after_run(name).postprocess(Processor(how="fails")),
    "postprocess with an error": lambda name: after_run(name).postprocess(Processor(how="raises")),
    "postprocess with nothing": lambda name: after_run(name).postprocess(None),
    "pipeline": lambda name: run(name).pipeline("local", backend_config=OK, processor=Noop()),
    "pipeline with an own processor": lambda name: run(name).pipeline(
        backend_config=OK, processor=Processor(how="succeeds")
    ),
    "pipeline with a failing command": lambda name: run(name).pipeline(
        backend_config=FAILS, processor=Noop()
    ),
    "pipeline without inputs": lambda name: no_template(name).pipeline(backend_config=OK, processor=Noop()),
    "pipeline with a failed processor": lambda name: run(name).pipeline(
        backend_config=OK, processor=Processor(how="fails")
    ),
    "pipeline with an error in its processor": lambda name: run(name).pipeline(
        backend_config=OK, processor=Processor(how="raises")
    ),
    "pipeline with a name and settings": lambda name: run(name).pipeline(
        run_backend="local", run_kwargs={"command": "echo > out"}, processor=Noop()
    ),
    "pipeline with a wrong setting": lambda name: run(name).pipeline(
        run_backend="local", run_kwargs={"command": "echo > out", "comand": "x"}, processor=Noop()
    ),
    "pipeline with an unknown backend": lambda name: run(name).pipeline(
        run_backend="cloud", processor=Noop()
    ),
    "pipeline without a backend": lambda name: run(name).pipeline(processor=Noop()),
    "pipeline without a processor": lambda name: run(name).pipeline(backend_config=OK, processor=None),
    "pipeline of an unknown name": lambda name: run(name).pipeline("cloud"),
    "pipeline of nothing": lambda name: LocalPipelineBackend().execute(None),
    "pipeline of no run": lambda name: LocalPipelineBackend().execute(object()),
    "backend of nothing": lambda name: LocalRunBackend().run(None, LocalConfig()),
    "backend of no run": lambda name: LocalRunBackend().run(object(), LocalConfig()),
    "processor of nothing": lambda name: NoopPostprocessor().process(None),
    "processor of no run": lambda name: NoopPostprocessor().process(object()),
    "an unknown setting of a backend": lambda name: LocalConfig(comand="x"),
    "a wrong time limit": lambda name: LocalConfig(timeout=-5),
    "an unknown field": lambda name: ModelRun(outputdir="x"),
    "an unknown model": lambda name: ModelRun(config={"model_type": "no such model"}),
    "a model of data": lambda name: type(ModelRun(config={"model_type": "base"}).config).__name__,
}
# What is caught by those who call rompy.
CAUGHT = (TimeoutError, ValueError, TypeError, LookupError, OSError, RuntimeError, Exception)


def outcome(name: str, call: Callable[[str], object]) -> dict[str, object]:
    try:
        returned = call(name.replace(" ", "_"))
    except Exception as error:  # noqa: BLE001 - what it is is the result
        kinds = [kind.__name__ for kind in CAUGHT if isinstance(error, kind)]
        return {"raises": kinds, "message": str(error)}
    return {"returns": returned if isinstance(returned, dict | bool) else str(returned)}


if __name__ == "__main__":
    found = {name: outcome(name, call) for name, call in CALLS.items()}
    sys.stdout.write("\n" + json.dumps(found, default=str).replace(str(HERE), "HERE") + "\n")
