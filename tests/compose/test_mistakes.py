"""Mistakes of users: each message names the cause and the solution, and nothing on disk changes."""

from __future__ import annotations

import os
import re

import pytest

from rompy_hydra import __version__

TEMPLATE = ("model=template", "model.commands=[ls]")
GLOBAL = "# @package _global_\n"

LAKE = (
    "defaults: [template]\ntemplate: template\nparameters: {h: {value: 1, max: 3}}\n"
    "commands: ['echo > out']\n"
)

FILES = {
    "template/in.txt": "{{ model.h }}",
    "experiment/good.yaml": f"{GLOBAL}model: {{friction: 0.3}}\n",
    "experiment/lost.yaml": "model: {friction: 0.3}\n",
    "experiment/lost_defaults.yaml": "defaults: [{override /model: beach}]\nmodel: {friction: 0.3}\n",
    "experiment/no_slash.yaml": f"{GLOBAL}defaults: [{{override model: beach}}]\n",
    "experiment/no_override.yaml": f"{GLOBAL}defaults: [{{model: beach}}]\n",
    "experiment/slash_only.yaml": f"{GLOBAL}defaults: [{{/model: beach}}]\n",
    "experiment/top_level.yaml": f"{GLOBAL}friction: 0.3\noutputdir: elsewhere\n",
    "main_file.yaml": "defaults: [config, _self_]\noverwrit: true\n",
    "experiment/misspelt.yaml": f"{GLOBAL}modle: {{friction: 0.3}}\n",
    "experiment/vars.yaml": GLOBAL + "vars: {rough: 0.3, other: 1}\nmodel: {friction: '${vars.rough}'}\n",
    "experiment/alias.yaml": GLOBAL + "rough: 0.3\nmodel: {friction: '${rough}'}\n",
    "experiment/two.yaml": GLOBAL + "processor: {map: {dpi: 90}}\ndefaults: [{override /processor: map}]\n",
    "experiment/model_text.yaml": f"{GLOBAL}model: beach\n",
    "experiment/period_text.yaml": f"{GLOBAL}period: one_day\n",
    "experiment/backend_text.yaml": f"{GLOBAL}run_backend: local\n",
    "experiment/pipeline_text.yaml": f"{GLOBAL}pipeline: local\n",
    "experiment/processor_text.yaml": f"{GLOBAL}processor: map\n",
    "experiment/processor_list.yaml": f"{GLOBAL}processor: [summary, map]\n",
    "experiment/site_text.yaml": f"{GLOBAL}site: workstation\n",
    "experiment/sweep_text.yaml": f"{GLOBAL}sweep: standard\n",
    "experiment/model_null.yaml": f"{GLOBAL}model: null\n",
    "experiment/swept.yaml": GLOBAL + "hydra: {sweeper: {params: {model.friction: '0.1,0.2'}}}\n",
    "experiment/cases.yaml": f"{GLOBAL}sweep: {{cases: table.csv}}\n",
    "experiment/sweep_typo.yaml": f"{GLOBAL}sweep: {{nme: x}}\n",
    "experiment/day.yaml": f"{GLOBAL}defaults: [{{override /period: one_day}}]\n",
    "experiment/own_period.yaml": f"{GLOBAL}period: {{duration: 2d}}\n",
    "experiment/no_hydra.yaml": f"{GLOBAL}hydra: null\n",
    "experiment/no_sweeper.yaml": f"{GLOBAL}hydra: {{sweeper: null}}\n",
    "experiment/no_launcher.yaml": f"{GLOBAL}hydra: {{launcher: null}}\n",
    "experiment/listed_params.yaml": f"{GLOBAL}hydra: {{sweeper: {{params: [a]}}}}\n",
    "experiment/hydra_typo.yaml": f"{GLOBAL}hydra: {{job: {{chdirr: true}}}}\n",
    "experiment/job_number.yaml": f"{GLOBAL}hydra: {{job: {{num: 3}}}}\n",
    "experiment/dotted.yaml": f"{GLOBAL}model.friction: 0.1\n",
    "experiment/marked.yaml": f"\ufeff{GLOBAL}model: {{friction: 0.1}}\n",
    "model/range_mapping.yaml": f"{LAKE}success: {{range: {{file: o.nc, variable: h, min: 0}}}}\n",
    "model/commands_mapping.yaml": f"{LAKE}files: {{source: x}}\n",
    "model/one_file.yaml": f"{LAKE}success: {{must_exist: o.nc}}\nfiles: x\n",
    "model/empty_list.yaml": f"{LAKE}success: {{must_exist: , allow: no_output}}\n",
    "model/counted.yaml": f"{LAKE}success: {{count: [{{file: a.csv, min: 5, max: 2}}]}}\n",
    "model/limited.yaml": f"{LAKE}",
    "model/suffix.yml": f"{LAKE}",
    "model/binary.yaml": b"\x00\x01\xff\xfe",
    "model/empty.yaml": "# nothing\n",
    "model/a_list.yaml": "- a\n",
    "model/text.yaml": "just text\n",
    "model/untyped.yaml": "friction: 0.3\n",
    "a file": "text",
}


