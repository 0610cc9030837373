"""Text of strangers in Markdown pages: class names, sets and models are shown as they are and never become markup."""

from __future__ import annotations

import re

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
