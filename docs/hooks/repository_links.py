"""MkDocs hook: links that leave `docs/` become plain text, and must name a file that is there.

On a code host such a link leads to the file. In the built pages there is nothing to lead to.
"""

import re
from pathlib import Path

from mkdocs.exceptions import PluginError

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Replaces the links of one page."""
    docs = Path(config["docs_dir"])
    folder = (docs / page.file.src_path).parent

    def replace(match: re.Match) -> str:
        target = (folder / match[2]).resolve()
        if docs in target.parents:
            return match[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_path}: {match[2]} is not there")
        return f"{match[1]} (`{target.relative_to(docs.parent)}`)"

    return LINK.sub(replace, markdown)