@pytest.fixture
def configs(sweeps):
    """The command line, with the files of this page in its configuration directory."""
    for name, content in FILES.items():
        place = sweeps.directory if name.startswith("template/") else sweeps.configs
        path = place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return sweeps


MISTAKES = {
    # Keys that nothing reads.
    "added key": (
        ["+friction=0.02"],
        "friction = 0.02: no part of the program reads this key. Did you mean model.friction?",
    ),
    "forced key": (
        ["++friction=0.02"],
        "no part of the program reads this key. Did you mean model.friction?",
    ),
    "misspelt added key": (
        ["+fricton=0.02"],
        "Did you mean model.friction?",
    ),
    "unknown key": (
        ["friction=0.02"],
        "friction: there is no key or group 'friction'. Did you mean model.friction?",
    ),
    "added parameter": (
        [*TEMPLATE, "model.template=.", "+depth=3"],
        "Did you mean +model.parameters.depth?",
    ),
    "added node": (
        ["+modle.friction=0.02"],
        "modle.friction = 0.02: no part of the program reads this key. Did you mean model.friction?",
    ),
    "added package": (
        ["+processor@extra.noop=noop"],
        "extra: no part of the program reads this key",
    ),
    "unread variable": (
        ["+vars.friction=0.02"],
        "vars.friction = 0.02: no part of the program reads this key. Did you mean model.friction?",
    ),
    "unread variable of a file": (
        ["experiment=vars", "vars.other=2"],
        "vars.other = 2: no part of the program reads this key",
    ),
    "key of a file": (
        ["experiment=top_level"],
        "friction = 0.3: no part of the program reads this key. Did you mean model.friction?",
    ),
    "misspelt node of a file": (
        ["experiment=misspelt"],
        "modle: no part of the program reads this key. Did you mean model?",
    ),
    "misspelt directory in a file": (
        ["experiment=top_level"],
        "outputdir = 'elsewhere': no part of the program reads this key. Did you mean output_dir?",
    ),
    "misspelt setting in a main file": (
        ["--config-name", "main_file"],
        "overwrit = True: no part of the program reads this key. Did you mean overwrite?",
    ),
    "misspelt setting in the main file of a sweep": (
        ["--config-name", "main_file", "-m", "model.wave_height=1,2"],
        "Did you mean overwrite?",
    ),
    "swept added key": (
        ["-m", "+friction=0.02,0.03"],
        "no part of the program reads this key",
    ),
    "constant added key": (
        ["-m", "+friction=0.02", "model.wave_height=1,2"],
        "no part of the program reads this key",
    ),
    "checked added key": (
        ["check", "+friction=0.02"],
        "Did you mean model.friction?",
    ),
    # Files of experiments.
    "no package": (
        ["experiment=lost"],
        "experiment=lost puts its values below 'experiment', where no part of the program "
        "reads them. Start its file with '# @package _global_'",
    ),
    "no package in a sweep": (
        ["-m", "experiment=lost,good"],
        "Start its file with '# @package _global_'",
    ),
    "no package, with defaults": (
        ["experiment=lost_defaults"],
        "'override /model' in experiment/lost_defaults.yaml applies below 'experiment', "
        "where nothing is selected. Start the file with '# @package _global_'",
    ),
    "override without slash": (
        ["experiment=no_slash"],
        "'override model' in experiment/no_slash.yaml has no slash. Write: override /model: OPTION",
    ),
    "option without override": (
        ["experiment=no_override"],
        "'model: beach' in experiment/no_override.yaml selects an option below "
        "'experiment'. Write: override /model: beach",
    ),
    "option without override, with slash": (
        ["experiment=slash_only"],
        "model is selected a second time, by the defaults list of experiment=slash_only. "
        "Write there: override /model: OPTION",
    ),
    "option of Hydra": (
        ["hydra/launcher=nope"],
        "hydra/launcher=nope: there is no such option. Choices: basic",
    ),
    **{
        f"{key} as a text": (
            [f"experiment={file}"],
            f"{key} = '{name}': is a text, and {key} has settings. To select an option, write "
            f"`override /{key}: {name}` under `defaults`",
        )
        for file, key, name in [
            ("model_text", "model", "beach"),
            ("period_text", "period", "one_day"),
            ("backend_text", "run_backend", "local"),
            ("pipeline_text", "pipeline", "local"),
            ("processor_text", "processor", "map"),
            ("site_text", "site", "workstation"),
            ("sweep_text", "sweep", "standard"),
        ]
    },
    "model as a text, and a command": (
        ["experiment=model_text", "run_backend.command=ls"],
        "write `override /model: beach` under `defaults`",
    ),
    "model as a text, and a value": (
        ["experiment=model_text", "model.friction=0.1"],
        "model.friction: model is the text 'beach'. To select an option in a file, write `override "
        "/model: beach` under `defaults`",
    ),
    "model as a text in a sweep": (
        ["-m", "experiment=model_text,good"],
        "write `override /model: beach` under `defaults`",
    ),
    "no model": (
        ["experiment=model_null"],
        "model: has no settings (null). Select an option: model=OPTION",
    ),
    "processors as a list": (
        ["experiment=processor_list"],
        "processor = ['summary', 'map']: names are not settings. To select several, write "
        "`/processor/summary@processor.summary`, `/processor/map@processor.map` and `override "
        "/processor: none` under `defaults`",
    ),
    "unknown key of the pipeline": (
        ["+pipeline.cleanup_on_failur=true"],
        "pipeline.cleanup_on_failur = True: no such key. Did you mean 'cleanup_on_failure'?",
    ),
    "unknown key of the pipeline in a sweep": (
        ["-m", "+pipeline.cleanup_on_failur=true", "model.friction=0.1,0.2"],
        "Did you mean 'cleanup_on_failure'?",
    ),
    # Sweeps in files.
    "sweep in an experiment": (
        ["experiment=swept"],
        "this is a sweep (hydra.sweeper.params): add -m. For one run with the other values, add "
        "hydra.mode=RUN",
    ),
    "cases in an experiment": (
        ["experiment=cases"],
        "this is a sweep (sweep.cases): add -m",
    ),
    "checked sweep in an experiment": (
        ["check", "experiment=swept"],
        "this is a sweep (hydra.sweeper.params): add -m",
    ),
    "misspelt setting of a sweep": (
        ["experiment=sweep_typo"],
        "sweep.nme = 'x': no such key. Did you mean 'name'?",
    ),
    "sweep with a list of params": (
        ["-m", "experiment=listed_params"],
        "hydra.sweeper.params = ['a']: must be a mapping from keys to values, such as "
        "{model.friction: '0.01,0.02'}",
    ),
    # Hydra's part of the configuration.
    **{
        f"{key} is null": (
            ["experiment=" + file],
            f"{key}: must not be null (experiment/{file}.yaml). Leave it out",
        )
        for key, file in [
            ("hydra", "no_hydra"),
            ("hydra.sweeper", "no_sweeper"),
            ("hydra.launcher", "no_launcher"),
        ]
    },
    "no sweeper for a sweep": (
        ["-m", "experiment=no_sweeper"],
        "hydra.sweeper: must not be null",
    ),
    "no launcher for a sweep": (
        ["-m", "experiment=no_launcher"],
        "hydra.launcher: must not be null",
    ),
    "environment variable to copy": (
        ["hydra.job.env_copy=[NOPE]"],
        "hydra.job.env_copy: the environment variable NOPE is not set",
    ),
    "unknown key of Hydra": (
        ["+hydra.nonsense=1"],
        "hydra.nonsense = 1: has no effect here",
    ),
    "misspelt key of Hydra": (
        ["+hydra.job.chdirr=true"],
        "hydra.job.chdirr = True: has no effect here. Did you mean 'hydra.job.chdir'?",
    ),
    "misspelt key of Hydra in a sweep": (
        ["-m", "+hydra.job.chdirr=true", "hydra/launcher=basic"],
        "hydra.job.chdirr = True: has no effect here",
    ),
    "misspelt key of Hydra in a file": (
        ["experiment=hydra_typo"],
        "hydra.job.chdirr: there is no such key (experiment/hydra_typo.yaml). Did you mean 'chdir'?",
    ),
    "workers of a single run": (
        ["hydra.launcher.workers=7"],
        "hydra.launcher.workers = 7: is a setting of a sweep. Add -m",
    ),
    "launcher of a single run": (
        ["hydra/launcher=basic"],
        "hydra/launcher = 'basic': is a setting of a sweep. Add -m",
    ),
    "sweeper params of a single run": (
        ["hydra.sweeper.params={model.friction: '0.1,0.2'}"],
        "hydra.sweeper.params: is a setting of a sweep. Add -m",
    ),
    "what Hydra computes": (
        ["hydra.runtime.cwd=/tmp"],
        "hydra.runtime.cwd = '/tmp': has no effect here",
    ),
    "number of a job": (
        ["hydra.job.num=3"],
        "hydra.job.num = 3: has no effect here",
    ),
    "number of a job in a file": (
        ["experiment=job_number"],
        "hydra.job.num = 3: has no effect here",
    ),
    "optimising without an objective": (
        ["-m", "hydra/sweeper=optuna", "model.friction=interval(0.01,0.1)"],
        "hydra/sweeper=optuna needs the metric that it optimises. Set sweep.objective=METRIC",
    ),
    "optimising with params in the command": (
        ["-m", "hydra/sweeper=optuna", "hydra.sweeper.params={model.friction: 'interval(0.01,0.1)'}"],
        "hydra.sweeper.params has no value, which a command cannot replace by a mapping. Write the values "
        "into the command: model.friction=...",
    ),
    "sweeper that is not installed": (
        ["-m", "hydra/sweeper=ax", "model.friction=interval(0.01,0.1)"],
        "hydra/sweeper=ax is not installed. Run: pip install hydra-ax-sweeper",
    ),
    "objectives without a direction each": (
        ["-m", "hydra/sweeper=optuna", "sweep.objective=[a,b]", "model.friction=interval(0.01,0.1)"],
        "sweep.objective has 2 metrics, and hydra.sweeper.direction 1 value. Set "
        "'hydra.sweeper.direction=[minimize,minimize]'",
    ),
    # Lists and mappings.
    "mapping instead of a list": (
        ["model=range_mapping"],
        "model.success.range is a mapping in model/range_mapping.yaml, and must be a list: [{...}]",
    ),
    "mapping instead of a list of files": (
        ["model=commands_mapping"],
        "model.files is a mapping in model/commands_mapping.yaml, and must be a list: [{...}]",
    ),
    "mapping instead of a list, in the command": (
        ["model.success.range={file: x}"],
        "model.success.range is a list, and not a mapping. Write model.success.range=[{file: x}]",
    ),
    "text instead of a list": (
        ["model=one_file"],
        "model.success.must_exist = 'o.nc': must be a list. Write [o.nc]",
    ),
    "text instead of a list of files": (
        ["model=one_file"],
        "model.files = 'x': must be a list. Write [x]",
    ),
    "nothing instead of a list": (
        ["model=empty_list"],
        "model.success.must_exist: must be a list, and has no value. Write [], or leave it out",
    ),
    "text instead of a list of what is allowed": (
        ["model=empty_list"],
        "model.success.allow = 'no_output': must be a list. Write [no_output]",
    ),
    "count of nothing": (
        ["model=counted"],
        "min: 5 is above max, 2",
    ),
    # Programs.
    "template file that is not executable": (
        ["model=limited", "model.commands=[[./in.txt]]"],
        "the program './in.txt' is an input file that is not executable (command: ['./in.txt']). Make its "
        "template executable: chmod +x, or start it with its interpreter, as in [sh, ./in.txt]",
    ),
    "program after an environment variable": (
        ["model=limited", "model.commands=['OMP_NUM_THREADS=2 nosuch --fast']"],
        "the program 'nosuch' was not found on PATH",
    ),
    # Parameters and their limits.
    "checks under the run": (
        ["success.must_exist=[x.nc]"],
        "success.must_exist: success is null. Write +success.must_exist=...",
    ),
    "limit of a parameter": (
        ["model=limited", "model.parameters.h.max=99"],
        "model.parameters.h.max: model.parameters.h is a plain value. Did you mean "
        "model.parameter_limits.h.max?",
    ),
    "list for a scalar": (
        ["model=limited", "model.parameters.h=[1,2]"],
        "model.parameters.h = [1, 2]: must be a number of at most 3, not a list",
    ),
    "added parameter with limits": (
        ["model=limited", "+h=3"],
        "Did you mean model.parameters.h?",
    ),
    "suffix of a file": (
        ["model=suffix"],
        "model=suffix: there is no such option, but a file model/suffix.yml. Rename it to suffix.yaml",
    ),
    # Files of experiments, again.
    "key with a dot": (
        ["experiment=dotted"],
        "experiment/dotted.yaml: the key 'model.friction' has a dot, which YAML does not divide. Write: "
        "model: {friction: ...}",
    ),
    "mark at the start": (
        ["experiment=marked"],
        "experiment/marked.yaml starts with a byte order mark. Save it as UTF-8 without one",
    ),
    # A period that the model does not use.
    "period of an experiment": (
        ["experiment=day"],
        "period = 'one_day': the model does not use the period (Beach). Leave period out of "
        "experiment/day.yaml",
    ),
    "values of the period of an experiment": (
        ["experiment=own_period"],
        "period: the model does not use the period (Beach). Leave period out of experiment/own_period.yaml",
    ),
    "period of an experiment in a sweep": (
        ["-m", "experiment=day", "model.friction=0.1,0.2"],
        "the model does not use the period (Beach)",
    ),
    "end of an unused period": (
        ["model.success.last_time=[{file: profile.csv}]"],
        "model.success.last_time[0].reaches = 'end': the model does not use the period (Beach). Give a "
        "date or a number",
    ),
    "end of an unused period, under the run": (
        ["+success.last_time=[{file: profile.csv}]"],
        "success.last_time[0].reaches = 'end': the model does not use the period (Beach)",
    ),
    # Files that are not configurations.
    "binary file": (
        ["model=binary"],
        "model/binary.yaml is not a text file (byte 2 is not UTF-8). A configuration is YAML text",
    ),
    "empty file": (
        ["model=empty"],
        "model/empty.yaml is empty. Write its keys into it, starting with _target_",
    ),
    "a list": (
        ["model=a_list"],
        "model/a_list.yaml is a list, and a configuration has keys. Write lines such as 'key: value'",
    ),
    "plain text": (
        ["model=text"],
        "model/text.yaml is plain text, and a configuration has keys. Write lines such as 'key: value'",
    ),
    "no class": (
        ["model=untyped"],
        "model: has no _target_, the class that it configures. Start its file with a line "
        "such as '_target_: rompy_hydra.models.TemplateModel'",
    ),
    # Values.
    "flat zip": (
        [
            "-m",
            "sweep.zip=[model.friction,model.wave_height]",
            "model.friction=0.1,0.2",
            "model.wave_height=1,2",
        ],
        "must be a list of groups of keys. Write sweep.zip=[[model.friction,model.wave_height]]",
    ),
    "duration": (
        ["run_backend.timeout=soon"],
        "run_backend.timeout = 'soon': is not a duration. Write seconds, or a number with "
        "a unit such as 90s, 15M, 1h or 2d",
    ),
    "environment": (
        ["run_id=${oc.env:NOWHERE}"],
        "run_id: the environment variable NOWHERE is not set. Set it, or give a default: "
        "${oc.env:NOWHERE,DEFAULT}",
    ),
    "environment of a point": (
        ["-m", "model.friction=${oc.env:NOWHERE},0.1"],
        "the environment variable NOWHERE is not set",
    ),
    "template is a file": (
        [*TEMPLATE, "model.template={configs}/a file"],
        "{configs}/a file is a file, and model.template must be a directory. Move the file "
        "into a directory of its own",
    ),
    "word as boolean": (
        [*TEMPLATE, "model.template=.", "model.commands=[true]"],
        "model.commands[0] = True: YAML reads words such as true",
    ),
    # Overrides.
    "curly quotes": (
        ["run_id=“a b”"],
        "'run_id=“a b”' has curly quotes. Type straight ones: run_id=\"a b\"",
    ),
    "two equals signs": (
        ["model.friction==0.2"],
        "'model.friction==0.2' has two equals signs. Write model.friction=0.2",
    ),
    "processor of another name": (
        ["processor.map.dpi=100"],
        "processor.map.dpi: the processor is 'summary', not 'map'. Add processor=map, or "
        "processor=[summary,map]",
    ),
    "short form of several": (
        ["processor=[summary,map]", "processor.dpi=100"],
        "processor.dpi: there are several processors. Write processor.map.dpi=...",
    ),
    "unknown key of one of several": (
        ["processor=[summary,map]", "processor.map.dip=100"],
        "Did you mean 'dpi'?",
    ),
    "unknown key in the long form": (
        ["processor=map", "processor.map.dip=100"],
        "Did you mean 'dpi'?",
    ),
    "params with a dot": (
        ["-m", "hydra.sweeper.params.model.friction=0.1,0.2"],
        "write the values into the command: model.friction=0.1,0.2",
    ),
    "params as a tree": (
        ["-m", "+hydra.sweeper.params.model.friction=[1,2]"],
        "hydra.sweeper.params: 'model' has keys below it",
    ),
    # Commands and flags.
    "command": (
        ["chek"],
        "there is no command 'chek'. Did you mean 'check'?",
    ),
    "command after an option": (
        ["run_id=x", "chek"],
        "there is no command 'chek'. Did you mean 'check'?",
    ),
    "command in capitals": (
        ["Check"],
        "there is no command 'Check'. Did you mean 'check'?",
    ),
    "command with an argument": (
        ["plugin", "processor"],
        "there is no command 'plugin'. Did you mean 'plugins'?",
    ),
    "flag": (
        ["--dryrun"],
        "there is no option --dryrun. Did you mean '--dry-run'?",
    ),
    "flag with a value": (
        ["--confg-dir=x"],
        "there is no option --confg-dir. Did you mean '--config-dir'?",
    ),
    "flag of a command": (
        ["plugins", "--jsn"],
        "there is no option --jsn. Did you mean '--json'?",
    ),
    "flag of new": (
        ["new", "model", "x", "--dirctory=y"],
        "there is no option --dirctory. Did you mean '--directory'?",
    ),
    "choice of a flag": (
        ["--info", "defalts"],
        "Did you mean 'defaults'?",
    ),
    "flag without its value": (
        ["--config-name"],
        "expected one argument",
    ),
    "kind of package": (
        ["new", "modl", "x"],
        "Did you mean 'model'?",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_with_its_cause_and_the_solution(configs, arguments, message):
    before = configs.snapshot()
    here = str(configs.configs)
    out = configs.run(*(line.replace("{configs}", here) for line in arguments), code=2)
    # A table of the problems of a sweep has the solution in a column of its own.
    shown = re.sub(r"\s+", " ", out).replace(f"{here}/", "") if "-m" in arguments else out
    expected = message.replace("{configs}", here)
    assert expected in shown or re.sub(r"\. (?=[A-Z])", " ", expected) in shown
    assert "Traceback" not in out
    assert "usage:" not in out
    assert configs.snapshot() == before


@pytest.mark.parametrize("key", ["friction", "models.friction", "modle"])
def test_a_new_top_level_key_is_not_recommended(configs, key):
    assert f"+{key}" not in configs.run(f"{key}=0.02", code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["experiment=vars"],
        ["experiment=vars", "vars.rough=0.4"],
        ["experiment=alias", "rough=0.4"],
        ["+rough=0.4", "model.friction=${rough}"],
        ["+vars.deep.rough=0.4", "model.friction=${vars.deep.rough}"],
        ["+rough=0.4", "model.friction=${oc.select:rough}"],
        ["-m", "+rough=0.4,0.5", "model.friction=${rough}"],
        ["-m", "experiment=alias", "rough=0.4,0.5"],
    ],
)
def test_a_key_that_another_value_refers_to_is_accepted(configs, arguments):
    configs.run(*arguments, "--dry-run")


def test_a_float_range_without_a_step_is_warned_about(configs):
    for arguments in (["-m", "--dry-run"], ["check", "-m"]):
        out = configs.run(*arguments, "model.friction=range(0.01,0.05)")
        assert "model.friction=range(0.01,0.05) has no step, so it counts in steps of 1: 1 value" in out
        assert "such as range(0.01,0.05,0.01)" in out
    for range_ in ("range(0.01,0.05,0.01)", "range(start=0.01,stop=0.05,step=0.01)", "range(0,1)"):
        assert "WARNING" not in configs.run("-m", "--dry-run", f"model.friction={range_}")
    assert "WARNING" in configs.run("-m", "--dry-run", "model.friction=shuffle(range(start=0.1,stop=1))")


@pytest.mark.parametrize(("typed", "seconds"), [("1h", 3600), ("90s", 90), ("2.5", 2.5), ("PT1M", 60)])
def test_a_time_limit_may_have_a_unit(configs, typed, seconds):
    overrides = [f"run_backend.timeout={typed}", f"run_backend.kill_grace={typed}", "processor=noop"]
    configs.run(*overrides, "run_id=timed")
    assert f'"timeout": {float(seconds)}' in (configs.directory / "runs/timed/run.json").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["processor=map", "processor.map.dpi=99"],
        ["processor=map", "processor.dpi=99"],
        ["processor=[summary,map]", "processor.map.dpi=99"],
        ["experiment=two", "processor.map.dpi=99"],
        ["-m", "processor=map", "processor.map.dpi=99,98"],
        ["-m", "processor=map", "processor.map.dpi=99", "model.friction=0.1,0.2"],
    ],
)
def test_a_setting_of_one_processor_may_name_it_as_with_several(configs, arguments):
    configs.run(*arguments, "--dry-run")


