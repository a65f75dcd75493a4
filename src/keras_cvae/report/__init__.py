"""The figures of an evaluation, as a table, a page, a comparison."""
