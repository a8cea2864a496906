"""Parts of HTML that the page of a report and notebooks share: the table of layers."""
