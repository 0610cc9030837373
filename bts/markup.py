"""Markup with untrusted text: escaping in Markdown, and Jinja2 templates that escape in HTML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_SPECIAL = re.compile(
    r"[&<>`*\[\]|~\\!@]"  # HTML, code, emphasis, links, table cells
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, which needs an underscore at the rim of a word
    r"|^[#+\-=:]|(?<=^\d)[.)]|(?<=^\d\d)[.)]"  # headings, lists, rules
    r"|(?<=[a-z]):(?=//)|(?<=www)\.",  # addresses, which some renderers make links of
    re.IGNORECASE,
)


def escape(text: object) -> str:
    """Return one line of Markdown that every renderer shows as the text itself: no HTML, link, emphasis, heading or cell.

    Characters of markup become numeric entities, which all flavours of Markdown know; a backslash before them is not known to
    all.

    >>> escape("no_tumour"), escape("<b>"), escape("a|b")
    ('no_tumour', '&#60;b&#62;', 'a&#124;b')
    """
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", " ".join(str(text).split()))


def make_environment(package: str) -> Environment:
    """Return the Jinja2 environment of the folders `templates` of a package and of `bts`, which has the frame of a page.

    HTML templates escape every value, and an undefined name is an error.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(each, "templates") for each in (package, "bts")]),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