def test_the_long_form_of_a_setting_sets_the_value(configs):
    for overrides in (
        ["processor=map", "processor.map.dpi=99"],
        ["experiment=two", "processor.map.dpi=99"],
    ):
        shown = configs.run("--cfg", "job", "--resolve", "--package", "processor", *overrides)
        assert "dpi: 99\n" in shown
        assert "\nmap:" not in shown
    assert "dpi: 90\n" in configs.run("--cfg", "job", "--package", "processor", "experiment=two")
    configs.run("-m", "processor=noop", "processor.noop.validate_outputs=true,false")
    shown = [path.read_text() for path in configs.directory.glob("sweeps/beach/*/run.json")]
    assert sorted('"validate_outputs": false' in text for text in shown) == [False, True]


@pytest.mark.parametrize("sign", ["+", "++"])
@pytest.mark.parametrize("group", ["experiment=good", "model=beach", "processor=noop"])
def test_a_group_may_be_selected_with_a_plus_as_in_other_programs(configs, sign, group):
    assert configs.run(f"{sign}{group}", "--dry-run") == configs.run(group, "--dry-run")
    assert configs.run("-m", f"{sign}{group}", "--dry-run") == configs.run("-m", group, "--dry-run")


def test_an_environment_variable_with_a_default_needs_no_value(configs):
    assert "NOWHERE" not in os.environ
    assert "run        x:" in configs.run("run_id=${oc.env:NOWHERE,x}", "--dry-run")


