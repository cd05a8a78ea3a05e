"""Tables and figures, each defined once: for files, and for the page of the report."""
