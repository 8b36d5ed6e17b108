"""One typed result, shown: on the console, as Markdown, as one offline page, and as a figure."""

from secondlook.audit.report.page import figure_svg, html
from secondlook.audit.report.text import markdown, render

__all__ = ["figure_svg", "html", "markdown", "render"]
