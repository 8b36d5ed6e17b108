"""Config files that reproduce one published table, figure or open question each."""
