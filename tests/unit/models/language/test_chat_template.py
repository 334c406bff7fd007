"""A chat template is a program of the model's author."""

import resource

import pytest
from jinja2 import Template

from graftwerk import limits
from graftwerk.errors import BadFile
from graftwerk.models.language.local import _fill_template


class Tokenizer:
    def __init__(self, template):
        self.template = template

    def apply_chat_template(self, messages, **_):
        return Template(self.template).render(messages=messages)


def test_it_is_filled():
    assert _fill_template("m", Tokenizer("<{{ messages[0].content }}>"), "x") == "<x>"


def test_it_has_a_deadline(monkeypatch):
    monkeypatch.setattr(limits, "CHAT_TEMPLATE_SECONDS", 0.01)
    loops = "{% for a in range(2000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}"
    with pytest.raises(BadFile, match="takes more than"):
        _fill_template("m", Tokenizer(loops), "x")


def test_its_failure_is_said():
    with pytest.raises(BadFile, match="chat template of m fails"):
        _fill_template("m", Tokenizer("{{ 1 // 0 }}"), "x")


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 3_000_000_000 }}",
        "{{ '%3000000000d' % 1 }}",
        "{{ 'x'.ljust(3_000_000_000) }}",
        "{% set n = namespace(x='xxxxxxxx') %}{% for a in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    ],
)
def test_it_takes_no_more_memory_than_it_may(template):
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(BadFile, match="more than 512 MiB of memory"):
        _fill_template("m", Tokenizer(template), "x")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert _fill_template("m", Tokenizer("<{{ messages[0].content }}>"), "x") == "<x>"
