"""Audits of tasks whose images are judged one by one, behind a purifier or bare."""
