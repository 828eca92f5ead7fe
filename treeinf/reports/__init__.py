"""Reports as self-contained HTML files."""

from treeinf.reports.cleaning import (
    ComparisonLine,
    ReportTable,
    render_cleaning,
    write_cleaning_report,
)

__all__ = ["ComparisonLine", "ReportTable", "render_cleaning", "write_cleaning_report"]