def test_the_help_lists_the_commands_and_the_dry_run(configs):
    out = configs.run("--help")
    for line in ("rompy-hydra check ", "rompy-hydra plugins ", "rompy-hydra new ", "--dry-run"):
        assert line in out


def test_a_successful_check_of_a_sweep_says_so(configs):
    out = configs.run("check", "-m", "model.friction=0.1,0.2")
    assert out.endswith(
        "2 points in sweeps/beach: 2 to run\ncheck      no problems found; nothing was changed\n"
    )


def test_a_refused_sweep_advises_another_name_of_the_sweep(configs):
    command = ("-m", "experiment=good", "processor=noop", "model.wave_height=1,2")
    configs.run(*command)
    (configs.configs / "experiment/good.yaml").write_text(f"{GLOBAL}model: {{friction: 0.4}}\n")
    out = configs.run(*command, code=2)
    assert "holds another configuration" in out
    assert "Choose another sweep.name" in out
    assert "run_id" not in out


def test_the_version_is_that_of_this_program(configs):
    for arguments in (["--version"], ["model.friction=0.1", "--version"]):
        assert configs.run(*arguments) == f"rompy-hydra {__version__}\n"


def test_a_program_after_an_environment_variable_is_found(configs):
    for command in ("A=1 B=x/y ls > out", "PATH=/opt nosuch", "A='1 2' nosuch", "A=1", "A=1 ./in.sh"):
        script = configs.directory / "template/in.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        configs.run("model=limited", f'model.commands=["{command}"]', "--dry-run")
