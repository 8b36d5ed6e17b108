"""The guard as a service: one verdict a request, within its time, or an answer that says why not."""
