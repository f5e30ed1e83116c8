"""Hooks of the documentation site: pages of the repository's root become pages of the site.

Links are written so that they work where a file lies (`../CONTRIBUTING.md` from docs/, `docs/data.md` from
the root); here they are turned into what the site calls these pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT_PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages of the root that exist."""
    root = Path(config.config_file_path).parent
    for name, page in ROOT_PAGES.items():
        if (root / name).is_file():
            files.append(File.generated(config, page, abs_src_path=str(root / name)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **kwargs: Any) -> str:
    """Links between docs/ and the root."""
    of_root = page.file.src_uri in ROOT_PAGES.values()
    to_root = "" if of_root else "../"
    for name, target in ROOT_PAGES.items():
        markdown = markdown.replace(f"]({to_root}{name}", f"]({target}")
    return re.sub(r"\]\(docs/", "](", markdown) if of_root else markdown
