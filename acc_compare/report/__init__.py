"""What a comparison leaves behind: a workbook, the advisor's text, its JSON, and plain tables."""
