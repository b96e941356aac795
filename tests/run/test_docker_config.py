"""Which settings the docker backend accepts; requires no engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rompy_hydra import BaseConfig, DockerConfig, DockerRunBackend, LocalConfig
from rompy_hydra.errors import ConfigError
from rompy_hydra.run.docker.config import Volume, parse_size, parse_volume

CONF = Path(__file__).parents[2] / "conf" / "run_backend" / "docker.yaml"


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/data:/in", Volume("/data", "/in")),
        ("/data:/in:rw", Volume("/data", "/in")),
        ("/data:/in:ro,Z", Volume("/data", "/in", True, "Z")),
        ("/data:/in:z", Volume("/data", "/in", False, "z")),
        ("/my data/é:/in put:ro", Volume("/my data/é", "/in put", True)),
        ("/a:b/c:/in:ro", Volume("/a:b/c", "/in", True)),
        ("./data:/in", Volume("./data", "/in")),
        ("~/data:/in/", Volume("~/data", "/in")),
    ],
)
def test_a_volume_is_parsed_into_its_parts(text: str, volume: Volume) -> None:
    assert parse_volume(text) == volume


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/data", "not a valid volume"),
        ("", "not a valid volume"),
        ("/data:in", "absolute path in the container"),
        ("data:/in", "host path 'data' must be absolute"),
        ("/data:/", "hide all files"),
        ("/data:/in:rx", "options are ro or rw"),
        ("/data:/in:ro,rw", "options are ro or rw"),
        ("/a:b:/in:Z", "colon"),
    ],
)
def test_an_invalid_volume_is_rejected_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DockerConfig(image="model", volumes=(text,))


def test_two_volumes_may_share_a_host_path_but_not_a_path_in_the_container() -> None:
    DockerConfig(image="model", volumes=("/data:/a:ro", "/data:/b"))
    with pytest.raises(ValidationError, match="same path in the container"):
        DockerConfig(image="model", volumes=("/a:/in", "/b:/in/"))


@pytest.mark.parametrize(
    ("text", "size"),
    [("512m", 512 * 2**20), ("4g", 4 * 2**30), ("4GB", 4 * 2**30), (2**24, 2**24), ("1.5k", 1536)],
)
def test_units_of_sizes_are_powers_of_1024(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("memory", ["12q", "4Gi", "", "-1g", "lots", "5m", 100])
def test_an_invalid_memory_size_is_rejected(memory: str | int) -> None:
    with pytest.raises(ValidationError, match="as in 512m or 4g"):
        DockerConfig(image="model", memory=memory)


@pytest.mark.parametrize(
    "name",
    [
        "swan",
        "swan:41.45",
        "rompy/schism:latest",
        "localhost:5000/a/b:1",
        f"Host.org/model@sha256:{'a' * 64}",
        f"swan:1@sha256:{'0' * 64}",
        f"sha256:{'f' * 64}",
        "a__b-c.d",
    ],
)
def test_images_may_have_a_registry_a_tag_and_a_digest(name: str) -> None:
    assert DockerConfig(image=name).image == name


@pytest.mark.parametrize("name", ["", "Swan", "swan:", "swan:a b", "-swan", "swan@sha256:12", "a//b"])
def test_an_invalid_image_name_is_rejected(name: str) -> None:
    with pytest.raises(ValidationError, match="not a valid image name"):
        DockerConfig(image=name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": "a", "dockerfile": "Dockerfile"}, "exclude each other"),
        ({"image": "a", "build_args": {"A": "1"}}, "needs dockerfile"),
        ({"image": "a", "build_context": "."}, "needs dockerfile"),
        ({"image": "a", "mpiexec": "mpirun", "cpu": 2}, "needs executable"),
        ({"image": "a", "mpiexec": "mpirun", "executable": "swan"}, "needs cpu"),
        ({"image": "a", "mpiexec": "mpirun", "executable": "swan", "cpu": 1.5}, "whole number"),
        ({"image": "a", "cpu": 0}, "greater than or equal"),
        ({"image": "a", "user": "no one"}, "user:group"),
        ({"image": "a", "gpus": "two"}, "device=0,1"),
        ({"image": "a", "shm_size": "0"}, "more than 0"),
        ({"image": "a", "cap_add": ("sys ptrace",)}, "Linux capability"),
        ({"image": "a", "pull": "sometimes"}, "missing"),
        ({"image": "a", "executable": " "}, "must not be empty"),
        ({"image": "a", "imagee": "b"}, "imagee"),
        ({"image": "a", "env_vars": {"A-B": "1"}}, "A-B"),
    ],
)
def test_invalid_fields_are_rejected_when_the_config_is_created(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        DockerConfig(**fields)
    with pytest.raises(ConfigError, match=message):
        DockerRunBackend(**fields)


def test_a_config_may_refer_to_resources_of_another_machine() -> None:
    DockerConfig(
        dockerfile="/nowhere/Dockerfile", volumes=("/nowhere/data:/in",), network="there", user="swan"
    )


def test_the_calls_of_the_reference_are_accepted() -> None:
    config = DockerConfig(
        image="rompy/schism:latest",
        executable="/usr/local/bin/schism",
        cpu=4,
        volumes=["./data:/data:ro"],  # type: ignore[arg-type]
        env_vars={"MODEL_CONFIG": "production"},
    )
    assert config.get_backend_class() is DockerRunBackend
    config = DockerConfig(
        dockerfile="./docker/Dockerfile",
        build_args={"MODEL_VERSION": "1.0.0"},
        executable="/usr/local/bin/model",
        mpiexec="mpiexec",
        cpu=8,
    )
    assert DockerRunBackend(config).commands(None) == ("mpiexec -n 8 /usr/local/bin/model",)


def test_the_executable_replaces_the_commands_of_the_model() -> None:
    model = BaseConfig(commands=("./own",))
    assert DockerRunBackend(image="a").commands(model) == ("./own",)
    assert DockerRunBackend(image="a", executable="swan -x").commands(model) == ("swan -x",)


def test_changing_limits_does_not_change_the_configuration() -> None:
    limits = {"cpu", "memory", "timeout", "network", "user", "dockerfile", "build_args"}
    assert limits <= DockerConfig.transient
    assert not {"image", "executable", "volumes", "env_vars", "gpus"} & DockerConfig.transient


def test_the_yaml_lists_every_field_with_its_default() -> None:
    node = yaml.safe_load(CONF.read_text())
    assert node.pop("_target_") == "rompy_hydra.run.DockerRunBackend"
    defaults = DockerConfig().model_dump(mode="json")
    assert node == defaults
    assert LocalConfig.model_fields.keys() & node.keys() >= {
        "timeout",
        "env_vars",
        "working_dir",
        "kill_grace",
    }


def test_importing_the_backends_does_not_import_the_docker_package() -> None:
    code = "import sys, rompy_hydra.run; sys.exit('docker' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
