"""What `.dockerignore` excludes is exactly what the engine would exclude: no secret is sent by mistake."""

from __future__ import annotations

import pytest

from rompy_hydra.errors import ConfigError
from rompy_hydra.run.docker.ignore import included, read_patterns

FILES = ["top.txt", "#x", "a/x.txt", "a/b/c.txt", "b/c.txt", "Dockerfile", "keep/id.key"]


@pytest.fixture
def context(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def is_excluded(context, text, path):
    return path not in included(context, read_patterns(text), "Dockerfile")


@pytest.mark.parametrize(
    ("text", "path", "excluded"),
    [
        ("a/b/../x.txt", "a/x.txt", True),
        ("/top.txt", "top.txt", True),
        ("//top.txt", "top.txt", True),
        ("./top.txt", "top.txt", True),
        ("# c\ntop.txt", "top.txt", True),
        (" #x", "#x", True),
        ("\ufefftop.txt", "top.txt", True),
        ("\ufeff# c\ntop.txt", "top.txt", True),
        ("[t]op.txt", "top.txt", True),
        ("[^t]op.txt", "top.txt", False),
        ("[^x]op.txt", "top.txt", True),
        ("[!t]op.txt", "top.txt", True),
        ("[!x]op.txt", "top.txt", False),
        ("[a-z]op.txt", "top.txt", True),
        ("**/c.txt", "a/b/c.txt", True),
        ("**/c.txt", "b/c.txt", True),
        ("**c.txt", "a/b/c.txt", True),
        ("**/b", "b/c.txt", True),
        ("**/b", "a/b/c.txt", True),
        ("**.txt", "a/x.txt", True),
        ("a/**", "a/b/c.txt", True),
        ("a/**/c.txt", "a/b/c.txt", True),
        ("*\n!a/b/c.txt", "a/b/c.txt", False),
        ("*\n! top.txt", "top.txt", False),
        ("**/*.txt\n!top.txt", "top.txt", False),
        ("**/*.txt\n!**/x.txt", "a/x.txt", False),
        ("top\\.txt", "top.txt", True),
        ("\\top.txt", "top.txt", True),
        ("a/", "a/x.txt", True),
        ("**", "top.txt", True),
        (".", "top.txt", False),
        ("top.tx?", "top.txt", True),
        ("a\n!a/x.txt", "a/x.txt", False),
        ("a/b/\n!a/b/c.txt", "a/b/c.txt", False),
        ("*/b", "a/b/c.txt", True),
        ("*/c.txt", "a/b/c.txt", False),
        ("t**t", "top.txt", False),  # only with a directory in between
        ("a**c.txt", "a/b/c.txt", True),
        ("!top.txt\ntop.txt", "top.txt", True),
        ("top.{txt,md}", "top.txt", False),
        ("top+txt", "top.txt", False),
        ("a//x.txt", "a/x.txt", True),
        ("**/*.key", "keep/id.key", True),
        ("*", "Dockerfile", False),
    ],
)
def test_a_pattern_excludes_what_the_engine_excludes(context, text, path, excluded):
    assert is_excluded(context, text, path) is excluded


@pytest.mark.parametrize("text", ["[", "a[b", "[]x"])
def test_a_pattern_that_the_engine_refuses_is_named(context, text):
    with pytest.raises(ConfigError, match="is not a valid pattern"):
        is_excluded(context, text, "top.txt")


def test_links_are_not_followed_and_directories_are_listed(context):
    (context / "round").symlink_to(context)
    found = included(context, ["a/b"], "Dockerfile")
    assert "round" in found
    assert "a" in found
    assert not any(name.startswith(("round/", "a/b")) for name in found)
